"""Working variables of the dimension walk: sizes that are tied, and refined, while a graph is read.

An axis under construction is a product of :class:`Variable`, outermost first. A variable is a *leaf*, or has been
refined into a *product* (channels that turn out to be heads x head_dim) or a *sum* (channels that turn out to be a
concatenation). Tying two axes is unification with common refinement: where one side is finer, the coarser side is refined
alike. What cannot be brought together is frozen, so that a tie is never wrong, only sometimes too strict.

Sizes of refined parts are strictly smaller than the whole, therefore refinement ends and a variable never contains itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

MIXED = "takes part in a reshape or sum that does not divide evenly"


@dataclass(frozen=True, order=True)
class Writer:
    """The operation that first writes a size: its place in the execution order and its module path."""

    order: int
    path: str


class Variable:
    """One size of the walk. Compare variables only through :func:`find`.

    Args:
        size: Number of entries, at least 1.
        frozen: Why the size may not change, or None.
        summands: Axes laid end to end that make up this size, or None.
        batch: The size is the batch, which is free but never pruned.
    """

    __slots__ = ("batch", "factors", "frozen", "parent", "reasons", "size", "summands", "writer")

    def __init__(
        self,
        size: int,
        frozen: str | None = None,
        summands: "list[Factors] | None" = None,
        batch: bool = False,
    ) -> None:
        self.size = int(size)
        self.frozen = frozen
        self.reasons: dict[str, None] = {}  # what reduces over it, in order
        self.parent: Variable | None = None
        self.factors: Factors | None = None
        self.summands = summands
        self.batch = batch
        self.writer: Writer | None = None

    @property
    def reduced(self) -> str | None:
        """The first thing that reduces over it; None where nothing does."""
        return next(iter(self.reasons), None)

    @property
    def is_leaf(self) -> bool:
        """Not refined (yet)."""
        return self.factors is None and self.summands is None

    def __repr__(self) -> str:
        return f"<{self.size}{' frozen' if self.frozen else ''}{' batch' if self.batch else ''}>"


Factors = list[Variable]
"""One axis under construction: a product of variables, outermost first; empty for an axis of size 1."""

Axes = list[Factors]
"""The axes of one tensor under construction."""


def find(variable: Variable) -> Variable:
    """The representative of a variable's class (with path halving)."""
    while variable.parent is not None:
        if variable.parent.parent is not None:
            variable.parent = variable.parent.parent
        variable = variable.parent
    return variable


def normal(axis: Iterable[Variable]) -> Factors:
    """The axis over representatives, products multiplied out, sizes of one left out."""
    result: Factors = []
    for variable in axis:
        variable = find(variable)
        if variable.factors is not None:
            result += normal(variable.factors)
        elif variable.summands is not None and len(variable.summands) == 1:
            result += normal(variable.summands[0])
        elif variable.size != 1:
            result.append(variable)
    return result


def size(axis: Iterable[Variable]) -> int:
    """Number of entries of an axis."""
    result = 1
    for variable in axis:
        result *= variable.size
    return result


def leaves(axis: Iterable[Variable]) -> Iterator[Variable]:
    """The leaves under an axis, in order, repeats included."""
    for variable in normal(axis):
        if variable.summands is None:
            yield variable
        else:
            for part in variable.summands:
                yield from leaves(part)


def has_batch(axis: Iterable[Variable]) -> bool:
    """The batch is a part of this axis."""
    return any(leaf.batch for leaf in leaves(axis))


def is_fixed(axis: Iterable[Variable]) -> bool:
    """Nothing of this axis may ever change, not even with the batch: a plain number."""
    return all(leaf.frozen is not None and not leaf.batch for leaf in leaves(axis))


def freeze(axis: Iterable[Variable], reason: str) -> None:
    """Forbid changes to every leaf of an axis; the first reason stays."""
    for leaf in leaves(axis):
        if leaf.frozen is None:
            leaf.frozen = reason


def reduce_over(axis: Iterable[Variable], reason: str) -> None:
    """Note that an operation mixes the entries of an axis other than through a weight; all reasons are kept."""
    for leaf in leaves(axis):
        leaf.reasons[reason] = None


def write(axis: Iterable[Variable], writer: Writer) -> None:
    """Note who writes an axis; the earliest writer stays."""
    for leaf in leaves(axis):
        if leaf.writer is None or writer < leaf.writer:
            leaf.writer = writer


def number(value: int, reason: str) -> Factors:
    """A fixed axis of the given size."""
    return [Variable(value, frozen=reason)] if value != 1 else []


def concatenation(parts: Sequence[Factors]) -> Factors:
    """Axes laid end to end as one axis."""
    if len(parts) == 1:
        return list(parts[0])
    return [Variable(sum(size(part) for part in parts), summands=[list(part) for part in parts])]


def merge_fixed(axis: Iterable[Variable]) -> Factors:
    """The axis with each run of fixed factors joined into one number.

    Fixed factors carry no identity: the same 14 positions may be read as 2 x 7 and as 7 x 2.
    """
    result: Factors = []
    run, reason = 1, ""
    for variable in normal(axis):
        if is_fixed([variable]):
            run *= variable.size
            reason = reason or next((leaf.frozen for leaf in leaves([variable]) if leaf.frozen), "")
            continue
        if run > 1:
            result.append(Variable(run, frozen=reason))
            run, reason = 1, ""
        result.append(variable)
    if run > 1:
        result.append(Variable(run, frozen=reason))
    return result


def _inherit(parts: Sequence[Variable], whole: Variable) -> None:
    for part in parts:
        part.reasons, part.writer = dict(whole.reasons), whole.writer


def split_product(variable: Variable, outer: int) -> bool:
    """Refine a variable into ``outer x (size / outer)``.

    Returns:
        Whether that was possible.
    """
    if variable.size % outer or variable.batch:
        return False
    inner = variable.size // outer
    if variable.is_leaf:
        parts = [Variable(outer, variable.frozen), Variable(inner, variable.frozen)]
        _inherit(parts, variable)
        variable.factors = parts
        return True
    return _transpose_sum(variable, inner)


def _transpose_sum(variable: Variable, inner: int) -> bool:
    """Refine a sum whose summands all end in the same inner factor: ``(a x i) + (b x i) = (a + b) x i``."""
    assert variable.summands is not None
    outers: list[Factors] = []
    inners: list[Factors] = []
    for part in variable.summands:
        grouped = regroup(part, [size(part) // inner, inner]) if size(part) % inner == 0 else None
        if grouped is None:
            return False
        outers.append(grouped[0])
        inners.append(grouped[1])
    for other in inners[1:]:
        unify(inners[0], other, MIXED)
    variable.factors = concatenation(outers) + list(inners[0])
    variable.summands = None
    return True


def regroup(axis: Iterable[Variable], sizes: Sequence[int]) -> list[Factors] | None:
    """Read one axis as several, as a reshape does, refining variables where a boundary falls inside one.

    Args:
        axis: The factors to distribute, outermost first.
        sizes: Sizes of the axes wanted; their product is the axis's size.

    Returns:
        One axis per size, or None where a boundary cannot be drawn.
    """
    groups, _ = _distribute(axis, sizes)
    return groups


def regroup_freezing(axis: Iterable[Variable], sizes: Sequence[int], reason: str) -> list[Factors] | None:
    """As :func:`regroup`, but a variable that a boundary cuts through is frozen and read as a plain number.

    Returns:
        One axis per size, or None where the batch is in the way.
    """
    axis = list(axis)
    while True:
        groups, obstacle = _distribute(merge_fixed(axis), sizes)
        if groups is not None or obstacle is None or is_fixed([obstacle]) or has_batch([obstacle]):
            return groups
        freeze([obstacle], reason)


def _distribute(axis: Iterable[Variable], sizes: Sequence[int]) -> tuple[list[Factors] | None, Variable | None]:
    """The groups, or None and the variable that a boundary cuts through."""
    rest = normal(axis)
    result: list[Factors] = []
    for wanted in sizes:
        group: Factors = []
        need = wanted
        while need > 1:
            rest = normal(rest)
            if not rest:
                return None, None
            first = rest[0]
            if first.size <= need:
                if need % first.size:
                    return None, _free_one([first, *group, *rest])
                need //= first.size
                group.append(rest.pop(0))
            elif first.size % need or not split_product(first, need):
                return None, _free_one([first, *group, *rest])
        result.append(group)
    return (None, None) if normal(rest) else (result, None)


def _free_one(candidates: Factors) -> Variable | None:
    """The first candidate that could still be frozen."""
    return next((variable for variable in candidates if not is_fixed([variable]) and not has_batch([variable])), None)


def split_sum(axis: Iterable[Variable], length: int) -> tuple[Factors, Factors] | None:
    """Cut an axis in two after ``length`` entries, refining variables into sums.

    Returns:
        Both parts, or None where the cut falls inside a product of inner factors.
    """
    factors = normal(axis)
    if not factors:
        return None
    first, inner = factors[0], factors[1:]
    if length % size(inner) or first.batch:
        return None
    cut = length // size(inner)
    if cut == 0:
        return None
    if first.is_leaf:
        parts = [Variable(cut, first.frozen), Variable(first.size - cut, first.frozen)]
        _inherit(parts, first)
        first.summands = [[parts[0]], [parts[1]]]
    assert first.summands is not None
    position, index = 0, 0
    while position < cut:
        part = first.summands[index]
        if position + size(part) > cut:
            halves = split_sum(part, cut - position)
            if halves is None:
                return None
            first.summands[index : index + 1] = list(halves)
            part = first.summands[index]
        position += size(part)
        index += 1
    return (
        concatenation(first.summands[:index]) + inner,
        concatenation(first.summands[index:]) + inner,
    )


def unify(left: Iterable[Variable], right: Iterable[Variable], reason: str = MIXED) -> bool:
    """Tie two axes: from now on they have the same size and the same entries.

    Args:
        left: One axis.
        right: The other.
        reason: Why both are frozen if they cannot be brought together.

    Returns:
        Whether they could be tied; False leaves both frozen.
    """
    a, b = normal(left), normal(right)
    if size(a) != size(b):
        return _give_up(a, b, reason)
    one_to_one = len(a) == len(b) == 1 and a[0].is_leaf and b[0].is_leaf
    if (is_fixed(a) or is_fixed(b)) and not one_to_one and not (has_batch(a) or has_batch(b)):
        cause = next((leaf.frozen for leaf in [*leaves(a), *leaves(b)] if leaf.frozen), None) or reason
        freeze(a, cause)
        freeze(b, cause)
        return True
    while a and b:
        x, y = a[0], b[0]
        if x is y:
            a, b = normal(a[1:]), normal(b[1:])
        elif x.size == y.size:
            if not _unify_variables(x, y, reason):
                _give_up([x], [y], reason)
            a, b = normal(a[1:]), normal(b[1:])
        else:
            big, small = (x, y) if x.size > y.size else (y, x)
            if big.size % small.size or not split_product(big, small.size):
                return _give_up(a, b, reason)
            a, b = normal(a), normal(b)
    return True


def _give_up(left: Factors, right: Factors, reason: str) -> bool:
    freeze(left, reason)
    freeze(right, reason)
    return False


def _unify_variables(a: Variable, b: Variable, reason: str) -> bool:
    """Tie two representatives of equal size."""
    if a.summands is not None and b.summands is not None:
        return _unify_sums(a, b, reason)
    if a.is_leaf and not b.is_leaf:
        a, b = b, a
    # b is a leaf and joins a.
    b.parent = a
    a.batch = a.batch or b.batch
    if a.is_leaf:
        a.frozen = a.frozen or b.frozen
        a.reasons |= b.reasons
    else:
        if b.frozen is not None:
            freeze([a], b.frozen)
        for reason in b.reasons:
            reduce_over([a], reason)
    if b.writer is not None:
        write([a], b.writer)
    return True


def _unify_sums(a: Variable, b: Variable, reason: str) -> bool:
    """Tie two sums part by part, cutting the longer part wherever boundaries differ."""
    assert a.summands is not None
    assert b.summands is not None
    left, right = [list(part) for part in a.summands], [list(part) for part in b.summands]
    parts: list[Factors] = []
    while left and right:
        x, y = left[0], right[0]
        if size(x) == size(y):
            unify(x, y, reason)
            parts.append(x)
            left.pop(0)
            right.pop(0)
            continue
        longer, other = (left, y) if size(x) > size(y) else (right, x)
        halves = split_sum(longer[0], size(other))
        if halves is None:
            return False
        longer[0:1] = list(halves)
    b.parent = a
    a.summands = parts
    return True
