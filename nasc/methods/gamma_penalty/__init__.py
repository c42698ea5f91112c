"""Penalties on the scales of batch norms: MorphNet (weighted by price, widened afterwards) and network slimming."""

from nasc.methods.gamma_penalty.method import GammaPenalty

__all__ = ["GammaPenalty"]
