"""The pool of sub-models of a sorted network: knobs, their cuts, and the members they span (sortednet.md 2.1).

A member is one cut per knob; it keeps the *first* entries of every dim ("anchored at the origin of every dimension") and
the first blocks. Members must be enumerable, so that each can be counted, priced and evaluated.
"""

import fnmatch
import itertools
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nasc.errors import UsageError
from nasc.graph.blocks import Exit
from nasc.graph.network import Network

DEPTH = "depth"
"""Name of the knob that counts blocks."""

MOST_MEMBERS = 100_000

Sampling = Literal["uniform", "per-knob", "cost"]


@dataclass(frozen=True)
class Knob:
    """One dimension of a pool: dims that are cut together, or the depth.

    Args:
        name: Names the knob; :data:`DEPTH` for the depth.
        cuts: Ascending shares in (0, 1] of the dims, or numbers of blocks.
        dims: Names of the dims; none for the depth.
        exponents: A dim keeps ``cut ** exponent`` of its entries, 1 where not named: dims that a device likes thin are
            cut faster than others.
    """

    name: str
    cuts: tuple[float, ...]
    dims: tuple[str, ...] = ()
    exponents: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.cuts or list(self.cuts) != sorted(set(self.cuts)) or self.cuts[0] <= 0:
            raise UsageError(
                f"expected ascending positive cuts of {self.name}, got {self.cuts}", "such as 0.25, 0.5, 1"
            )
        if self.name != DEPTH and self.cuts[-1] > 1:
            raise UsageError(f"expected shares up to 1 for {self.name}, got {self.cuts[-1]:g}", "1 keeps the dim whole")


@dataclass(frozen=True)
class Member:
    """One sub-model.

    Args:
        index: Its place in the pool.
        label: Readable name, e.g. ``"width 0.5, depth 3"``.
        cuts: Place of the cut of each knob.
        sizes: Size by dim name, of the dims that are cut.
        exit: How deep; None for the whole depth.
        values: The cut of each knob by its name.
    """

    index: int
    label: str
    cuts: tuple[int, ...]
    sizes: Mapping[str, int]
    exit: Exit | None = None
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """The full network."""
        return not self.sizes and self.exit is None


class Pool:
    """All members, and the law by which they are drawn.

    Args:
        network: The traced network.
        knobs: What may be cut.
        exits: The depths of the network; needed where a knob is the depth.
        multiple: Cut sizes are rounded to multiples of this.
        allowed: Which members belong to the pool; all by default.
    """

    def __init__(
        self,
        network: Network,
        knobs: Sequence[Knob],
        exits: Sequence[Exit] = (),
        *,
        multiple: int = 1,
        allowed: Callable[[Member], bool] | None = None,
    ) -> None:
        self.network, self.knobs, self.exits = network, tuple(knobs), tuple(exits)
        self._exit_of = {exit_.blocks: exit_ for exit_ in exits}
        count = math.prod(len(knob.cuts) for knob in knobs)
        if count > MOST_MEMBERS:
            raise UsageError(
                f"expected at most {MOST_MEMBERS} members, got {count}",
                "give fewer cuts, or let one knob cut more dims",
            )
        self.members = self._enumerate(multiple, allowed)
        self._by_cuts = {member.cuts: member for member in self.members}

    def _enumerate(self, multiple: int, allowed: Callable[[Member], bool] | None) -> tuple[Member, ...]:
        """All combinations of cuts, those of the same shapes once, under the first label."""
        members: list[Member] = []
        seen: set[tuple[object, ...]] = set()
        for cuts in itertools.product(*(range(len(knob.cuts)) for knob in self.knobs)):
            member = self._member(len(members), cuts, multiple)
            shape = (tuple(sorted(member.sizes.items())), member.exit.blocks if member.exit else None)
            if shape not in seen and (allowed is None or allowed(member)):
                seen.add(shape)
                members.append(member)
        if not members:
            raise UsageError("expected a pool with at least one member, got none", "allow more members")
        return tuple(members)

    def _member(self, index: int, cuts: tuple[int, ...], multiple: int) -> Member:
        sizes: dict[str, int] = {}
        exit_: Exit | None = None
        for knob, place in zip(self.knobs, cuts, strict=True):
            cut = knob.cuts[place]
            if knob.name == DEPTH:
                exit_ = self._exit(int(cut))
                continue
            for name in knob.dims:
                dense = self.network.dims[name].size
                share = cut ** knob.exponents.get(name, 1.0)
                size = min(sizes.get(name, dense), cut_size(dense, share, multiple))
                if size < dense:
                    sizes[name] = size
        values = {knob.name: knob.cuts[place] for knob, place in zip(self.knobs, cuts, strict=True)}
        label = ", ".join(f"{name} {value:g}" for name, value in values.items())
        return Member(index, label or "whole", cuts, sizes, exit_, values)

    def _exit(self, blocks: int) -> Exit | None:
        if blocks not in self._exit_of:
            raise UsageError(
                f"expected a depth of {', '.join(map(str, self._exit_of)) or 'a network with blocks'}; got {blocks}",
                "the network cannot end there",
            )
        found = self._exit_of[blocks]
        return None if found.detour is None else found

    def __len__(self) -> int:
        return len(self.members)

    @property
    def largest(self) -> Member:
        """The member with the largest cuts."""
        return max(self.members, key=lambda member: (sum(member.cuts), -member.index))

    @property
    def smallest(self) -> Member:
        """The member with the smallest cuts."""
        return min(self.members, key=lambda member: (sum(member.cuts), member.index))

    def chains(self, member: Member) -> tuple[Member, ...]:
        """The set of the stochastic summation (sheet 2.2): all that equal a member but for one smaller or equal cut.

        >>> # on a 3 x 3 grid, (2, 2) stands with (1, 2) and (2, 1)
        """
        found = {member.cuts: member}
        for place, cut in enumerate(member.cuts):
            for smaller in range(cut):
                cuts = (*member.cuts[:place], smaller, *member.cuts[place + 1 :])
                if cuts in self._by_cuts:
                    found[cuts] = self._by_cuts[cuts]
        return tuple(sorted(found.values(), key=lambda other: other.index))

    def at(self, cuts: Sequence[int]) -> Member | None:
        """The member with these cuts, None where it is not in the pool."""
        return self._by_cuts.get(tuple(cuts))


class Sampler:
    """Draws members; what is drawn depends on seed, step and draw alone, so every worker draws the same.

    Args:
        pool: The members.
        sampling: ``"uniform"`` over members, ``"per-knob"`` (each knob's cut uniform), or ``"cost"`` (by cost).
        full_share: Probability of the largest member, beside its share in the law above.
        costs: Cost of each member; needed for ``"cost"``.
        weights: Weight of each member, in place of the law.
        seed: Of the run.
    """

    def __init__(
        self,
        pool: Pool,
        sampling: Sampling = "uniform",
        *,
        full_share: float = 0.0,
        costs: Sequence[float] | None = None,
        weights: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        if sampling not in ("uniform", "per-knob", "cost"):
            raise UsageError(f"unknown sampling {sampling!r}", "known: uniform, per-knob, cost")
        if not 0 <= full_share <= 1:
            raise UsageError(f"expected full_share between 0 and 1, got {full_share}")
        if sampling == "cost" and costs is None:
            raise UsageError("sampling by cost needs the members' costs; got none")
        self.pool, self.sampling, self.full_share, self.seed = pool, sampling, full_share, seed
        chosen = weights if weights is not None else costs if sampling == "cost" else None
        self._edges = list(itertools.accumulate(chosen)) if chosen is not None else None
        if self._edges is not None and not self._edges[-1] > 0:
            raise UsageError("expected weights of members that sum to more than zero")

    def draw(self, step: int, draw: int = 0) -> Member:
        """The member of a step; ``draw`` tells several draws of one step apart."""
        source = random.Random(f"{self.seed}/{step}/{draw}")
        if self.full_share and source.random() < self.full_share:
            return self.pool.largest
        if self._edges is not None:
            (member,) = source.choices(self.pool.members, cum_weights=self._edges)
            return member
        while self.sampling == "per-knob":
            drawn = self.pool.at([source.randrange(len(knob.cuts)) for knob in self.pool.knobs])
            if drawn is not None:
                return drawn
        return source.choice(self.pool.members)


def cut_size(dense: int, share: float, multiple: int = 1) -> int:
    """Entries a share of a dim keeps: rounded (halves up) to a multiple, at least one, never below 90 % of the share.

    >>> [cut_size(10, share) for share in (0.01, 0.25, 0.5, 1.0)]
    [1, 3, 5, 10]
    >>> cut_size(100, 0.5, multiple=8), cut_size(100, 0.36, multiple=8), cut_size(3, 0.5, multiple=8)
    (48, 40, 3)

    Args:
        dense: Size of the dim.
        share: In (0, 1].
        multiple: The rule of universally slimmable networks for multiples above one.
    """
    wanted = share * dense
    if share >= 1:
        return dense
    size = int(wanted / multiple + 0.5) * multiple if multiple > 1 else int(wanted + 0.5)
    if multiple > 1 and size < 0.9 * wanted:
        size += multiple
    return min(dense, max(1, size or multiple))


def match_dims(network: Network, patterns: Iterable[str] = ("*",), *, reduced: bool = False) -> tuple[str, ...]:
    """The dims that can be cut and whose names match a shell pattern.

    Args:
        network: The traced network.
        patterns: Such as ``"*.fc1"``; a name is taken if one matches.
        reduced: Also dims that a norm or softmax runs over; their prefix is normalised over itself alone.

    Raises:
        UsageError: None matches; names those there are.
    """
    usable = [
        name for name, dim in network.dims.items() if dim.maskable or (reduced and dim.frozen is None and dim.size > 1)
    ]
    wanted = list(patterns)
    found = tuple(name for name in usable if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted))
    if not found:
        raise UsageError(
            f"no dim that can be cut matches {', '.join(wanted)}", f"there are: {', '.join(usable) or 'none'}"
        )
    return found
