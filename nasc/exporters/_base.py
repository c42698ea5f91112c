"""The contract of an exporter: a family of file formats, each one file or folder here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nasc.artifact import Artifact
from nasc.graph.network import Network


class Exporter(Protocol):
    """Writes one format and runs it on the host."""

    format: str
    """Name of the format, as :class:`~nasc.artifact.Artifact` has it."""
    suffix: str
    """Of its files, with the dot."""

    def write(self, network: Network, path: Path) -> Artifact:
        """Write a traced model for a batch of one.

        Args:
            network: What to write, at its dense sizes.
            path: Where to; replaced atomically.

        Raises:
            ExportError: The format cannot express the model, or a package it needs is missing.
        """
        ...

    def describe(self, path: Path) -> Artifact:
        """The artifact of a file that is there already.

        Args:
            path: The file.

        Raises:
            ExportError: The file is of another format, or may not be loaded.
        """
        ...

    def run(self, artifact: Artifact, inputs: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Run a file once on the host.

        Args:
            artifact: What :meth:`write` returned.
            inputs: In PyTorch's layout, batch of one.

        Returns:
            Outputs in PyTorch's layout.
        """
        ...


def one_sample(network: Network) -> tuple[Any, ...]:
    """The network's example inputs, cut to a batch of one."""
    return tuple(
        value[:1] if isinstance(value, torch.Tensor) and value.ndim else value for value in network.example_inputs
    )
