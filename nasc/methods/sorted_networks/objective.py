"""What a step of a family minimises: whose losses are taken, on which part of the batch, and against what.

All of these are the same few lines with other choices of members (sheet 2.2 and 2.7):

- *stochastic*: one member, drawn anew; ``accumulate`` draws k members, each on its own k-th of the batch, loss / k;
- *stochastic summation*: the sum over a drawn member and the smaller ones along each knob;
- *full summation*: the sum over all members, which is also the loss of slimmable networks (on a pool of four widths) and
  of MatFormer (on a pool of feed-forward widths);
- *sandwich* of universally slimmable networks: the largest, the smallest and random ones, summed;
- *progressive shrinking* of once-for-all networks: the largest first, then ever smaller ones.

With in-place distillation all members but the largest learn the largest one's class probabilities instead of the labels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from nasc.errors import ModelError, UsageError
from nasc.methods.sorted_networks.model import PrefixModel
from nasc.methods.sorted_networks.pool import Member, Pool, Sampler

Loss = Literal["stochastic", "summation", "full", "sandwich", "shrinking"]

LOSSES = ("stochastic", "summation", "full", "sandwich", "shrinking")


@dataclass(frozen=True)
class Objective:
    """Members of a step and how their losses come together.

    Args:
        members: The members of a step; the first one teaches where there is distillation.
        split: Each member sees its own part of the batch, and losses are averaged; otherwise all see all of it and
            losses are summed.
        distil: All but the first learn the first one's probabilities.
    """

    members: Callable[[int], tuple[Member, ...]]
    split: bool = False
    distil: bool = False

    def loss(
        self, model: PrefixModel, criterion: nn.Module, x: Tensor, y: Tensor, members: tuple[Member, ...]
    ) -> tuple[Tensor, Tensor, tuple[float, ...]]:
        """The loss of a step.

        Args:
            model: The family.
            criterion: Of ``(batch, classes)`` scores and int64 labels, a mean over the batch.
            x: Inputs, batch first.
            y: Labels.
            members: From :attr:`members`.

        Returns:
            The loss; scores of the whole batch, for the log; the loss of every member as a number.
        """
        pairs = list(zip(torch.chunk(x, len(members)), torch.chunk(y, len(members)), strict=False))
        parts = pairs if self.split else [(x, y)] * len(members)
        total: Tensor | None = None
        scores: list[Tensor] = []
        losses: list[float] = []
        for member, (pictures, labels) in zip(members, parts, strict=False):
            with model.as_member(member):
                own = _scores(model(pictures))
            if self.distil and scores and not self.split:
                value = soft_cross_entropy(own.float(), scores[0].detach().float())
            else:
                value = criterion(own.float(), labels)
            scores.append(own)
            losses.append(float(value.detach()))
            value = value / len(parts) if self.split and len(parts) > 1 else value
            total = value if total is None else total + value
        assert total is not None
        return total, torch.cat(scores) if self.split else scores[0], tuple(losses)


def build_objective(
    loss: Loss,
    pool: Pool,
    sampler: Sampler,
    *,
    accumulate: int = 1,
    random_members: int = 2,
    distil: bool = False,
    total_steps: int = 1,
) -> Objective:
    """An objective by name.

    Args:
        loss: One of :data:`LOSSES`.
        pool: The members.
        sampler: Draws them.
        accumulate: Members per step of the stochastic loss.
        random_members: Of the sandwich, beside the largest and the smallest.
        distil: In-place distillation.
        total_steps: Of the run, for progressive shrinking.

    Raises:
        UsageError: The name is unknown.
    """
    if accumulate < 1:
        raise UsageError(f"expected accumulate to be at least 1, got {accumulate}")
    whole, least = pool.largest, pool.smallest

    def stochastic(step: int) -> tuple[Member, ...]:
        return tuple(sampler.draw(step, number) for number in range(accumulate))

    def summation(step: int) -> tuple[Member, ...]:
        return tuple(reversed(pool.chains(sampler.draw(step))))

    def full(step: int) -> tuple[Member, ...]:
        return (whole, *(member for member in pool.members if member is not whole))

    def sandwich(step: int) -> tuple[Member, ...]:
        return (whole, *(sampler.draw(step, number) for number in range(random_members)), least)

    def shrinking(step: int) -> tuple[Member, ...]:
        allowed = shrunk(pool, step / total_steps)
        return (whole, _draw_among(sampler, step, allowed)) if distil else (_draw_among(sampler, step, allowed),)

    chosen = {"stochastic": stochastic, "summation": summation, "full": full, "sandwich": sandwich}
    chosen["shrinking"] = shrinking
    if loss not in chosen:
        raise UsageError(f"unknown loss {loss!r}", f"known: {', '.join(LOSSES)}")
    return Objective(chosen[loss], split=loss == "stochastic", distil=distil)


def shrunk(pool: Pool, fraction: float) -> frozenset[int]:
    """Members that progressive shrinking may draw: the largest in the first quarter, then ever smaller cuts.

    A member is allowed when no knob is further from its largest cut than the phase lets it; all are from three quarters on.
    """
    reach = min(1.0, max(0.0, (fraction - 0.25) / 0.5))
    return frozenset(
        member.index
        for member in pool.members
        if all(
            len(knob.cuts) - 1 - cut <= reach * (len(knob.cuts) - 1) + 1e-9
            for knob, cut in zip(pool.knobs, member.cuts, strict=True)
        )
    ) or frozenset({pool.largest.index})


def soft_cross_entropy(scores: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the batch of ``-sum softmax(teacher) log softmax(scores)``, both of shape (batch, classes)."""
    return -(teacher.softmax(-1) * scores.log_softmax(-1)).sum(-1).mean()


def _draw_among(sampler: Sampler, step: int, allowed: frozenset[int]) -> Member:
    draw = 0
    while True:
        member = sampler.draw(step, draw)
        if member.index in allowed:
            return member
        draw += 1
        if draw > 10_000:
            return sampler.pool.largest


def _scores(output: object) -> Tensor:
    if isinstance(output, Tensor):
        return output
    raise ModelError(
        f"expected the model to return one tensor of scores, got {type(output).__name__}",
        "wrap the model so that forward returns the scores alone",
    )
