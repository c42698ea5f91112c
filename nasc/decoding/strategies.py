"""Ways to decode: the whole model, the first confident exit, and drafts that the whole model verifies.

Greedy speculative decoding gives token for token what greedy decoding of the whole model gives: a drafted token stays only
while it is the whole model's own choice. The sampling form keeps a token x with probability ``min(1, p(x) / q(x))`` and
else draws from the normalised ``max(p - q, 0)``, which makes every token a draw from p; q is the distribution of the exit
that proposed it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nasc.decoding.decoder import ExitDecoder, Session
from nasc.errors import UsageError


@dataclass(frozen=True)
class Decoded:
    """A decoded text and what it took.

    Args:
        tokens: The new tokens.
        exits: How many tokens were proposed at each exit (the whole depth counts as one).
        layers: Layer executions, counted per position.
        verifications: Runs of the whole model over a draft.
        drafted: Tokens drafted.
        accepted: Of those, accepted.
    """

    tokens: tuple[int, ...]
    exits: dict[int, int] = field(default_factory=dict)
    layers: int = 0
    verifications: int = 0
    drafted: int = 0
    accepted: int = 0

    @property
    def acceptance(self) -> float:
        """Share of drafted tokens that were accepted; one where nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else 1.0

    @property
    def tokens_per_verification(self) -> float:
        """New tokens per run of the whole model."""
        return len(self.tokens) / max(self.verifications, 1)


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Args:
        temperature: Of the softmax; zero takes the most probable token.
        seed: Of the draws.
    """

    temperature: float = 0.0
    seed: int = 0

    def generator(self) -> torch.Generator:
        """A generator at the beginning of its stream."""
        return torch.Generator().manual_seed(self.seed)

    def distribution(self, scores: Tensor) -> Tensor:
        """Probabilities over the vocabulary, shape of the scores; one-hot at temperature zero."""
        if self.temperature <= 0:
            return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).float()
        return (scores / self.temperature).softmax(-1)


GREEDY = Sampling()


def decode_full(
    decoder: ExitDecoder, prompt: Sequence[int], count: int, *, exit_: int | None = None, sampling: Sampling = GREEDY
) -> Decoded:
    """One token after the other at one depth, the whole by default.

    Args:
        decoder: The decoder.
        prompt: At least one token.
        count: New tokens.
        exit_: Another depth than the whole.
        sampling: How tokens are drawn.
    """
    session, depth = _begin(decoder, prompt, count), exit_ or decoder.exits[-1]
    source, tokens = sampling.generator(), list[int]()
    while len(tokens) < count:
        scores = decoder.scores(session.run_to(depth)[:, -1:])[0]
        _clear(session, depth)
        tokens.append(_draw(sampling.distribution(scores), source))
        session.push(tokens[-1:])
    return Decoded(tuple(tokens), {depth: count}, session.layers_run)


def decode_early_exit(decoder: ExitDecoder, prompt: Sequence[int], count: int, threshold: float) -> Decoded:
    """Stop at the first exit whose largest probability is above a threshold, and take its choice.

    Args:
        decoder: The decoder.
        prompt: At least one token.
        count: New tokens.
        threshold: At zero the first exit decides, above one the whole model.
    """
    session, tokens, exits = _begin(decoder, prompt, count), list[int](), Counter[int]()
    while len(tokens) < count:
        token, _, exit_ = _climb(decoder, session, decoder.exits, threshold, GREEDY, torch.Generator())
        exits[exit_] += 1
        if exit_ == decoder.exits[-1]:
            session.leave()
        tokens.append(token)
        session.push([token])
    return Decoded(tuple(tokens), dict(exits), session.layers_run)


def decode_self_speculative(
    decoder: ExitDecoder,
    prompt: Sequence[int],
    count: int,
    *,
    draft: int = 4,
    threshold: float = 0.0,
    draft_exits: Sequence[int] | None = None,
    sampling: Sampling = GREEDY,
) -> Decoded:
    """Draft at the early exits, verify with the remaining layers of the same model.

    Args:
        decoder: The decoder.
        prompt: At least one token.
        count: New tokens.
        draft: Tokens per draft at most.
        threshold: A draft token climbs the exits until its probability is above this.
        draft_exits: Exits that may draft; all but the whole depth by default.
        sampling: How tokens are drawn.

    Raises:
        UsageError: There is no exit to draft at.
    """
    exits = tuple(draft_exits or decoder.exits[:-1])
    if not exits or draft < 1:
        raise UsageError(f"expected a draft of at least one token at some early exit; got {draft} at {exits}")
    session, source = _begin(decoder, prompt, count, draft), sampling.generator()
    tokens: list[int] = []
    used = Counter[int]()
    verifications = drafted = accepted = 0
    while len(tokens) < count:
        base = session.length
        proposed: list[int] = []
        proposals: list[Tensor] = []
        for _ in range(min(draft, count - len(tokens))):
            token, distribution, exit_ = _climb(decoder, session, exits, threshold, sampling, source)
            used[exit_] += 1
            proposed.append(token)
            proposals.append(distribution)
            session.push([token])
        hidden = session.run_to(decoder.exits[-1])[:, -len(proposed) - 1 :]
        session.leave()
        verifications += 1
        kept, last = verify(sampling.distribution(decoder.scores(hidden)), proposed, proposals, source)
        drafted, accepted = drafted + len(proposed), accepted + kept
        session.roll_back(base + kept)
        new = [*proposed[:kept], last]
        tokens += new
        session.push([last])
    return Decoded(tuple(tokens[:count]), dict(used), session.layers_run, verifications, drafted, accepted)


def decode_speculative(
    decoder: ExitDecoder,
    drafter: ExitDecoder,
    prompt: Sequence[int],
    count: int,
    *,
    draft: int = 4,
    sampling: Sampling = GREEDY,
) -> Decoded:
    """Draft with another, smaller decoder of the same vocabulary, verify with the large one.

    Args:
        decoder: The model whose text it is.
        drafter: The model that drafts.
        prompt: At least one token.
        count: New tokens.
        draft: Tokens per draft at most.
        sampling: How tokens are drawn.
    """
    large, small = _begin(decoder, prompt, count, draft), _begin(drafter, prompt, count, draft)
    source, tokens = sampling.generator(), list[int]()
    verifications = drafted = accepted = 0
    while len(tokens) < count:
        base = large.length
        proposed: list[int] = []
        proposals: list[Tensor] = []
        for _ in range(min(draft, count - len(tokens))):
            scores = drafter.scores(small.run_to(drafter.exits[-1])[:, -1:])[0]
            small.leave()
            proposals.append(sampling.distribution(scores))
            proposed.append(_draw(proposals[-1], source))
            small.push(proposed[-1:])
        large.push(proposed)
        hidden = large.run_to(decoder.exits[-1])[:, -len(proposed) - 1 :]
        large.leave()
        verifications += 1
        kept, last = verify(sampling.distribution(decoder.scores(hidden)), proposed, proposals, source)
        drafted, accepted = drafted + len(proposed), accepted + kept
        small.roll_back(base + kept)
        large.roll_back(base + kept)
        tokens += [*proposed[:kept], last]
        large.push([last])
        small.push([last])
    layers = large.layers_run + small.layers_run
    return Decoded(tuple(tokens[:count]), {}, layers, verifications, drafted, accepted)


def verify(
    wanted: Tensor, proposed: Sequence[int], proposals: Sequence[Tensor], source: torch.Generator
) -> tuple[int, int]:
    """How much of a draft stays, and the whole model's own next token.

    Args:
        wanted: p: the whole model's probabilities, ``(draft + 1, vocabulary)``.
        proposed: The drafted tokens.
        proposals: q: the probabilities each was drawn from, ``(vocabulary,)``.
        source: Of the draws.

    Returns:
        The number of tokens that stay, and the token after them.
    """
    for place, (token, proposal) in enumerate(zip(proposed, proposals, strict=True)):
        ratio = float(wanted[place, token] / proposal[token].clamp_min(1e-30))
        if ratio >= 1 or float(torch.rand((), generator=source)) < ratio:
            continue
        rest = (wanted[place] - proposal).clamp_min(0)
        return place, _draw(rest / rest.sum(), source)
    return len(proposed), _draw(wanted[len(proposed)], source)


def _begin(decoder: ExitDecoder, prompt: Sequence[int], count: int, spare: int = 0) -> Session:
    if not prompt or count < 1:
        raise UsageError(f"expected a prompt and at least one new token; got {len(prompt)} tokens and {count}")
    session = decoder.begin(len(prompt) + count + spare + 2)
    session.push(prompt)
    return session


def _climb(
    decoder: ExitDecoder,
    session: Session,
    exits: Sequence[int],
    threshold: float,
    sampling: Sampling,
    source: torch.Generator,
) -> tuple[int, Tensor, int]:
    """The token, its distribution and the exit: the first that is confident, or the last."""
    for exit_ in exits:
        scores = decoder.scores(session.run_to(exit_)[:, -1:])[0]
        if exit_ == exits[-1] or float(scores.softmax(-1).max()) > threshold:
            distribution = sampling.distribution(scores)
            return _draw(distribution, source), distribution, exit_
    raise AssertionError("there is at least one exit")


def _draw(distribution: Tensor, source: torch.Generator) -> int:
    if float(distribution.max()) == 1.0:
        return int(distribution.argmax())
    return int(torch.multinomial(distribution.cpu(), 1, generator=source))


def _clear(session: Session, depth: int) -> None:
    """At a fixed depth nothing goes deeper: what left it is done."""
    session._queues[session._place(depth)] = (session.length, None)
