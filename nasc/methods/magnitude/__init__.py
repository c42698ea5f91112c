"""Magnitude pruning of channels, uniform or global: a rival."""

from nasc.methods.magnitude.method import Magnitude

__all__ = ["Magnitude"]
