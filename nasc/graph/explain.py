"""Words for a model that cannot be traced: the module, the source line, the operator, and what to do."""

import linecache
import re
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree

from nasc.errors import ModelError, TraceError
from nasc.graph.program import evaluating
from nasc.graph.rules._base import module_path

_HINT = (
    "Keep tensor values out of Python control flow and sizes (.item(), if tensor: ..., x[mask], nonzero): use torch.where "
    "or masks of fixed shape instead, or trace the part of the model that is free of them."
)


def refuse_unknown_sizes(program: ExportedProgram, model: nn.Module) -> None:
    """Refuse a program in which the size of a tensor depends on the values of another.

    Raises:
        TraceError: Names the operator, the module and the source line of the first such tensor.
    """
    for node in program.graph.nodes:
        values = pytree.tree_leaves(node.meta.get("val"))
        shapes = [value.shape for value in values if isinstance(value, Tensor)]
        if any(isinstance(length, torch.SymInt) for shape in shapes for length in shape):
            raise TraceError(
                f"cannot trace model {type(model).__name__}{_place_of(node)}: operator {node.target} makes a tensor whose "
                "size depends on values",
                _HINT,
            )


def _place_of(node: fx.Node) -> str:
    """The module and source line of a graph node."""
    lines = re.findall(r'File "(.+?)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(file, int(line)) for file, line in lines if not _is_library(file)]
    source = f" at {_source_line(*own[-1])}" if own else ""
    return f" in {module_path(node) or 'the top module'}{source}"


def _source_line(file: str, line: int) -> str:
    return f"{file}:{line} `{linecache.getline(file, line).strip()}`"


def explain_failure(model: nn.Module, inputs: tuple[Any, ...], failure: Exception) -> ModelError:
    """One sentence for a model that could not be exported: where, what, and what to do.

    Args:
        model: The module.
        inputs: Its example inputs.
        failure: What the exporter raised.

    Returns:
        The error to raise: a :class:`TraceError`, or a :class:`ModelError` where the model itself fails on the inputs.
    """
    name = type(model).__name__
    try:
        with evaluating(model), torch.no_grad():
            model(*inputs)
    except Exception as wrong:
        return ModelError(
            f"model {name} does not accept the example input {_describe(inputs)}: {_first_line(wrong)}",
            "Give example inputs that the model runs on, e.g. trace(model, (torch.zeros(1, 3, 224, 224),)).",
        )
    return TraceError(
        f"cannot trace model {name}{_where(model, failure)}{_operator(failure)}: {_cause(failure)}",
        _HINT,
    )


def _describe(inputs: tuple[Any, ...]) -> str:
    return ", ".join(
        f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}" if isinstance(value, Tensor) else repr(value)
        for value in inputs
    )


def _first_line(failure: BaseException) -> str:
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[0] if lines else type(failure).__name__


def _cause(failure: Exception) -> str:
    if isinstance(failure, GuardOnDataDependentSymNode):
        return "what is computed depends on the value of a tensor, which is not known before it runs"
    return _first_line(failure)


def _operator(failure: BaseException) -> str:
    """The ATen operator that was at work when the failure was raised, where there was one."""
    names = [
        str(value).removesuffix(".default")
        for frame, _ in traceback.walk_tb(failure.__traceback__)
        for value in frame.f_locals.values()
        if isinstance(value, torch._ops.OpOverload)
    ]
    return f", operator {names[-1]}" if names else ""


def _where(model: nn.Module, failure: BaseException) -> str:
    """The innermost module of the model, and the innermost source line outside torch, that the failure passed through."""
    paths = {module: path for path, module in model.named_modules()}
    inside, source = "", ""
    for frame, line in traceback.walk_tb(failure.__traceback__):
        owner = _owner(frame)
        file = frame.f_code.co_filename
        if isinstance(owner, nn.Module) and owner in paths:
            inside = f" in {paths[owner] or 'the top module'} ({type(owner).__name__})"
        if inside and not _is_library(file):
            source = f" at {_source_line(file, line)}"
    return inside + source


def _owner(frame: FrameType) -> Any:
    """The first argument of a method's frame, ``self`` by custom."""
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _is_library(file: str) -> bool:
    """Part of torch or nasc, not of what the user wrote."""
    return any(str(folder) in file for folder in (Path(torch.__file__).parent, Path(__file__).parents[1]))
