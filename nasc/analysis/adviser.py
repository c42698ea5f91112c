"""Would training longer pay? From the loss and the entropy of one run (ours; after arXiv 2308.02060, section 3).

The paper sees under-training in outputs that are undecided and a training loss that is still high, over-training in a
training loss that has left the test loss behind. Both are put into one line:

    gain per doubling of the epochs = a * (training loss) * (training loss / test loss) - b * (test loss - training loss)

in points of test accuracy. The first term is what there is to learn, discounted by how little of it carries over to the
test pictures; the second is the price of fitting more. ``a`` and ``b`` are fitted by least squares to runs of
``benchmarks/sparse_length.py`` that were trained again for longer (see ``benchmarks/sparse_adviser.py``, which checks the
advice on seeds that took no part in the fit).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nasc.errors import UsageError

Verdict = Literal["longer pays", "long enough", "too long"]

POINTS = 0.2
"""Gains below this many points of accuracy per doubling are not worth it."""


@dataclass(frozen=True)
class Signs:
    """What a run shows.

    Args:
        train_loss: Mean cross entropy on the training pictures, no augmentation, no smoothing, in nats.
        test_loss: The same on pictures that were not trained on.
        entropy: Mean entropy of the predictions on those, in nats.
    """

    train_loss: float
    test_loss: float
    entropy: float

    @property
    def features(self) -> tuple[float, float]:
        """What is there to learn and carries over; what was fitted beyond that."""
        carried = min(1.0, self.train_loss / self.test_loss) if self.test_loss > 0 else 1.0
        return self.train_loss * carried, max(0.0, self.test_loss - self.train_loss)


@dataclass(frozen=True)
class Coefficients:
    """Of the line; in points of accuracy per doubling and nat."""

    learn: float
    forget: float

    def gain(self, signs: Signs) -> float:
        """Expected points of accuracy per doubling of the epochs."""
        learn, forget = signs.features
        return self.learn * learn - self.forget * forget


FITTED = Coefficients(learn=5.4, forget=0.76)
"""Fitted by ``benchmarks/sparse_adviser.py --fit``."""


@dataclass(frozen=True)
class Advice:
    """What the adviser says.

    Args:
        verdict: In words.
        gain_per_doubling: Expected points of test accuracy.
        factor: How many times longer is worth trying: the next doubling still gains, by the same line.
    """

    verdict: Verdict
    gain_per_doubling: float
    factor: float


def advise(signs: Signs, coefficients: Coefficients = FITTED) -> Advice:
    """Whether training longer would pay, and how much.

    A doubling is taken to leave half of what there was to gain, as losses that fall like one over the epochs do; so a gain
    of ``g`` points is worth ``log2(g / 0.2) + 1`` doublings, at most three (the longest that was checked is 5x).

    Args:
        signs: Of the finished run.
        coefficients: Of the line.

    Raises:
        UsageError: A loss or the entropy is negative or not a number.
    """
    if not all(math.isfinite(value) and value >= 0 for value in (signs.train_loss, signs.test_loss, signs.entropy)):
        raise UsageError(f"expected losses and an entropy of at least zero, got {signs}")
    gain = coefficients.gain(signs)
    if gain >= POINTS:
        doublings = min(3.0, math.log2(gain / POINTS) + 1)
        return Advice("longer pays", gain, float(2**doublings))
    return Advice("too long" if gain <= -POINTS else "long enough", gain, 1.0)


@dataclass(frozen=True)
class Longer:
    """A run and what the same run gained by more epochs.

    Args:
        signs: Of the shorter run.
        gain_per_doubling: Points of test accuracy gained, over the logarithm to base 2 of the factor.
    """

    signs: Signs
    gain_per_doubling: float


def fit(pairs: Sequence[Longer]) -> Coefficients:
    """The line by least squares.

    Raises:
        UsageError: Fewer than two pairs, or pairs that do not tell the two terms apart.
    """
    xx = yy = xy = xg = yg = 0.0
    for pair in pairs:
        x, y = pair.signs.features
        xx, yy, xy = xx + x * x, yy + y * y, xy + x * y
        xg, yg = xg + x * pair.gain_per_doubling, yg + y * pair.gain_per_doubling
    determinant = xx * yy - xy * xy
    if len(pairs) < 2 or determinant <= 1e-12 * max(xx * yy, 1e-300):
        raise UsageError(f"expected at least two pairs of runs that differ, got {len(pairs)}")
    return Coefficients((xg * yy - yg * xy) / determinant, -(yg * xx - xg * xy) / determinant)
