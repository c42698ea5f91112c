"""Measuring many kernels: batches of fresh sessions, every one journaled, resumable at any moment."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from nasc.artifact import Artifact
from nasc.devices import Device
from nasc.errors import TableError
from nasc.exporters.litert import write_kernel
from nasc.kernels import KernelShape
from nasc.measurement import (
    MAX_GAP,
    Block,
    Stopwatch,
    center_and_gap,
    fastest_anchor,
    needs_session,
    record_environment,
    session_values,
    time_models,
)
from nasc.table.journal import Journal
from nasc.table.plan import FLOOR
from nasc.table.rows import Row
from nasc.table.store import TableFiles, writing

_BATCH = 40  # kernels per process: small enough to lose little, large enough for the start not to matter
_COLD_SESSIONS = 2
_COLD_RUNS = 10  # each is preceded by a sweep through the cache
_PROBES = 2  # sessions of a kernel that only shows a pattern
_LIMIT_S = 0.05  # a block of a slow kernel ends after this long

Progress = Callable[[int, int], None]
"""Called with sessions done and sessions wanted."""


class BudgetSpent(Exception):  # noqa: N818 - an event, not a failure
    """The time the user gave is over; what was measured stays."""


class Campaign:
    """Rows of one table in the making.

    Args:
        device: Where kernels run.
        files: Where the table is.
        rows: Rows the table already has.
        anchor_s: The anchor's time at full clock if it is known.
        floor_s: Time of an empty call if it is known, else 0.
        sessions: Fresh sessions per kernel.
        runs: Runs per session.
        budget_s: Stop after this long.
        seed: Seed of the order.
    """

    def __init__(
        self,
        device: Device,
        files: TableFiles,
        rows: Mapping[KernelShape, Row],
        *,
        anchor_s: float | None,
        floor_s: float,
        sessions: int,
        runs: int,
        budget_s: float | None,
        seed: int,
    ) -> None:
        self.device = device
        self.files = files
        self.kept = dict(rows)
        self._known_floor_s = floor_s
        self.sessions = sessions
        self.runs = runs
        self.budget_s = budget_s
        self.watch = Stopwatch()
        with writing(files):
            self.journal = Journal(files.journal)
            self.journal.start(record_environment(device))
        self._asked: set[KernelShape] = set()
        self._generator = random.Random(seed)
        self._anchor_s = min(
            (fastest_anchor(blocks) for taken in self.journal.sessions.values() for blocks in taken),
            default=float("inf"),
        )
        if anchor_s is not None:
            self._anchor_s = min(self._anchor_s, anchor_s)

    @property
    def anchor_s(self) -> float:
        """The anchor's time at full clock, as far as it was seen."""
        return self._anchor_s

    @property
    def floor_s(self) -> float:
        """Time of an empty call; 0 before it was measured."""
        taken = self.journal.sessions.get(FLOOR)
        return self._estimate(taken)[0] if taken else self._known_floor_s

    def measure(self, shapes: Sequence[KernelShape], progress: Progress | None = None) -> None:
        """See to it that every kernel has the sessions of a row; those that have them already cost nothing.

        Args:
            shapes: The kernels; they become rows of the table.
            progress: Told after every process.

        Raises:
            BudgetSpent: The time is over.
            RunnerError: A kernel could not be run.
            TableError: The journal could not be written.
        """
        self._asked |= set(shapes)
        self._measure(shapes, self._needs_as_row, self.sessions, progress)
        self._measure(shapes, self._needs_cold, _COLD_SESSIONS, progress, cold=True)

    def probe(self, shapes: Sequence[KernelShape], progress: Progress | None = None) -> None:
        """See to it that every kernel has a few sessions: enough for a pattern over many, and never a row.

        Raises:
            BudgetSpent: The time is over.
            RunnerError: A kernel could not be run.
            TableError: The journal could not be written.
        """
        self._measure(shapes, self._needs_as_probe, _PROBES, progress)

    def _measure(
        self,
        shapes: Sequence[KernelShape],
        needs: Callable[[KernelShape], bool],
        sessions: int,
        progress: Progress | None,
        *,
        cold: bool = False,
    ) -> None:
        def left(wanted: Sequence[KernelShape]) -> int:
            return sum(max(sessions - self._taken(shape, cold), 1) for shape in wanted)

        distinct = list(dict.fromkeys(shapes))
        done, wanted = 0, [shape for shape in distinct if needs(shape)]
        while wanted:
            remaining = done + left(wanted)
            self._generator.shuffle(wanted)
            for start in range(0, len(wanted), _BATCH):
                if self.budget_s is not None and self.watch.seconds > self.budget_s:
                    raise BudgetSpent
                batch = wanted[start : start + _BATCH]
                self._run_session(batch, cold)
                done += len(batch)
                if progress is not None:
                    progress(done, remaining)
            wanted = [shape for shape in distinct if needs(shape)]

    def rows(self) -> dict[KernelShape, Row]:
        """Every row there is: those the table had and those that were measured, the cost of an empty call taken off."""
        floor_s = self.floor_s
        made = {
            shape: self._row(shape, taken, floor_s)
            for shape, taken in self.journal.sessions.items()
            if shape in self._asked or shape in self.kept
        }
        return {**self.kept, **made}

    def seconds(self, shape: KernelShape) -> float:
        """The time of a kernel that was measured."""
        taken = self.journal.sessions.get(shape)
        return self.kept[shape].seconds if taken is None else self._row(shape, taken, self.floor_s).seconds

    def _row(self, shape: KernelShape, taken: Sequence[tuple[Block, ...]], floor_s: float) -> Row:
        seconds, gap = self._estimate(taken)
        runs = sum(len(block.samples_s) for blocks in taken for block in blocks)
        seconds = max(seconds - floor_s, 0.0)
        cold = self.journal.cold.get(shape)
        cold_s = max(self._estimate(cold)[0] - floor_s, seconds) if cold else seconds
        return Row(shape, seconds, gap, cold_s, len(taken), runs)

    def _estimate(self, taken: Sequence[tuple[Block, ...]]) -> tuple[float, float]:
        return center_and_gap(session_values(taken, self._anchor_s))

    def _taken(self, shape: KernelShape, cold: bool = False) -> int:
        return len((self.journal.cold if cold else self.journal.sessions).get(shape, ()))

    def _needs_as_row(self, shape: KernelShape) -> bool:
        return shape not in self.kept if self._taken(shape) == 0 else self._disagree(shape, self.sessions)

    def _needs_as_probe(self, shape: KernelShape) -> bool:
        return self._taken(shape) == 0 or self._disagree(shape, _PROBES)

    def _disagree(self, shape: KernelShape, sessions: int) -> bool:
        values = session_values(self.journal.sessions[shape], self._anchor_s)
        return needs_session(values, sessions, 2 * sessions, MAX_GAP)

    def _needs_cold(self, shape: KernelShape) -> bool:
        return shape in self.journal.sessions and self._taken(shape, cold=True) < _COLD_SESSIONS

    def _run_session(self, shapes: Sequence[KernelShape], cold: bool) -> None:
        runs = min(self.runs, _COLD_RUNS) if cold else self.runs
        with _kernel_files(shapes) as artifacts:
            session, blocks = time_models(artifacts, self.device, runs, _LIMIT_S, cold)
        with writing(self.files):
            self.journal.add(zip(shapes, blocks, strict=True), cold=cold, facts=session.facts)
        self._anchor_s = min(self._anchor_s, *(fastest_anchor(of_kernel) for of_kernel in blocks))


@contextmanager
def _kernel_files(shapes: Sequence[KernelShape]) -> Iterator[list[Artifact]]:
    """One model file per kernel, for as long as the block lasts.

    Raises:
        TableError: The temporary folder is full.
    """
    with TemporaryDirectory(prefix="nasc-kernels-") as folder:
        artifacts = [Artifact(Path(folder) / f"{index}.tflite", "litert", (), ()) for index in range(len(shapes))]
        try:
            for artifact, shape in zip(artifacts, shapes, strict=True):
                artifact.path.write_bytes(write_kernel(shape))
        except OSError as error:
            raise TableError(
                f"expected to write model files in {folder}; got: {error.strerror}",
                "free space or set TMPDIR, then run the same command again: rows measured so far are kept",
            ) from error
        yield artifacts
