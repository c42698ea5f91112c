from dataclasses import replace
from pathlib import Path

import pytest

from nasc.artifact import Artifact
from nasc.devices import LocalCpu, SimulatedDevice
from nasc.exporters.litert import write_kernel
from nasc.kernels import signature
from nasc.measurement import measure, measure_anchored, needs_session, write_anchor

EXACT = SimulatedDevice()


def linear(folder: Path, c_out: int, rows: int = 256) -> Artifact:
    path = folder / f"linear-{rows}-{c_out}.tflite"
    path.write_bytes(write_kernel(signature("linear", rows=rows).at(c_in=128, c_out=c_out)))
    return Artifact(path, "litert", (), ())


def test_the_simulated_device_is_measured_exactly(tmp_path: Path) -> None:
    artifacts = [linear(tmp_path, 32), linear(tmp_path, 64)]
    small, large = measure(artifacts, EXACT)
    assert small.seconds == pytest.approx(EXACT.matmul_seconds(256, 32, 128))
    assert large.seconds == pytest.approx(EXACT.matmul_seconds(256, 64, 128))
    assert (small.spread_s, large.artifact) == (0.0, artifacts[1])


def test_anchored_measurements_are_on_the_scale_of_the_reference(tmp_path: Path) -> None:
    anchor_s = measure([write_anchor(tmp_path)], EXACT)[0].seconds
    (plain,) = measure_anchored([linear(tmp_path, 32)], EXACT)
    (scaled,) = measure_anchored([linear(tmp_path, 32)], EXACT, anchor_reference_s=2 * anchor_s)
    assert plain.seconds == pytest.approx(EXACT.matmul_seconds(256, 32, 128))
    assert scaled.seconds == pytest.approx(2 * plain.seconds)
    assert plain.ratio == pytest.approx(plain.seconds / anchor_s)
    assert scaled.interval == (pytest.approx(scaled.seconds), pytest.approx(scaled.seconds))


def test_a_clock_half_as_fast_does_not_move_anchored_times(tmp_path: Path) -> None:
    (fast,) = measure_anchored([linear(tmp_path, 32)], EXACT)
    slow = replace(
        EXACT, launch_s=2 * EXACT.launch_s, multiply_add_s=2 * EXACT.multiply_add_s, element_s=2 * EXACT.element_s
    )
    (again,) = measure_anchored([linear(tmp_path, 32)], slow, anchor_reference_s=fast.anchor_s)
    assert again.seconds == pytest.approx(fast.seconds)
    assert again.minimum_s == pytest.approx(2 * fast.seconds)


def test_more_models_than_share_a_process_are_all_measured(tmp_path: Path) -> None:
    artifacts = [linear(tmp_path, 8 * count) for count in range(1, 11)]
    measured = [measurement.seconds for measurement in measure_anchored(artifacts, EXACT, sessions=2)]
    assert measured == sorted(measured)
    assert len(set(measured)) == 10


def test_noise_lengthens_the_error_bar_and_asks_for_more_sessions(tmp_path: Path) -> None:
    noisy = replace(EXACT, noise=0.5)
    (measurement,) = measure([linear(tmp_path, 32)], noisy, runs=3, max_gap=1e-9)
    assert len(measurement.session_minima) == 6
    assert measurement.spread_s > 0
    assert measurement.minimum_s >= EXACT.matmul_seconds(256, 32, 128)


def test_sessions_are_repeated_only_where_the_best_two_disagree() -> None:
    agreeing, disagreeing = [1.0, 1.01, 1.5], [1.0, 1.2, 1.5]
    assert needs_session(agreeing[:2], 3, 6, 0.03)
    assert not needs_session(agreeing, 3, 6, 0.03)
    assert needs_session(disagreeing, 3, 6, 0.03)
    assert not needs_session(disagreeing * 2, 3, 6, 0.03)


def test_every_raw_sample_and_the_conditions_are_kept(tmp_path: Path) -> None:
    (measurement,) = measure([linear(tmp_path, 32)], EXACT, sessions=2, runs=6)
    assert [len(samples) for samples in measurement.samples] == [6, 6]
    environment = measurement.environment
    assert (environment.device, environment.runtime, environment.threads) == ("simulated", "litert", 1)
    assert environment.origin == "simulated"
    assert "these times are simulated, not measured" in measurement.warnings


def test_nothing_to_measure_is_no_measurement() -> None:
    assert measure([], EXACT) == []
    assert measure_anchored([], EXACT) == []


@pytest.mark.parametrize(("sessions", "runs"), [(0, 30), (3, 0)])
def test_no_sessions_or_runs_are_refused(sessions: int, runs: int) -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        measure([], EXACT, sessions, runs)


def test_on_this_machine_half_the_outputs_cost_clearly_less(tmp_path: Path) -> None:
    small, large = measure([linear(tmp_path, 128, rows=1024), linear(tmp_path, 256, rows=1024)], LocalCpu())
    assert small.seconds < 0.8 * large.seconds
    assert small.environment.origin == "measured"


def test_on_this_machine_two_ways_of_measuring_agree(tmp_path: Path) -> None:
    artifact = linear(tmp_path, 256, rows=1024)
    (floor,) = measure([artifact], LocalCpu())
    (anchored,) = measure_anchored([artifact], LocalCpu(), anchor_reference_s=floor.anchor_s)
    assert anchored.seconds == pytest.approx(floor.seconds, rel=0.25)


def test_whole_models_get_further_sessions_until_their_interval_is_narrow_or_the_bound_is_reached(
    tmp_path: Path,
) -> None:
    artifact = linear(tmp_path, 32)
    (exact,) = measure_anchored([artifact], EXACT)
    assert len(exact.blocks) == 5
    noisy = SimulatedDevice(noise=0.5)
    (bounded,) = measure_anchored([artifact], noisy, sessions=2, runs=1, blocks=1, max_width=1e-6, max_sessions=7)
    assert len(bounded.blocks) == 7
    (some,) = measure_anchored([artifact], noisy, sessions=2, runs=1, blocks=1, max_width=0.2, max_sessions=50)
    assert 2 <= len(some.blocks) < 50
    assert some.spread_s <= 0.2 * some.seconds
