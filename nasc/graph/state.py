"""The parameters and buffers of a module by all their names."""

from torch import Tensor, nn


def full_state(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by every one of its names, the non-persistent ones included."""
    state: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    state.update(model.named_buffers(remove_duplicate=False))
    return state


def tied_names(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """For every parameter and buffer, all names of the same tensor, itself included."""
    groups: dict[int, list[str]] = {}
    state = full_state(model)
    for name, tensor in state.items():
        groups.setdefault(id(tensor), []).append(name)
    return {name: tuple(groups[id(tensor)]) for name, tensor in state.items()}
