"""The way for models the writer has no kernels for: litert-torch, an optional and heavy package.

Its files take images in PyTorch's layout and may hold transposes, so their operators are not the network's kernels.
"""

import importlib.util
import tempfile
from pathlib import Path

from nasc.errors import ExportError
from nasc.exporters._base import one_sample
from nasc.exporters._quiet import first_line, quiet
from nasc.graph.network import Network
from nasc.graph.program import evaluating


def available() -> bool:
    """litert-torch is installed."""
    return importlib.util.find_spec("litert_torch") is not None


def convert(network: Network, missing: ExportError) -> bytes:
    """A LiteRT model of the network's module, for a batch of one.

    Args:
        network: What to convert.
        missing: Why the writer could not, for the message if this fails too.

    Raises:
        ExportError: litert-torch cannot convert it either.
    """
    try:
        with quiet(), evaluating(network.model), tempfile.TemporaryDirectory() as folder:
            import litert_torch

            path = Path(folder) / "model.tflite"
            litert_torch.convert(network.model, one_sample(network)).export(str(path))
            return path.read_bytes()
    except Exception as failure:
        raise ExportError(
            f"{missing.message}; and litert-torch fails: {first_line(failure)}", "nasc export --format onnx"
        ) from failure
