"""The diagnostics of sparse training (arXiv 2308.02060): what outputs, masks and losses of a run say about it."""

from nasc.analysis.adviser import Advice, Coefficients, Longer, Signs, advise, fit
from nasc.analysis.catalog import ANALYSES, Settings, analyze
from nasc.analysis.connectivity import Path, interpolate, walk
from nasc.analysis.corruptions import CORRUPTIONS, corrupt
from nasc.analysis.finding import Finding, save_finding, save_page, show
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
from nasc.analysis.subject import Subject
from nasc.analysis.transfer import Transfer, transfer

__all__ = [
    "ANALYSES",
    "CORRUPTIONS",
    "Advice",
    "Coefficients",
    "Finding",
    "Longer",
    "Path",
    "Settings",
    "Signs",
    "Subject",
    "TopEigenvalue",
    "Transfer",
    "accuracy",
    "advise",
    "analyze",
    "by_depth",
    "captured_filters",
    "channel_zeros",
    "corrupt",
    "cross_entropy",
    "fit",
    "gradual_iou",
    "hessian_product",
    "interpolate",
    "mask_iou",
    "prediction_entropy",
    "rigl_iou",
    "save_finding",
    "save_page",
    "scores_of",
    "sharpness",
    "show",
    "top_eigenvalue",
    "transfer",
    "uncertainty",
    "walk",
    "weight_masks",
    "zero_share",
]
