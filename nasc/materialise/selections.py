"""A selection on disk: one safetensors file with the kept indices and the gains of every dim that is named."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from nasc.errors import RunError
from nasc.graph.selection import Selection
from nasc.records import write_atomic

_KEPT, _GAINS = "kept/", "gains/"


def save_selection(selection: Selection, path: str | Path) -> Path:
    """Save a selection, whole or not at all.

    Raises:
        RunError: The file cannot be written.
    """
    path = Path(path)
    tensors = {f"{_KEPT}{name}": indices for name, indices in selection.kept.items()}
    tensors |= {f"{_GAINS}{name}": gains for name, gains in selection.gains.items()}
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
    kept = {name.removeprefix(_KEPT): tensor for name, tensor in tensors.items() if name.startswith(_KEPT)}
    gains = {name.removeprefix(_GAINS): tensor for name, tensor in tensors.items() if name.startswith(_GAINS)}
    if len(kept) + len(gains) != len(tensors) or any(indices.dtype != torch.int64 for indices in kept.values()):
        raise RunError(f"expected kept indices and gains in {path}; got other tensors", "run the compression again")
    return Selection(kept, gains)
