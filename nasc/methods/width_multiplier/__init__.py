"""A width multiplier, trained from scratch: a rival."""

from nasc.methods.width_multiplier.method import WidthMultiplier

__all__ = ["WidthMultiplier"]
