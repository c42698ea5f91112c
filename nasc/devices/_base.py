"""What every device can do: describe itself, and time model files in one fresh session."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from nasc.artifact import Artifact

Origin = Literal["measured", "simulated", "emulated"]
"""Where a time comes from. Only measured times may stand in a table or a frontier unmarked."""

Facts = Mapping[str, str | int | float | None]


@dataclass(frozen=True)
class Visit:
    """One stop of a session: run one model several times in a row.

    Args:
        model: Index into the artifacts of the session.
        runs: Timed runs.
        warmup: Runs before them that are not timed.
        limit_s: The visit ends earlier once it took this long and five runs are done.
        cold: Weights leave the inner caches before every run, as they do inside a model larger than those caches.
    """

    model: int
    runs: int
    warmup: int = 3
    limit_s: float = 10.0
    cold: bool = False


@dataclass(frozen=True)
class VisitResult:
    """What came of a visit.

    Args:
        model: Index into the artifacts of the session.
        samples_s: Wall time of each run in seconds.
        wall_s: Wall time of the whole visit.
        cpu_s: Processor time of the whole visit; well below ``wall_s`` when other programs took the core. None where
            the device cannot tell.
    """

    model: int
    samples_s: tuple[float, ...]
    wall_s: float
    cpu_s: float | None = None


@dataclass(frozen=True)
class Session:
    """What came of one fresh process on the device.

    Args:
        visits: One result per planned visit, in order.
        facts: What the process knows of itself: runtime version, core, priority.
    """

    visits: tuple[VisitResult, ...]
    facts: Facts


@runtime_checkable
class Device(Protocol):
    """A place where models run, with the runtime, threads and number format they run with."""

    @property
    def name(self) -> str:
        """What is typed after ``--device``."""
        ...

    @property
    def runtime(self) -> str:
        """Which runtime runs the models, e.g. ``"litert"``."""
        ...

    @property
    def threads(self) -> int:
        """Threads of the runtime."""
        ...

    @property
    def dtype(self) -> str:
        """Number format of weights and activations, e.g. ``"float32"``."""
        ...

    @property
    def origin(self) -> Origin:
        """Where its times come from."""
        ...

    @property
    def format(self) -> str:
        """Format of the artifacts it runs, see :class:`nasc.artifact.Artifact`."""
        ...

    @property
    def hardware(self) -> str:
        """Which hardware this is, in letters fit for a file name; two machines with one value share latency tables."""
        ...

    def describe(self) -> Facts:
        """What is known of the hardware and its state now: model, cores, clock, load."""
        ...

    def run_session(
        self,
        artifacts: Sequence[Artifact],
        visits: Sequence[Visit],
        *,
        timeout_s: float | None = None,
    ) -> Session:
        """Time models in one fresh process.

        Args:
            artifacts: The model files.
            visits: What to run, in order.
            timeout_s: Give up after this long; by default a generous bound that grows with the plan.

        Raises:
            RunnerError: The process failed or did not answer in time; the message carries its own words.
            DeviceError: The device cannot run these artifacts.
        """
        ...
