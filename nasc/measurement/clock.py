"""The one clock: table rows and finished models are timed by the functions of this module."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nasc.artifact import Artifact
from nasc.devices import Device, Session, Visit
from nasc.measurement.environment import Environment, find_warnings, record_environment
from nasc.measurement.statistics import best_and_gap, relative_gap

RUNS = 30
SESSIONS = 3
MAX_GAP = 0.03
"""Relative gap of the two best sessions above which a measurement is repeated."""


@dataclass(frozen=True)
class Measurement:
    """The time of one model on one device.

    Args:
        artifact: What was timed.
        seconds: The estimate: minimum of the session minima, or anchor reference times median ratio.
        spread_s: Its error bar in seconds: the gap of the two best sessions, or half the width of the interval.
        session_minima: Minimum of every session in seconds.
        samples: Every run of every session in seconds.
        environment: The conditions.
        warnings: What a reader of the number should know.
        interval: Lower and upper end; ``seconds`` to ``seconds + spread_s`` where nothing was anchored, because the
            floor can only lie below what was seen.
        ratio: Ratio to the anchor, where one ran beside it.
    """

    artifact: Artifact
    seconds: float
    spread_s: float
    session_minima: tuple[float, ...]
    samples: tuple[tuple[float, ...], ...]
    environment: Environment
    warnings: tuple[str, ...] = ()
    interval: tuple[float, float] = (0.0, 0.0)
    ratio: float | None = None

    @property
    def minimum_s(self) -> float:
        """The smallest run of all sessions, in seconds."""
        return min(self.session_minima)


def measure(
    artifacts: Sequence[Artifact],
    device: Device,
    sessions: int = SESSIONS,
    runs: int = RUNS,
    *,
    max_gap: float = MAX_GAP,
    max_sessions: int | None = None,
    limit_s: float = 2.0,
    cold: bool = False,
    seed: int = 0,
    on_session: Callable[[], None] | None = None,
) -> list[Measurement]:
    """Time models: the minimum over fresh sessions, shuffled over the models, repeated where sessions disagree.

    Args:
        artifacts: The model files.
        device: Where to run them.
        sessions: Fresh processes, each of which visits every model once.
        runs: Timed runs per visit.
        max_gap: Models whose two best sessions differ by more than this fraction get further sessions ...
        max_sessions: ... up to this many in total; by default twice ``sessions``.
        limit_s: A visit of a slow model ends after this long, with five runs at least.
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
    if not artifacts:
        return []
    environment = record_environment(device)
    generator = random.Random(seed)
    samples: list[list[tuple[float, ...]]] = [[] for _ in artifacts]
    made: list[Session] = []
    wanted = list(range(len(artifacts)))
    while wanted:
        generator.shuffle(wanted)
        session = time_once([artifacts[index] for index in wanted], device, runs=runs, limit_s=limit_s, cold=cold)
        made.append(session)
        for index, visit in zip(wanted, session.visits, strict=True):
            samples[index].append(visit.samples_s)
        if on_session is not None:
            on_session()
        wanted = [
            index
            for index, taken in enumerate(samples)
            if needs_session([min(visit) for visit in taken], sessions, max_sessions or 2 * sessions, max_gap)
        ]
    plain = [summarise(artifact, taken, environment) for artifact, taken in zip(artifacts, samples, strict=True)]
    return [replace(measurement, warnings=find_warnings(environment, made)) for measurement in plain]


def time_once(
    artifacts: Sequence[Artifact], device: Device, *, runs: int = RUNS, limit_s: float = 2.0, cold: bool = False
) -> Session:
    """One fresh session that visits every model once, in the given order."""
    visits = [Visit(index, runs=runs, limit_s=limit_s) for index in range(len(artifacts))]
    return device.run_session(artifacts, visits, cold=cold)


def needs_session(session_minima: Sequence[float], sessions: int, max_sessions: int, max_gap: float) -> bool:
    """A model has too few sessions, or its best two disagree and the bound is not reached."""
    if len(session_minima) < sessions:
        return True
    return len(session_minima) < max_sessions and len(session_minima) > 1 and relative_gap(session_minima) > max_gap


def summarise(artifact: Artifact, samples: Sequence[tuple[float, ...]], environment: Environment) -> Measurement:
    """The measurement that the sessions' samples make."""
    minima = tuple(min(session) for session in samples)
    best, gap = best_and_gap(minima)
    return Measurement(
        artifact=artifact,
        seconds=best,
        spread_s=gap,
        session_minima=minima,
        samples=tuple(samples),
        environment=environment,
        interval=(best, best + gap),
    )
