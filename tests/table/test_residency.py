"""Where a whole model lies between the warm and the cold times of its kernels."""

from dataclasses import replace

import pytest
import torch

from nasc.devices import SimulatedDevice
from nasc.graph import trace
from nasc.models import load_model
from nasc.table import LatencyTable, profile
from nasc.table.provenance import Residency
from nasc.table.residency import latest, measure_residency

DEVICE = SimulatedDevice(launch_s=0.0)  # a whole model is exactly the sum of its kernels


@pytest.fixture(scope="module")
def network():
    return trace(
        load_model("digits-cnn@0.25", num_classes=10, input_shape=(1, 8, 8)).eval(), (torch.randn(1, 1, 8, 8),)
    )


@pytest.fixture(scope="module")
def table(network, tmp_path_factory) -> LatencyTable:
    """The simulated device's own table: its times know nothing of caches, so warm is the truth."""
    return profile(DEVICE, [network], folder=tmp_path_factory.mktemp("tables"), progress=False).table


def with_cold(table: LatencyTable, warm: float, cold: float, cache: int) -> LatencyTable:
    rows = {
        shape: replace(row, seconds=warm * row.seconds, cold_s=cold * row.seconds) for shape, row in table.rows.items()
    }
    environment = replace(table.provenance.environment, facts={"inner_cache_bytes": cache})
    return LatencyTable(rows, replace(table.provenance, environment=environment))


def test_a_model_as_fast_as_its_warm_kernels_has_share_zero_and_one_as_slow_as_its_cold_ones_has_one(network, table):
    for warm, cold, share in ((1.0, 2.0, 0.0), (0.5, 1.0, 1.0), (0.8, 1.2, 0.5)):
        got = measure_residency(network, with_cold(table, warm, cold, 1000), DEVICE, table.anchor_s)
        assert got is not None
        assert got.share == pytest.approx(share, abs=0.02)
        assert got.telling == pytest.approx(cold / warm - 1, abs=1e-3)


def test_a_model_that_fits_and_one_whose_times_hardly_differ_say_nothing(network, table):
    assert measure_residency(network, with_cold(table, 1.0, 2.0, 10**9), DEVICE, table.anchor_s) is None
    assert measure_residency(network, with_cold(table, 1.0, 1.01, 1000), DEVICE, table.anchor_s) is None


def test_a_model_measured_again_replaces_what_it_said():
    assert latest([Residency(1e6, 0.2), Residency(2e6, 0.3), Residency(1e6, 0.4)]) == (
        Residency(1e6, 0.4),
        Residency(2e6, 0.3),
    )
