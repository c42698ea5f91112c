"""Model files for the runtimes of devices: a family with one member a format.

>>> import torch
>>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
>>> import tempfile, pathlib
>>> with tempfile.TemporaryDirectory() as folder:
...     artifact = export(model, (torch.zeros(1, 3, 2, 2),), pathlib.Path(folder) / "model.tflite")
...     run(artifact, [torch.zeros(1, 3, 2, 2).numpy()])[0].shape
(1, 2)
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasc.artifact import Artifact
from nasc.errors import ExportError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from nasc.exporters._base import Exporter

__all__ = ["FORMATS", "SUFFIXES", "export", "max_abs_difference", "open_artifact", "run"]

# format -> module and class; modules are imported when they are used, since each brings a runtime
FORMATS = {
    "litert": ("nasc.exporters.litert.exporter", "LiteRTExporter"),
    "onnx": ("nasc.exporters.onnx", "OnnxExporter"),
    "torch": ("nasc.exporters.torch", "TorchExporter"),
}
SUFFIXES = {".tflite": "litert", ".onnx": "onnx", ".pt2": "torch"}


def export(
    model: "nn.Module", example_inputs: tuple[Any, ...], path: Path | str, format: str | None = None
) -> Artifact:
    """Write a model file for a batch of one.

    Args:
        model: Written in eval mode; left as it is.
        example_inputs: Positional inputs; axis 0 of every tensor is the batch, of any size.
        path: Where to; replaced atomically.
        format: ``"litert"``, ``"onnx"`` or ``"torch"``; told from the suffix where None.

    Returns:
        The file and what it takes and gives.

    Raises:
        UsageError: The format is unknown, or the suffix says none.
        ModelError: The model cannot be traced.
        ExportError: The format cannot express the model, or the file cannot be written.
    """
    path = Path(path)
    exporter = exporter_of(format or format_of(path))
    from nasc.graph import trace

    return exporter.write(trace(model, example_inputs), path)


def run(artifact: Artifact, inputs: "Sequence[NDArray[Any]]") -> "list[NDArray[np.float32]]":
    """Run a model file once on the host.

    Args:
        artifact: What :func:`export` returned.
        inputs: In PyTorch's layout (images have channels second), batch of one.

    Returns:
        The outputs, in PyTorch's layout.

    Raises:
        ExportError: The file cannot be loaded, or the inputs do not fit.
    """
    return exporter_of(artifact.format).run(artifact, inputs)


def max_abs_difference(artifact: Artifact, model: "nn.Module", inputs: tuple[Any, ...]) -> float:
    """How far a model file's outputs are from PyTorch's, over all samples and outputs.

    Args:
        artifact: The file.
        model: What it was written from; run in eval mode, left as it is.
        inputs: Positional inputs with any number of samples; the file gets them one by one.

    Returns:
        The largest absolute difference.
    """
    import torch
    from torch.utils._pytree import tree_leaves

    from nasc.graph.program import evaluating

    with torch.no_grad(), evaluating(model):
        expected = tree_leaves(model(*inputs))
    worst = 0.0
    for sample in range(len(inputs[0])):
        given = run(artifact, [value[sample : sample + 1].detach().cpu().numpy() for value in inputs])
        for mine, theirs in zip(given, expected, strict=True):
            difference = torch.from_numpy(mine) - theirs[sample : sample + 1].detach().cpu()
            worst = max(worst, float(difference.abs().max()))
    return worst


def open_artifact(path: Path | str) -> Artifact:
    """The artifact of a LiteRT or ONNX file that is there already.

    Args:
        path: The file; its format is told from its suffix.

    Raises:
        UsageError: The suffix says no format.
        ExportError: The file is missing or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"expected a model file; {path} is not there")
    return exporter_of(format_of(path)).describe(path)


def format_of(path: Path) -> str:
    """The format that a file's suffix says.

    Raises:
        UsageError: It says none.
    """
    if path.suffix not in SUFFIXES:
        known = ", ".join(f"{suffix} ({name})" for suffix, name in SUFFIXES.items())
        raise UsageError(f"expected a file name that ends in {known}; got {path.name!r}", "Or give the format.")
    return SUFFIXES[path.suffix]


@cache
def exporter_of(name: str) -> "Exporter":
    """The exporter of a format.

    Raises:
        UsageError: There is no such format; the known ones are listed.
    """
    if name not in FORMATS:
        raise UsageError(f"expected a format of {', '.join(FORMATS)}; got {name!r}")
    module, member = FORMATS[name]
    exporter: Exporter = getattr(import_module(module), member)()
    return exporter
