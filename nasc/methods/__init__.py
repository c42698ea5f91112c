"""The compression methods, by name. Each is built on a traced network and a price, and meets :class:`Method`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.methods._base import Method
from nasc.methods._constraints import Constrained
from nasc.methods._price import Price, price_for_target
from nasc.methods._readjust import readjust, smallest_sizes
from nasc.methods.gamma_penalty import GammaPenalty
from nasc.methods.halp import Halp
from nasc.methods.hard_concrete import HardConcrete
from nasc.methods.l1 import PlainL1
from nasc.methods.magnitude import Magnitude
from nasc.methods.pixelfly import Pixelfly, pixelfly_networks
from nasc.methods.sorted_networks import SortedNetwork, family_networks
from nasc.methods.sparse_training import acdc, acdc_plus, gmp, one_shot, powerpropagation, rigl, set_, static
from nasc.methods.surrogate import Surrogate, SurrogateConfig, surrogate_networks
from nasc.methods.taylor import Taylor
from nasc.methods.weight_sharing import WeightSharing
from nasc.methods.width_multiplier import WidthMultiplier
from nasc.methods.ziplm import ZipLM

Builder = Callable[..., Method]


def _surrogate(network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> Method:
    return Surrogate(network, price=price, limit=limit, total_steps=total_steps, **options)


def _magnitude_uniform(network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> Method:
    return Magnitude(network, price, limit, total_steps, allocation="uniform", **options)


def _magnitude_global(network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> Method:
    return Magnitude(network, price, limit, total_steps, allocation="global", **options)


def _slimming(network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> Method:
    return GammaPenalty(network, price, limit, total_steps, weighting="uniform", **options)


def _nas_random(network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> Method:
    return WeightSharing(network, price, limit, total_steps, search="random", **options)


def _nas_evolution(network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> Method:
    return WeightSharing(network, price, limit, total_steps, search="evolution", **options)


def _nas_policy(network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> Method:
    return WeightSharing(network, price, limit, total_steps, search="policy", **options)


METHODS: Mapping[str, Builder] = MappingProxyType(
    {
        "surrogate": _surrogate,
        "l1": PlainL1,
        "magnitude-uniform": _magnitude_uniform,
        "magnitude-global": _magnitude_global,
        "width-multiplier": WidthMultiplier,
        "halp": Halp,
        "taylor": Taylor,
        "morphnet": GammaPenalty,
        "slimming": _slimming,
        "hard-concrete": HardConcrete,
        "nas-random": _nas_random,
        "nas-evolution": _nas_evolution,
        "nas-policy": _nas_policy,
        "ziplm": ZipLM,
        "acdc": acdc,
        "acdc++": acdc_plus,
        "gmp": gmp,
        "rigl": rigl,
        "set": set_,
        "static": static,
        "one-shot": one_shot,
        "powerpropagation": powerpropagation,
        "sorted": SortedNetwork,
        "pixelfly": Pixelfly,
    }
)
"""Builder by name: ``builder(network, price, limit, total_steps, **options)``."""

REWRITES: Mapping[str, Callable[..., tuple[Network, ...]]] = MappingProxyType(
    {"sorted": family_networks, "surrogate": surrogate_networks, "pixelfly": pixelfly_networks}
)
"""By method name, the networks with kernels the user's has not: two factors in the place of one matrix."""


def rewritten(name: str, network: Network, **options: Any) -> tuple[Network, ...]:
    """The networks a method turns this one into, whose kernels its price will ask the table for.

    Args:
        name: One of :data:`METHODS`.
        network: From :func:`nasc.graph.trace`.
        **options: The method's own.

    Returns:
        None for a method that only removes.
    """
    return REWRITES[name](network, **options) if name in REWRITES else ()


def build(name: str, network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> Method:
    """A method by name.

    Args:
        name: One of :data:`METHODS`.
        network: From :func:`nasc.graph.trace`.
        price: What sizes cost; see :func:`price_for_target`.
        limit: The target, in the price's unit.
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        **options: The method's own.

    Raises:
        UsageError: The name is unknown, or an option is.
        TargetError: No allowed model meets the limit.
    """
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}", f"known: {', '.join(METHODS)}")
    try:
        return METHODS[name](network, price, limit, total_steps, **options)
    except TypeError as error:
        if "unexpected keyword" in str(error):
            raise UsageError(f"method {name} does not take the option: {error}") from error
        raise


__all__ = [
    "METHODS",
    "Constrained",
    "GammaPenalty",
    "Halp",
    "HardConcrete",
    "Magnitude",
    "Method",
    "PlainL1",
    "Price",
    "Surrogate",
    "SurrogateConfig",
    "Taylor",
    "WeightSharing",
    "WidthMultiplier",
    "ZipLM",
    "build",
    "price_for_target",
    "readjust",
    "rewritten",
    "smallest_sizes",
]
