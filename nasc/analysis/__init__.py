"""The diagnostics of sparse training (arXiv 2308.02060): what outputs, masks and losses of a run say about it."""

from nasc.analysis.connectivity import Path, interpolate, walk
from nasc.analysis.corruptions import CORRUPTIONS, corrupt
from nasc.analysis.masks import (
    by_depth,
    captured_filters,
    channel_zeros,
    gradual_iou,
    mask_iou,
    rigl_iou,
    weight_masks,
    zero_share,
)
from nasc.analysis.outputs import accuracy, cross_entropy, prediction_entropy, scores_of, uncertainty
from nasc.analysis.sharpness import TopEigenvalue, hessian_product, sharpness, top_eigenvalue

__all__ = [
    "CORRUPTIONS",
    "Path",
    "TopEigenvalue",
    "accuracy",
    "by_depth",
    "captured_filters",
    "channel_zeros",
    "corrupt",
    "cross_entropy",
    "gradual_iou",
    "hessian_product",
    "interpolate",
    "mask_iou",
    "prediction_entropy",
    "rigl_iou",
    "scores_of",
    "sharpness",
    "top_eigenvalue",
    "uncertainty",
    "walk",
    "weight_masks",
    "zero_share",
]
