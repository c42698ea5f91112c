import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from nasc.devices.remote import Link
from nasc.devices.remote.job import JobGone, run_job, stop_orphans
from nasc.devices.remote.store import Store
from nasc.errors import RunnerError


@pytest.fixture
def store(link: Link, here: Any) -> Store:
    return Store(link, str(here.folder / "nasc"))


def jobs(store: Store) -> list[Path]:
    return sorted(Path(store.folder).glob("jobs/job-*"))


def alive(pid: int) -> bool:
    return (
        Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    )


def test_a_job_brings_back_its_files_and_status_and_leaves_nothing(store: Store) -> None:
    result = run_job(store, "cat question > answer; exit 5", {"question": "what?\n"}, ("answer", "missing"), 20)
    assert (result.status, dict(result.files)) == (5, {"answer": b"what?\n", "missing": b""})
    assert jobs(store) == []


def test_a_job_whose_start_was_not_answered_is_not_started_twice(store: Store, here: Any, tmp_path: Path) -> None:
    store.link.run("true")
    shell, broken = here.shell, []

    def lose_the_answer(command: str, timeout_s: float) -> str:
        answer = shell(command, timeout_s)
        if "nohup setsid" in command and not broken:
            broken.append(command)
            here.breaks.append("answer of shell")
            here._answer("shell", "")
        return answer

    here.shell = lose_the_answer
    run_job(store, f"echo ran >> {tmp_path}/runs; sleep 0.3", {}, (), 20)
    assert broken
    assert (tmp_path / "runs").read_text() == "ran\n"


def test_a_link_that_breaks_while_a_job_runs_loses_nothing(store: Store, here: Any) -> None:
    store.link.run("true")
    threading.Timer(0.3, lambda: here.breaks.extend(["shell"] * 3)).start()
    result = run_job(store, "sleep 1; echo late > out", {}, ("out",), 20)
    assert result.files["out"] == b"late\n"
    assert store.link.breaks == 3


def test_a_job_that_is_killed_on_the_device_is_gone(store: Store) -> None:
    with pytest.raises(JobGone, match="ended without a result"):
        run_job(store, "kill -9 -$(cat pid)", {}, (), 20)
    assert jobs(store) == []


def test_a_job_that_takes_too_long_is_stopped_with_all_its_processes(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="expected to end within 1 s and did not"):
        run_job(store, f"sleep 1000 & echo $! > {tmp_path}/child; wait", {}, (), 0.7)
    child = int((tmp_path / "child").read_text())
    end = time.monotonic() + 5
    while alive(child) and time.monotonic() < end:
        time.sleep(0.02)
    assert not alive(child)


def test_what_a_killed_session_left_running_is_ended_before_the_next(store: Store, tmp_path: Path) -> None:
    def left_behind() -> None:
        with pytest.raises(JobGone):
            run_job(store, f"echo $$ > {tmp_path}/child; sleep 1000", {}, (), 60)

    other = threading.Thread(target=left_behind)
    other.start()
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        time.sleep(0.01)
    stop_orphans(store, cleanup=f"echo clean > {tmp_path}/cleaned")
    other.join(20)
    assert not alive(int((tmp_path / "child").read_text()))
    assert (tmp_path / "cleaned").read_text() == "clean\n"
    assert jobs(store) == []


def test_nothing_is_cleaned_up_where_nothing_was_left(store: Store, tmp_path: Path) -> None:
    stop_orphans(store, cleanup=f"touch {tmp_path}/cleaned")
    assert not (tmp_path / "cleaned").exists()


def test_a_process_that_took_over_a_dead_jobs_number_is_left_alone(store: Store) -> None:
    folder = Path(store.folder) / "jobs" / "job-dead"
    folder.mkdir(parents=True)
    bystander = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60")
    try:
        (folder / "pid").write_text(f"{bystander}\n")
        stop_orphans(store)
        assert alive(bystander)
        assert not folder.exists()
    finally:
        os.kill(bystander, signal.SIGKILL)
        os.waitpid(bystander, 0)
