from collections.abc import Callable, Iterable, Mapping

import pytest

from nasc.devices import SimulatedDevice
from nasc.kernels import KernelShape
from nasc.measurement import record_environment
from nasc.table import LatencyTable
from nasc.table.provenance import Provenance
from nasc.table.rows import Row
from nasc.table.steps import Steps

TableMaker = Callable[..., LatencyTable]


@pytest.fixture
def provenance() -> Provenance:
    return Provenance(record_environment(SimulatedDevice()), anchor_version=1, anchor_s=1e-3, floor_s=1e-6)


@pytest.fixture
def make_table(provenance: Provenance) -> TableMaker:
    """A table of shapes whose time is a formula."""

    def make(
        shapes: Iterable[KernelShape],
        seconds: Callable[[KernelShape], float],
        steps: Mapping[tuple[str, str], Steps] | None = None,
        **options: str,
    ) -> LatencyTable:
        rows = [Row(shape, seconds(shape), 0.0, seconds(shape), 3, 90) for shape in shapes]
        return LatencyTable.from_rows(rows, provenance.with_steps(steps or {}), **options)  # type: ignore[arg-type]

    return make
