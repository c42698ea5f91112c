"""Where a table's numbers come from: the YAML file beside its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import yaml
from scipy.optimize import isotonic_regression

from nasc.errors import TableError
from nasc.kernels import Signature
from nasc.measurement import Environment
from nasc.table.steps import LINE, Steps

SCHEMA = 4
"""Number of the table schema; it grows when a key or column changes its meaning."""

RESIDENT = 0.5
"""Share of the inner cache that a model's weights may fill and still all be there at the next run (measured: models up to
this size run as fast as the sum of their warm kernels)."""

_EXTENTS = frozenset(
    ("height", "width", "pad_top", "pad_bottom", "pad_left", "pad_right", "positions", "from_positions", "vocabulary")
)  # how much of the same there is: it scales the steps and does not move them


@dataclass(frozen=True)
class HeldOut:
    """How well rows that the interpolation does not stand on are predicted.

    Args:
        points: How many.
        median_error: Median of the relative error; likewise the 90th percentile and the worst.
    """

    points: int
    median_error: float
    p90_error: float
    worst_error: float


class Residency(NamedTuple):
    """How a whole model too large for the inner cache lies between its kernels' warm and cold times.

    Args:
        weight_bytes: Size of its weights.
        share: 0 where it takes the sum of the warm times, 1 where that of the cold ones.
        telling: How much the two sums differ, relative to the warm one: how well the share is known.
    """

    weight_bytes: float
    share: float
    telling: float = 1.0


@dataclass(frozen=True)
class Provenance:
    """Where a table's numbers come from.

    Args:
        environment: The conditions of the first measurement; the same hardware, runtime, threads and dtype throughout.
        anchor_version: Which reference model ran between the measurements.
        anchor_s: Its time at full clock: the scale of the table.
        floor_s: Time of an empty call, taken off every row.
        steps: Steps by family and size name.
        residency: The whole models it was calibrated on, see :meth:`~nasc.table.LatencyTable.for_weights`.
        held_out: The interpolation's error at the last profile, or None.
        updated: Date of the last row, ISO 8601 in UTC.
        complete: The last profile ended by itself; False while one runs and after one that was stopped.
        warnings: What a reader of the numbers should know.
    """

    environment: Environment
    anchor_version: int
    anchor_s: float
    floor_s: float
    steps: Mapping[tuple[str, str], Steps] = field(default_factory=dict)
    residency: tuple[Residency, ...] = ()
    held_out: HeldOut | None = None
    updated: str = ""
    complete: bool = False
    warnings: tuple[str, ...] = ()

    def steps_of(self, signature: Signature) -> dict[str, Steps]:
        """Steps by size name for a signature."""
        name = family(signature)
        return {size: steps for (of_family, size), steps in self.steps.items() if of_family == name}

    def step(self, signature: Signature, size: str) -> Steps:
        """Steps along one size of a signature; none where its family was never probed."""
        return self.steps.get((family(signature), size), LINE)

    def with_steps(self, found: Mapping[tuple[str, str], Steps]) -> "Provenance":
        """With the steps of further families."""
        return replace(self, steps={**self.steps, **found})


def is_current(text: str) -> bool:
    """Whether provenance text is of this version's schema."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return isinstance(values, dict) and values.get("schema") == SCHEMA


def cold_share(residency: Sequence[Residency], resident_bytes: float, weight_bytes: float) -> float:
    """Where between the warm and the cold times of its kernels a whole model runs.

    Weights that were not used for a while have left the inner cache, the more of them the larger the model is. Up to
    ``resident_bytes`` nothing leaves it; from there the share lies on the line that fits the models it was
    calibrated on best and never falls.

    Args:
        residency: Whole models, those that fit left out; before there are any, a model of
            eight times what fits is taken to be all cold.
        resident_bytes: Weights that stay, in bytes.
        weight_bytes: Size of the model's weights.
    """
    larger = sorted(point for point in residency if point.weight_bytes > resident_bytes)
    sizes, shares, weights = zip(*(larger or [Residency(8 * resident_bytes, 1.0)]), strict=True)
    rising = isotonic_regression(shares, weights=weights).x
    return float(np.interp(weight_bytes, (resident_bytes, *sizes), (0.0, *rising)))


def family(signature: Signature) -> str:
    """What signatures share that climb the same steps: all but how many positions there are.

    One row is a family of its own: runtimes have matrix-vector kernels for it.
    """
    kept = [f"{name}={value}" for name, value in signature.attributes if name not in _EXTENTS and name != "rows"]
    rows = dict(signature.attributes).get("rows")
    kept += [] if rows is None else ["rows=1" if rows == 1 else "rows=many"]
    return " ".join([signature.kind, *kept])


def write_provenance(provenance: Provenance) -> str:
    """Provenance as YAML text."""
    held_out = provenance.held_out
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "environment": provenance.environment.to_dict(),
        "updated": provenance.updated,
        "complete": provenance.complete,
        "anchor_version": provenance.anchor_version,
        "anchor_s": provenance.anchor_s,
        "floor_s": provenance.floor_s,
        "residency": [list(point) for point in provenance.residency],
        "held_out": None if held_out is None else vars(held_out).copy(),
        "warnings": list(provenance.warnings),
        "steps": [
            {
                "family": name,
                "size": size,
                "period": steps.period,
                "first": list(steps.first),
                "later": list(steps.later),
            }
            for (name, size), steps in sorted(provenance.steps.items())
        ],
    }
    return yaml.safe_dump(values, sort_keys=False, width=200, default_flow_style=None)


def read_provenance(text: str, origin: str) -> Provenance:
    """The inverse of :func:`write_provenance`.

    Raises:
        TableError: The text is of another schema, or a key is missing or unknown.
    """
    try:
        values = yaml.safe_load(text)
        if values["schema"] != SCHEMA:
            raise TableError(
                f"{origin}: expected table schema {SCHEMA}; got {values['schema']}",
                "profile again with this version of nasc",
            )
        return Provenance(
            environment=Environment.from_dict(values["environment"]),
            anchor_version=values["anchor_version"],
            anchor_s=float(values["anchor_s"]),
            floor_s=float(values["floor_s"]),
            steps={
                (entry["family"], entry["size"]): Steps(entry["period"], tuple(entry["first"]), tuple(entry["later"]))
                for entry in values["steps"]
            },
            residency=tuple(Residency(*map(float, point)) for point in values.get("residency", ())),
            held_out=None if values["held_out"] is None else HeldOut(**values["held_out"]),
            updated=values["updated"],
            complete=values["complete"],
            warnings=tuple(values["warnings"]),
        )
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise TableError(f"{origin}: expected a table's provenance; {type(error).__name__}: {error}") from error
