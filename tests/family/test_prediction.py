"""Accuracies of members that were not evaluated."""

import math

import pytest

from nasc.errors import UsageError
from nasc.family import MemberLine, fit_accuracy


def member(width: float, depth: float, accuracy: float | None) -> MemberLine:
    return MemberLine(f"{width} {depth}", {"width": width, "depth": depth}, {}, 0, accuracy=accuracy)


def true(width: float, depth: float) -> float:
    logit = 2 + 1.1 * math.log(width) + 0.6 * math.log(depth / 8) - 0.3 * math.log(width) ** 2
    return 1 / (1 + math.exp(-logit))


GRID = [(w / 10, float(d)) for w in range(2, 11) for d in range(1, 9)]


def test_members_left_out_are_predicted_where_the_law_holds() -> None:
    fit = fit_accuracy(
        [
            member(w, d, true(w, d) if index % 3 == 0 or (w, d) == (1.0, 8.0) else None)
            for index, (w, d) in enumerate(GRID)
        ]
    )
    worst = max(abs(fit.predict({"width": w, "depth": d}) - true(w, d)) for w, d in GRID)
    assert worst < 0.005
    assert fit.error < 0.005


def test_the_error_bar_is_the_size_of_the_noise() -> None:
    noisy = [member(w, d, true(w, d) + 0.03 * (-1) ** index) for index, (w, d) in enumerate(GRID)]
    assert 0.015 < fit_accuracy(noisy).error < 0.06


def test_one_evaluated_member_predicts_itself_and_none_is_refused() -> None:
    fit = fit_accuracy([member(1.0, 8.0, 0.9), member(0.5, 8.0, None)])
    assert fit.predict({"width": 1.0, "depth": 8.0}) == pytest.approx(0.9, abs=0.01)
    with pytest.raises(UsageError, match="at least one evaluated member"):
        fit_accuracy([member(1.0, 8.0, None)])
