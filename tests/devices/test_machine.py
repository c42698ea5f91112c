from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nasc.artifact import Artifact
from nasc.devices import Visit
from nasc.devices.bundle import Bundle
from nasc.devices.remote import Link
from nasc.devices.remote.machine import Machine, Plan, Wrapping, check_checksum, check_folder
from nasc.errors import DeviceError, RunnerError


@pytest.fixture
def machine(link: Link, here: Any, here_bundle: Bundle) -> Machine:
    return Machine(link, str(here.folder / "nasc"), here_bundle)


def plan_of(model: Artifact, *visits: Visit, **settings: Any) -> Plan:
    values = {"threads": 1, "cores": (0,), "cold_bytes": 0, "timeout_s": 60.0, **settings}
    return Plan([model], visits, **values)


def test_the_native_runner_reports_every_visit_as_the_hosts_does(machine: Machine, check_model: Artifact) -> None:
    plan = plan_of(check_model, Visit(0, runs=6), Visit(0, runs=5, cold=True), cold_bytes=100_000)
    session = machine.run_session(plan).session
    assert [len(visit.samples_s) for visit in session.visits] == [6, 5]
    assert all(0 < sample < 1 for visit in session.visits for sample in visit.samples_s)
    assert session.facts["core"] == "0"
    assert session.facts["runner"] == f"bundle {machine.bundle.identity}"


def test_a_visit_ends_at_its_limit_but_not_before_five_runs(machine: Machine, check_model: Artifact) -> None:
    session = machine.run_session(plan_of(check_model, Visit(0, runs=100_000, limit_s=0.0))).session
    assert len(session.visits[0].samples_s) == 5


def test_the_runner_computes_what_the_check_model_is_known_to_give(machine: Machine) -> None:
    assert machine._trusted  # puts the bundle there; raises where the number differs
    check_checksum(machine._say_checksum(), "here")


def test_a_machine_that_computes_something_else_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"expected -582\.4687 from the check model, got -582\.9") as caught:
        check_checksum(-582.9, "here")
    assert "NASC_BENCHMARK_MODEL" in caught.value.hint


def test_the_known_checksum_is_what_litert_gives_here() -> None:
    import json

    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(check_folder() / "check.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    place = np.arange(np.prod(source["shape"]), dtype=np.uint64)
    values = ((place * np.uint64(2654435761) >> np.uint64(16)) & np.uint64(1023)).astype(np.float32) / 512 - 1
    interpreter.set_tensor(source["index"], values.reshape(source["shape"]).astype(np.float32))
    interpreter.invoke()
    output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel().astype(np.float64)
    total = float((output * (1 + np.arange(output.size) % 7)).sum())
    assert total == pytest.approx(json.loads((check_folder() / "check.json").read_text())["sum"], rel=1e-5)


def test_the_bundle_is_checked_once_on_a_machine(machine: Machine, check_model: Artifact, here: Any) -> None:
    plan = plan_of(check_model, Visit(0, runs=5))
    machine.run_session(plan)
    pushes = here.calls.count("push")
    assert (Path(machine.store.folder) / machine.place / "checked").exists()
    again = Machine(machine.link, machine.store.folder, machine.bundle)
    again.run_session(plan)
    assert here.calls.count("push") == pushes + 1  # the job alone: bundle and model are there


def test_a_bundle_that_does_not_start_names_the_other_way(
    link: Link, here: Any, here_bundle: Bundle, check_model: Artifact
) -> None:
    machine = Machine(link, str(here.folder / "nasc"), here_bundle, emulator="/no/such/emulator")
    with pytest.raises(DeviceError, match=r"bundle does not run there: status 127: .*not found") as caught:
        machine.run_session(plan_of(check_model, Visit(0, runs=5)))
    assert "--runtime benchmark_model" in caught.value.hint


def test_a_broken_model_fails_with_the_runners_words(machine: Machine, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(RunnerError, match=r"broken\.tflite: LiteRtCreateModelFromFile failed"):
        machine.run_session(plan_of(Artifact(broken, "litert", (), ()), Visit(0, runs=5)))


def test_what_surrounds_a_run_happens_on_the_machine(machine: Machine, check_model: Artifact, tmp_path: Path) -> None:
    wrapping = Wrapping("echo cool", "echo warm", f"echo free >> {tmp_path}/clock")
    outcome = machine.run_session(plan_of(check_model, Visit(0, runs=5)), wrapping)
    assert (outcome.before, outcome.after) == ("cool\n", "warm\n")
    assert (tmp_path / "clock").read_text() == "free\n"


def test_what_always_happens_also_happens_after_a_signal(
    machine: Machine, check_model: Artifact, tmp_path: Path
) -> None:
    machine.run_session(plan_of(check_model, Visit(0, runs=5)))
    wrapping = Wrapping("kill -TERM $$", "true", f"echo free >> {tmp_path}/clock")
    with pytest.raises(RunnerError):
        machine.run_session(plan_of(check_model, Visit(0, runs=5)), wrapping)
    assert (tmp_path / "clock").read_text() == "free\n"


def test_a_runner_that_the_machine_kills_is_started_again(
    machine: Machine, check_model: Artifact, tmp_path: Path
) -> None:
    machine.run_session(plan_of(check_model, Visit(0, runs=5)))
    once = f"[ -e {tmp_path}/died ] || {{ touch {tmp_path}/died; kill -9 -$(cat ../*/pid); }}"
    outcome = machine.run_session(plan_of(check_model, Visit(0, runs=5)), Wrapping(before=once))
    assert (tmp_path / "died").exists()
    assert len(outcome.session.visits) == 1


def test_a_runner_that_the_machine_always_kills_is_given_up(machine: Machine, check_model: Artifact) -> None:
    machine.run_session(plan_of(check_model, Visit(0, runs=5)))
    with pytest.raises(RunnerError, match="ended without a result"):
        machine.run_session(plan_of(check_model, Visit(0, runs=5)), Wrapping(before="kill -9 -$(cat ../*/pid)"))


def test_a_runner_nobody_waits_for_ends_by_itself(machine: Machine, check_model: Artifact) -> None:
    endless = plan_of(check_model, Visit(0, runs=10**8, limit_s=1e9), timeout_s=0.5)
    text = endless.text("/folder")
    assert "deadline_s 1\n" in text
    machine.run_session(plan_of(check_model, Visit(0, runs=5)))
    with pytest.raises(RunnerError, match=r"(Alarm|status 142|expected to end within)"):
        machine.run_session(endless)


def test_the_plan_says_what_the_runner_reads(check_model: Artifact) -> None:
    plan = plan_of(check_model, Visit(0, 7, warmup=2, limit_s=0.25, cold=True), cores=(6, 7), cold_bytes=4096)
    lines = plan.text("/f").splitlines()
    assert lines[:4] == ["threads 1", "deadline_s 61", "cold_bytes 4096", "cores 6,7"]
    assert lines[4].startswith("model /f/models/")
    assert lines[5] == "visit 0 2 7 0.25 1"
    assert "cores" not in replace(plan, cores=()).text("/f")
