"""LSTM and GRU: gates x hidden, weights read the input and the hidden state."""

from nasc.graph.rules._base import POSITION, Call, NoRule, rule
from nasc.graph.unify import Axes, Factors, concatenation, freeze, regroup, size, unify

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@rule(*_GATES)
def recurrent(call: Call) -> list[Axes]:
    """Every layer and direction has weights ``[gates hidden, in]`` and ``[gates hidden, hidden]``.

    The operator takes hidden states of a size it does not check, therefore all hidden sizes are one dim.
    """
    if call.overload != "input":
        raise NoRule("packed sequences")
    inputs, weights = call.axes("input"), list(call["params"])
    directions = 2 if call["bidirectional"] else 1
    per_cell = 4 if call["has_biases"] else 2
    if len(weights) != int(call["num_layers"]) * directions * per_cell:
        raise NoRule("projected hidden states")
    hidden = call.axes_of(weights[1])[1]
    features = inputs[-1]
    for layer in range(int(call["num_layers"])):
        outputs: list[Factors] = []
        for direction in range(directions):
            first = (layer * directions + direction) * per_cell
            outputs.append(_cell(call, weights[first : first + per_cell], features, hidden))
        features = concatenation(outputs)
    states = call["hx"] if isinstance(call["hx"], (list, tuple)) else [call["hx"]]
    return [[*inputs[:-1], features], *(_state(call, state, inputs, hidden) for state in states)]


def _cell(call: Call, weights: list[object], features: Factors, hidden: Factors) -> Factors:
    """One cell; gives its output features."""
    gates = _GATES[call.name]
    into, recur = weights[0], weights[1]
    for weight, axis in ((into, features), (recur, hidden)):
        call.contract_node(weight, 1, axis)  # type: ignore[arg-type]
    rows: Factors = []
    for weight in weights:
        axis = call.axes_of(weight)[0]
        parts = regroup(axis, [gates, size(axis) // gates])
        if parts is None:
            raise NoRule("gates that cut through a dim")
        freeze(parts[0], "counts the gates of a recurrent cell")
        unify(parts[1], hidden)
        rows = axis
    call.writes(rows, into)  # type: ignore[arg-type]
    return list(hidden)


def _state(call: Call, state: object, inputs: Axes, hidden: Factors) -> Axes:
    axes = call.axes_of(state)
    batch = inputs[0] if call["batch_first"] else inputs[1]
    freeze(axes[0], POSITION)
    unify(axes[1], batch)
    unify(axes[2], hidden)
    return axes
