"""The verbs on the simulated device: real models, real files, exact times; and the JSON keys that stay."""

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nasc.cli import run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for the module, so that the table is made once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def use_home(home: Path, nasc_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASC_HOME", str(home))


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Any:
    """Run a command with --json, expect success, and give its object."""

    def call(*arguments: str) -> dict[str, Any]:
        status = run([*arguments, "--json"])
        captured = capfd.readouterr()
        assert status == 0, captured.out + captured.err
        reply = json.loads(captured.out)
        assert isinstance(reply, dict)
        return reply

    return call


SIMULATED = ("--device", "simulated")


def test_profile_makes_a_table_once_and_adds_nothing_the_second_time(ask: Any) -> None:
    first = ask("profile", *SIMULATED, "-m", "digits-cnn")
    again = ask("profile", *SIMULATED, "-m", "digits-cnn")
    assert first["rows"] == first["added"] > 0
    assert (again["rows"], again["added"]) == (first["rows"], 0)
    assert Path(first["table"]).is_file()
    assert first["elapsed_s"] > 0


def test_tables_show_what_profile_made_and_mark_it_as_simulated(ask: Any) -> None:
    ask("profile", *SIMULATED, "-m", "digits-cnn")
    (table,) = (table for table in ask("tables")["tables"] if table["device"] == "simulated")
    assert table["origin"] == "simulated"
    assert table["rows"] > 0


def test_two_tables_are_compared_and_merged(ask: Any, tmp_path: Path) -> None:
    table = ask("profile", *SIMULATED, "-m", "digits-cnn")["table"]
    drift = ask("tables", "compare", table, table)
    assert drift["total"]["rows"] > 0
    assert drift["total"]["worst"] == drift["anchor"] == 0
    merged = ask("tables", "merge", table, table, "--out", str(tmp_path / "both"))
    assert merged["rows"] == len(Path(table).read_text().splitlines()) - 1
    assert ask("tables", "compare", table, merged["table"])["total"]["worst"] == 0


def test_estimate_prices_every_kernel_and_says_what_no_row_covers(ask: Any) -> None:
    ask("profile", *SIMULATED, "-m", "digits-cnn")
    reply = ask("estimate", *SIMULATED, "-m", "digits-cnn")
    assert reply["uncovered"] == []
    assert {"name", "kind", "predicted_s"} <= set(reply["kernels"][0])
    total = sum(kernel["predicted_s"] for kernel in reply["kernels"])
    assert reply["predicted_s"] == pytest.approx(total, rel=0.05)  # an empty call belongs to no kernel


def test_an_analytic_estimate_needs_no_device_and_says_that_it_is_none(ask: Any) -> None:
    reply = ask("estimate", "-m", "digits-cnn", "--device", "pixel6", "--analytic")
    assert reply["origin"] == "analytic"
    assert reply["predicted_s"] > 0
    assert reply["uncovered"] == []


def test_inspect_lists_dims_kernels_and_counts(ask: Any) -> None:
    reply = ask("inspect", "-m", "digits-cnn")
    assert {"name", "size", "frozen"} <= set(reply["dims"][0])
    assert reply["kernels"]
    assert reply["macs"] > 1000
    assert reply["params"] > 1000


def test_a_table_that_is_not_there_names_the_command_that_makes_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["estimate", *SIMULATED, "--threads", "2", "-m", "digits-cnn"]) == 1
    assert "nasc profile" in capfd.readouterr().err


@pytest.mark.slow
def test_compress_ends_with_a_measured_model_that_the_other_verbs_take(
    ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["compress", *SIMULATED, "-m", "digits-cnn", "-d", "digits", "--target-latency", "-40%", "--epochs", "4"]
    reply = ask(*command, "--out", "run")
    keys = (
        "run target_s predicted_s measured_s spread_s dense_measured_s accuracy dense_accuracy macs dense_macs params"
    )
    assert set(keys.split()) | {"artifact", "max_abs_difference"} <= set(reply)
    assert reply["measured_s"] <= reply["target_s"] == pytest.approx(0.6 * reply["dense_measured_s"], rel=0.02)
    assert reply["max_abs_difference"] < 1e-5

    measured = ask("measure", "run", *SIMULATED)
    assert {"measured_s", "spread_s", "device", "runtime", "threads"} <= set(measured)
    assert measured["measured_s"] == pytest.approx(reply["measured_s"], rel=0.02)
    exported = ask("export", "run", "--format", "litert", "--out", "again.tflite")
    assert Path(exported["artifact"]).is_file()
    assert exported["max_abs_difference"] < 1e-4
    assert ask("dashboard", "run", "--html", "page.html")["runs"] == 1
    assert ask("inspect", "-m", "run")["macs"] == reply["macs"]

    assert run([*command[:-4], "--target-latency", "-99.99%", "--out", "other"]) == 1
    assert "out of reach" in capfd.readouterr().err
    assert run([*command[:-4], "--target-latency", "1s", "--out", "third"]) == 1
    assert "nothing to compress" in capfd.readouterr().err


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_training_loses_nothing_and_names_the_command_that_goes_on(tmp_path: Path) -> None:
    run(["profile", *SIMULATED, "-m", "digits-cnn"])
    arguments = ["compress", *SIMULATED, "-m", "digits-cnn", "-d", "digits", "--target-latency", "-40%", "--no-dense"]
    arguments += ["--epochs", "4", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-m", "nasc", *arguments]
    first = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a shell's background job ignores it
    )
    assert first.stderr is not None
    while "search:" not in (line := first.stderr.readline()):
        assert line, "it ended before it trained"
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=120)
    assert first.returncode == 130
    assert out == ""
    assert f"resume with: {shlex.join(['nasc', *arguments])}" in err
    assert "Traceback" not in err

    second = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert second.returncode == 0, second.stderr
    assert "going on in" in second.stderr
