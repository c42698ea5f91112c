"""A selection on disk: one safetensors file with all it names, by field and name."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from nasc.errors import RunError
from nasc.graph.selection import Selection
from nasc.records import write_atomic

_DTYPES = {"kept": torch.int64, "gains": None, "masks": torch.bool, "bits": torch.int64}
"""Dtype of each field's tensors (None: any), as stored."""


def save_selection(selection: Selection, path: str | Path) -> Path:
    """Save a selection, whole or not at all.

    Raises:
        RunError: The file cannot be written.
    """
    path = Path(path)
    tensors = {
        f"{field}/{name}": torch.as_tensor(value)
        for field in _DTYPES
        for name, value in getattr(selection, field).items()
    }
    write_atomic(path, tensors_to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))
    return path


def load_selection(path: str | Path) -> Selection:
    """A selection that :func:`save_selection` saved.

    Raises:
        RunError: The file is missing, broken, or holds something else.
    """
    path = Path(path)
    try:
        tensors = tensors_from_bytes(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise RunError(f"expected a saved selection in {path}; got: {error}", "run the compression again") from error
    fields: dict[str, dict[str, Any]] = {field: {} for field in _DTYPES}
    for key, tensor in tensors.items():
        field, _, name = key.partition("/")
        if field not in _DTYPES or _DTYPES[field] not in (None, tensor.dtype):
            raise RunError(f"expected a saved selection in {path}; got the tensor {key!r}", "run the compression again")
        fields[field][name] = int(tensor) if field == "bits" else tensor
    return Selection(**fields)
