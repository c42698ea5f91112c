"""A search space applied to a network, so that every method obeys it without knowing of it.

Freezing marks a dim as frozen. A multiple replaces a dim by ``groups x multiple``: neighbouring entries stay or go together.
A tie gives several dims one name, and so one size and one set of kept entries. A least size stays on the dim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from math import ceil
from typing import Any

from torch import nn

from nasc.errors import UsageError
from nasc.graph.dims import Axis, Dim, Sum
from nasc.graph.network import Network
from nasc.graph.space import Rule, SearchSpace
from nasc.graph.trace import trace

_KEPT_FIELDS = frozenset({"model", "program", "example_inputs", "space"})  # hold no dims


def retrace(network: Network, model: nn.Module) -> Network:
    """Trace a rewritten copy of a network's model, under the same search space.

    Args:
        network: The network the model was rewritten from.
        model: Takes the same inputs. Patterns of the space that its dims no longer match say nothing.
    """
    fresh = trace(model, network.example_inputs)
    return fresh if network.space is None else _restrict(fresh, network.space)


def restrict(network: Network, space: SearchSpace) -> Network:
    """The network in which only what a search space allows may move.

    Dims that the tracer froze stay frozen, whatever the space says.

    Args:
        network: A traced network; left as it is.
        space: What is allowed.

    Raises:
        UsageError: A pattern matches no dim, or a tie names dims of different sizes.
    """
    _require_matches(network, space)
    return _restrict(network, space)


def _restrict(network: Network, space: SearchSpace) -> Network:
    ties = _tied_names(network, space)
    leaders = {leader: _joined(network, leader, ties) for leader in set(ties.values())}
    merged = {name: leaders.get(ties.get(name, name), network.dims[name]) for name in network.dims}
    terms = {name: _allowed(dim, space) for name, dim in merged.items()}
    mapped = {
        item.name: _map(getattr(network, item.name), terms)
        for item in fields(network)
        if item.name not in _KEPT_FIELDS | {"dims"}
    }
    dims = {term.name: term for allowed in terms.values() for term in allowed if term.name in network.dims}
    # A dim stays one whose reductions can be told its mask only if that holds for all that was tied to it.
    unheard = {ties.get(name, name) for name, dim in network.dims.items() if dim.reduced and name not in network.live}
    mapped["live"] = frozenset({ties.get(name, name) for name in network.live} - unheard)
    return replace(network, dims={name: dims[name] for name in network.dims if name in dims}, space=space, **mapped)


def _joined(network: Network, leader: str, ties: Mapping[str, str]) -> Dim:
    """A dim that others are tied to: reduced over where one of them is."""
    members = [network.dims[leader], *(network.dims[name] for name, other in ties.items() if other == leader)]
    return replace(members[0], reduced=next((dim.reduced for dim in members if dim.reduced), None))


def _allowed(dim: Dim, space: SearchSpace) -> tuple[Dim, ...]:
    """The factors, outermost first, that take the place of a dim."""
    if dim.frozen is not None:
        return (dim,)
    rule = space.rule_for(dim.name)
    if rule.frozen:
        return (replace(dim, frozen=f"is held by the search space {space.name}"),)
    least = ceil(rule.least * dim.size) if isinstance(rule.least, float) else rule.least or 1
    multiple = rule.multiple or 1
    if dim.size % multiple:
        reason = f"is asked to move in multiples of {multiple}, which do not divide its {dim.size} entries"
        return (replace(dim, frozen=reason),)
    if least >= dim.size:
        return (replace(dim, frozen=f"may not shrink: the search space {space.name} asks for at least {least}"),)
    free = replace(dim, size=dim.size // multiple, least=ceil(least / multiple))
    if multiple == 1:
        return (free,)
    return free, Dim(f"={multiple}", multiple, frozen=f"moves in multiples of {multiple}")


def _require_matches(network: Network, space: SearchSpace) -> None:
    for pattern in (*(rule.pattern for rule in space.rules), *space.ties):
        if not any(Rule(pattern).matches(name) for name in network.dims):
            shown = ", ".join(list(network.dims)[:8])
            raise UsageError(
                f"the search space {space.name} names {pattern!r}, which matches none of the model's "
                f"{len(network.dims)} dims ({shown}, ...)",
                "see the names with: nasc inspect --model MODEL",
            )


def _tied_names(network: Network, space: SearchSpace) -> dict[str, str]:
    """The dim whose name and entries another one takes over."""
    leaders: dict[str, str] = {}
    for pattern in space.ties:
        names = [leaders.get(name, name) for name in network.dims if Rule(pattern).matches(name)]
        sizes = {network.dims[name].size for name in names}
        if len(sizes) > 1:
            raise UsageError(
                f"the search space {space.name} ties {pattern!r}, dims of different sizes: "
                + ", ".join(f"{name}={network.dims[name].size}" for name in names[:6]),
                "tie dims of one size: use a narrower pattern for each group",
            )
        held = [name for name in names if network.dims[name].frozen is not None]
        leader = (held or names)[0]  # what is tied to a frozen dim cannot move either
        for name, followed in [*leaders.items(), *((name, name) for name in names)]:
            if followed in names:
                leaders[name] = leader
    return {name: leader for name, leader in leaders.items() if name != leader}


def _map(value: Any, terms: Mapping[str, Sequence[Dim]]) -> Any:
    """A value of the network with every dim in it replaced."""
    if isinstance(value, Axis):
        return Axis(tuple(new for term in value.terms for new in _map_term(term, terms)))
    if isinstance(value, Mapping):
        return {key: _map(item, terms) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_map(item, terms) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {item.name: _map(getattr(value, item.name), terms) for item in fields(value) if item.init}
        return replace(value, **changed)
    return value


def _map_term(term: Dim | Sum, terms: Mapping[str, Sequence[Dim]]) -> Sequence[Dim | Sum]:
    if isinstance(term, Sum):
        return (Sum(tuple(_map(part, terms) for part in term.parts)),)
    return terms.get(term.name, (term,))
