"""Whole networks as LiteRT files: they compute what PyTorch computes, with the kernels that were priced."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nasc.errors import ExportError
from nasc.exporters import export, max_abs_difference, open_artifact, run
from nasc.exporters.litert import write_kernel
from nasc.exporters.litert.program import write_network
from nasc.graph import trace

RUNTIME_OWN = ("DELEGATE",)  # the runtime adds its delegate to the list of operators


def operators(content: bytes) -> list[str]:
    """The operators of a file in order; reshapes left out, since they are free."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    return [op["op_name"] for op in interpreter._get_ops_details() if op["op_name"] not in (*RUNTIME_OWN, "RESHAPE")]


@pytest.fixture(autouse=True)
def writer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """litert-torch, where it is installed, would hide what the writer cannot do."""
    monkeypatch.setattr("nasc.exporters.litert.converter.available", lambda: False)


def test_a_file_computes_what_pytorch_computes(model: nn.Module, images: Tensor, tmp_path: Path) -> None:
    artifact = export(model, (images,), tmp_path / "model.tflite")
    scale = float(model(images).abs().max().detach())
    assert scale > 0
    assert max_abs_difference(artifact, model, (images,)) <= 1e-4 * scale


def test_the_operators_of_a_file_are_those_of_its_kernels_probes(model: nn.Module, images: Tensor) -> None:
    network = trace(model, (images,))
    alone = [operators(write_kernel(kernel.shape())) for kernel in network.kernels]
    assert operators(write_network(network)) == [name for names in alone for name in names]


class Pooling(nn.Module):
    """One pooling call, as a model."""

    def __init__(self, name: str, options: dict[str, object]) -> None:
        super().__init__()
        self.name, self.options = name, options

    def forward(self, x: Tensor) -> Tensor:
        return getattr(F, self.name)(x, **self.options)


POOLS = [
    ("max_pool2d", {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("max_pool2d", {"kernel_size": 2, "stride": 2, "ceil_mode": True}),
    ("max_pool2d", {"kernel_size": (3, 2)}),
    ("avg_pool2d", {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("avg_pool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    ("avg_pool2d", {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ("avg_pool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ("avg_pool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}),
    ("avg_pool2d", {"kernel_size": 2, "divisor_override": 3}),
    ("adaptive_avg_pool2d", {"output_size": (5, 1)}),
    ("adaptive_avg_pool2d", {"output_size": (20, 24)}),
    ("adaptive_avg_pool2d", {"output_size": 1}),
    ("adaptive_max_pool2d", {"output_size": 1}),
    ("interpolate", {"scale_factor": 2.0}),
    ("interpolate", {"size": (20, 24)}),
    ("interpolate", {"scale_factor": 2.0, "mode": "bilinear"}),
    ("interpolate", {"size": (19, 23), "mode": "bilinear", "align_corners": True}),
    ("pad", {"pad": (1, 0, 2, 1), "value": 0.5}),
]


@pytest.mark.parametrize(("name", "options"), POOLS)
def test_every_form_of_pooling_and_resizing_computes_what_pytorch_computes(
    name: str, options: dict[str, object], tmp_path: Path
) -> None:
    model = Pooling(name, options)
    x = torch.randn(2, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    artifact = export(model, (x,), tmp_path / "model.tflite")
    assert max_abs_difference(artifact, model, (x,)) <= 1e-5


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
        {"kernel_size": 5, "stride": (2, 3), "padding": (2, 0), "output_padding": 0},
        {"kernel_size": 3, "stride": 1, "padding": 1},
    ],
)
def test_a_transposed_convolution_computes_what_pytorch_computes(
    options: dict[str, Any], unsettle: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(3, 4, **options)
    model = unsettle(nn.Sequential(nn.Conv2d(2, 3, 1), up, nn.BatchNorm2d(4), nn.ReLU())).eval()
    x = torch.randn(2, 2, 5, 6)
    artifact = export(model, (x,), tmp_path / "model.tflite")
    assert max_abs_difference(artifact, model, (x,)) <= 1e-5
    first, second = trace(model, (x,)).kernels
    assert (second.kind, second.activation) == ("conv_transpose", "relu")
    with FlopCounterMode(display=False) as counter:
        model(x[:1])
    assert first.macs() + second.macs() == counter.get_total_flops() // 2


def test_an_image_output_comes_back_in_pytorchs_layout(tmp_path: Path) -> None:
    model = nn.Conv2d(3, 4, 3)
    x = torch.randn(1, 3, 6, 7)
    artifact = export(model, (x,), tmp_path / "model.tflite")
    assert artifact.channels_last
    assert artifact.inputs[0].shape == (1, 6, 7, 3)
    assert run(artifact, [x.numpy()])[0].shape == (1, 4, 4, 5)


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return x - y, y * 3

    x, y = torch.randn(2, 5), torch.randn(2, 5)
    artifact = export(Pair(), (x, y), tmp_path / "model.tflite")
    assert not artifact.channels_last
    assert max_abs_difference(artifact, Pair(), (x, y)) <= 1e-6


def test_a_file_opened_later_is_known_to_hold_images_with_channels_last(tmp_path: Path) -> None:
    x = torch.randn(1, 3, 8, 8)
    artifact = export(nn.Conv2d(3, 4, 3), (x,), tmp_path / "model.tflite")
    assert open_artifact(artifact.path) == artifact


def test_tied_weights_and_a_module_used_twice_are_written(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.head, self.other = nn.Linear(3, 3), nn.Linear(3, 3)
            self.other.weight = self.head.weight

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(F.relu(self.conv(x)))
            return self.other(F.relu(self.head(x.mean((2, 3)))))

    model, x = Twice(), torch.randn(2, 3, 8, 8)
    assert max_abs_difference(export(model, (x,), tmp_path / "model.tflite"), model, (x,)) <= 1e-6


def test_a_model_the_writer_has_no_kernel_for_is_refused_by_operator_and_module(tmp_path: Path) -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cumsum(self.inner(x), 1)

    with pytest.raises(ExportError, match=r"got aten\.cumsum\.default \(cumsum\)") as refusal:
        export(Sums(), (torch.zeros(1, 4),), tmp_path / "model.tflite")
    assert "litert" in refusal.value.hint
    assert list(tmp_path.iterdir()) == []
