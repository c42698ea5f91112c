"""Anytime inference: one set of weights, and at every call the best member that the time left allows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from nasc.errors import TargetError
from nasc.methods.sorted_networks.model import PrefixModel
from nasc.methods.sorted_networks.pool import Member


@dataclass(frozen=True)
class Expectation:
    """What is known of a member on the machine it runs on.

    Args:
        seconds: Its latency, by a table or measured.
        accuracy: On validation data, 0 to 1.
    """

    seconds: float
    accuracy: float


class Anytime(nn.Module):
    """A family that answers within a deadline; changing the member copies no weight.

    Args:
        family: The trained family.
        expectations: Latency and accuracy by the member's index in the pool; only these members are used.
        reserve: Share of a deadline that is kept back for what the latency does not know.
    """

    def __init__(self, family: PrefixModel, expectations: Mapping[int, Expectation], reserve: float = 0.05) -> None:
        super().__init__()
        self.family = family
        self.reserve = reserve
        members = {member.index: member for member in family.members}
        self._ladder = sorted(
            ((known.seconds, known.accuracy, members[index]) for index, known in expectations.items()),
            key=lambda rung: (rung[0], -rung[1]),
        )

    def member_within(self, deadline_s: float) -> Member:
        """The most accurate member that fits into a deadline.

        Raises:
            TargetError: None does.
        """
        budget = deadline_s * (1 - self.reserve)
        fitting = [rung for rung in self._ladder if rung[0] <= budget]
        if not fitting:
            raise TargetError(
                f"no member answers within {deadline_s:.3g} s; the fastest takes {self._ladder[0][0]:.3g} s",
                "allow more time, or train a family with smaller members",
            )
        return max(fitting, key=lambda rung: (rung[1], -rung[0]))[2]

    def forward(self, *inputs: Any, deadline_s: float) -> Any:
        """The answer of the best member within a deadline, in seconds."""
        return self.family.run(self.member_within(deadline_s), *inputs)
