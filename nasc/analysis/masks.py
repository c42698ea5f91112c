"""What masks look like: how they overlap from one to the next, and which channels they empty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasc.errors import UsageError


def mask_iou(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """Intersection over union of two sets of masks (bool by parameter name): 1 for equal ones, 0 for disjoint ones.

    Raises:
        UsageError: They are not of the same parameters.
    """
    if {name: mask.shape for name, mask in left.items()} != {name: mask.shape for name, mask in right.items()}:
        raise UsageError("expected masks of the same parameters and shapes", "compare runs of one model")
    both = sum(int((left[name] & right[name]).sum()) for name in left)
    either = sum(int((left[name] | right[name]).sum()) for name in left)
    return both / either if either else 1.0


def weight_masks(model: nn.Module) -> dict[str, Tensor]:
    """Where the matrices and kernels of a model are not zero, by parameter name."""
    return {name: parameter.detach() != 0 for name, parameter in model.named_parameters() if parameter.dim() >= 2}


def gradual_iou(before: float, after: float) -> float:
    """Overlap of two nested masks: ``(1 - s_new) / (1 - s_old)`` (gradual pruning).

    Args:
        before: Sparsity of the earlier mask.
        after: Of the later one, not smaller.
    """
    return (1 - after) / (1 - before)


def rigl_iou(fractions: Sequence[float]) -> float:
    """About the overlap of RigL's masks over several updates: ``q / (2 - q)``, ``q`` the product of ``1 - f``.

    For one update it is the least possible, ``(1 - f) / (1 + f)``: no dropped weight grows again.

    Args:
        fractions: Share of the active weights dropped at each update.
    """
    kept = 1.0
    for fraction in fractions:
        kept *= 1 - fraction
    return kept / (2 - kept)


@dataclass(frozen=True)
class ChannelZeros:
    """Output channels of one convolution.

    Args:
        name: Of its weight.
        channels: How many there are.
        zero: How many have no weight that is not zero.
    """

    name: str
    channels: int
    zero: int


def channel_zeros(model: nn.Module) -> tuple[ChannelZeros, ...]:
    """The zero output channels of every convolution, in the order of the modules."""
    return tuple(
        ChannelZeros(f"{name}.weight", module.out_channels, int((_rows(module) == 0).sum()))
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    )


def _rows(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach().abs().flatten(1).sum(1)


def by_depth(layers: Sequence[ChannelZeros]) -> dict[str, float]:
    """Share of zero channels in the early, middle and late third of the layers, and overall; 0 where there is none."""
    third = len(layers) / 3
    parts = {
        "early": layers[: round(third)],
        "middle": layers[round(third) : round(2 * third)],
        "late": layers[round(2 * third) :],
        "overall": layers,
    }
    return {name: _share(part) for name, part in parts.items()}


def _share(layers: Sequence[ChannelZeros]) -> float:
    channels = sum(layer.channels for layer in layers)
    return sum(layer.zero for layer in layers) / channels if channels else 0.0


@torch.no_grad()
def zero_share(model: nn.Module) -> float:
    """Share of exact zeros among the matrices and kernels."""
    weights = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    total = sum(weight.numel() for weight in weights)
    return sum(weight.numel() - int(torch.count_nonzero(weight)) for weight in weights) / max(total, 1)


@dataclass(frozen=True)
class Captured:
    """Why zero filters before a batch norm stay zero without a mask; counts of filters.

    Args:
        silent: The norm's shift is at most zero, so that the ReLU after it passes no gradient.
        unscaled: The norm's scale is zero.
        open: Neither: gradient flows, and through a variance of zero it is large.
    """

    silent: int
    unscaled: int
    open: int


def captured_filters(model: nn.Module) -> Captured:
    """Count zero filters by what keeps them zero: norms are matched to the convolution called just before them.

    A filter of zeros gives a constant, which a batch norm turns into its shift beta; the gradient is zero if beta <= 0
    under a ReLU, or gamma = 0.
    """
    silent = unscaled = still_open = 0
    previous: nn.Module | None = None
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d) and module.affine:
            zero = _rows(previous) == 0
            if module.weight.shape == zero.shape:
                flat = zero & (module.weight.detach() == 0)
                below = zero & ~flat & (module.bias.detach() <= 0)
                unscaled, silent = unscaled + int(flat.sum()), silent + int(below.sum())
                still_open += int((zero & ~flat & ~below).sum())
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            previous = module
    return Captured(silent, unscaled, still_open)
