"""LiteRT files as a member of the exporters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from nasc.artifact import Artifact, TensorSpec
from nasc.errors import ExportError
from nasc.exporters._files import write_atomically
from nasc.exporters.litert import converter
from nasc.exporters.litert.program import DESCRIPTION, refuse_unsupported, write_network
from nasc.graph.lowering.layout import IMAGE
from nasc.graph.network import Network


class LiteRTExporter:
    """``.tflite`` files for LiteRT, by nasc's own writer; by litert-torch where a model has other operators."""

    format = "litert"
    suffix = ".tflite"

    def write(self, network: Network, path: Path) -> Artifact:
        """Write a network for a batch of one. See :class:`nasc.exporters._base.Exporter`."""
        try:
            refuse_unsupported(network.kernels)
        except ExportError as missing:
            if not converter.available():
                raise
            content = converter.convert(network, missing)
        else:
            content = write_network(network)
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
        return self.describe(path)

    def describe(self, path: Path) -> Artifact:
        """Inputs and outputs as the file has them. See :class:`nasc.exporters._base.Exporter`."""
        interpreter = _load(path)
        inputs, outputs = _specs(interpreter.get_input_details()), _specs(interpreter.get_output_details())
        has_images = any(len(spec.shape) == len(IMAGE) for spec in (*inputs, *outputs))
        return Artifact(path, self.format, inputs, outputs, has_images and _description(path) == DESCRIPTION)

    def run(self, artifact: Artifact, inputs: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Run a file once on the host. See :class:`nasc.exporters._base.Exporter`."""
        interpreter = _load(artifact.path)
        details = interpreter.get_input_details()
        if len(details) != len(inputs):
            raise ExportError(f"expected {len(details)} inputs for {artifact.path.name}; got {len(inputs)}")
        for detail, values in zip(details, inputs, strict=True):
            stored = values.transpose(IMAGE) if artifact.channels_last and values.ndim == len(IMAGE) else values
            if tuple(stored.shape) != tuple(detail["shape"]):
                raise ExportError(
                    f"expected an input of shape {tuple(int(n) for n in detail['shape'])} for {artifact.path.name}; "
                    f"got {tuple(stored.shape)}",
                    "Files are written for a batch of one: run the samples one by one.",
                )
            interpreter.set_tensor(detail["index"], np.ascontiguousarray(stored, dtype=detail["dtype"]))
        interpreter.invoke()
        outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
        return [_from_file(values) if artifact.channels_last else values for values in outputs]


def _load(path: Path) -> Any:
    try:
        interpreter = litert.Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"expected a LiteRT model in {path}; the runtime says: {error}") from error
    return interpreter


def _description(path: Path) -> str:
    text = schema.Model.GetRootAs(path.read_bytes()).Description()
    return text.decode(errors="replace") if text else ""


def _specs(details: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(detail["name"], tuple(int(n) for n in detail["shape"]), np.dtype(detail["dtype"]).name)
        for detail in details
    )


def _from_file(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Channels back to PyTorch's place."""
    return values.transpose(0, 3, 1, 2) if values.ndim == len(IMAGE) else values
