"""What holds for every format."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nasc.errors import ExportError, UsageError
from nasc.exporters import FORMATS, SUFFIXES, export, max_abs_difference, open_artifact, run

NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime")}


@pytest.fixture(params=FORMATS)
def format_name(request: pytest.FixtureRequest) -> str:
    for package in NEEDS.get(request.param, ()):
        pytest.importorskip(package, reason=f"{package} is not installed (an extra: pip install 'nasc[onnx]')")
    return str(request.param)


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )
    return model.train()


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def path_for(format_name: str, folder: Path) -> Path:
    (suffix,) = (suffix for suffix, name in SUFFIXES.items() if name == format_name)
    return folder / f"model{suffix}"


def test_every_format_computes_what_pytorch_computes(
    format_name: str, small: nn.Module, pictures: Tensor, tmp_path: Path
) -> None:
    artifact = export(small, (pictures,), path_for(format_name, tmp_path))
    assert artifact.format == format_name
    assert artifact.inputs[0].shape[0] == 1
    assert artifact.size_bytes > 0
    assert max_abs_difference(artifact, small, (pictures,)) <= 1e-5


def test_exporting_leaves_the_model_as_it_was(
    format_name: str, small: nn.Module, pictures: Tensor, tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    export(small, (pictures,), path_for(format_name, tmp_path))
    assert small.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())


def test_exporting_prints_nothing(
    format_name: str, small: nn.Module, pictures: Tensor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export(small, (pictures,), path_for(format_name, tmp_path))
    assert capfd.readouterr().out == ""


def test_an_existing_file_is_replaced_and_nothing_else_is_left(
    format_name: str, small: nn.Module, pictures: Tensor, tmp_path: Path
) -> None:
    path = path_for(format_name, tmp_path)
    path.write_text("old")
    export(small, (pictures,), path)
    assert path.stat().st_size > 10
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_one_sentence(small: nn.Module, pictures: Tensor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"expected to write .*model\.tflite; got"):
        export(small, (pictures,), tmp_path / "file" / "model.tflite")


def test_unknown_formats_and_suffixes_list_the_known(small: nn.Module, pictures: Tensor, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"ends in \.tflite \(litert\), \.onnx \(onnx\), \.pt2 \(torch\); got 'model\.h5'"
    ):
        export(small, (pictures,), tmp_path / "model.h5")
    with pytest.raises(UsageError, match="format of litert, onnx, torch; got 'keras'"):
        export(small, (pictures,), tmp_path / "model.h5", "keras")


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is not there"):
        open_artifact(tmp_path / "absent.tflite")
    for name in ("broken.tflite", "broken.onnx", "broken.pt2"):
        (tmp_path / name).write_bytes(b"not a model")
        with pytest.raises(ExportError, match="broken"):
            open_artifact(tmp_path / name)


def test_a_pt2_of_another_process_is_not_loaded(small: nn.Module, pictures: Tensor, tmp_path: Path) -> None:
    artifact = export(small, (pictures,), tmp_path / "model.pt2")
    artifact.path.write_bytes(artifact.path.read_bytes() + b"changed")
    with pytest.raises(ExportError, match="could run code"):
        run(artifact, [pictures[:1].numpy()])


def test_a_batch_of_two_is_refused_with_both_shapes(small: nn.Module, pictures: Tensor, tmp_path: Path) -> None:
    artifact = export(small, (pictures,), tmp_path / "model.tflite")
    with pytest.raises(ExportError, match=r"shape \(1, 8, 8, 3\) .* got \(2, 8, 8, 3\)"):
        run(artifact, [pictures[:2].numpy()])


def test_the_package_imports_without_torch() -> None:
    code = "import sys, nasc.exporters; assert 'torch' not in sys.modules and 'onnx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


class RunningSum(nn.Module):
    """An operator that nasc's own writer has no kernel for."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(2)


@pytest.mark.slow
def test_a_model_with_other_operators_goes_through_litert_torch(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="litert-torch is not installed (an extra: pip install 'nasc[litert]')")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), RunningSum(), nn.ReLU(), nn.Conv2d(4, 5, 3))
    pictures = torch.randn(2, 3, 8, 8)
    artifact = export(model, (pictures,), tmp_path / "model.tflite")
    assert not artifact.channels_last
    assert max_abs_difference(artifact, model, (pictures,)) <= 1e-5
