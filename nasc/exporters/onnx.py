"""ONNX files: ``torch.onnx.export``, run by onnxruntime. Both need the optional packages of ``nasc[onnx]``."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nasc.artifact import Artifact, TensorSpec
from nasc.errors import ExportError
from nasc.exporters._base import one_sample
from nasc.exporters._files import write_atomically
from nasc.exporters._quiet import first_line, quiet
from nasc.graph.network import Network
from nasc.graph.program import evaluating

_NUMPY_NAMES = {"float": "float32", "double": "float64"}


class OnnxExporter:
    """``.onnx`` files, weights inside."""

    format = "onnx"
    suffix = ".onnx"

    def write(self, network: Network, path: Path) -> Artifact:
        """Write a network for a batch of one. See :class:`nasc.exporters._base.Exporter`."""
        _need("onnx", "onnxscript", "onnxruntime")
        try:
            with quiet(), evaluating(network.model):
                program = torch.onnx.export(network.model, one_sample(network), dynamo=True, verbose=False)
        except Exception as failure:
            raise ExportError(
                f"expected a model that ONNX can express; the exporter says: {first_line(failure)}",
                "Export another format: nasc export --format torch",
            ) from failure
        assert program is not None
        write_atomically(path, lambda temporary: program.save(temporary, external_data=False))
        return self.describe(path)

    def describe(self, path: Path) -> Artifact:
        """Inputs and outputs as the file has them. See :class:`nasc.exporters._base.Exporter`."""
        session = _session(path)
        return Artifact(path, self.format, _specs(session.get_inputs()), _specs(session.get_outputs()))

    def run(self, artifact: Artifact, inputs: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Run a file once on the host. See :class:`nasc.exporters._base.Exporter`."""
        session = _session(artifact.path)
        feeds = {spec.name: values for spec, values in zip(artifact.inputs, inputs, strict=True)}
        return [np.asarray(values) for values in session.run(None, feeds)]


def _session(path: Path) -> Any:
    _need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors have no common base
        raise ExportError(f"expected an ONNX model in {path}; the runtime says: {first_line(error)}") from error


def _specs(nodes: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(node.name, tuple(node.shape), _dtype(node.type)) for node in nodes)


def _dtype(name: str) -> str:
    inner = name.removeprefix("tensor(").removesuffix(")")
    return _NUMPY_NAMES.get(inner, inner)


def _need(*packages: str) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ExportError(
            f"expected the packages of the onnx extra; not installed: {', '.join(missing)}", "pip install 'nasc[onnx]'"
        )
