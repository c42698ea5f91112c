"""What a model does only while it trains, under a Python ``if self.training:``, and so not in its exported graph.

Dropout and batch norm are operators and stay; stochastic depth and the like vanish from the graph of an evaluation. They are
found by what they do: a module whose code asks for ``training`` is run on the activations it gets, with its own flag on.
"""

import ast
import copy
import inspect
import textwrap
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from nasc.graph.network import Network
from nasc.graph.program import evaluating
from nasc.graph.rules._base import module_path

_TRIES = 4
"""Runs with the flag on: one with a small probability may leave a single run as it was."""


def training_only(network: Network) -> dict[str, str]:
    """Modules whose behaviour in training is lost in the graph, and so in the finished model.

    Args:
        network: A traced network; its model and the random state are left as they are.

    Returns:
        Class name by module path.
    """
    suspects = {path: module for path, module in network.model.named_modules() if _asks_for_training(module)}
    if not suspects:
        return {}
    kept = _modules_with_switches(network)
    calls = _record_calls(network, [module for path, module in suspects.items() if path not in kept])
    with torch.random.fork_rng(), torch.no_grad():
        return {
            path: type(module).__name__
            for path, module in suspects.items()
            if module in calls and _differs_in_training(module, *calls[module])
        }


def _asks_for_training(module: nn.Module) -> bool:
    """A module from outside torch whose ``forward`` reads an attribute ``training``."""
    if type(module).__module__.startswith("torch.nn"):
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(type(module).forward)))
    except (OSError, TypeError, SyntaxError):  # built in, or made at run time
        return False
    return any(isinstance(node, ast.Attribute) and node.attr == "training" for node in ast.walk(tree))


def _modules_with_switches(network: Network) -> set[str]:
    """Paths of modules in which an operator follows training by itself, as dropout does."""
    switches = {"train", "training"}
    return {
        module_path(node)
        for node in network.program.graph.nodes
        if node.op == "call_function" and switches & {argument.name for argument in _arguments(node.target)}
    }


def _arguments(target: Any) -> list[Any]:
    schema = getattr(target, "_schema", None)
    return list(schema.arguments) if schema is not None else []


Call = tuple[tuple[Any, ...], dict[str, Any]]


def _record_calls(network: Network, modules: list[nn.Module]) -> dict[nn.Module, Call]:
    """The arguments of the first call of each module in one evaluation."""
    calls: dict[nn.Module, Call] = {}

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module not in calls:
            calls[module] = copy.deepcopy((args, kwargs))  # a cache among them is written to by the call

    hooks = [module.register_forward_pre_hook(note, with_kwargs=True) for module in modules]
    try:
        with evaluating(network.model), torch.no_grad():
            network.model(*network.example_inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _differs_in_training(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the module's own flag, its children's left off, changes what it returns."""
    with evaluating(module):
        try:
            expected = _run(module, args, kwargs)
        except Exception:  # it cannot be run by itself, so nothing can be said about it
            return False
        module.training = True
        for seed in range(_TRIES):
            torch.manual_seed(seed)
            try:
                found = _run(module, args, kwargs)
            except Exception:  # what it does in training needs more than an evaluation gives it
                return True
            if len(found) != len(expected) or not all(map(_equal, found, expected)):
                return True
    return False


def _run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    args, kwargs = copy.deepcopy((args, kwargs))
    return _tensors(module.forward(*args, **kwargs))


def _tensors(value: Any) -> list[Tensor]:
    plain = list(value.values()) if isinstance(value, dict) else value
    return [leaf for leaf in pytree.tree_leaves(plain) if isinstance(leaf, Tensor)]


def _equal(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and torch.equal(left, right)
