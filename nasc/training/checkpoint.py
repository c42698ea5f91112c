"""The state of a run in one file: tensors as safetensors, everything else as JSON in its header. Nothing is pickled.

One file, replaced whole: a run that is killed at any moment leaves the last state or the one before, never parts of
both.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from nasc.errors import RunError, TrainingError
from nasc.records import write_atomic

_HEADER = "nasc"
_TENSOR = "__tensor__"

OptimizerState = dict[str, dict[str, Tensor]]
"""Tensors by name of the slot (``"momentum_buffer"``, ``"exp_avg"``) and by name of the parameter."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, replacing the one before it at once.

    Args:
        path: The file.
        content: Nested dictionaries (with strings as keys), lists and tuples of numbers, strings and tensors.

    Raises:
        RunError: The file cannot be written.
        TypeError: The content holds something else; the message says where.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps(_pack(content, "", tensors))
    write_atomic(path, save(tensors, metadata={_HEADER: header}))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Args:
        path: The file.

    Returns:
        What was saved, with lists in place of tuples.

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
    return content


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
