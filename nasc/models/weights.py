"""Weights from a file, without running anything that is in it."""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from nasc.errors import ModelError


def load_weights(model: nn.Module, path: Path) -> None:
    """Put the weights of a file into a model.

    Args:
        model: Changed in place.
        path: ``.safetensors``, or a state dictionary as ``torch.save`` writes it; the latter is read with
            ``weights_only=True``, which refuses everything but tensors.

    Raises:
        ModelError: The file is missing or refused, or its names or shapes are not the model's.
    """
    if not path.is_file():
        raise ModelError(f"expected weights at {path}, found no file", "check the path")
    state = _read(path)
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        raise ModelError(
            f"the weights in {path} are of another model: {len(missing)} of the model's {len(own)} names are missing "
            f"({_some(missing)}), {len(unexpected)} are unexpected ({_some(unexpected)})",
            "give the same model, number of classes and width that the weights were made with",
        )
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f"expected {name} of shape {tuple(own[name].shape)}, got {tuple(tensor.shape)} in {path}",
                "give the same model, number of classes and width that the weights were made with",
            )
    model.load_state_dict(state)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except SafetensorError as failure:
            raise ModelError(f"{path} is not a safetensors file: {failure}", "save it again") from failure
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as failure:
        raise ModelError(
            f"{path} holds more than tensors, or is damaged, and is not loaded",
            "save the state dictionary alone: torch.save(model.state_dict(), path), or use safetensors",
        ) from failure
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ModelError(f"expected {path} to hold a state dictionary of tensors, got {type(state).__name__}")
    return state


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "none"
