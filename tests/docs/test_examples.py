"""The examples in the documentation run as they stand, and meet what they promise."""

import importlib.util
from pathlib import Path
from types import ModuleType

import torch

from nasc.cost import cost
from nasc.devices import get_device
from nasc.graph import trace
from nasc.materialise import load_model
from nasc.table import load_table, profile

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_hand_written_loop_ends_with_a_small_model_at_half_the_latency(tmp_path: Path) -> None:
    example = load_example("own_loop")
    images = (torch.zeros(1, 1, 8, 8),)
    dense = trace(example.Net(), images)
    profile(get_device("simulated"), [dense], progress=False)
    accuracy = example.main(device="simulated", epochs=10, out=tmp_path)

    table = load_table("simulated")
    small = trace(load_model(tmp_path / "model"), images)
    assert cost(small, small.dense_sizes, "seconds", table) <= 0.5 * cost(dense, dense.dense_sizes, "seconds", table)
    assert (tmp_path / "model.tflite").stat().st_size > 0
    assert accuracy > 0.8
