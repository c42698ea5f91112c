"""Real Ray, real trials of a second each, and real kills; Ray lives in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from nasc.comparison import Ledger
from nasc.comparison.ledger import RECORDS
from nasc.records import collect_records

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "compare", "-m", "digits-cnn", "-d", "digits", "--device", "simulated", "--train-size", "256", "--batch-size", "64",
)  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture
def environment(nasc_home: Path) -> dict[str, str]:
    return {**os.environ, "NASC_HOME": str(nasc_home), "PYTHONPATH": str(ROOT)}


def nasc(environment: dict[str, str], *arguments: str) -> tuple[int, Any]:
    """Exit status and reply of one command line."""
    command = [sys.executable, "-m", "nasc", *arguments, "--json"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout, result.stderr[-3000:]
    return result.returncode, json.loads(result.stdout)


def test_trials_run_side_by_side_and_a_failed_one_is_kept_with_its_traceback(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / "cmp"
    asked = [
        *SMALL, "--methods", "magnitude-uniform,width-multiplier", "--option", "width-multiplier.no_such_option=1",
        "--targets=-40%", "--seeds", "0", "--out", str(out),
    ]  # fmt: skip
    status, reply = nasc(environment, *asked, "--epochs", "2")
    assert (status, reply["records"], reply["left"]) == (0, 1, [])
    assert [failure["kind"] for failure in reply["failed"]] == ["failed"]
    ledger = Ledger(out)
    assert {record.method for record in ledger.records.values()} == {"magnitude-uniform"}
    assert all(record.dense_accuracy is not None for record in ledger.records.values())
    assert all((out / (record.history or "")).is_file() for record in ledger.records.values())
    assert all("Traceback" in failure.traceback for failure in ledger.failures.values())

    before = (out / RECORDS).read_bytes()
    assert nasc(environment, *asked, "--epochs", "2") == (0, reply)  # everything has ended: nothing is run
    assert (out / RECORDS).read_bytes() == before
    status, refused = nasc(environment, *asked, "--epochs", "3")
    assert status == 1
    assert "holds another comparison" in refused["error"]
    status, shown = nasc(environment, "compare", "report", str(out))
    assert status == 0
    assert shown["rows"][0]["accuracy"]["count"] == 1


def test_killed_at_the_driver_and_at_a_worker_it_ends_with_every_record_once(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / "cmp"
    command = [
        sys.executable, "-m", "nasc", *SMALL, "--methods", "magnitude-uniform", "--targets=-40%", "--seeds", "0-2",
        "--epochs", "4", "--out", str(out), "--json",
    ]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        stdout, status = kill_twice(command, environment, log, out)
    assert status == 0, (tmp_path / "log").read_text()[-3000:]
    assert json.loads(stdout)["records"] == 3
    names = [record.run for record in collect_records([out]).records]
    assert len(names) == len(set(names)) == 3
    assert not Ledger(out).failures


def kill_twice(command: list[str], environment: dict[str, str], log: IO[str], out: Path) -> tuple[str, int]:
    """Run until the driver is killed while it trains, and again until a worker is; what the last driver said."""
    with subprocess.Popen(command, env=environment, stdout=log, stderr=log) as driver:
        wait_for(lambda: bool(list(out.glob("trials/*/search/checkpoint.safetensors"))), driver)
        family = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=30)

    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as driver:
        worker = wait_for(lambda: working_process(driver.pid), driver)
        worker.kill()
        stdout, _ = driver.communicate(timeout=250)
    return stdout, driver.returncode


def working_process(driver: int) -> psutil.Process | None:
    """A worker of Ray's that runs a trial now."""
    for child in psutil.Process(driver).children(recursive=True):
        try:
            if "ImplicitFunc" in child.name() or any("ImplicitFunc" in part for part in child.cmdline()):
                return child
        except psutil.Error:
            continue
    return None


def wait_for(found: Any, driver: subprocess.Popen[Any], limit_s: float = 120.0) -> Any:
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        assert driver.poll() is None, "the driver ended by itself"
        if result := found():
            return result
        time.sleep(0.05)
    driver.kill()
    raise AssertionError("what was waited for did not come")
