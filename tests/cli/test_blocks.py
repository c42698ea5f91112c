"""Blocks, further limits, distillation and integer files from the command line, on the simulated device."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nasc.cli import run
from nasc.materialise import load_model

pytestmark = pytest.mark.slow
COMMON = (
    "compress",
    "--device",
    "simulated",
    "-m",
    "digits-cnn",
    "-d",
    "digits",
    "--epochs",
    "3",
    "--train-size",
    "600",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def in_a_folder(home: Path, nasc_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASC_HOME", str(home))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> dict[str, Any]:
        status = run([*arguments, "--json"])
        captured = capfd.readouterr()
        assert status == 0, captured.out + captured.err
        reply: dict[str, Any] = json.loads(captured.out)
        return reply

    return call


def test_low_rank_meets_a_latency_with_two_kernels_a_layer(ask: Any) -> None:
    reply = ask(*COMMON, "--target-latency", "-60%", "--blocks", "prune,lowrank", "--no-dense", "--out", "run")
    assert reply["measured_s"] <= reply["target_s"]
    assert reply["max_abs_difference"] < 1e-5
    assert load_model(Path("run/model"))(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_few_bits_and_a_latency_at_once_and_the_file_in_integers(ask: Any) -> None:
    blocks = ("--blocks", "prune,quant", "--target-size", "60kB")
    reply = ask(*COMMON, "--target-latency", "-30%", *blocks, "--no-dense", "--distill", "0.5", "--out", "run")
    record = json.loads(Path("run/record.json").read_text())
    bits = record["extra"]["bits"]
    assert set(bits.values()) <= {2, 4, 8, 16}
    parameters = dict(load_model(Path("run/model")).named_parameters())
    stored = sum(p.numel() * bits.get(name, 32) / 8 for name, p in parameters.items())
    assert stored <= 60_000
    assert reply["measured_s"] <= reply["target_s"]
    assert any("few bits" in warning for warning in reply["warnings"])
    pytest.importorskip("ai_edge_quantizer")
    plain = ask("export", "run")
    small = ask("export", "run", "--quantise", "int8", "--data", "digits", "--out", "small.tflite")
    assert small["bytes"] < 0.5 * plain["bytes"]
    assert small["max_abs_difference"] < 1.0


def test_a_second_time_as_a_further_limit_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMON, "--target-latency", "-30%", "--target-size", "8ms", "--out", "run"]) in (1, 2)
    assert "expected a further limit" in capfd.readouterr().err
