"""Sorted networks: one training run, a family of sub-models in one set of weights."""

from nasc.methods.sorted_networks.anytime import Anytime, Expectation
from nasc.methods.sorted_networks.config import SortedConfig
from nasc.methods.sorted_networks.method import SortedNetwork, build_pool, family_networks
from nasc.methods.sorted_networks.model import PrefixModel
from nasc.methods.sorted_networks.objective import Objective, build_objective
from nasc.methods.sorted_networks.ordering import order_units
from nasc.methods.sorted_networks.pool import DEPTH, Knob, Member, Pool, Sampler, cut_size, match_dims
from nasc.methods.sorted_networks.presets import PRESETS, UPDATES
from nasc.methods.sorted_networks.targets import exponents_of, frontier_weights

__all__ = [
    "DEPTH",
    "PRESETS",
    "UPDATES",
    "Anytime",
    "Expectation",
    "Knob",
    "Member",
    "Objective",
    "Pool",
    "PrefixModel",
    "Sampler",
    "SortedConfig",
    "SortedNetwork",
    "build_objective",
    "build_pool",
    "cut_size",
    "exponents_of",
    "family_networks",
    "frontier_weights",
    "match_dims",
    "order_units",
]
