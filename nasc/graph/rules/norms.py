"""Normalisations: which axes they average over, and which of their parameters follow which axis."""

from torch import fx

from nasc.graph.rules._base import Call, NoRule, SizeOf, rule
from nasc.graph.unify import Axes, regroup, size, unify

_PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")


@rule("batch_norm", "_batch_norm_impl_index", "instance_norm")
def batch_norm(call: Call) -> Axes:
    """Per channel; the channels are axis 1 and nothing is averaged across them."""
    axes = call.axes("input")
    for name in _PER_CHANNEL:
        call.tie(name, axes[1])
    if call.get("training", False) or call.get("use_input_stats", False):
        for place, axis in enumerate(axes):
            if place != 1:
                call.reduce(axis, "a variance runs over it")
    variance = call.arguments.get("running_var")
    if isinstance(variance, fx.Node) and variance in call.walk.origins:
        call.walk.running_variances[call.walk.origins[variance].parameter] = None
    return axes


@rule("_native_batch_norm_legit_no_training", "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm")
def native_batch_norm(call: Call) -> list[Axes]:
    """The same with its saved statistics, which are empty outside training."""
    axes = batch_norm(call)
    return [axes, *(call.walk.fresh(value, "are saved statistics") for value in call.value[1:])]


@rule("layer_norm", "rms_norm")
def layer_norm(call: Call) -> Axes:
    """Averages over the last axes, as many as ``normalized_shape`` has."""
    axes = call.axes("input")
    normalised = axes[len(axes) - len(call["normalized_shape"]) :]
    for name in ("weight", "bias"):
        if call.has(name):
            for parameter, axis in zip(call.axes(name), normalised, strict=True):
                unify(parameter, axis)
    for axis in normalised:
        call.reduce(axis, "a layer norm runs over it")
    call.rewrite(normalized_shape=tuple(SizeOf(axis) for axis in normalised))
    return axes


@rule("_fused_rms_norm", "native_layer_norm")
def fused_norm(call: Call) -> list[Axes]:
    """The same with its statistics, one per row."""
    axes = layer_norm(call)
    kept = len(axes) - len(call["normalized_shape"])
    statistics: Axes = [*axes[:kept], *([] for _ in axes[kept:])]
    return [axes, *(statistics for _ in call.value[1:])]


@rule("group_norm")
def group_norm(call: Call) -> Axes:
    """Averages over the channels of each group and over positions."""
    axes, groups = call.axes("input"), int(call["num_groups"])
    parts = regroup(axes[1], [groups, size(axes[1]) // groups])
    if parts is None:
        raise NoRule("groups that cut through a concatenation")
    call.reduce(parts[1], "a group norm runs over it")
    for name in ("weight", "bias"):
        call.tie(name, axes[1])
    call.rewrite(num_groups=SizeOf(parts[0]))
    return axes


@rule("_weight_norm")
def weight_norm(call: Call) -> Axes:
    """``v * g / |v|``: a weight computed from a direction and a length."""
    direction, length = call.axes("v"), call.axes("g")
    for axis, other in zip(direction, length, strict=True):
        if size(other) > 1:
            unify(axis, other)
    return [list(axis) for axis in direction]


@rule("softmax", "_softmax", "log_softmax", "_log_softmax", "_safe_softmax")
def softmax(call: Call) -> Axes:
    """Normalises over one axis."""
    axes = call.axes("self")
    call.reduce(axes[call.index("dim", len(axes))], "softmax runs over it")
    return axes
