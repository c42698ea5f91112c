"""Which layers of a network may take which forms, and the network rewritten so that they can.

A rank is a dim of the rewritten network. How many single weights of a matrix stay and on how many bits they lie are no
dims: they go by names of their own beside the dims' (:func:`density_name`, :func:`bits_name`), so that one list of sizes
says everything a price needs.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from torch import nn

from nasc.blocks import break_even_rank, called_once, factorise, factorise_plus_sparse, is_factorisable, replace_modules
from nasc.errors import TraceError, UsageError
from nasc.graph import trace
from nasc.graph.dims import Axis, Dim, Sum
from nasc.graph.network import Kernel, Network

Block = Literal["prune", "lowrank", "sparse", "quant"]
BLOCKS: tuple[Block, ...] = get_args(Block)

LEAST_RANK = 4
"""A layer whose factors cost as much as the layer itself below this rank stays dense."""

LEAST_WEIGHTS = 256
"""A layer of fewer weights keeps them all: its share could not be told in small steps, and it costs next to nothing."""


def density_name(weight: str) -> str:
    """The size that says how many single weights of a parameter stay, as a share: 0 to 1."""
    return f"density:{weight}"


def bits_name(layer: str) -> str:
    """The size that says on how many bits a layer's weights lie."""
    return f"bits:{layer}"


@dataclass(frozen=True)
class Layer:
    """A layer of the user's model and the forms it may take.

    Args:
        path: Of the layer in the user's model.
        weights: Its weight parameters in the rewritten network: one matrix, two factors, or two factors and the rest.
        rank: The dim between the factors.
        sparse: The weight that may lose single entries.
        quantised: Its weights may lie on a grid.
    """

    path: str
    weights: tuple[str, ...]
    rank: str | None = None
    sparse: str | None = None
    quantised: bool = False

    @property
    def dense(self) -> str:
        """The weight in the user's model."""
        return f"{self.path}.weight"


@dataclass(frozen=True)
class BlockNetwork:
    """A network whose layers can take other forms.

    Args:
        source: The user's network.
        network: The rewritten one; the same where no layer is factorised.
        layers: Those with a choice.
        names: Source dims by the rewritten network's name for them.
        prune: Whether widths may shrink.
    """

    source: Network
    network: Network
    layers: tuple[Layer, ...]
    names: Mapping[str, str]
    prune: bool

    @property
    def ranks(self) -> tuple[str, ...]:
        """The dims between factors."""
        return tuple(layer.rank for layer in self.layers if layer.rank is not None)

    @property
    def masked(self) -> tuple[str, ...]:
        """The dims that masks act on."""
        ranks = set(self.ranks)
        return tuple(name for name in self.network.maskable if self.prune or name in ranks)


def parse_blocks(blocks: str | Iterable[str]) -> frozenset[Block]:
    """Read ``"prune,lowrank"``.

    Raises:
        UsageError: A name is unknown, or there is none.
    """
    names = [name.strip() for name in blocks.split(",")] if isinstance(blocks, str) else list(blocks)
    known: dict[str, Block] = {name: name for name in BLOCKS}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise UsageError(
            f"expected blocks of {', '.join(BLOCKS)}; got {', '.join(unknown) or 'none'}", "e.g. --blocks prune,lowrank"
        )
    return frozenset(known[name] for name in names)


def build_blocks(network: Network, blocks: Collection[Block], only: str = "") -> BlockNetwork:
    """Rewrite a network so that its layers can take the forms asked for. The user's module is not changed.

    Every layer starts as what it is: factors of full rank whose product is its weight, every weight there, 16 bits. With
    both ``lowrank`` and ``sparse`` a layer becomes two factors and the matrix they leave over, U diag(b) V + S o A.

    Args:
        network: The traced model.
        blocks: The forms.
        only: Take only layers whose path matches this regular expression somewhere; all where it is empty. Widths are
            pruned everywhere.

    Raises:
        UsageError: The expression cannot be read.
        TraceError: No layer of the model can take any of them.
    """
    wanted = _compile(only)
    candidates = {path: module for path, module in _plain_layers(network) if wanted.search(path)}
    factored = {
        path: module
        for path, module in candidates.items()
        if "lowrank" in blocks and is_factorisable(module) and break_even_rank(module) >= LEAST_RANK
    }
    rewritten = _rewrite(network, factored, "sparse" in blocks) if factored else network
    layers = []
    for path in candidates:
        layer = _layer(rewritten, path, path in factored, blocks)
        if layer is not None:
            layers.append(layer)
    if not layers and "prune" not in blocks:
        raise TraceError(
            f"expected a model with a layer that can become {' or '.join(sorted(blocks))}; got none",
            "add prune to the blocks, or see what there is with: nasc inspect --model M",
        )
    return BlockNetwork(network, rewritten, tuple(layers), _match(network, rewritten, layers), "prune" in blocks)


def _compile(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as failure:
        raise UsageError(
            f"cannot read the layers {expression!r}: {failure}", "a regular expression over paths, such as 'up|down'"
        ) from failure


def _plain_layers(network: Network) -> Iterable[tuple[str, nn.Linear | nn.Conv2d]]:
    """Linear layers and convolutions that one kernel runs, and nobody else reads."""
    kernels: dict[str, int] = {}
    for kernel in network.kernels:
        if kernel.weights.weight is not None:
            kernels[kernel.weights.weight] = kernels.get(kernel.weights.weight, 0) + 1
    usable = called_once(network.model, network.example_inputs)
    for path, module in network.model.named_modules():
        if path in usable and type(module) in (nn.Linear, nn.Conv2d) and kernels.get(f"{path}.weight") == 1:
            assert isinstance(module, nn.Linear | nn.Conv2d)
            yield path, module


def _rewrite(network: Network, layers: Mapping[str, nn.Linear | nn.Conv2d], plus_sparse: bool) -> Network:
    replacements: dict[str, nn.Module] = {}
    for path, module in layers.items():
        half = max(1, int(break_even_rank(module) / 2))
        replacements[path] = factorise_plus_sparse(module, half) if plus_sparse else factorise(module)
    return trace(replace_modules(network.model, replacements), network.example_inputs)


def _layer(network: Network, path: str, factored: bool, blocks: Collection[Block]) -> Layer | None:
    quantised = "quant" in blocks
    if not factored:
        weight = f"{path}.weight"
        large = network.model.get_parameter(weight).numel() >= LEAST_WEIGHTS
        sparse = weight if "sparse" in blocks and large else None
        return Layer(path, (weight,), None, sparse, quantised) if sparse or quantised else None
    first, second, rest = (f"{path}.{part}.weight" for part in ("first", "second", "rest"))
    (rank,) = network.parameters[first][0].dims()
    if "sparse" in blocks:
        return Layer(path, (first, second, rest), rank.name, rest, quantised)
    return Layer(path, (first, second), rank.name, None, quantised)


def kernel_of(network: Network, weight: str) -> Kernel:
    """The kernel that reads a weight."""
    return next(kernel for kernel in network.kernels if kernel.weights.weight == weight)


def rename(axis: Axis, names: Mapping[str, str]) -> Axis:
    """An axis under other names for its dims; a dim that is not named keeps its own."""
    return Axis(
        tuple(
            replace(term, name=names.get(term.name, term.name))
            if isinstance(term, Dim)
            else Sum(tuple(rename(part, names) for part in term.parts))
            for term in axis.terms
        )
    )


def match_axes(left: Iterable[Axis], right: Iterable[Axis]) -> dict[str, str]:
    """Names of the dims of the left axes by where they stand, to the names on the right."""
    names: dict[str, str] = {}
    for one, other in zip(left, right, strict=True):
        for mine, theirs in zip(one.dims(), other.dims(), strict=True):
            names[mine.name] = theirs.name
    return names


def _match(source: Network, rewritten: Network, layers: Iterable[Layer]) -> dict[str, str]:
    """Source dims to rewritten dims, by the axes of the parameters both have."""
    names = match_parameters(source, rewritten)
    for layer in layers:
        if layer.rank is not None:
            first, second = (rewritten.parameters[name] for name in layer.weights[:2])
            names |= match_axes(source.parameters[layer.dense][:2], (second[0], first[1]))
    return names


def match_parameters(source: Network, other: Network) -> dict[str, str]:
    """Dims of one network to those of another, by the axes of parameters of the same name; gates of branches by name."""
    names = {gate: gate for gate in source.branches if gate in other.branches}
    for name in source.parameters.keys() & other.parameters.keys():
        names |= match_axes(source.parameters[name], other.parameters[name])
    return names
