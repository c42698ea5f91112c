"""How the members of a family are proposed and compared. Each keeps its own state and draws from its own generator.

A member is a choice of rung for every dim: ``{dim: index into its ladder}``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

Member = dict[str, int]
Fits = Callable[[Member], bool]


class Strategy(Protocol):
    """What the method asks of a search."""

    def propose(self, generator: torch.Generator) -> Member:
        """The member to train or try next."""
        ...

    def tell(self, member: Member, loss: float) -> None:
        """The loss of a batch under it."""
        ...

    def best(self) -> Member:
        """The member to keep."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything needed to go on."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        ...


def draw(rungs: Mapping[str, int], generator: torch.Generator, fits: Fits, tries: int = 200) -> Member:
    """A member drawn uniformly from those within the limit: shrunk towards the smallest where none is met by chance."""
    member: Member = {}
    for attempt in range(tries):
        share = 1 - attempt / tries
        member = {
            name: int(float(torch.rand((), generator=generator)) * share * count) for name, count in rungs.items()
        }
        if fits(member):
            return member
    return dict.fromkeys(rungs, 0)


class Pool:
    """Candidates with running mean losses: the random search, and what evolution starts from.

    Args:
        rungs: How many rungs every dim has.
        fits: Whether a member meets the limit.
        size: Candidates in the pool.
        evolve: Replace the worst half by mutations and crossings of the best (Real et al., arXiv 1802.01548; as used with
            shared weights by Guo et al., arXiv 1904.00420) each time every candidate was tried ``tries`` times.
        tries: Batches a candidate is tried on in one round.
    """

    def __init__(self, rungs: Mapping[str, int], fits: Fits, *, size: int, evolve: bool, tries: int = 2) -> None:
        self.rungs, self.fits, self.size, self.evolve, self.tries = dict(rungs), fits, size, evolve, tries
        self.members: list[Member] = []
        self.losses: list[list[float]] = []
        self._asked = 0

    def propose(self, generator: torch.Generator) -> Member:
        """Candidates in turn."""
        if not self.members:
            self.members = [draw(self.rungs, generator, self.fits) for _ in range(self.size)]
            self.losses = [[] for _ in self.members]
        if self.evolve and all(len(losses) >= self.tries for losses in self.losses):
            self._next_generation(generator)
        fewest = min(range(len(self.members)), key=lambda index: len(self.losses[index]))
        self._asked = fewest
        return self.members[fewest]

    def tell(self, member: Member, loss: float) -> None:
        """Remember a loss."""
        self.losses[self._asked].append(loss)

    def best(self) -> Member:
        """The candidate with the lowest mean loss."""
        return self.members[self._ranking()[0]]

    def _ranking(self) -> list[int]:
        means = [sum(losses) / len(losses) if losses else float("inf") for losses in self.losses]
        return sorted(range(len(means)), key=means.__getitem__)

    def _next_generation(self, generator: torch.Generator) -> None:
        parents = self._ranking()[: max(2, self.size // 2)]
        chosen = [self.members[index] for index in parents]
        while len(chosen) < self.size:
            chosen.append(self._child(chosen[: len(parents)], generator))
        losses = [self.losses[index] for index in parents]
        self.members, self.losses = chosen, [*losses, *([] for _ in range(self.size - len(parents)))]

    def _child(self, parents: list[Member], generator: torch.Generator) -> Member:
        for _ in range(50):
            first, second = (parents[int(torch.randint(len(parents), (), generator=generator))] for _ in range(2))
            child = {}
            for name, count in self.rungs.items():
                child[name] = (first if bool(torch.rand((), generator=generator) < 0.5) else second)[name]
                if bool(torch.rand((), generator=generator) < 0.1):
                    child[name] = int(torch.randint(count, (), generator=generator))
            if self.fits(child):
                return child
        return dict(parents[0])

    def state(self) -> dict[str, Any]:
        """Candidates and losses."""
        return {"members": self.members, "losses": self.losses, "asked": self._asked}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.members = [dict(member) for member in state["members"]]
        self.losses = [list(losses) for losses in state["losses"]]
        self._asked = int(state["asked"])


class PolicyGradient:
    """A categorical distribution over the rungs of every dim, moved by REINFORCE with TuNAS's absolute reward.

    ``reward = -loss - beta |price / limit - 1|`` (Bender et al., arXiv 2008.06120, eq. 3, with the loss in the place of the
    error), a running mean as baseline, Adam on the logits.

    Args:
        rungs: How many rungs every dim has.
        ratio: Price over limit of a member.
        beta: Weight of the price.
        learning_rate: Of the logits.
    """

    def __init__(
        self,
        rungs: Mapping[str, int],
        ratio: Callable[[Member], float],
        *,
        beta: float = 1.0,
        learning_rate: float = 0.05,
    ) -> None:
        self.ratio, self.beta = ratio, beta
        self.logits = {name: torch.zeros(count, requires_grad=True) for name, count in rungs.items()}
        self.optimizer = torch.optim.Adam(self.logits.values(), lr=learning_rate)
        self.baseline: float | None = None
        self.active = False

    def propose(self, generator: torch.Generator) -> Member:
        """Draw every dim from its distribution."""
        return {
            name: int(torch.multinomial(torch.softmax(logits.detach(), 0), 1, generator=generator))
            for name, logits in self.logits.items()
        }

    def tell(self, member: Member, loss: float) -> None:
        """One step on the logits by the reward of a member, once the shared weights are warm."""
        if not self.active:
            return
        reward = -loss - self.beta * abs(self.ratio(member) - 1)
        self.baseline = reward if self.baseline is None else 0.95 * self.baseline + 0.05 * reward
        chosen: Tensor = torch.stack([logits.log_softmax(0)[member[name]] for name, logits in self.logits.items()])
        self.optimizer.zero_grad()
        (-(reward - self.baseline) * chosen.sum()).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def best(self) -> Member:
        """The most probable rung of every dim."""
        return {name: int(logits.argmax()) for name, logits in self.logits.items()}

    def state(self) -> dict[str, Any]:
        """Logits, moments and baseline."""
        moments = {}
        for name, logits in self.logits.items():
            moments[name] = {key: torch.as_tensor(value).clone() for key, value in self.optimizer.state[logits].items()}
        return {
            "logits": {name: logits.detach().clone() for name, logits in self.logits.items()},
            "moments": moments,
            "baseline": self.baseline,
            "active": self.active,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        with torch.no_grad():
            for name, logits in self.logits.items():
                logits.copy_(state["logits"][name])
                if state["moments"][name]:
                    moments = {key: value.clone() for key, value in state["moments"][name].items()}
                    self.optimizer.state[logits] = moments
        self.baseline, self.active = state["baseline"], bool(state["active"])
