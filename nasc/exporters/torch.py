"""``torch.export`` archives (``.pt2``), for PyTorch itself."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._pytree import tree_leaves

from nasc.artifact import Artifact, TensorSpec
from nasc.errors import ExportError
from nasc.exporters._base import one_sample
from nasc.exporters._files import write_atomically
from nasc.exporters._quiet import first_line, quiet
from nasc.graph.network import Network
from nasc.graph.program import evaluating


class TorchExporter:
    """``.pt2`` archives.

    Loading such an archive can run code that someone hid in it, so :meth:`run` takes only what this object wrote itself
    in this process; :func:`nasc.materialise.load_pt2` loads others through a guard.
    """

    format = "torch"
    suffix = ".pt2"

    def __init__(self) -> None:
        self._own: set[str] = set()

    def write(self, network: Network, path: Path) -> Artifact:
        """Write a network for a batch of one. See :class:`nasc.exporters._base.Exporter`."""
        inputs = one_sample(network)
        try:
            with quiet(), evaluating(network.model), torch.no_grad():
                program = torch.export.export(network.model, inputs, strict=False)
                outputs = program.module()(*inputs)
        except Exception as failure:
            raise ExportError(f"torch.export cannot export this model: {first_line(failure)}") from failure
        write_atomically(path, lambda temporary: _save(program, temporary))
        artifact = Artifact(path, self.format, _specs("x", inputs), _specs("y", tree_leaves(outputs)))
        self._own.add(artifact.sha256)
        return artifact

    def describe(self, path: Path) -> Artifact:
        """Always refuses: see the class."""
        raise _not_own(path)

    def run(self, artifact: Artifact, inputs: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Run a file once on the host. See :class:`nasc.exporters._base.Exporter`."""
        if artifact.sha256 not in self._own:
            raise _not_own(artifact.path)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            module = torch.export.load(artifact.path).module()
            outputs = module(*(torch.from_numpy(np.ascontiguousarray(values)) for values in inputs))
        return [one.numpy() for one in tree_leaves(outputs)]


def _save(program: torch.export.ExportedProgram, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path)


def _specs(prefix: str, tensors: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(f"{prefix}{i}", tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for i, tensor in enumerate(tensors)
    )


def _not_own(path: Path) -> ExportError:
    return ExportError(
        f"expected a .pt2 that this process has written; got {path}, which could run code when loaded",
        "Load it through nasc.materialise.load_pt2, which checks it first.",
    )
