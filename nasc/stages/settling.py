"""Settling on the device: a selection's file is timed before its fine-tuning, and corrected until it meets the target.

Latency does not depend on the values of weights, so the file of the selection can be measured as soon as widths stand. If
it misses the target, or leaves more than :data:`SLACK` of it unused, the price is corrected by what was measured and the
widths are chosen again from the method's own scores; fine-tuning follows on a model that is known to meet the target.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from nasc.artifact import Artifact
from nasc.devices import Device
from nasc.errors import TargetError
from nasc.exporters import export
from nasc.graph import Network, Selection
from nasc.materialise import load_selection, materialise, save_selection
from nasc.measurement import Measurement, measure_anchored
from nasc.methods import Constrained, Method, Price, readjust
from nasc.records import write_atomic
from nasc.stages.goal import SUFFIX, Dense, Goal, show
from nasc.table import LatencyTable
from nasc.units import format_seconds

_log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Selections that are measured at most."""

SLACK = 0.02
"""A model this much faster than its target gives accuracy away: it may grow again."""

TOLERANCE = 0.01
"""The upper end of the measured interval may exceed the target by this much and no more."""


@dataclass(frozen=True)
class Attempt:
    """One selection, timed.

    Args:
        price_limit: What its price was allowed to be, in seconds by the table.
        predicted_s: Its price.
        measured_s: Its file, on the device.
        upper_s: Upper end of that interval.
    """

    price_limit: float
    predicted_s: float
    measured_s: float
    upper_s: float

    def meets(self, limit: float) -> bool:
        """The target is met beyond doubt: by the interval's upper end, within the tolerance; and by the value itself."""
        return self.measured_s <= limit and self.upper_s <= limit * (1 + TOLERANCE)


@dataclass(frozen=True)
class Settled:
    """The selection that stays, and what was tried."""

    selection: Selection
    attempts: tuple[Attempt, ...]


def settle(method: Method, goal: Goal, dense: Dense, device: Device, table: LatencyTable, folder: Path) -> Settled:
    """Find the selection whose file meets the target on the device with the least slack.

    Args:
        method: Frozen; its network is what is built.
        goal: The target.
        dense: The dense model, timed beside every attempt.
        device: Where it will run.
        table: Its scale is the measurements' scale.
        folder: The run's folder; the selection is kept there, so that a run that goes on does not measure again.

    Raises:
        TargetError: No attempt met the target.
    """
    if (settled := _load(folder)) is not None:
        return settled
    network, price, limit = method.network, method.price, goal.price_limit
    selection = method.select()
    if goal.seconds is None and selection.masks:  # a count of weights is met by the masks themselves
        return _save(folder, Settled(selection, ()))
    selection = readjust(price, selection, method.scores(), limit)
    if goal.seconds is None:
        return _save(folder, Settled(selection, ()))
    attempts: list[tuple[Attempt, Selection]] = []
    while len(attempts) < ATTEMPTS:
        attempt = _try(network, price, selection, goal, limit, dense, device, table, folder)
        attempts.append((attempt, selection))
        if attempt.meets(goal.limit) and attempt.measured_s >= goal.limit * (1 - SLACK):
            break
        limit = _next_limit([a for a, _ in attempts], goal.limit)
        changed = _choose(price, selection, method, limit)
        if changed.sizes == selection.sizes:
            break
        selection = changed
    met = [(attempt, chosen) for attempt, chosen in attempts if attempt.meets(goal.limit)]
    if not met:
        raise TargetError(
            f"{len(attempts)} selections were measured and none met {format_seconds(goal.limit)}; the closest took "
            f"{format_seconds(min(a.upper_s for a, _ in attempts))} (upper end)",
            "run again on a quieter machine, or ask for a little more; the search is kept in the run's folder",
        )
    _, selection = max(met, key=lambda pair: pair[0].measured_s)
    return _save(folder, Settled(selection, tuple(a for a, _ in attempts)))


def _choose(price: Price, selection: Selection, method: Method, limit: float) -> Selection:
    """The selection for another limit; further limits of the price stay what they are."""
    at = price.at(limit) if isinstance(price, Constrained) else price
    return readjust(at, selection, method.scores(), limit)


def measure_beside_dense(
    artifact: Artifact, dense: Artifact, device: Device, table: LatencyTable
) -> tuple[Measurement, Measurement]:
    """Time a finished file and the dense model's, interleaved in the same processes."""
    small, large = measure_anchored([artifact, dense], device, anchor_reference_s=table.anchor_s)
    return small, large


def _try(
    network: Network,
    price: Price,
    selection: Selection,
    goal: Goal,
    price_limit: float,
    dense: Dense,
    device: Device,
    table: LatencyTable,
    folder: Path,
) -> Attempt:
    candidate = export(
        materialise(network, selection), network.example_inputs, folder / f"candidate{SUFFIX[device.format]}"
    )
    measured, _ = measure_beside_dense(candidate, dense.artifact, device, table)
    attempt = Attempt(price_limit, price.total(selection.sizes), measured.seconds, measured.interval[1])
    _log.info(
        "candidate: measured %s (up to %s), predicted %s, target %s",
        *(show(value, "seconds") for value in (attempt.measured_s, attempt.upper_s, attempt.predicted_s, goal.limit)),
    )
    return attempt


def _next_limit(attempts: list[Attempt], limit: float) -> float:
    """The next limit on the price: what was measured of the last attempt, carried over to the target.

    Between an attempt that met the target and one that did not, the middle is tried.
    """
    last = attempts[-1]
    aimed = last.predicted_s * limit * (1 - SLACK / 4) / max(last.measured_s, last.upper_s / (1 + TOLERANCE))
    below = max((a.price_limit for a in attempts if a.meets(limit)), default=None)
    above = min((a.price_limit for a in attempts if not a.meets(limit)), default=None)
    if below is not None and above is not None and not below < aimed < above:
        return (below + above) / 2
    return aimed


_FILE, _ATTEMPTS = "selection.safetensors", "attempts.json"


def _save(folder: Path, settled: Settled) -> Settled:
    write_atomic(folder / _ATTEMPTS, json.dumps([asdict(a) for a in settled.attempts]).encode())
    save_selection(settled.selection, folder / _FILE)  # last: where it stands, the attempts do
    return settled


def _load(folder: Path) -> Settled | None:
    if not (folder / _FILE).is_file():
        return None
    attempts = json.loads((folder / _ATTEMPTS).read_text())
    return Settled(load_selection(folder / _FILE), tuple(Attempt(**values) for values in attempts))
