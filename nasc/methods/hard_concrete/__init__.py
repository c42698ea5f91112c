"""Bernoulli gates by the hard-concrete relaxation, with the expected price as penalty."""

from nasc.methods.hard_concrete.method import HardConcrete

__all__ = ["HardConcrete"]
