from pathlib import Path
from typing import Any

import pytest

from nasc.artifact import Artifact
from nasc.devices import Visit
from nasc.devices.android.benchmark_model import BenchmarkModel, find_program, parse_visit
from nasc.devices.remote import Link
from nasc.devices.remote.machine import Plan, Wrapping
from nasc.errors import DeviceError, RunnerError

PUBLISHED = """INFO: STARTING!
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=4 first=140123 curr=131000 min=130500 max=140123 avg=133000 std=3000
INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=129000 curr=128500 min=128000 max=135000 avg=129500 std=1200
INFO: Inference timings in us: Init: 5000, First inference: 140123, Warmup (avg): 133000, Inference (avg): 129500
"""
"""In the form that the tool's own README shows: warm-up first, then the timed runs."""

PROGRAM = """#!/bin/sh
case "$*" in *--num_runs=*) runs=${*##*--num_runs=}; runs=${runs%% *} ;; esac
echo "INFO: count=1 first=999 curr=999 min=999 max=999 avg=999 std=0" >&2
echo "INFO: count=$runs first=120 curr=110 min=100 max=130 avg=115 std=5" >&2
echo "$*" >> %s
"""
"""Prints what the real program prints; it stands in for a program that only Google ships."""


def test_the_timed_runs_are_read_and_not_the_warm_up() -> None:
    visit = parse_visit(PUBLISHED)
    assert visit.samples_s == pytest.approx((0.128, 0.129, 0.1285, 0.135))
    assert visit.wall_s == pytest.approx(50 * 0.1295)


def test_runs_that_coincide_are_told_once() -> None:
    assert parse_visit("count=1 first=7 curr=7 min=7 max=7 avg=7 std=0").samples_s == pytest.approx((7e-6,))


def test_output_without_timings_is_an_error_with_its_last_words() -> None:
    with pytest.raises(RunnerError, match="expected timings from benchmark_model; got: Failed to load model"):
        parse_visit("INFO: STARTING!\nFailed to load model\n")


def test_a_session_runs_one_process_per_visit_in_order(
    link: Link, here: Any, tmp_path: Path, check_model: Artifact
) -> None:
    program, log = tmp_path / "benchmark_model", tmp_path / "log"
    program.write_text(PROGRAM % log)
    runner = BenchmarkModel(link, str(here.folder / "nasc"), program, "benchmark_model-gpu")
    visits = [Visit(0, runs=8, warmup=3, limit_s=0.5), Visit(0, runs=9)]
    outcome = runner.run_session(Plan([check_model], visits, 2, (0,), 0, 30.0), Wrapping("echo cool", "echo warm"))
    assert [visit.samples_s for visit in outcome.session.visits] == [pytest.approx((1e-4, 1.2e-4, 1.1e-4, 1.3e-4))] * 2
    assert [visit.wall_s for visit in outcome.session.visits] == pytest.approx([8 * 115e-6, 9 * 115e-6])
    first, second = log.read_text().splitlines()
    for flag in ("--num_threads=2", "--num_runs=8", "--warmup_runs=3", "--max_secs=0.5", "--use_gpu=true"):
        assert flag in first
    assert "--num_runs=9" in second
    assert (outcome.before, outcome.after) == ("cool\n", "warm\n")


def test_a_program_that_fails_is_reported(link: Link, here: Any, tmp_path: Path, check_model: Artifact) -> None:
    program = tmp_path / "benchmark_model"
    program.write_text("#!/bin/sh\necho 'cannot open library'\nexit 3\n")
    runner = BenchmarkModel(link, str(here.folder / "nasc"), program, "benchmark_model")
    with pytest.raises(RunnerError, match="ended with status 3: cannot open library"):
        runner.run_session(Plan([check_model], [Visit(0, runs=5)], 1, (), 0, 30.0))


def test_the_program_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASC_BENCHMARK_MODEL", "/no/such/program")
    with pytest.raises(DeviceError, match="in NASC_BENCHMARK_MODEL; got '/no/such/program'"):
        find_program()
