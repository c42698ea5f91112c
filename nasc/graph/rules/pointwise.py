"""Operators that act on each entry alone: inputs broadcast, axes are tied."""

from nasc.graph.rules._base import Call, rule
from nasc.graph.unify import Axes

_ENTRY_BY_ENTRY = """
    add sub mul div true_divide subtract multiply divide rsub pow lerp maximum minimum where masked_fill
    __and__ __or__ __xor__ logical_not copy bernoulli rrelu elu selu celu gelu silu mish leaky_relu relu relu6 hardtanh
    hardswish hardsigmoid hardshrink softplus sigmoid tanh log_sigmoid threshold logit clamp clip square
    nan_to_num positive type_as zeros_like ones_like full_like empty_like rand_like randn_like fill zero special_expit
    floor_divide polar complex isin
"""
_SAME_VALUE = """
    dropout feature_dropout alpha_dropout feature_alpha_dropout native_dropout clone contiguous to _to_copy detach alias
    lift_fresh lift_fresh_copy detach_copy alias_copy resolve_conj resolve_neg real imag _conj
"""


@rule(*_ENTRY_BY_ENTRY.split())
def pointwise(call: Call) -> Axes | list[Axes]:
    """Tie all inputs entry by entry."""
    axes = call.broadcast(call.tensors(), call.shape)
    if isinstance(call.value, (list, tuple)):
        return [axes for _ in call.value]
    return axes


@rule(*_SAME_VALUE.split())
def identity(call: Call) -> Axes | list[Axes]:
    """The same entries; the axes stay the very same, so that a view of a parameter is known as one."""
    name = "input" if "input" in call.arguments else "self"
    axes = call.axes(name)
    if isinstance(call.value, (list, tuple)):
        return [axes for _ in call.value]
    return axes


@rule("prelu", "_prelu_kernel")
def prelu(call: Call) -> Axes:
    """A slope per channel, or one for all; channels are axis 1."""
    axes = call.axes("self")
    weight = call.axes("weight")
    if len(weight) == 1 and weight[0] and len(axes) > 1:
        call.tie("weight", axes[1])
    elif len(weight) > 1:
        return call.broadcast([axes, weight], call.shape)
    return axes
