"""What an exporter makes and a device runs: a file, its format and its inputs."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of an artifact: name, shape (batch first) and numpy dtype name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Artifact:
    """A model file that some runtime can run.

    Args:
        path: The file.
        format: ``"litert"``, ``"onnx"`` or ``"torch"``.
        inputs: What the file expects, in order, in the file's own layout.
        channels_last: Image inputs are (batch, height, width, channels) in the file, although the PyTorch model takes
            (batch, channels, height, width).
    """

    path: Path
    format: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    channels_last: bool = False

    @property
    def sha256(self) -> str:
        """Hash of the file's bytes."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Size of the file in bytes."""
        return self.path.stat().st_size
