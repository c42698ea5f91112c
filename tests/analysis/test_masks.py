"""Overlap of masks and zero channels, on masks made by hand."""

import pytest
import torch
from torch import nn

from nasc.analysis import (
    by_depth,
    captured_filters,
    channel_zeros,
    gradual_iou,
    mask_iou,
    rigl_iou,
    weight_masks,
    zero_share,
)
from nasc.errors import UsageError


def masks(*flags: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.tensor(flags, dtype=torch.bool)}


def test_overlap_is_one_for_equal_masks_zero_for_disjoint_ones_and_symmetric() -> None:
    a, b, c = masks(1, 1, 0, 0), masks(0, 0, 1, 1), masks(1, 1, 1, 0)
    assert mask_iou(a, a) == 1
    assert mask_iou(a, b) == 0
    assert mask_iou(a, c) == mask_iou(c, a) == pytest.approx(2 / 3)


def test_masks_of_different_models_are_refused() -> None:
    with pytest.raises(UsageError, match="same parameters"):
        mask_iou(masks(1, 0), masks(1, 0, 1))


def test_nested_masks_overlap_by_the_ratio_of_their_densities() -> None:
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(1000, generator=generator)
    early, late = (torch.zeros(1000, dtype=torch.bool).index_fill_(0, order[:n], True) for n in (400, 100))
    assert mask_iou({"w": early}, {"w": late}) == pytest.approx(gradual_iou(0.6, 0.9))


def test_one_rigl_update_overlaps_at_least_by_its_bound() -> None:
    assert rigl_iou([0.3]) == pytest.approx(0.7 / 1.3)
    assert rigl_iou([]) == 1
    assert rigl_iou([0.1, 0.2]) == pytest.approx(0.72 / 1.28)


def test_zero_channels_are_counted_by_output_also_of_grouped_convolutions() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 3, 1))
    with torch.no_grad():
        model[0].weight[1] = 0
        model[1].weight[:2] = 0
    found = channel_zeros(model)
    assert [(layer.channels, layer.zero) for layer in found] == [(4, 1), (6, 2), (3, 0)]
    assert by_depth(found) == {"early": 1 / 4, "middle": 2 / 6, "late": 0.0, "overall": 3 / 13}


def test_zero_share_counts_matrices_and_kernels_only() -> None:
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.fill_(1.0)[0] = 0
        model.bias.zero_()
    assert zero_share(model) == 0.5
    assert list(weight_masks(model)) == ["weight"]


def test_a_zero_filter_is_captured_by_a_silent_or_an_unscaled_norm_and_free_otherwise() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    with torch.no_grad():
        model[0].weight[:3] = 0
        model[1].bias.copy_(torch.tensor([-0.5, 0.5, 0.5, 0.0]))
        model[1].weight[2] = 0
    found = captured_filters(model)
    assert (found.silent, found.unscaled, found.open) == (1, 1, 1)


def test_the_gradient_of_a_zero_filter_is_zero_where_it_counts_as_silent_and_large_where_open() -> None:
    """The sheet's case: beta = -0.5 gives exactly zero, beta = +0.5 a gradient about 1/sqrt(eps) times the usual."""
    torch.manual_seed(0)
    norms = {}
    for beta in (-0.5, 0.5):
        model = nn.Sequential(nn.Conv2d(3, 1, 3, bias=False), nn.BatchNorm2d(1), nn.ReLU())
        with torch.no_grad():
            model[0].weight.zero_()
            model[1].bias.fill_(beta)
        (model(torch.randn(8, 3, 6, 6)) * torch.randn(8, 1, 4, 4)).sum().backward()
        norms[beta] = float(model[0].weight.grad.norm())
    assert norms[-0.5] == 0
    assert norms[0.5] > 1000
