"""Putting other layers in the place of some of a module's, in a copy."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from nasc.graph.program import evaluating
from nasc.graph.state import tied_names


def replace_modules(model: nn.Module, replacements: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of a module with other layers at some paths.

    Args:
        model: Not changed.
        replacements: New layer by dotted path; taken as they are, not copied.
    """
    result = copy.deepcopy(model)
    for path, module in replacements.items():
        parent, _, name = path.rpartition(".")
        setattr(result.get_submodule(parent), name, module)
    return result


def called_once(model: nn.Module, example_inputs: tuple[Any, ...]) -> set[str]:
    """Paths of the layers that one forward pass calls exactly once, whose weights belong to them alone.

    Only these can be replaced: a layer whose weight is read by somebody else (``out_proj`` of an attention module, tied
    embeddings) would be missed, one that is called twice would tie two places of the graph.
    """
    counts: dict[str, int] = {}
    names = {module: path for path, module in model.named_modules()}

    def count(module: nn.Module, inputs: Any) -> None:
        counts[names[module]] = counts.get(names[module], 0) + 1

    handles = [module.register_forward_pre_hook(count) for module in names]
    try:
        with evaluating(model), torch.no_grad():
            model(*example_inputs)
    finally:
        for handle in handles:
            handle.remove()
    tied = tied_names(model)
    return {
        path
        for path, times in counts.items()
        if times == 1
        and all(
            len(tied[f"{path}.{name}"]) == 1 for name, _ in model.get_submodule(path).named_parameters(recurse=False)
        )
    }
