"""Operators that slide over or resize positions and leave channels alone."""

from nasc.graph.rules._base import POSITION, Call, NoRule, SizeOf, rule
from nasc.graph.unify import Axes, Factors, number, regroup, size


def _over_positions(call: Call, name: str, count: int) -> Axes | list[Axes]:
    """The last ``count`` axes are positions and change; the others stay."""
    axes = call.axes(name)
    call.freeze(axes[-count:], POSITION)
    result: Axes = [*axes[:-count], *call.positions(call.shape[-count:])]
    if isinstance(call.value, (list, tuple)):
        return [list(result) for _ in call.value]
    return result


_POOLS = """
    max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
    fractional_max_pool2d fractional_max_pool3d
"""
_UPSAMPLES = """
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d
    _upsample_bilinear2d_aa _upsample_bicubic2d_aa
"""


@rule(*_POOLS.split())
def pool(call: Call) -> Axes | list[Axes]:
    """Each channel alone."""
    count = int(call.name.removesuffix("_with_indices")[-2])
    return _over_positions(call, "self", count)


@rule(*_UPSAMPLES.split())
def upsample(call: Call) -> Axes | list[Axes]:
    """Each channel alone."""
    name = "self" if "self" in call.arguments else "input"
    return _over_positions(call, name, len(call.shape) - 2)


@rule(*[f"{kind}_pad{count}d" for kind in ("reflection", "replication") for count in (1, 2, 3)])
def edge_pad(call: Call) -> Axes | list[Axes]:
    """Padding that repeats what is at the edge."""
    return _over_positions(call, "self", len(call["padding"]) // 2)


@rule("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sample(call: Call) -> Axes | list[Axes]:
    """Positions named by an activation."""
    call.freeze(call.axes("grid")[1:], POSITION)
    return _over_positions(call, "input", len(call.shape) - 2)


@rule("pixel_shuffle")
def pixel_shuffle(call: Call) -> Axes:
    """``[(c r r), h, w] -> [c, (h r), (w r)]``."""
    axes, factor = call.axes("self"), int(call["upscale_factor"])
    parts = regroup(axes[-3], [size(axes[-3]) // factor**2, factor, factor])
    if parts is None:
        raise NoRule("a pixel shuffle that cuts through a concatenation")
    call.freeze([parts[1], parts[2], *axes[-2:]], POSITION)
    return [*axes[:-3], parts[0], *call.positions(call.shape[-2:])]


@rule("pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Axes:
    """``[c, (h r), (w r)] -> [(c r r), h, w]``."""
    axes, factor = call.axes("self"), int(call["downscale_factor"])
    call.freeze(axes[-2:], POSITION)
    channels: Factors = [*axes[-3], *number(factor, POSITION), *number(factor, POSITION)]
    return [*axes[:-3], channels, *call.positions(call.shape[-2:])]


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(call: Call) -> Axes:
    """``[(g c)] -> [(c g)]``."""
    axes, groups = call.axes("self"), int(call["groups"])
    parts = regroup(axes[1], [groups, size(axes[1]) // groups])
    if parts is None:
        raise NoRule("a channel shuffle that cuts through a concatenation")
    call.rewrite(groups=SizeOf(parts[0]))
    return [axes[0], [*parts[1], *parts[0]], *axes[2:]]


@rule("im2col")
def im2col(call: Call) -> Axes:
    """``[b, c, h, w] -> [b, (c k), l]``."""
    axes = call.axes("self")
    taps = int(call["kernel_size"][0]) * int(call["kernel_size"][1])
    call.freeze(axes[2:], POSITION)
    return [axes[0], [*axes[1], *number(taps, POSITION)], *call.positions(call.shape[2:])]


@rule("col2im")
def col2im(call: Call) -> Axes:
    """``[b, (c k), l] -> [b, c, h, w]``."""
    axes = call.axes("self")
    taps = int(call["kernel_size"][0]) * int(call["kernel_size"][1])
    parts = regroup(axes[1], [size(axes[1]) // taps, taps])
    if parts is None:
        raise NoRule("a fold that cuts through a concatenation")
    call.freeze([parts[1], axes[2]], POSITION)
    return [axes[0], parts[0], *call.positions(call.shape[2:])]
