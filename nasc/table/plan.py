"""Which kernels to measure: on the sizes that stand for steps, where the networks will look.

Three kinds of points, in this order:

1. *lines*: one size of one representative signature per family at every value from 1 to 128, to find the steps;
2. *grids*: per signature, sizes that stand for steps, in geometric progression from one step to the full width;
3. *held out*: widths that a network of the search could have, to see the interpolation's error; where it is too large,
   the grid gets a line there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log, prod
from random import Random
from typing import TYPE_CHECKING

from nasc.kernels import KINDS, KernelShape, Signature
from nasc.table.latency_table import LatencyTable
from nasc.table.provenance import Provenance, family
from nasc.table.steps import Steps, ladder

if TYPE_CHECKING:
    from nasc.graph.network import Network

LINE_LENGTH = 128
"""Sizes 1..128 show every period up to 32."""

_LINE_POSITIONS = 28 * 28  # large enough to time, small enough to be quick
_LINE_OTHER = 64  # what the other sizes are held at
_RATIOS = {0: 2.0, 1: 1.3, 2: 2.0, 3: 3.0}  # of neighbouring knots, by how many sizes vary: grids are products
_SMALLEST_SHARE = 0.15  # of the dense width, that a held-out network keeps

FLOOR = Signature("unary", (("op", "relu"), ("positions", 1))).at(channels=1)
"""A kernel that does nothing worth timing: its time is that of an empty call."""


@dataclass(frozen=True)
class Region:
    """What the networks may ask of one signature.

    Args:
        signature: Kind and attributes.
        dense: The sizes of every kernel that has it, in the dense networks.
        moves: Whether each size can change.
    """

    signature: Signature
    dense: tuple[tuple[int, ...], ...]
    moves: tuple[bool, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sizes."""
        return KINDS[self.signature.kind].sizes

    def largest(self, axis: int) -> int:
        """The largest dense value of a size."""
        return max(sizes[axis] for sizes in self.dense)


def find_regions(networks: Iterable["Network"]) -> list[Region]:
    """The regions of all kernels of the networks, one per signature, those of one family together."""
    dense: dict[Signature, set[tuple[int, ...]]] = {}
    moves: dict[Signature, list[bool]] = {}
    for network in networks:
        for kernel in network.kernels:
            names = KINDS[kernel.kind].sizes
            if not names:
                continue
            shape = kernel.shape()
            dense.setdefault(kernel.signature, set()).add(tuple(value for _, value in shape.sizes))
            free = [any(dim.frozen is None and dim.size > 1 for dim in kernel.sizes[name].dims()) for name in names]
            before = moves.get(kernel.signature, [False] * len(names))
            moves[kernel.signature] = [new or old for new, old in zip(free, before, strict=True)]
    regions = [Region(signature, tuple(sorted(sizes)), tuple(moves[signature])) for signature, sizes in dense.items()]
    return sorted(regions, key=lambda region: (family(region.signature), str(region.signature)))


@dataclass(frozen=True)
class Line:
    """One size of a family at every value, the others held.

    Args:
        family: The family it stands for.
        size: Name of the size.
        shapes: The kernels, from size 1 on.
    """

    family: str
    size: str
    shapes: tuple[KernelShape, ...]


def plan_lines(regions: Sequence[Region], provenance: Provenance) -> list[Line]:
    """One line per family and moving size whose steps are not known yet."""
    lines: dict[tuple[str, str], tuple[float, Line]] = {}
    for region in regions:
        name = family(region.signature)
        for axis, size in enumerate(region.names):
            if not region.moves[axis] or (name, size) in provenance.steps:
                continue
            distance = abs(log(positions(region.signature) / _LINE_POSITIONS))
            best = lines.get((name, size))
            if best is None or distance < best[0]:
                lines[name, size] = distance, _line(region, axis)
    return [line for _, line in lines.values()]


def _line(region: Region, axis: int) -> Line:
    held = [min(region.largest(other), _LINE_OTHER) for other in range(len(region.names))]
    shapes = tuple(
        shape_of(region.signature, [*held[:axis], value, *held[axis + 1 :]]) for value in range(1, LINE_LENGTH + 1)
    )
    return Line(family(region.signature), region.names[axis], shapes)


def positions(signature: Signature) -> int:
    """How many positions a kernel of this signature computes, roughly."""
    attributes = dict(signature.attributes)
    if "height" in attributes:
        return int(attributes["height"]) * int(attributes["width"])
    return int(attributes.get("positions", attributes.get("rows", 1)))


def plan_knots(region: Region, steps: Mapping[str, Steps], known: Sequence[Sequence[int]] = ()) -> list[list[int]]:
    """Knots along every size of a region.

    Args:
        region: What the networks may ask.
        steps: Steps by size name.
        known: Knots the table already stands on; they stay.
    """
    ratio = _RATIOS.get(sum(region.moves), 4.0)
    knots = []
    for axis, name in enumerate(region.names):
        before = known[axis] if known else ()
        if region.moves[axis] or len(before) > 1:
            planned = ladder(steps.get(name, Steps()), max(region.largest(axis), *before, 0), ratio)
        else:
            planned = sorted({sizes[axis] for sizes in region.dense})
        knots.append(sorted({*planned, *before}))
    return knots


def grid_shapes(signature: Signature, knots: Sequence[Sequence[int]]) -> list[KernelShape]:
    """Every kernel of a grid."""
    points: list[list[int]] = [[]]
    for axis in knots:
        points = [[*point, knot] for point in points for knot in axis]
    return [shape_of(signature, point) for point in points]


def covers(table: LatencyTable, regions: Iterable[Region]) -> bool:
    """Whether a table answers for every width of the regions, from one entry to the dense size."""
    return all(
        table.covers(region.signature, dict(zip(region.names, sizes, strict=True)))
        for region in regions
        for dense in region.dense
        for sizes in (dense, [1 if moves else size for size, moves in zip(dense, region.moves, strict=True)])
    )


def plan_held_out(region: Region, count: int, seed: int) -> list[KernelShape]:
    """Kernels that a compressed network could have: dense ones with every moving size shrunk at random.

    Args:
        region: What the networks may ask.
        count: How many, at most.
        seed: Seed of the draw; the same region and seed give the same kernels.
    """
    if not any(region.moves):
        return []
    generator = Random(f"{seed} {region.signature}")
    shapes = set()
    for _ in range(count):
        dense = generator.choice(region.dense)
        shares = [generator.uniform(_SMALLEST_SHARE, 1.0) if moves else 1.0 for moves in region.moves]
        shapes.add(
            shape_of(region.signature, [max(1, ceil(size * share)) for size, share in zip(dense, shares, strict=True)])
        )
    return sorted(shapes)


def add_knot(
    region: Region, knots: Sequence[Sequence[int]], shape: KernelShape, steps: Mapping[str, Steps]
) -> list[list[int]]:
    """The knots with one more line through a badly predicted kernel, along the size that is furthest from a knot."""
    candidates = []
    for axis, (name, value) in enumerate(shape.sizes):
        end = steps.get(name, Steps()).representative(value)
        if region.moves[axis] and end not in knots[axis]:
            candidates.append((min(abs(log(end / knot)) for knot in knots[axis]), axis, end))
    if not candidates:
        return [list(axis) for axis in knots]
    _, chosen, end = max(candidates)
    return [sorted({*axis, end}) if index == chosen else list(axis) for index, axis in enumerate(knots)]


def size_of_grid(knots: Sequence[Sequence[int]]) -> int:
    """Number of points of a grid."""
    return prod(len(axis) for axis in knots)


def shape_of(signature: Signature, sizes: Sequence[int]) -> KernelShape:
    """The kernel of a signature with sizes in the order of its kind."""
    return signature.at(**dict(zip(KINDS[signature.kind].sizes, sizes, strict=True)))
