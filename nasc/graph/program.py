"""From a module to a clean ATen program: exported in eval mode, batch axis free, functional, no dead code."""

import io
import logging
import operator
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from nasc.graph.functional import make_functional
from nasc.graph.state import full_state

_SMALLEST_BATCH = 11
_WRAPPERS = ("wrap_with_set_grad_enabled", "wrap_with_autocast")


def export_program(
    model: nn.Module, example_inputs: tuple[Any, ...], *, free_batch: bool = True
) -> tuple[ExportedProgram, int | None]:
    """Export a module in eval mode; its mode, parameters and buffers are as before afterwards.

    The program is exported with a batch size that divides no size of the model, so that wherever this number appears
    it is the batch. A model that accepts only the batch size of its example has no free batch axis.

    Args:
        model: Any module :func:`torch.export.export` accepts.
        example_inputs: Positional inputs; axis 0 of every tensor is the batch.
        free_batch: Try for a free batch axis; otherwise the batch is the example's.

    Returns:
        The cleaned program and the batch size in it, None where the batch is fixed.
    """
    batch = _unmistakable_batch(model, example_inputs) if free_batch else None
    if batch is not None:
        try:
            return clean(_export(model, _with_batch(example_inputs, batch))), batch
        except Exception:  # the example's own batch decides: its failure is the one to report
            pass
    return clean(_export(model, example_inputs)), None


def _export(model: nn.Module, inputs: tuple[Any, ...]) -> ExportedProgram:
    with evaluating(model), torch.no_grad(), _quiet():
        return torch.export.export(model, inputs, strict=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter off the terminal; what matters of it is in the exception it raises."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; every submodule gets its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


# -- the batch ----------------------------------------------------------------------------------------


def _tensors(inputs: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]


def _common_batch(inputs: tuple[Any, ...]) -> int | None:
    """The size of axis 0, if all tensors agree on it."""
    sizes = {int(tensor.shape[0]) if tensor.ndim else 0 for tensor in _tensors(inputs)}
    return sizes.pop() if len(sizes) == 1 and 0 not in sizes else None


def _unmistakable_batch(model: nn.Module, inputs: tuple[Any, ...]) -> int | None:
    """The smallest prime that divides no size of the parameters, buffers and inputs."""
    if _common_batch(inputs) is None:
        return None
    shapes = [tensor.shape for tensor in full_state(model).values()]
    shapes += [tensor.shape[1:] for tensor in _tensors(inputs)]
    sizes = {int(length) for shape in shapes for length in shape}
    candidate = _SMALLEST_BATCH
    while not _is_prime(candidate) or any(length % candidate == 0 for length in sizes if length):
        candidate += 2
    return candidate


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _with_batch(inputs: tuple[Any, ...], batch: int) -> tuple[Any, ...]:
    """The inputs with their first sample repeated."""

    def repeat(leaf: Any) -> Any:
        return leaf[:1].repeat_interleave(batch, dim=0) if isinstance(leaf, Tensor) else leaf

    repeated: tuple[Any, ...] = pytree.tree_map(repeat, inputs)
    return repeated


# -- cleaning -----------------------------------------------------------------------------------------


def clean(program: ExportedProgram) -> ExportedProgram:
    """Inline wrappers, drop assertions, make it functional, drop dead code; changes the program's graph in place.

    Returns:
        The same program, or a functional one made from it where an in-place operator writes through a view.
    """
    _inline_wrappers(program)
    _drop_assertions(program.graph)
    if not make_functional(program.graph):
        with _quiet():
            program = program.run_decompositions({})
        _inline_wrappers(program)
        _drop_assertions(program.graph)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


def _inline_wrappers(program: ExportedProgram) -> None:
    """Put the bodies of gradient-mode and autocast wrappers in their place."""
    graph, root = program.graph, program.graph_module
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if node.op != "call_function" or getattr(node.target, "__name__", "") not in _WRAPPERS:
            continue
        place = next(index for index, argument in enumerate(node.args) if _is_body(root, argument))
        body = getattr(root, node.args[place].target)
        with graph.inserting_before(node):
            outputs = _copy_body(graph, body.graph, node.args[place + 1 :])
        for user in list(node.users):
            if user.target is operator.getitem:
                user.replace_all_uses_with(outputs[user.args[1]])
                graph.erase_node(user)
        if not node.users:
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _is_body(root: nn.Module, argument: Any) -> bool:
    return (
        isinstance(argument, fx.Node)
        and argument.op == "get_attr"
        and isinstance(getattr(root, str(argument.target), None), fx.GraphModule)
    )


def _copy_body(graph: fx.Graph, body: fx.Graph, arguments: Sequence[Any]) -> Any:
    """Copy a body's nodes into a graph; gives its outputs."""
    mapped: dict[fx.Node, Any] = {}
    given = iter(arguments)
    for node in body.nodes:
        if node.op == "placeholder":
            mapped[node] = next(given)
        elif node.op == "output":
            return fx.node.map_arg(node.args[0], mapped.__getitem__)
        else:
            mapped[node] = graph.node_copy(node, mapped.__getitem__)
    return ()


def _drop_assertions(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        name = getattr(node.target, "__name__", str(node.target))
        if node.op == "call_function" and not node.users and name.startswith(("_assert", "sym_constrain")):
            graph.erase_node(node)
