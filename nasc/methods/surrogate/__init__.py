"""The l1/l2 surrogate of FLOPs and latency (arXiv 2306.05785)."""

from nasc.methods.surrogate.config import SurrogateConfig
from nasc.methods.surrogate.method import Surrogate, surrogate_networks

__all__ = ["Surrogate", "SurrogateConfig", "surrogate_networks"]
