from pathlib import Path

import pytest

from nasc.artifact import Artifact
from nasc.devices import LocalCpu, Visit
from nasc.devices.local import processor, read_session, run_program, time_bound
from nasc.errors import DeviceError, RunnerError
from nasc.exporters.litert import write_kernel
from nasc.kernels import signature


@pytest.fixture
def kernel(tmp_path: Path) -> Artifact:
    path = tmp_path / "kernel.tflite"
    path.write_bytes(write_kernel(signature("linear", rows=8).at(c_in=64, c_out=64)))
    return Artifact(path, "litert", (), ())


def test_a_session_reports_every_visit_in_order_with_every_run(kernel: Artifact) -> None:
    session = LocalCpu().run_session([kernel, kernel], [Visit(0, runs=3), Visit(1, runs=4), Visit(0, runs=5)])
    assert [visit.model for visit in session.visits] == [0, 1, 0]
    assert [len(visit.samples_s) for visit in session.visits] == [3, 4, 5]
    assert all(0 < sample < 1 for visit in session.visits for sample in visit.samples_s)
    assert session.facts["runtime_version"]


def test_a_visit_ends_at_its_limit_but_not_before_five_runs(kernel: Artifact) -> None:
    session = LocalCpu().run_session([kernel], [Visit(0, runs=100_000, limit_s=0.0)])
    assert len(session.visits[0].samples_s) == 5


def test_a_broken_file_fails_with_the_runners_own_words(tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(RunnerError, match=r"broken\.tflite: .*(flatbuffer|[Mm]odel|not)"):
        LocalCpu().run_session([Artifact(path, "litert", (), ())], [Visit(0, runs=1)])


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"runs litert files; got .*model\.onnx \(onnx\)") as caught:
        LocalCpu().run_session([Artifact(tmp_path / "model.onnx", "onnx", (), ())], [Visit(0, runs=1)])
    assert "--format litert" in caught.value.hint


def test_a_runner_that_hangs_is_given_up(kernel: Artifact) -> None:
    with pytest.raises(RunnerError, match="expected to end within 0 s and did not"):
        LocalCpu().run_session([kernel], [Visit(0, runs=10**9, limit_s=1e9)], timeout_s=0.3)


def test_a_runner_that_dies_is_reported() -> None:
    with pytest.raises(RunnerError, match="ended with status 1: KeyError"):
        run_program({"threads": 1}, timeout_s=60)


def test_missing_visits_are_an_error() -> None:
    with pytest.raises(RunnerError, match="expected to report 2 visits; got 0"):
        read_session('{"event": "ready"}\n{"event": "done"}\n', [], expected=2)


def test_the_bound_on_a_session_grows_with_its_plan() -> None:
    short = time_bound(1, [Visit(0, runs=1, limit_s=1.0)])
    assert time_bound(1, [Visit(0, runs=1, limit_s=2.0)]) > short
    assert time_bound(2, [Visit(0, runs=1, limit_s=1.0)]) > short


def test_the_processor_has_a_name_fit_for_a_file() -> None:
    slug = processor().slug
    assert slug
    assert slug == slug.lower()
    assert all(letter.isalnum() or letter == "-" for letter in slug)


def test_the_description_names_the_processor_and_its_load() -> None:
    facts = LocalCpu().describe()
    assert facts["cpu_model"]
    assert isinstance(facts["cores"], int)
    assert facts["cores"] >= 1
