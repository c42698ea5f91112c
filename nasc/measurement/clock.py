"""The one clock: table rows and finished models are timed by the functions of this module."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from nasc.artifact import Artifact
from nasc.devices import Device, Session
from nasc.measurement.anchor import fastest_anchor, run_beside_anchor
from nasc.measurement.environment import Environment, find_warnings, record_environment
from nasc.measurement.statistics import (
    Block,
    center_and_gap,
    median_interval,
    relative_gap,
    session_value,
)

SESSIONS = 3
RUNS = 30
MAX_GAP = 0.03
"""Relative gap of the two best sessions above which a measurement is repeated."""

MAX_WIDTH = 0.01
"""Half of a whole model's interval, relative to its time, above which further sessions are made."""

ANCHORED_SESSIONS = 5
LIMIT_S = 0.5
"""A block of a slow model ends after this many seconds, with five runs at least."""

_BLOCKS = 2
_GROUP = 8  # whole models that share a process; more would keep too much memory loaded at once


@dataclass(frozen=True)
class Measurement:
    """The time of one model on one device.

    Args:
        artifact: What was timed.
        seconds: The estimate.
        spread_s: Its error bar in seconds: the gap of the two best sessions, or half the width of the interval.
        interval: Lower and upper end in seconds.
        blocks: Every run, with the anchors around it: a list of blocks per session.
        anchor_s: The anchor's time on whose scale ``seconds`` is.
        environment: The conditions.
        ratio: Ratio to the anchor, where the estimate comes from it.
        warnings: What a reader of the number should know.
    """

    artifact: Artifact
    seconds: float
    spread_s: float
    interval: tuple[float, float]
    blocks: tuple[tuple[Block, ...], ...]
    anchor_s: float
    environment: Environment
    ratio: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[tuple[float, ...], ...]:
        """Time of every run in seconds, by session."""
        return tuple(tuple(sample for block in session for sample in block.samples_s) for session in self.blocks)

    @property
    def session_minima(self) -> tuple[float, ...]:
        """The smallest run of every session, in seconds."""
        return tuple(min(session) for session in self.samples)

    @property
    def minimum_s(self) -> float:
        """The smallest run of all, in seconds."""
        return min(self.session_minima)


def measure(
    artifacts: Sequence[Artifact],
    device: Device,
    sessions: int = SESSIONS,
    runs: int = RUNS,
    *,
    max_gap: float = MAX_GAP,
    max_sessions: int | None = None,
    anchor_reference_s: float | None = None,
    limit_s: float = LIMIT_S,
    cold: bool = False,
    seed: int = 0,
    on_session: Callable[[], None] | None = None,
) -> list[Measurement]:
    """Time models: the anchored median over fresh sessions, shuffled over the models, repeated where they disagree.

    Args:
        artifacts: The model files.
        device: Where to run them.
        sessions: Fresh processes, each of which visits every model.
        runs: Timed runs of a model per session.
        max_gap: Models whose middle sessions differ by more than this fraction get further sessions ...
        max_sessions: ... up to this many in total; by default twice ``sessions``.
        anchor_reference_s: The anchor's time at full clock where it is known, e.g. from a table; by default the
            smallest in these sessions.
        limit_s: A block of a slow model ends after this long, with five runs at least.
        cold: Weights leave the inner caches between runs.
        seed: Seed of the shuffling.
        on_session: Called after every session, for progress.

    Returns:
        One measurement per artifact, in order.

    Raises:
        RunnerError: A model could not be run.
        ValueError: ``sessions`` or ``runs`` is below one.
    """
    if sessions < 1 or runs < 1:
        raise ValueError(f"sessions and runs must be 1 or more; got {sessions} and {runs}")
    environment = record_environment(device)
    generator = random.Random(seed)
    taken: list[list[tuple[Block, ...]]] = [[] for _ in artifacts]
    made: list[Session] = []
    reference_s = anchor_reference_s or float("inf")
    wanted = list(range(len(artifacts)))
    while wanted:
        generator.shuffle(wanted)
        session, blocks = time_models([artifacts[index] for index in wanted], device, runs, limit_s, cold)
        made.append(session)
        for index, of_model in zip(wanted, blocks, strict=True):
            taken[index].append(of_model)
        reference_s = anchor_reference_s or min(reference_s, *(fastest_anchor(of_model) for of_model in blocks))
        if on_session is not None:
            on_session()
        wanted = [
            index
            for index, of_model in enumerate(taken)
            if needs_session(session_values(of_model, reference_s), sessions, max_sessions or 2 * sessions, max_gap)
        ]
    warnings = find_warnings(environment, made)
    return [
        summarise(artifact, of_model, reference_s, environment, warnings)
        for artifact, of_model in zip(artifacts, taken, strict=True)
    ]


def time_models(
    artifacts: Sequence[Artifact], device: Device, runs: int = RUNS, limit_s: float = LIMIT_S, cold: bool = False
) -> tuple[Session, list[tuple[Block, ...]]]:
    """One fresh session that visits every model once, in the given order, in a few blocks of runs."""
    order = [index for index in range(len(artifacts)) for _ in range(_BLOCKS)]
    runs = -(-runs // _BLOCKS)
    session, blocks = run_beside_anchor(artifacts, order, device, runs=runs, limit_s=limit_s, cold=cold)
    return session, [tuple(of_model) for of_model in blocks]


def session_values(sessions: Sequence[Sequence[Block]], reference_s: float) -> list[float]:
    """The estimate of every session, in seconds."""
    return [session_value(blocks, reference_s) for blocks in sessions]


def needs_session(values: Sequence[float], sessions: int, max_sessions: int, max_gap: float) -> bool:
    """Whether a model has too few sessions, or ones that disagree and are fewer than the upper bound."""
    if len(values) < sessions:
        return True
    return len(values) < max_sessions and len(values) > 1 and relative_gap(values) > max_gap


def summarise(
    artifact: Artifact,
    sessions: Sequence[tuple[Block, ...]],
    reference_s: float,
    environment: Environment,
    warnings: tuple[str, ...] = (),
) -> Measurement:
    """The measurement that the blocks of all sessions make."""
    center, gap = center_and_gap(session_values(sessions, reference_s))
    return Measurement(
        artifact=artifact,
        seconds=center,
        spread_s=gap,
        interval=(center - gap, center + gap),
        blocks=tuple(sessions),
        anchor_s=reference_s,
        environment=environment,
        warnings=warnings,
    )


def measure_anchored(
    artifacts: Sequence[Artifact],
    device: Device,
    sessions: int = ANCHORED_SESSIONS,
    *,
    blocks: int = 4,
    runs: int = 10,
    max_width: float = MAX_WIDTH,
    max_sessions: int | None = None,
    anchor_reference_s: float | None = None,
    limit_s: float = LIMIT_S,
    on_session: Callable[[], None] | None = None,
) -> list[Measurement]:
    """Time whole models relative to the anchor, all interleaved in the same processes.

    The same model differs by up to 27 % from process to process; a reference that runs A B A B ... A beside it moves with
    it, and the ratio is what can be compared between sessions and days.

    Args:
        artifacts: The model files; up to eight share their processes, so ratios between those are paired as well.
        device: Where to run them.
        sessions: Fresh processes, at least; the interval is taken over them.
        blocks: Blocks of runs per model and process.
        runs: Runs per block.
        max_width: Further processes are started while half of some model's interval is more than this share of its time ...
        max_sessions: ... up to this many in total; by default three times ``sessions``.
        anchor_reference_s: The anchor's time on the scale to report on, e.g. a table's; by default its own minimum in
            these sessions.
        limit_s: A block of a slow model ends after this long, with five runs at least.
        on_session: Called after every process, for progress.

    Returns:
        One measurement per artifact: anchor reference x median over the processes of the ratio, with its interval.

    Raises:
        RunnerError: A model could not be run.
    """
    most = max(sessions, max_sessions or 3 * sessions)
    plan = _Plan(sessions, most, max_width, blocks, runs, limit_s)
    return list(_anchored(artifacts, device, plan, anchor_reference_s, on_session))


@dataclass(frozen=True)
class _Plan:
    """How whole models are measured: see :func:`measure_anchored`."""

    sessions: int
    max_sessions: int
    max_width: float
    blocks: int
    runs: int
    limit_s: float

    def asks_for_more(self, made: Sequence[Sequence[Sequence[Block]]]) -> bool:
        """Too few sessions, or a model (sessions of each, blocks of each) whose interval is wide, below the bound."""
        done = len(made[0]) if made else 0
        if done < self.sessions:
            return True
        return done < self.max_sessions and any(_half_width(of_model) > self.max_width for of_model in made)


def _half_width(sessions: Sequence[Sequence[Block]]) -> float:
    """Half of the interval over the median."""
    ratio, low, high = median_interval([_median_ratio(blocks) for blocks in sessions])
    return (high - low) / 2 / ratio


def _anchored(
    artifacts: Sequence[Artifact],
    device: Device,
    plan: _Plan,
    anchor_reference_s: float | None,
    on_session: Callable[[], None] | None,
) -> Iterator[Measurement]:
    environment = record_environment(device)
    for start in range(0, len(artifacts), _GROUP):
        group = artifacts[start : start + _GROUP]
        made: list[Session] = []
        of_models: list[list[tuple[Block, ...]]] = [[] for _ in group]
        while plan.asks_for_more(of_models):
            order = [*range(len(group))] * plan.blocks
            session, per_model = run_beside_anchor(group, order, device, runs=plan.runs, limit_s=plan.limit_s)
            made.append(session)
            for of_model, blocks in zip(of_models, per_model, strict=True):
                of_model.append(tuple(blocks))
            if on_session is not None:
                on_session()
        warnings = find_warnings(environment, made)
        reference_s = anchor_reference_s or min(fastest_anchor(blocks) for model in of_models for blocks in model)
        for artifact, of_model in zip(group, of_models, strict=True):
            yield _compare(artifact, tuple(of_model), reference_s, environment, warnings)


def _compare(
    artifact: Artifact,
    sessions: tuple[tuple[Block, ...], ...],
    reference_s: float,
    environment: Environment,
    warnings: tuple[str, ...],
) -> Measurement:
    ratios = [_median_ratio(blocks) for blocks in sessions]
    ratio, low, high = median_interval(ratios)
    return Measurement(
        artifact=artifact,
        seconds=reference_s * ratio,
        spread_s=reference_s * (high - low) / 2,
        interval=(reference_s * low, reference_s * high),
        blocks=sessions,
        anchor_s=reference_s,
        environment=environment,
        ratio=ratio,
        warnings=warnings,
    )


def _median_ratio(blocks: Sequence[Block]) -> float:
    return median(block.ratio for block in blocks)
