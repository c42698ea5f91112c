"""Accuracies of members that were never evaluated, from those that were: a small ridge regression over the knobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasc.errors import UsageError
from nasc.family.record import MemberLine

Vector = NDArray[np.float64]

_RIDGE = 1e-3
_EDGE = 1e-3  # accuracies are kept this far from 0 and 1, where the logit is infinite


@dataclass(frozen=True)
class AccuracyFit:
    """``logit(accuracy) = w . f(member)``; f holds one, the logarithm of each knob's share, their squares and products.

    Args:
        knobs: Names of the knobs.
        largest: Largest value of each, which shares are taken of.
        weights: Shape (features,).
        error: Root mean square of the leave-one-out residuals, as accuracy: the error bar of a prediction.
    """

    knobs: tuple[str, ...]
    largest: tuple[float, ...]
    weights: tuple[float, ...]
    error: float

    def predict(self, values: Mapping[str, float]) -> float:
        """The accuracy of a member with these cuts, in 0..1."""
        features = _features([[values[name] for name in self.knobs]], self.largest)
        return float(_sigmoid(features @ np.asarray(self.weights))[0])


def fit_accuracy(members: Sequence[MemberLine]) -> AccuracyFit:
    """Fit the members that were evaluated.

    Raises:
        UsageError: None was.
    """
    known = [member for member in members if member.accuracy is not None]
    if not known:
        raise UsageError("expected at least one evaluated member, got none", "train the family again")
    knobs = tuple(known[0].values)
    points = [[member.values[name] for name in knobs] for member in known]
    largest = tuple(max(column) for column in zip(*points, strict=True))
    features = _features(points, largest)
    accuracy = np.array([float(member.accuracy or 0.0) for member in known])
    clipped = np.clip(accuracy, _EDGE, 1 - _EDGE)
    targets = np.log(clipped / (1 - clipped))
    gram = features.T @ features + _RIDGE * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, features.T @ targets)
    # Leave-one-out residuals of a linear smoother: r_i / (1 - h_ii).
    leverage = np.einsum("ij,ji->i", features, np.linalg.solve(gram, features.T))
    left_out = targets - (targets - features @ weights) / np.maximum(1 - leverage, 1e-6)
    error = float(np.sqrt(np.mean((_sigmoid(left_out) - accuracy) ** 2)))
    return AccuracyFit(knobs, largest, tuple(map(float, weights)), error)


def _features(points: Sequence[Sequence[float]], largest: Sequence[float]) -> Vector:
    """One row a point: 1, the logarithms of the shares, and their products two by two."""
    if not largest:
        return np.ones((len(points), 1))
    logs = np.log(np.asarray(points, dtype=np.float64) / np.asarray(largest))
    count = logs.shape[1]
    products = [logs[:, i] * logs[:, j] for i in range(count) for j in range(i, count)]
    return np.column_stack([np.ones(len(points)), logs, *products])


def _sigmoid(values: Vector) -> Vector:
    return np.asarray(1 / (1 + np.exp(-values)))
