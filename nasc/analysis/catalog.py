"""Every analysis by name: from opened runs to a finding."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from types import MappingProxyType

import torch
from torch import Tensor, nn

from nasc.analysis.adviser import Signs, advise
from nasc.analysis.connectivity import walk
from nasc.analysis.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from nasc.analysis.finding import Finding, Value
from nasc.analysis.masks import (
    by_depth,
    captured_filters,
    channel_zeros,
    mask_iou,
    weight_masks,
    zero_share,
)
from nasc.analysis.outputs import accuracy, cross_entropy, prediction_entropy, scores_of, uncertainty
from nasc.analysis.sharpness import sharpness
from nasc.analysis.subject import Subject
from nasc.analysis.transfer import transfer
from nasc.datasets import ImageData, load_dataset
from nasc.errors import UsageError
from nasc.training import recalibrate_norms


@dataclass(frozen=True)
class Settings:
    """How much an analysis may take.

    Args:
        pictures: At most so many pictures, for what looks at many of them.
        points: Places along a segment.
        transfer_data: The other task of a transfer; where not given, the run's own data.
        transfer_epochs: Of either training of a transfer.
    """

    pictures: int = 2000
    points: int = 11
    transfer_data: str | None = None
    transfer_epochs: int = 5


Analysis = Callable[[Sequence[Subject], Settings], Finding]
Rows = list[tuple[Value, ...]]


def entropy(runs: Sequence[Subject], settings: Settings) -> Finding:
    """How undecided the predictions on the test pictures are."""
    rows: Rows = []
    for run in runs:
        scores = scores_of(run.model, run.data.test_x)
        value = prediction_entropy(scores)
        rows.append((run.name, value, value / log(scores.shape[1]), accuracy(scores, run.data.test_y)))
    columns = ("run", "entropy, nats", "of the largest possible", "accuracy")
    return Finding("entropy", "Entropy of the predictions", columns, tuple(rows), "run", (columns[1],))


def loss(runs: Sequence[Subject], settings: Settings) -> Finding:
    """Loss without smoothing and augmentation on both sides, and whether training longer would pay."""
    rows: Rows = []
    for run in runs:
        fit = scores_of(run.model, run.data.train_x[: 5 * settings.pictures])
        test = scores_of(run.model, run.data.test_x)
        train_loss = cross_entropy(fit, run.data.train_y[: len(fit)])
        test_loss = cross_entropy(test, run.data.test_y)
        advice = advise(Signs(train_loss, test_loss, prediction_entropy(test)))
        last = run.history[-1].train_loss
        rows.append((run.name, train_loss, last, test_loss, advice.verdict, advice.gain_per_doubling, advice.factor))
    columns = (
        "run",
        "training loss",
        "of the last epoch",
        "test loss",
        "advice",
        "points per doubling",
        "times longer",
    )
    note = (
        "The last epoch's loss is as it was trained, with augmentation and smoothing. The advice is fitted, see docs."
    )
    return Finding("loss", "Loss, and what it says", columns, tuple(rows), "run", (columns[1], columns[3]), note=note)


def undecided(runs: Sequence[Subject], settings: Settings) -> Finding:
    """Share of sigmoid outputs between 0.1 and 0.9: the measure for models with many labels."""
    rows = [(run.name, uncertainty(scores_of(run.model, run.data.test_x))) for run in runs]
    columns = ("run", "share between 0.1 and 0.9")
    note = "Meant for models that answer every label by itself; for one label of many read the entropy."
    return Finding("uncertainty", "Undecided outputs", columns, tuple(rows), "run", (columns[1],), note=note)


def iou(runs: Sequence[Subject], settings: Settings) -> Finding:
    """Overlap of each mask with the one before it, as logged in training, beside what the schedule alone would give."""
    rows: Rows = []
    for run in runs:
        for row in run.history:
            expected = row.metrics.get("iou_expected", row.metrics.get("iou_bound"))
            if "iou" in row.metrics:
                rows.append((run.name, row.epoch, row.metrics["iou"], expected))
    for left, right in pairwise(runs):
        if _comparable(left.model, right.model):
            overlap = mask_iou(weight_masks(left.model), weight_masks(right.model))
            rows.append((f"{left.name} and {right.name}", len(right.history), overlap, None))
    columns = ("run", "epoch", "overlap", "of the schedule")
    note = (
        "The last change of each epoch. Of the schedule: (1-s_new)/(1-s_old) for gradual pruning, the least for RigL."
    )
    return Finding("iou", "Overlap of masks", columns, tuple(rows), "epoch", (columns[2],), by="run", note=note)


def channels(runs: Sequence[Subject], settings: Settings) -> Finding:
    """Zero output channels by depth, those that were removed for real counted as well."""
    rows: Rows = []
    for run in runs:
        shares = by_depth(channel_zeros(run.model))
        dense = sum(width.dense for width in run.record.widths)
        removed = 1 - sum(width.kept for width in run.record.widths) / dense if dense else 0.0
        held = captured_filters(run.model)
        rows.append((run.name, *shares.values(), removed, held.silent, held.unscaled, held.open))
    columns = ("run", "early", "middle", "late", "overall", "removed", "silent", "unscaled", "still open")
    note = (
        "Shares of output channels without weights; removed: share of the entries of all dims that the finished model no "
        "longer has. Silent, unscaled, still open: why zero filters before a batch norm get no gradient, or that they do."
    )
    return Finding("channels", "Zero channels by depth", columns, tuple(rows), "run", columns[1:5], note=note)


def decompression(runs: Sequence[Subject], settings: Settings) -> Finding:
    """Exact zeros at the end of each dense phase, without a mask."""
    rows: Rows = []
    for run in runs:
        before: float | None = None
        for row in run.history:
            zeros = row.metrics.get("decompression_zeros")
            if zeros is not None and zeros != before:
                rows.append((run.name, row.epoch, zeros))
            before = zeros
    columns = ("run", "epoch", "zeros")
    note = "Only methods with dense phases (acdc, acdc++) have rows."
    return Finding(
        "decompression", "Zeros that dense phases leave", columns, tuple(rows), "epoch", ("zeros",), "run", note
    )


def weight_decay(runs: Sequence[Subject], settings: Settings) -> Finding:
    """Zeros in decompression and accuracy against the weight decay of the runs."""
    rows: Rows = []
    for run in sorted(runs, key=_decay):
        zeros = [row.metrics["decompression_zeros"] for row in run.history if "decompression_zeros" in row.metrics]
        rows.append((run.name, _decay(run), zeros[-1] if zeros else None, zero_share(run.model), run.record.accuracy))
    columns = ("run", "weight decay", "zeros in the last dense phase", "zeros at the end", "accuracy")
    return Finding("weight-decay", "Weight decay", columns, tuple(rows), "weight decay", (columns[2], columns[4]))


def flatness(runs: Sequence[Subject], settings: Settings) -> Finding:
    """Top eigenvalue of the training loss's Hessian, over all weights and over those that are not zero."""
    rows: Rows = []
    for run in runs:
        x, y = run.data.train_x[: settings.pictures], run.data.train_y[: settings.pictures]
        whole = sharpness(run.model, x, y)
        support = sharpness(run.model, x, y, masks=weight_masks(run.model))
        rows.append(
            (run.name, whole.value, support.value, whole.iterations, str(whole.converged and support.converged))
        )
    columns = ("run", "all weights", "weights that are not zero", "iterations", "converged")
    note = f"Evaluation mode, no augmentation, at most {settings.pictures} training pictures."
    return Finding("sharpness", "Sharpness", columns, tuple(rows), "run", columns[1:3], note=note)


def connectivity(runs: Sequence[Subject], settings: Settings) -> Finding:
    """Losses along the straight line from each run to the next; norms' statistics are made anew at every point.

    Raises:
        UsageError: There are fewer than two runs.
    """
    if len(runs) < 2:
        raise UsageError(
            "connectivity needs two or more runs to walk between, got one", "nasc analyze RUN RUN --what connectivity"
        )
    rows: Rows = []
    for left, right in pairwise(runs):
        for side in ("training", "test"):
            path = walk(
                left.model.state_dict(),
                right.model.state_dict(),
                _loss_on(left, side, settings),
                points=settings.points,
            )
            name = f"{left.name} to {right.name}, {side}"
            values = zip(path.places, path.losses, strict=True)
            rows += [(name, place, value, path.barrier, path.barrier_over_chord) for place, value in values]
    columns = ("path", "place", "loss", "barrier", "barrier over the chord")
    note = "Running statistics of batch norms are made anew at every point from training pictures."
    return Finding("connectivity", "Loss between runs", columns, tuple(rows), "place", ("loss",), "path", note)


def corruptions(runs: Sequence[Subject], settings: Settings) -> Finding:
    """Accuracy on test pictures made worse in eight ways, mean over three severities."""
    rows: Rows = []
    for run in runs:
        x, y = run.data.test_x[: settings.pictures], run.data.test_y[: settings.pictures]
        rows.append((run.name, "none", accuracy(scores_of(run.model, x), y)))
        means = {
            name: sum(accuracy(scores_of(run.model, corrupt(x, name, level)), y) for level in SEVERITIES)
            / len(SEVERITIES)
            for name in CORRUPTIONS
        }
        rows += [(run.name, name, value) for name, value in means.items()]
        rows.append((run.name, "mean of all", sum(means.values()) / len(means)))
    columns = ("run", "corruption", "accuracy")
    return Finding(
        "corruptions", "Accuracy on worse pictures", columns, tuple(rows), "corruption", ("accuracy",), "run"
    )


def transfers(runs: Sequence[Subject], settings: Settings) -> Finding:
    """Accuracy of a linear probe and of full fine-tuning on another task."""
    rows: Rows = []
    for run in runs:
        data = (
            load_dataset(settings.transfer_data, train_size=settings.pictures) if settings.transfer_data else run.data
        )
        _require_same_shape(run.data, data)
        result = transfer(run.model, data, epochs=settings.transfer_epochs, seed=run.record.seed)
        rows.append((run.name, data.name, result.linear, result.full))
    columns = ("run", "data", "linear probe", "full fine-tuning")
    note = "Masks stay fixed in full fine-tuning; the head is new in both."
    return Finding("transfer", "Transfer", columns, tuple(rows), "run", columns[2:], note=note)


ANALYSES: Mapping[str, Analysis] = MappingProxyType(
    {
        "entropy": entropy,
        "loss": loss,
        "uncertainty": undecided,
        "iou": iou,
        "channels": channels,
        "decompression": decompression,
        "weight-decay": weight_decay,
        "sharpness": flatness,
        "connectivity": connectivity,
        "corruptions": corruptions,
        "transfer": transfers,
    }
)
"""Analysis by name."""


def analyze(runs: Sequence[Subject], what: str, settings: Settings | None = None) -> Finding:
    """One analysis of some runs.

    Args:
        runs: One or more; what compares neighbours takes them in this order.
        what: One of :data:`ANALYSES`.
        settings: How much it may take.

    Raises:
        UsageError: The name is unknown, or the analysis needs more runs.
        RunError: A run is not finished.
    """
    if what not in ANALYSES:
        raise UsageError(f"unknown analysis {what!r}", f"known: {', '.join(ANALYSES)}")
    if not runs:
        raise UsageError("expected at least one run to analyze, got none", "nasc analyze runs/NAME --what entropy")
    return ANALYSES[what](runs, settings or Settings())


def _decay(run: Subject) -> float:
    return float(run.record.recipe.get("weight_decay", 0.0))


def _comparable(left: nn.Module, right: nn.Module) -> bool:
    shapes = [{name: mask.shape for name, mask in weight_masks(model).items()} for model in (left, right)]
    return shapes[0] == shapes[1]


def _loss_on(run: Subject, side: str, settings: Settings) -> Callable[[dict[str, Tensor]], float]:
    """The loss of a state on training or test pictures, in a copy of the run's model."""
    from copy import deepcopy

    model, data = deepcopy(run.model), run.data
    x, y = (data.train_x, data.train_y) if side == "training" else (data.test_x, data.test_y)
    x, y = x[: settings.pictures], y[: settings.pictures]

    def loss_of(state: dict[str, Tensor]) -> float:
        with torch.no_grad():
            model.load_state_dict(state)
        recalibrate_norms(model, data.train_x[: settings.pictures])
        return cross_entropy(scores_of(model, x), y)

    return loss_of


def _require_same_shape(own: ImageData, other: ImageData) -> None:
    if own.input_shape != other.input_shape:
        raise UsageError(
            f"expected pictures of the shape {own.input_shape}, got {other.input_shape}",
            "transfer to pictures of one shape",
        )
