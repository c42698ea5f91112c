"""Structured pruning of linear layers by reconstruction error against latency."""

from nasc.methods.ziplm.method import ZipLM

__all__ = ["ZipLM"]
