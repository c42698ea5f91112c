"""A family trained once, and members read off it: on the simulated device, through the program."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nasc.cli import run

SIMULATED = ("--device", "simulated")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def use_home(home: Path, nasc_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASC_HOME", str(home))


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str, status: int = 0) -> dict[str, Any]:
        got = run([*arguments, "--json"])
        captured = capfd.readouterr()
        assert got == status, captured.out + captured.err
        reply = json.loads(captured.out)
        assert isinstance(reply, dict)
        return reply

    return call


@pytest.fixture
def family(home: Path, ask: Any) -> Path:
    """The run of a family of 3 widths x all depths, trained once for this file."""
    folder = home / "family"
    options = ["--option", "widths=[0.5,0.75,1]", "--option", "depths=all"]
    if not (folder / "record.json").is_file():
        ask(
            *("compress", "-m", "digits-cnn@0.5", "-d", "digits", *SIMULATED, "--target-latency", "-40%"),
            *("--method", "sorted", "--epochs", "2", "--no-dense", "--out", str(folder), *options),
        )
    return folder


def test_a_family_leaves_its_members_beside_the_finished_one(family: Path) -> None:
    kept = json.loads((family / "family.json").read_text())
    assert len(kept["members"]) == 15
    assert all(member["accuracy"] is not None for member in kept["members"])
    assert sum(member["updates"] for member in kept["members"]) > 0
    assert (family / "family.safetensors").is_file()


def test_another_target_gets_another_member_from_records_alone(family: Path, ask: Any) -> None:
    loose = ask("extract", str(family), *SIMULATED, "--target-latency", "-10%", "--no-export")
    tight = ask("extract", str(family), *SIMULATED, "--target-latency", "-60%", "--no-export")
    assert tight["predicted_s"] * tight["correction"] <= tight["target_s"] < loose["target_s"]
    assert tight["macs"] <= tight["dense_macs"]
    assert tight["accuracy"] <= loose["accuracy"]
    assert tight["members"] == 15
    assert tight["measured_s"] is None
    prices = [point["price"] for point in tight["front"]]
    assert prices == sorted(prices)


def test_the_extracted_member_is_built_checked_and_measured(family: Path, ask: Any) -> None:
    found = ask("extract", str(family), *SIMULATED, "--target-latency", "-50%")
    assert found["max_abs_difference"] < 1e-5
    assert found["measured_s"] <= found["target_s"]
    assert found["predicted_s"] <= found["measured_s"]
    assert Path(found["artifact"]).is_file()
    assert 0 <= found["accuracy"] <= 1
    again = ask("measure", str(Path(found["artifact"]).parent), *SIMULATED)
    assert again["measured_s"] == pytest.approx(found["measured_s"], rel=0.02)


def test_a_member_of_a_size_target_needs_no_time(family: Path, ask: Any) -> None:
    small = ask("extract", str(family), *SIMULATED, "--target", "0.5Mparam", "--no-export")
    assert small["params"] <= 500_000


def test_what_cannot_be_extracted_is_said_in_words(family: Path, ask: Any, tmp_path: Path) -> None:
    none = ask("extract", str(tmp_path), *SIMULATED, "--target-latency", "-50%", status=1)
    assert "expected the run of a family" in none["error"]
    fast = ask("extract", str(family), *SIMULATED, "--target-latency", "1us", "--no-export", status=1)
    assert "below the family's smallest member" in fast["error"]


def test_choosing_a_member_imports_no_torch(family: Path) -> None:
    code = (
        "import sys; from nasc.cli import run; "
        f"status = run(['extract', {str(family)!r}, '--device', 'simulated', '--target-latency', '-50%', '--no-export']); "
        "assert 'torch' not in sys.modules, 'torch was imported'; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
