"""What is pruned together: single weights, groups of four, N of M, square blocks, whole channels.

A pattern cuts the network into :class:`Unit` values. A unit is a layer (or, for channels, a dim) divided into groups; a
group is kept or dropped as a whole, and its score is the mean magnitude of its weights (arXiv 2308.02060; SparseML's
block-4 mask). Everything else, budgets, schedules and counts, speaks of groups alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.methods._scores import sum_by_entry
from nasc.methods.sparse_training.layers import Layer

CHANNEL_FLOOR = 0.05
"""Smallest share of a dim that stays, as for the methods that prune dims."""

ACCEPTED = "unstructured, block4, 2:4 (any N:M), block8x8 (any size), channels"


class Unit(Protocol):
    """Groups of weights that are ranked together at least among themselves."""

    @property
    def name(self) -> str:
        """The parameter's, or the dim's."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight, axis 0 the output and axis 1 the input: what ERK counts; empty for a dim."""
        ...

    @property
    def groups(self) -> int:
        """Number of groups."""
        ...

    @property
    def fixed(self) -> int | None:
        """How many groups are dropped whatever the sparsity; None where the budget decides."""
        ...

    def scores(self, values: Mapping[str, Tensor]) -> Tensor:
        """Mean magnitude of every group, shape (groups,), of weights or gradients by parameter name."""
        ...

    def protected(self, scores: Tensor) -> Tensor:
        """Groups that are never dropped, bool (groups,)."""
        ...

    def expand(self, kept: Tensor) -> dict[str, Tensor]:
        """Masks over single weights by parameter name (bool, the parameter's shape), of bool (groups,)."""
        ...


@dataclass(frozen=True, eq=False)
class LayerUnit:
    """One weight tensor, cut into groups.

    Args:
        layer: The weight.
        group_of: Index of the group of every weight, int64, the weight's shape; None: every weight is its own.
        counts: Weights of every group, shape (groups,).
        keep_rows: Keep the strongest group of every output row, whatever the budget says.
    """

    layer: Layer
    group_of: Tensor | None
    counts: Tensor
    keep_rows: bool = False

    @property
    def name(self) -> str:
        """The parameter's name."""
        return self.layer.name

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape."""
        return self.layer.shape

    @property
    def groups(self) -> int:
        """Number of groups."""
        return self.counts.numel()

    @property
    def fixed(self) -> int | None:
        """The budget decides."""
        return None

    def scores(self, values: Mapping[str, Tensor]) -> Tensor:
        """Mean magnitude of every group, float32 (groups,), on the CPU."""
        magnitude = values[self.name].detach().abs().float().flatten().cpu()
        if self.group_of is None:
            return magnitude
        return magnitude.new_zeros(self.groups).index_add_(0, self.group_of.flatten(), magnitude) / self.counts

    def protected(self, scores: Tensor) -> Tensor:
        """The strongest group of every output row, where that is asked for."""
        result = torch.zeros(self.groups, dtype=torch.bool)
        if self.keep_rows:
            by_weight = scores if self.group_of is None else scores[self.group_of.flatten()]
            places = by_weight.view(self.shape[0], -1).argmax(1) + torch.arange(self.shape[0]) * (
                by_weight.numel() // self.shape[0]
            )
            result[places if self.group_of is None else self.group_of.flatten()[places]] = True
        return result

    def expand(self, kept: Tensor) -> dict[str, Tensor]:
        """The weight's mask."""
        return {self.name: kept.view(self.shape) if self.group_of is None else kept[self.group_of]}


@dataclass(frozen=True, eq=False)
class NofMUnit:
    """A weight of which ``n`` of every ``m`` consecutive inputs stay: the sparsity sparse tensor cores know.

    A short last group keeps at most ``n`` of its real members, as if it were padded with zeros.
    """

    layer: Layer
    n: int
    m: int

    @property
    def name(self) -> str:
        """The parameter's name."""
        return self.layer.name

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape."""
        return self.layer.shape

    @property
    def groups(self) -> int:
        """Every weight is a group of its own; which of them stay is decided among ``m``."""
        return self.layer.weights

    @property
    def fixed(self) -> int:
        """All but ``n`` of ``m``."""
        inputs = self.shape[1]
        whole, rest = divmod(inputs, self.m)
        return (whole * (self.m - self.n) + max(0, rest - self.n)) * (self.groups // inputs)

    def scores(self, values: Mapping[str, Tensor]) -> Tensor:
        """One for the ``n`` largest of every ``m`` (ties: the lower index), zero for the others; shape (weights,)."""
        magnitude = values[self.name].detach().abs().float().cpu()
        rows = magnitude.movedim(1, -1).reshape(-1, self.shape[1])
        padded = torch.nn.functional.pad(rows, (0, -self.shape[1] % self.m), value=-1.0).view(rows.shape[0], -1, self.m)
        best = torch.sort(padded, dim=-1, descending=True, stable=True).indices[..., : self.n]
        kept = torch.zeros_like(padded).scatter_(-1, best, 1.0).view(rows.shape[0], -1)[:, : self.shape[1]]
        moved = (self.shape[0], *self.shape[2:], self.shape[1])
        return kept.reshape(moved).movedim(-1, 1).flatten()

    def protected(self, scores: Tensor) -> Tensor:
        """None beyond the pattern."""
        return torch.zeros(self.groups, dtype=torch.bool)

    def expand(self, kept: Tensor) -> dict[str, Tensor]:
        """The weight's mask."""
        return {self.name: kept.view(self.shape)}


@dataclass(frozen=True, eq=False)
class ChannelUnit:
    """The entries of one dim: dropping one zeroes every weight that reads it, which equals removing it.

    Readers, not writers: what a zeroed filter still sends through its norm would have to be accounted for; what nobody
    reads does not exist. Scores are of readers and writers together, over their mean in the dim, so that dims of
    different scale can be ranked together.
    """

    network: Network
    name: str
    groups: int

    @property
    def shape(self) -> tuple[int, ...]:
        """A dim has no shape of its own."""
        return ()

    @property
    def fixed(self) -> int | None:
        """The budget decides."""
        return None

    def scores(self, values: Mapping[str, Tensor]) -> Tensor:
        """Mean magnitude of the weights that touch an entry, over the dim's mean; shape (entries,)."""
        total, count = torch.zeros(self.groups), 0
        for parameter, axes in self.network.parameters.items():
            if parameter not in values or len(axes) < 2:
                continue
            for place, axis in enumerate(axes):
                if self.name in {dim.name for dim in axis.dims()}:
                    along = values[parameter].detach().abs().float().cpu().movedim(place, 0).flatten(1).sum(1)
                    total += sum_by_entry(along, axis, self.name, self.groups)
                    count += values[parameter].numel() // self.groups
        mean = total / max(count, 1)
        return mean / mean.mean().clamp_min(1e-30)

    def protected(self, scores: Tensor) -> Tensor:
        """The strongest few: no dim is emptied."""
        least = max(1, int(CHANNEL_FLOOR * self.groups + 0.999))
        strongest = torch.sort(scores, descending=True, stable=True).indices[:least]
        return torch.zeros(self.groups, dtype=torch.bool).index_fill_(0, strongest, True)

    def expand(self, kept: Tensor) -> dict[str, Tensor]:
        """The masks of the weights that read the dim: whole columns."""
        masks: dict[str, Tensor] = {}
        for contraction in self.network.contractions:
            axes = self.network.parameters[contraction.parameter]
            axis = axes[contraction.axis]
            if self.name not in {dim.name for dim in axis.dims()}:
                continue
            shape = [1] * len(axes)
            shape[contraction.axis] = -1
            full = [int(each.size()) for each in axes]
            column = axis.expand({self.name: kept.float()}).bool().view(shape).expand(full)
            masks[contraction.parameter] = masks.get(contraction.parameter, column) & column
        return masks


def make_units(pattern: str, network: Network, layers: Sequence[Layer], *, keep_rows: bool = False) -> tuple[Unit, ...]:
    """Cut a network by a pattern.

    Args:
        pattern: ``"unstructured"``; ``"block4"``, groups of 4 along the inputs of one output row; ``"N:M"``; ``"blockBxB"``,
            squares of outputs by inputs at one place of the kernel; ``"channels"``, entries of dims.
        network: The traced model.
        layers: The weights to cut; channels are of all weights that read a maskable dim.
        keep_rows: Keep at least one group of every output row, against layers that collapse.

    Raises:
        UsageError: The pattern is unknown.
    """
    if pattern == "channels":
        return tuple(ChannelUnit(network, name, dim.size) for name, dim in network.maskable.items())
    if pattern == "unstructured":
        return tuple(LayerUnit(layer, None, torch.ones(layer.weights), keep_rows) for layer in layers)
    kind, sizes = _read(pattern)
    if kind == "n:m":
        return tuple(NofMUnit(layer, *sizes) for layer in layers)
    return tuple(_blocks(layer, *sizes, keep_rows) for layer in layers)


def _read(pattern: str) -> tuple[str, tuple[int, int]]:
    """``"2:4"`` or ``"block8x8"`` or ``"block4"`` (one row by four inputs) as two numbers."""
    left, mark, right = pattern.removeprefix("block").partition(":" if ":" in pattern else "x")
    numbers = [int(text) for text in ((left, right) if mark else ("1", left)) if text.isdecimal()]
    if len(numbers) == 2 and mark == ":" and 0 < numbers[0] < numbers[1]:
        return "n:m", (numbers[0], numbers[1])
    if len(numbers) == 2 and mark != ":" and min(numbers) > 0 and pattern.startswith("block"):
        return "block", (numbers[0], numbers[1])
    raise UsageError(f"unknown pattern {pattern!r}", f"known: {ACCEPTED}")


def _blocks(layer: Layer, height: int, width: int, keep_rows: bool) -> LayerUnit:
    """Blocks of ``height`` outputs by ``width`` inputs at one place of the kernel; those at the edges may be smaller."""
    outputs, inputs = layer.shape[:2]
    places = layer.weights // (outputs * inputs)
    across = -(-inputs // width)
    row = torch.arange(outputs).view(-1, 1, 1) // height
    column = torch.arange(inputs).view(1, -1, 1) // width
    place = torch.arange(places).view(1, 1, -1)
    group_of = ((row * places + place) * across + column).view(layer.shape)
    return LayerUnit(layer, group_of, torch.bincount(group_of.flatten()).float(), keep_rows)
