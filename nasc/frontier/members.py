"""Choosing among the members of a family: no search, a sort (sortednet.md 2.5)."""

from collections.abc import Sequence
from dataclasses import dataclass

from nasc.errors import TargetError
from nasc.family import Family, MemberLine, fit_accuracy
from nasc.frontier.pareto import Point, pareto


@dataclass(frozen=True)
class Candidate:
    """A member with its price and what is known of its accuracy.

    Args:
        member: The member.
        price: In the unit that was asked for.
        accuracy: On validation data, or predicted.
        accuracy_error: Error bar; zero where it was evaluated.
    """

    member: MemberLine
    price: float
    accuracy: float
    accuracy_error: float = 0.0

    @property
    def predicted(self) -> bool:
        """The accuracy is a prediction."""
        return self.member.accuracy is None


def candidates(family: Family, prices: Sequence[float]) -> list[Candidate]:
    """Every member with its price and its accuracy, known or predicted."""
    fit = None
    found = []
    for member, price in zip(family.members, prices, strict=True):
        if member.accuracy is not None:
            found.append(Candidate(member, price, member.accuracy))
            continue
        fit = fit or fit_accuracy(family.members)
        found.append(Candidate(member, price, fit.predict(member.values), fit.error))
    return found


def best_members(found: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other member dominates, from cheap to dear."""
    return [found[i] for i in pareto([Point(c.price, c.accuracy) for c in found])]


def choose(found: Sequence[Candidate], limit: float, shown: str = "") -> Candidate:
    """The most accurate member within a limit, the cheaper one of equals.

    Args:
        found: Members with prices.
        limit: In the prices' unit.
        shown: The limit for people.

    Raises:
        TargetError: Every member is dearer.
    """
    fitting = [candidate for candidate in found if candidate.price <= limit]
    if not fitting:
        least = min(candidate.price for candidate in found)
        raise TargetError(
            f"the target {shown or f'{limit:.4g}'} is below the family's smallest member ({least:.4g})",
            f"ask for at least {least:.4g}, or train a family with smaller members",
        )
    return max(fitting, key=lambda candidate: (candidate.accuracy, -candidate.price))


def above_threshold(found: Sequence[Candidate], threshold: float) -> list[Candidate]:
    """Members whose accuracy is above a threshold, best first, ties in the pool's order: what a retraining would keep."""
    return sorted((c for c in found if c.accuracy > threshold), key=lambda c: -c.accuracy)
