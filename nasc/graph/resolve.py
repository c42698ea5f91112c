"""From working variables to named, frozen dims and axes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import fx

from nasc.graph.dims import Axis, Dim, Sum
from nasc.graph.network import Contraction, Rewrite
from nasc.graph.rules._base import POSITION, SizeOf
from nasc.graph.rules.contractions import TAP
from nasc.graph.unify import Factors, Variable, leaves, normal
from nasc.graph.walk import BATCH, UNUSED, Walked

_NUMBERS = frozenset({POSITION, TAP, UNUSED})
"""Reasons of sizes that are plain numbers to a reader: they get no name of their own."""


@dataclass
class Resolved:
    """A walk's result in frozen types; fields as in :class:`nasc.graph.network.Network`.

    ``reasons`` is everything that reduces over a dim, by its name.
    """

    dims: dict[str, Dim]
    parameters: dict[str, tuple[Axis, ...]]
    tensors: dict[str, Any]
    contractions: tuple[Contraction, ...]
    rewrites: dict[str, Rewrite]
    running_variances: tuple[str, ...]
    reasons: dict[str, tuple[str, ...]]


def resolve(walked: Walked) -> Resolved:
    """Name every dim and freeze the walk.

    A dim is named after the module that first writes it; where a module writes several, they are numbered in the order
    they lie in its output. Names depend on the graph alone, so they are the same in every process.
    """
    namer = _Namer(_names(walked))
    walk = walked.walk
    parameters = {name: tuple(namer.axis(axis) for axis in axes) for name, axes in walked.parameters.items()}
    return Resolved(
        dims=namer.dims(),
        parameters=parameters,
        tensors={
            node.name: namer.value(axes, node.meta.get("val")) for node, axes in walk.axes.items() if axes is not None
        },
        contractions=tuple(Contraction(name, axis) for name, axis in walk.contractions),
        rewrites={node.name: namer.rewrite(draft) for node, draft in walk.rewrites.items()},
        running_variances=tuple(walk.running_variances),
        reasons={name: tuple(leaf.reasons) for leaf, name in namer.names.items()},
    )


def _names(walked: Walked) -> dict[Variable, str]:
    """A unique name for every leaf that a parameter carries."""
    groups: dict[str, dict[Variable, None]] = {}
    for place, leaf in _parameter_leaves(walked):
        if leaf.frozen not in _NUMBERS:
            base = leaf.writer.path if leaf.writer is not None else place
            groups.setdefault(base, {})[leaf] = None
    names: dict[Variable, str] = {}
    for base, group in groups.items():
        for index, leaf in enumerate(group):
            names.setdefault(leaf, base if len(group) == 1 else f"{base}:{index}")
    return names


def _parameter_leaves(walked: Walked) -> Iterator[tuple[str, Variable]]:
    for name, axes in walked.parameters.items():
        for index, axis in enumerate(axes):
            for leaf in leaves(axis):
                yield f"{name}:{index}" if index else name, leaf


@dataclass
class _Namer:
    """Turns variables into dims, each once."""

    names: dict[Variable, str]
    known: dict[Variable, Dim] = field(default_factory=dict)

    def dims(self) -> dict[str, Dim]:
        """The dims that have names, by name."""
        return {name: self.dim(leaf) for leaf, name in self.names.items()}

    def dim(self, leaf: Variable) -> Dim:
        """A named dim, the batch, or a number."""
        if leaf not in self.known:
            self.known[leaf] = self._new_dim(leaf)
        return self.known[leaf]

    def _new_dim(self, leaf: Variable) -> Dim:
        if leaf.batch:
            return Dim(BATCH, 1, frozen=BATCH)
        if leaf in self.names:
            return Dim(self.names[leaf], leaf.size, frozen=leaf.frozen, reduced=leaf.reduced)
        # The sign keeps a number apart from a module path: in an nn.Sequential "3" is the fourth module.
        return Dim(f"={leaf.size}", leaf.size, frozen=leaf.frozen or POSITION)

    def axis(self, factors: Factors) -> Axis:
        """The axis over dims."""
        terms: list[Dim | Sum] = []
        for variable in normal(factors):
            if variable.summands is None:
                terms.append(self.dim(variable))
            else:
                terms.append(Sum(tuple(self.axis(part) for part in variable.summands)))
        return Axis(tuple(terms))

    def value(self, axes: Any, like: Any) -> Any:
        """The axes of a value: of a tensor, or of every tensor of a list."""
        if axes is None:
            return None
        if isinstance(like, (list, tuple)):
            return tuple(self.value(item, inner) for item, inner in zip(axes, like, strict=True))
        return tuple(self.axis(axis) for axis in axes)

    def rewrite(self, draft: Any) -> Rewrite:
        """A rewrite whose sizes are axes over dims."""
        return Rewrite(
            arguments={name: self._sizes(value) for name, value in draft.arguments.items()},
            target=draft.target,
            counted=draft.counted,
        )

    def _sizes(self, value: Any) -> Any:
        if isinstance(value, SizeOf):
            return self.axis(value.axis)
        if isinstance(value, (list, tuple)) and not isinstance(value, fx.Node):
            return tuple(self._sizes(item) for item in value)
        return value
