"""Real Ray, real trials of a second each, and real kills."""

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

from nasc.comparison import Ledger, compare, make_config
from nasc.comparison.ledger import RECORDS
from nasc.errors import RunError
from nasc.records import collect_records

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "models": "digits-cnn", "data": "digits", "devices": "simulated", "targets": ["-40%"], "epochs": 2,
    "train_size": 256, "batch_size": 64,
}  # fmt: skip


@pytest.fixture(autouse=True)
def workers_find_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def small(out: Path, **changes: Any) -> Any:
    return make_config({**SMALL, "out": out, **changes})


@pytest.mark.slow
def test_trials_run_side_by_side_and_a_failed_one_is_kept_with_its_traceback(tmp_path: Path) -> None:
    config = small(
        tmp_path / "cmp",
        methods=["magnitude-uniform", "width-multiplier"],
        options={"width-multiplier": {"no_such_option": 1}},
        seeds=[0, 1],
    )
    found = compare(config)
    assert sorted(record.seed for record in found.records) == [0, 1]
    assert {record.method for record in found.records} == {"magnitude-uniform"}
    assert all(record.dense_accuracy is not None for record in found.records)
    assert [failure.kind for failure in found.failures] == ["failed", "failed"]
    assert all("Traceback" in failure.traceback for failure in found.failures)
    assert found.left == ()

    again = compare(config)  # everything has ended: nothing is run, nothing is written
    assert again == found
    assert len((tmp_path / "cmp" / RECORDS).read_text().splitlines()) == 2
    with pytest.raises(RunError, match="holds another comparison"):
        compare(small(tmp_path / "cmp", epochs=3))


@pytest.mark.slow
def test_killed_at_the_driver_and_at_a_worker_it_ends_with_every_record_once(tmp_path: Path, nasc_home: Path) -> None:
    out = tmp_path / "cmp"
    command = [
        sys.executable, "-m", "nasc", "compare", "-m", "digits-cnn", "-d", "digits", "--device", "simulated",
        "--methods", "magnitude-uniform", "--targets=-40%,-60%", "--seeds", "0,1", "--epochs", "4", "--train-size", "512",
        "--batch-size", "32", "--out", str(out), "--json",
    ]  # fmt: skip
    environment = {**os.environ, "NASC_HOME": str(nasc_home)}
    with (tmp_path / "log").open("w") as log:
        stdout, status = kill_twice(command, environment, log, out)
    assert status == 0, (tmp_path / "log").read_text()[-3000:]
    assert json.loads(stdout)["records"] == 4
    names = [record.run for record in collect_records([out]).records]
    assert len(names) == len(set(names)) == 4
    assert not Ledger(out).failures


def kill_twice(command: list[str], environment: dict[str, str], log: IO[str], out: Path) -> tuple[str, int]:
    """Run until the driver is killed while it trains, and again until a worker is; what the last driver said."""
    driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    wait_for(lambda: bool(list(out.glob("trials/*/search/checkpoint.safetensors"))), driver)
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    psutil.wait_procs(family, timeout=30)

    driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log)
    worker = wait_for(lambda: working_process(driver.pid), driver)
    worker.kill()
    stdout, _ = driver.communicate(timeout=200)
    return stdout.decode(), driver.returncode


def working_process(driver: int) -> psutil.Process | None:
    """A worker of Ray's that runs a trial now."""
    for child in psutil.Process(driver).children(recursive=True):
        try:
            if "ImplicitFunc" in child.name() or any("ImplicitFunc" in part for part in child.cmdline()):
                return child
        except psutil.NoSuchProcess:
            continue
    return None


def wait_for(found: Any, driver: subprocess.Popen[Any], limit_s: float = 120.0) -> Any:
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        assert driver.poll() is None, "the driver ended by itself"
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError("what was waited for did not come")
