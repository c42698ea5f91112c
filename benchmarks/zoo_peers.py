"""What torch-pruning and ModelOpt's FastNAS make of one model of the zoo, at the settings that suit them best.

Both are installed beside the product, not with it: ``pip install --no-deps --target FOLDER torch-pruning==1.6.1
nvidia-modelopt==0.47.0 torchprofile==0.0.4 pulp`` and what those need, then ``NASC_PEERS=FOLDER``. A success is a pruned
model that runs, gives outputs of the same shapes and has fewer than 90 % of the parameters. Whether it computes what the
masked model does is not asked of them.
"""

import copy
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from zoo_models import build_model

ENOUGH = 0.9
"""Share of the parameters that a pruned model may keep to count as pruned."""

_RATIO = 0.5
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def examine(name: str, tool: str) -> Iterator[dict[str, Any]]:
    """Prune one model with a peer, setting after setting until one works.

    Args:
        name: A model of :mod:`zoo_models`.
        tool: ``"torch-pruning"`` or ``"fastnas"``.

    Yields:
        ``pruned`` (a setting worked), ``setting``, ``params_share``; ``why_not`` of every setting that failed.
    """
    sys.path.append(os.environ.get("NASC_PEERS", ""))
    model, inputs = build_model(name)
    shapes = _shapes(model, inputs)
    dense = _count(model)
    failures: dict[str, str] = {}
    for setting, attempt in _SETTINGS[tool].items():
        try:
            pruned = attempt(copy.deepcopy(model), inputs)
            share = _count(pruned) / dense
            if _shapes(pruned, inputs) != shapes:
                failures[setting] = "the outputs have other shapes"
            elif share >= ENOUGH:
                failures[setting] = f"{share:.0%} of the parameters are left"
            else:
                yield {"pruned": True, "setting": setting, "params_share": share}
                return
        except Exception as failure:
            failures[setting] = f"{type(failure).__name__}: {str(failure)[:160]}"
        yield {"pruned": False, "why_not": "; ".join(f"{key}: {value}" for key, value in failures.items())}


def _shapes(model: nn.Module, inputs: tuple[Any, ...]) -> list[tuple[int, ...]]:
    with torch.no_grad():
        return [tuple(leaf.shape) for leaf in pytree.tree_leaves(model(*inputs)) if isinstance(leaf, Tensor)]


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# -- torch-pruning -----------------------------------------------------------------------------------------------------


def _torch_pruning(model: nn.Module, inputs: tuple[Any, ...], *, heads: bool, **options: Any) -> nn.Module:
    """Half of every group by magnitude; what the outputs come from is left alone, as its examples do."""
    import torch_pruning

    num_heads = _head_counts(model) if heads else {}
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        example_inputs=inputs[0] if len(inputs) == 1 else inputs,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=_RATIO,
        ignored_layers=_last_layers(model, inputs),
        num_heads=dict(num_heads),
        **options,
    )
    pruner.step()
    if heads:
        _correct_head_sizes(model)
    return model


def _last_layers(model: nn.Module, inputs: tuple[Any, ...]) -> list[nn.Module]:
    """The layers whose result is an output of the model; the last one that ran where there is none."""
    results: list[tuple[nn.Module, int]] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            results.append((module, output.data_ptr()))

    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, _WEIGHTED)]
    with torch.no_grad():
        outputs = [leaf.data_ptr() for leaf in pytree.tree_leaves(model(*inputs)) if isinstance(leaf, Tensor)]
    for hook in hooks:
        hook.remove()
    return [module for module, place in results if place in outputs] or [module for module, _ in results[-1:]]


_PROJECTIONS = (
    "qkv",
    "query",
    "key",
    "value",
    "q_proj",
    "k_proj",
    "v_proj",
    "q",
    "k",
    "v",
    "q_lin",
    "k_lin",
    "v_lin",
    "kv",
)


def _head_counts(model: nn.Module) -> dict[nn.Module, int]:
    """How many heads each projection of an attention serves, where its module says."""
    counts: dict[nn.Module, int] = {}
    for module in model.modules():
        number = next((getattr(module, name, None) for name in ("num_heads", "num_attention_heads", "n_heads")), None)
        for name in _PROJECTIONS:
            child = getattr(module, name, None)
            if isinstance(number, int) and isinstance(child, nn.Linear):
                counts[child] = number
    return counts


def _correct_head_sizes(model: nn.Module) -> None:
    """Set what attention modules remember of their sizes, as the peer's own examples do by hand."""
    for module in model.modules():
        number = next((getattr(module, name, None) for name in ("num_heads", "num_attention_heads", "n_heads")), None)
        child = next((getattr(module, name, None) for name in _PROJECTIONS if hasattr(module, name)), None)
        if not isinstance(number, int) or not isinstance(child, nn.Linear):
            continue
        total = child.out_features // (3 if hasattr(module, "qkv") else 1)
        sizes = {
            "head_dim": total // number,
            "attention_head_size": total // number,
            "all_head_size": total,
            "attn_dim": total,
        }
        for name, value in sizes.items():
            if isinstance(getattr(module, name, None), int):
                setattr(module, name, value)


# -- FastNAS -----------------------------------------------------------------------------------------------------------


def _fastnas(model: nn.Module, inputs: tuple[Any, ...], *, divisor: int) -> nn.Module:
    """The smallest member of its search space."""
    import modelopt.torch.nas as nas
    from modelopt.torch.prune.fastnas import FastNASConfig

    rules = FastNASConfig().model_dump()
    for rule in rules.values():
        for choice in rule.values():
            for key in ("channel_divisor", "feature_divisor"):
                if key in choice:
                    choice[key] = divisor
    space = nas.convert(model, mode=[("fastnas", {_layer_name(key): rule for key, rule in rules.items()})])
    nas.sample(space, min)
    exported: nn.Module = nas.export(space)
    return exported


def _layer_name(key: str) -> str:
    """``nn_conv2d`` as the configuration wants it: ``nn.Conv2d``."""
    known = {f"nn_{name.lower()}": f"nn.{name}" for name in dir(nn)}
    return known.get(key, key)


Attempt = Callable[[nn.Module, tuple[Any, ...]], nn.Module]

_SETTINGS: dict[str, dict[str, Attempt]] = {
    "torch-pruning": {
        "plain": lambda model, inputs: _torch_pruning(model, inputs, heads=False),
        "rounded to 8": lambda model, inputs: _torch_pruning(model, inputs, heads=False, round_to=8),
        "with heads": lambda model, inputs: _torch_pruning(model, inputs, heads=True),
        "with heads, heads go": lambda model, inputs: _torch_pruning(
            model, inputs, heads=True, prune_num_heads=True, prune_head_dims=False, head_pruning_ratio=_RATIO
        ),
    },
    "fastnas": {
        "divisor 8": lambda model, inputs: _fastnas(model, inputs, divisor=8),
        "divisor 32": lambda model, inputs: _fastnas(model, inputs, divisor=32),
    },
}
