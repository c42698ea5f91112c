"""Search over widths with shared weights: random, evolutionary, or by policy gradient."""

from nasc.methods.weight_sharing.method import WeightSharing

__all__ = ["WeightSharing"]
