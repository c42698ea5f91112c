"""Files of fewer bits: smaller, near the float file, with the errors that are bound to be made named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nasc.artifact import Artifact
from nasc.errors import UsageError
from nasc.exporters import export, run
from nasc.exporters.quantisation import SCHEMES, quantise_file

pytest.importorskip("ai_edge_quantizer")

SUFFIX = {"litert": ".tflite", "onnx": ".onnx"}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU()
    )
    return nn.Sequential(
        layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10)
    ).eval()


@pytest.fixture(scope="module", params=["litert", "onnx"])
def plain(request: pytest.FixtureRequest, model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("plain") / f"model{SUFFIX[request.param]}"
    return export(model, (torch.randn(1, 3, 16, 16),), path)


def samples(count: int = 8) -> list[tuple[np.ndarray, ...]]:
    generator = np.random.default_rng(0)
    return [(generator.standard_normal((1, 3, 16, 16)).astype(np.float32),) for _ in range(count)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quantised_file_is_smaller_and_near_the_float_one(plain: Artifact, tmp_path: Path, scheme: str) -> None:
    if plain.format == "onnx" and not SCHEMES[scheme].onnx:
        with pytest.raises(UsageError, match=f"no way to write {scheme} as onnx"):
            quantise_file(plain, tmp_path / "small.onnx", scheme, samples())
        return
    small = quantise_file(plain, tmp_path / f"small{SUFFIX[plain.format]}", scheme, samples())
    assert small.size_bytes < 0.6 * plain.size_bytes
    expected = np.concatenate([run(plain, one)[0] for one in samples()])
    got = np.concatenate([run(small, one)[0] for one in samples()])
    error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
    assert 0 < error < (0.1 if "8" in scheme else 0.5)


def test_calibration_needs_samples_and_names_are_known(plain: Artifact, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="calibrated on sample inputs"):
        quantise_file(plain, tmp_path / "small.tflite", "int8")
    with pytest.raises(UsageError, match="unknown quantisation 'int3'"):
        quantise_file(plain, tmp_path / "small.tflite", "int3")
