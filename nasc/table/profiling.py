"""Profiling: build or extend the latency table of a device, for the networks that will be asked about."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from nasc.devices import Device, get_device
from nasc.errors import ExportError, TableError
from nasc.exporters.litert import write_kernel
from nasc.kernels import KernelShape, Signature
from nasc.measurement import ANCHOR_VERSION, RUNS, SESSIONS, find_warnings, now, record_environment
from nasc.table.campaign import BudgetSpent, Campaign, Progress
from nasc.table.interpolation import complete_grid
from nasc.table.latency_table import LatencyTable
from nasc.table.plan import (
    FLOOR,
    Line,
    Region,
    add_knot,
    covers,
    find_regions,
    grid_shapes,
    plan_held_out,
    plan_knots,
    plan_lines,
    shape_of,
)
from nasc.table.provenance import HeldOut, Provenance
from nasc.table.residency import latest, measure_residency
from nasc.table.rows import Row
from nasc.table.steps import Steps, find_steps
from nasc.table.store import TableFiles, find_table, locked, read_table, table_files, write_table

if TYPE_CHECKING:
    from nasc.graph.network import Network

TOLERANCE = 0.03
"""Relative error of a held-out kernel above which its grid gets another line."""

EMULATED = "NASC_EMULATED"
"""Environment variable: with the value ``allow`` an emulated device may have a table, which is marked."""

_ROUNDS = 3
_HELD_OUT = 4  # per signature and round
_LONGEST_AXIS = 24  # knots; a grid that is still wrong then is noise


@dataclass(frozen=True)
class ProfileResult:
    """What a profile made.

    Args:
        table: The table, old rows and new.
        files: Where it is.
        rows: Rows it has.
        added: Rows it did not have before.
        elapsed_s: How long the profile took.
        complete: False where the budget ended it early.
        skipped: Signatures that the runtime's format cannot express: they stay without a price.
    """

    table: LatencyTable
    files: TableFiles
    rows: int
    added: int
    elapsed_s: float
    complete: bool
    skipped: tuple[Signature, ...] = ()


def profile(
    device: Device | str,
    networks: "Sequence[Network]",
    *,
    budget_s: float | None = None,
    tolerance: float = TOLERANCE,
    sessions: int = SESSIONS,
    runs: int = RUNS,
    folder: Path | None = None,
    progress: bool = True,
    seed: int = 0,
) -> ProfileResult:
    """Build or extend the latency table of a device so that it covers the networks at every width up to their own.

    Every session is on the disk as soon as it is made; the same call after kill -9 goes on where it stopped, and a call
    with further networks measures only what is new.

    Args:
        device: The device, or the name of one with its default runtime, threads and dtype.
        networks: Whose kernels to cover.
        budget_s: Stop after this long and keep what there is.
        tolerance: Relative error of the interpolation at widths it has not seen, above which knots are added.
        sessions: Fresh sessions per kernel.
        runs: Runs per session.
        folder: The folder of tables; by default the user's own.
        progress: Show progress on stderr.
        seed: Seed of the measuring order and of the held-out widths.

    Raises:
        RunnerError: A kernel could not be run on the device.
        TableError: The table is in use, was made under other conditions, or cannot be written; or the device's times are
            emulated.
    """
    device = get_device(device) if isinstance(device, str) else device
    refuse_emulated(device)
    files = table_files(device, folder)
    regions, skipped = writable(find_regions(networks))
    ready = _ready(device, regions, folder)
    if ready is not None:
        return ProfileResult(ready, files, len(ready.rows), added=0, elapsed_s=0.0, complete=True, skipped=skipped)
    with locked(files):
        rows, provenance = _start(device, folder)
        campaign = Campaign(
            device,
            files,
            rows,
            anchor_s=provenance.anchor_s or None,
            floor_s=provenance.floor_s,
            sessions=sessions,
            runs=runs,
            budget_s=budget_s,
            seed=seed,
        )
        profiler = _Profiler(campaign, provenance, regions, tolerance, seed)
        with _show_progress(progress) as show:
            complete = profiler.run(networks, show)
        table = profiler.table()
    return ProfileResult(
        table=table,
        files=files,
        rows=len(table.rows),
        added=len(set(table.rows) - set(rows)),
        elapsed_s=campaign.watch.seconds,
        complete=complete,
        skipped=skipped,
    )


def refuse_emulated(device: Device) -> None:
    """Keep times that mean nothing out of tables, unless somebody who tries nasc out asks for it.

    Raises:
        TableError: The device is emulated.
    """
    if device.origin == "emulated" and os.environ.get(EMULATED) != "allow":
        raise TableError(
            f"expected a device whose times mean something; the processor of {device.name} is emulated",
            f"use real hardware; or, to try nasc out, set {EMULATED}=allow: the table is then marked as emulated",
        )


def writable(regions: Sequence[Region]) -> tuple[list[Region], tuple[Signature, ...]]:
    """The regions whose kernels can be written as files, and the signatures of those that cannot."""
    good, skipped = [], []
    for region in regions:
        try:
            write_kernel(shape_of(region.signature, [1] * len(region.names)))
            good.append(region)
        except ExportError:
            skipped.append(region.signature)
    return good, tuple(skipped)


def _ready(device: Device, regions: Sequence[Region], folder: Path | None) -> LatencyTable | None:
    """The table, if it is complete and covers everything already: then nothing is locked and nothing written."""
    existing = find_table(device, folder)
    if existing is None or existing.outdated:
        return None
    table = read_table(existing, device=device)
    return table if table.provenance.complete and covers(table, regions) else None


def _start(device: Device, folder: Path | None) -> tuple[dict[KernelShape, Row], Provenance]:
    """Rows and provenance to extend: the user's table, else the shipped one, else nothing.

    A table of another schema counts as nothing: it is made anew from its raw samples.

    Raises:
        TableError: The table was made under other conditions or is broken.
    """
    existing = find_table(device, folder)
    if existing is not None and not existing.outdated:
        table = read_table(existing, device=device)
        return dict(table.rows), table.provenance
    return {}, Provenance(record_environment(device), ANCHOR_VERSION, anchor_s=0.0, floor_s=0.0)


class _Profiler:
    """The stages of a profile, each resumable, each leaving a usable table."""

    def __init__(
        self, campaign: Campaign, provenance: Provenance, regions: Sequence[Region], tolerance: float, seed: int
    ) -> None:
        self.campaign = campaign
        self.provenance = provenance
        self.regions = regions
        self.tolerance = tolerance
        self.seed = seed

    def run(self, networks: "Sequence[Network]", show: "_Show") -> bool:
        """All stages; False where the budget ended them."""
        try:
            self.find_steps(show("finding the steps"))
            knots = self.measure_grids(show("measuring"))
            for number in range(_ROUNDS):
                knots, refined = self.refine(knots, number, show(f"checking widths not measured, round {number + 1}"))
                if not refined:
                    break
            self.calibrate(networks)
        except BudgetSpent:
            self.save("stopped by its budget: some widths are missing")
            return False
        self.save(complete=True)
        return True

    def find_steps(self, progress: Progress | None) -> None:
        """Measure one line per family and size, and read the steps off it."""
        lines = plan_lines(self.regions, self.provenance)
        shapes = [shape for line in lines for shape in line.shapes]
        if not self.provenance.floor_s:
            shapes.append(FLOOR)
        self.campaign.probe(shapes, progress)
        self.provenance = self.provenance.with_steps(
            {(line.family, line.size): self._steps_along(line) for line in lines}
        )
        self.save()

    def _steps_along(self, line: Line) -> Steps:
        seconds = {shape[line.size]: self.campaign.seconds(shape) for shape in line.shapes}
        return find_steps(seconds, self.campaign.floor_s)

    def measure_grids(self, progress: Progress | None) -> list[list[list[int]]]:
        """Measure a grid on the sizes that stand for steps, for every region; its knots."""
        knots = [
            plan_knots(region, self.provenance.steps_of(region.signature), self._known_knots(region))
            for region in self.regions
        ]
        self._measure_all(knots, progress)
        self.save()
        return knots

    def refine(
        self, knots: list[list[list[int]]], number: int, progress: Progress | None
    ) -> tuple[list[list[list[int]]], bool]:
        """Predict widths not measured, measure them, and add lines where the prediction was off.

        Returns:
            The knots, and whether any were added.
        """
        drawn = [plan_held_out(region, _HELD_OUT, self.seed + number) for region in self.regions]
        table = self.table()
        fresh = [[shape for shape in shapes if shape not in table.rows] for shapes in drawn]
        predicted = {
            shape: float(table.seconds(shape.signature, dict(shape.sizes))) for shapes in fresh for shape in shapes
        }
        self.campaign.measure([shape for shapes in drawn for shape in shapes], progress)
        errors = {shape: self._error(shape, seconds) for shape, seconds in predicted.items()}
        if errors:
            self.provenance = replace(self.provenance, held_out=_summary(list(errors.values())))
        refined = [
            self._refined(region, axes, [shape for shape in shapes if errors[shape] > self.tolerance])
            for region, axes, shapes in zip(self.regions, knots, fresh, strict=True)
        ]
        self._measure_all(refined, progress)
        self.save()
        return refined, refined != knots

    def calibrate(self, networks: "Sequence[Network]") -> None:
        """Measure the networks whole, to learn how much of their kernels' cold times models of their size pay."""
        points = []
        for network in networks:
            point = measure_residency(network, self.table(), self.campaign.device, self.campaign.anchor_s)
            points += [] if point is None else [point]
        self.provenance = replace(self.provenance, residency=latest([*self.provenance.residency, *points]))

    def table(self) -> LatencyTable:
        """The table as it stands."""
        return LatencyTable(self.campaign.rows(), self.provenance)

    def save(self, warning: str | None = None, *, complete: bool = False) -> None:
        """Write the table as it stands."""
        environment = self.provenance.environment
        warnings = (*find_warnings(environment, ()), *((warning,) if warning else ()))
        self.provenance = replace(
            self.provenance,
            anchor_s=self.campaign.anchor_s,
            floor_s=self.campaign.floor_s,
            updated=now(),
            complete=complete,
            warnings=warnings,
        )
        write_table(self.campaign.files, list(self.campaign.rows().values()), self.provenance)

    def _measure_all(self, knots: list[list[list[int]]], progress: Progress | None) -> None:
        shapes = [
            shape
            for region, axes in zip(self.regions, knots, strict=True)
            for shape in grid_shapes(region.signature, axes)
        ]
        self.campaign.measure(shapes, progress)

    def _known_knots(self, region: Region) -> Sequence[Sequence[int]]:
        """The knots that the table's surface for a region stands on already."""
        steps = self.provenance.steps_of(region.signature)
        points = [
            tuple(value for _, value in shape.sizes)
            for shape in self.campaign.kept
            if shape.signature == region.signature
            and all(name not in steps or steps[name].representative(value) == value for name, value in shape.sizes)
        ]
        return complete_grid(points) if points else ()

    def _error(self, shape: KernelShape, predicted_s: float) -> float:
        """Relative error, blind below a tenth of the empty call: nothing so small matters or can be timed."""
        measured_s = self.campaign.seconds(shape)
        return max(abs(predicted_s - measured_s) - 0.1 * self.campaign.floor_s, 0.0) / max(measured_s, 1e-12)

    def _refined(self, region: Region, knots: list[list[int]], wrong: Sequence[KernelShape]) -> list[list[int]]:
        steps = self.provenance.steps_of(region.signature)
        for shape in wrong:
            if max(len(axis) for axis in knots) < _LONGEST_AXIS:
                knots = add_knot(region, knots, shape, steps)
        return knots


def _summary(errors: list[float]) -> HeldOut:
    ordered = sorted(errors)
    p90 = ordered[min(int(0.9 * len(ordered)), len(ordered) - 1)]
    return HeldOut(len(errors), *(round(value, 4) for value in (median(ordered), p90, ordered[-1])))


class _Show:
    """Progress bars, one per stage."""

    def __init__(self, bars: "object | None") -> None:
        self._bars = bars

    def __call__(self, title: str) -> Progress | None:
        """A new bar; None where nothing is shown."""
        from rich.progress import Progress as Bars

        if not isinstance(self._bars, Bars):
            return None
        bars = self._bars
        task = bars.add_task(title, total=None)

        def update(done: int, wanted: int) -> None:
            bars.update(task, completed=done, total=wanted)

        return update


@contextmanager
def _show_progress(wanted: bool) -> Iterator[_Show]:
    if not wanted:
        yield _Show(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _Show(bars)
