"""The state of a run in one file: tensors as safetensors, everything else as JSON in its header. Nothing is pickled.

One file, replaced whole: a run that is killed at any moment leaves the last state or the one before, never parts of
both.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nasc.errors import RunError, TrainingError

_HEADER = "nasc"
_TENSOR = "__tensor__"

OptimizerState = dict[str, dict[str, Tensor]]
"""Tensors by name of the slot (``"momentum_buffer"``, ``"exp_avg"``) and by name of the parameter."""


@dataclass(frozen=True)
class Checkpoint:
    """Nested dictionaries and lists of numbers, strings and tensors, as they were saved (tuples come back as lists).

    Args:
        content: The state.
    """

    content: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, replacing the one before it at once.

    Args:
        path: The file.
        checkpoint: Keys of dictionaries must be strings.

    Raises:
        RunError: The file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps(_pack(checkpoint.content, "", tensors))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, temporary, metadata={_HEADER: header})
        temporary.replace(path)
    except (OSError, SafetensorError) as failure:
        temporary.unlink(missing_ok=True)
        raise RunError(
            f"the checkpoint {path} cannot be written: {failure}", "free some space or give another folder"
        ) from failure


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: The file.

    Raises:
        RunError: The file is not a checkpoint of this program.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, KeyError, ValueError) as failure:
        raise RunError(f"{path} is not a checkpoint: {failure}", "remove it to start over") from failure
    content: dict[str, Any] = _unpack(header, tensors)
    return Checkpoint(content)


def optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> OptimizerState:
    """Copies of what an optimiser remembers, by slot and parameter name.

    Args:
        optimizer: Updates parameters of ``model``.
        model: Names them.
    """
    state: OptimizerState = {}
    for name, parameter in model.named_parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                state.setdefault(slot, {})[name] = value.detach().clone()
    return state


def load_optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module, state: OptimizerState) -> None:
    """Give an optimiser what :func:`optimizer_state` took from one.

    Args:
        optimizer: Updates parameters of ``model``; changed in place.
        model: Names them.
        state: May leave out parameters, which then start anew.

    Raises:
        TrainingError: A tensor has another shape than its parameter, or there is no such parameter.
    """
    parameters = dict(model.named_parameters())
    for slot, tensors in state.items():
        for name, tensor in tensors.items():
            parameter = parameters.get(name)
            if parameter is None:
                raise TrainingError(f"expected a parameter named {name} for its {slot}, the model has none")
            if tensor.dim() > 0 and tensor.shape != parameter.shape:
                expected, got = tuple(parameter.shape), tuple(tensor.shape)
                raise TrainingError(f"expected shape {expected} for the {slot} of {name}, got {got}")
            optimizer.state[parameter][slot] = tensor.clone().to(parameter.device)


def _pack(value: Any, key: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` with every tensor moved to ``tensors`` and a reference left in its place."""
    if isinstance(value, Tensor):
        tensors[key] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_TENSOR: key}
    if isinstance(value, dict):
        wrong = [name for name in value if not isinstance(name, str)]
        if wrong:
            raise TypeError(f"expected names as keys of a state dictionary, got {wrong[0]!r} in {key or 'the state'}")
        return {name: _pack(item, f"{key}/{name}", tensors) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(item, f"{key}/{place}", tensors) for place, item in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"expected numbers, strings and tensors in a state, got {type(value).__name__} in {key}")


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_TENSOR}:
            return tensors[value[_TENSOR]]
        return {name: _unpack(item, tensors) for name, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value
