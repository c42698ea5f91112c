"""Does the adviser's word on training longer come true? Fitted to the length study, checked on what was left out.

Every run of ``sparse_length.py`` that was trained again for longer is a question with a known answer: points of test
accuracy gained per doubling of the epochs. The check leaves out one seed at a time (one method,
where there is one seed only), fits to the rest, and compares the verdict with what happened.

    python benchmarks/sparse_adviser.py --size small            # trains nothing
    python benchmarks/sparse_adviser.py --size small --fit      # the coefficients for nasc/analysis/adviser.py
"""

import argparse
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sparse_length import all_runs
from study import parse_arguments

from nasc.analysis import Coefficients, Longer, Signs, advise, fit
from nasc.analysis.adviser import POINTS

Pair = tuple[dict[str, Any], Longer]


def pairs(size: str) -> list[Pair]:
    """Each run and its next longer one."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in all_runs(size):
        groups.setdefault((run["method"], run["sparsity"], run["seed"]), []).append(run)
    found = []
    for group in groups.values():
        ordered = sorted(group, key=lambda run: float(run["stretch"]))
        for short, long in pairwise(ordered):
            doublings = math.log2(long["epochs"] / short["epochs"])
            gain = 100 * (long["accuracy"] - short["accuracy"]) / doublings
            signs = Signs(short["train_loss"], short["test_loss"], short["entropy"])
            found.append((short, Longer(signs, gain)))
    return found


def check(found: Sequence[Pair]) -> None:
    """Predictions for what took no part in the fit, against what happened."""
    key = "seed" if len({run["seed"] for run, _ in found}) > 1 else "method"
    predicted, happened, right = [], [], 0
    for left_out in sorted({run[key] for run, _ in found}):
        line = fit([pair for run, pair in found if run[key] != left_out])
        for run, pair in found:
            if run[key] == left_out:
                advice = advise(pair.signs, line)
                predicted.append(advice.gain_per_doubling)
                happened.append(pair.gain_per_doubling)
                right += (advice.verdict == "longer pays") == (pair.gain_per_doubling >= POINTS)
    count = len(predicted)
    error = sum(abs(p - h) for p, h in zip(predicted, happened, strict=True)) / count
    spread = sum(abs(h - sum(happened) / count) for h in happened) / count
    print(f"{count} questions, one {key} left out at a time")
    print(f"whether longer pays: {right} of {count} right; always saying yes: {sum(h >= POINTS for h in happened)}")
    alike = correlation(predicted, happened)
    print(f"points per doubling: mean error {error:.2f} (guessing the mean: {spread:.2f}), correlation {alike:.2f}")


def correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Pearson's."""
    a, b = sum(left) / len(left), sum(right) / len(right)
    cross = sum((x - a) * (y - b) for x, y in zip(left, right, strict=True))
    return cross / math.sqrt(sum((x - a) ** 2 for x in left) * sum((y - b) ** 2 for y in right))


if __name__ == "__main__":
    extra = argparse.ArgumentParser(add_help=False)
    extra.add_argument("--fit", action="store_true")
    own, rest = extra.parse_known_args()
    known = pairs(parse_arguments(__doc__ or "", rest).size)
    if own.fit:
        line: Coefficients = fit([pair for _, pair in known])
        print(f"learn={line.learn:.3g}, forget={line.forget:.3g}  (from {len(known)} pairs of runs)")
    check(known)
