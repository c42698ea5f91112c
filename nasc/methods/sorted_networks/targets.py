"""What the asked devices say about a family: which members matter, and how fast each dim should shrink (ours).

A short surrogate run on one device ends with the sizes that device likes and with scores of all units. The scores order the
units; the sizes give every dim an exponent, so that one cut of all dims walks along the device's own ratios. Members near
the front of cost against loss on any of the devices are drawn more often than the others.
"""

import math
from collections.abc import Mapping, Sequence


def exponents_of(sizes: Mapping[str, int], dense: Mapping[str, int], width: float) -> dict[str, float]:
    """How fast each dim shrinks on the way through some sizes: ``dense * width ** exponent`` is the size.

    >>> exponents_of({"a": 25, "b": 50, "c": 100}, {"a": 100, "b": 100, "c": 100}, width=0.5)
    {'a': 2.0, 'b': 1.0, 'c': 0.0}

    Args:
        sizes: Found for a target.
        dense: The dense sizes; dims that are not named among ``sizes`` are left out.
        width: The cut at which these sizes stand, in (0, 1).
    """
    return {name: math.log(size / dense[name]) / math.log(width) + 0.0 for name, size in sizes.items()}


def frontier_weights(
    costs: Sequence[Sequence[float]], losses: Sequence[float], *, floor: float = 0.25, sharpness: float = 20.0
) -> list[float]:
    """Weights of the draws: one for a member on the front of some device, falling to a floor with its distance to it.

    The distance is how much less loss a member of the same cost or less has, relative to the spread of losses.

    Args:
        costs: For each device, the cost of every member.
        losses: Loss of every member, e.g. a running mean; NaN counts as on the front, so that it is tried.
        floor: Weight far from every front; members are never left out.
        sharpness: How fast the weight falls.

    Returns:
        One weight a member, in [floor, 1].
    """
    known = [loss for loss in losses if not math.isnan(loss)]
    spread = (max(known) - min(known)) if len(known) > 1 else 1.0
    weights = [floor] * len(losses)
    for prices in costs:
        best = math.inf
        for index in sorted(range(len(losses)), key=lambda i: (prices[i], losses[i])):
            loss = losses[index]
            if math.isnan(loss):
                weights[index] = 1.0
                continue
            best = min(best, loss)
            distance = (loss - best) / (spread or 1.0)
            weights[index] = max(weights[index], floor + (1 - floor) * math.exp(-sharpness * distance))
    return weights
