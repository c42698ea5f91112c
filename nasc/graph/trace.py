"""From a PyTorch module to a :class:`~nasc.graph.network.Network`.

The stages: export to ATen (:mod:`~nasc.graph.program`), walk the operators and unify axes (:mod:`~nasc.graph.walk`),
name the dims (:mod:`~nasc.graph.resolve`), lower to kernels (:mod:`~nasc.graph.lowering`).

What lowering is given, ``lower(program, tensors, parameters)``:

- ``program``: the cleaned :class:`torch.export.ExportedProgram`. Functional (no in-place operators), no dead code, no
  assertions, eval mode, composite operators kept (``conv2d``, ``linear``, ``batch_norm``, ``adaptive_avg_pool2d``,
  ``scaled_dot_product_attention``). Nodes carry ``meta["val"]`` (a fake tensor) and ``meta["nn_module_stack"]``;
  :func:`nasc.graph.rules._base.module_path` gives a node's module path. The shapes in ``meta["val"]`` have an arbitrary
  prime as batch size; take sizes from the axes instead, which count one sample.
- ``tensors``: node name -> tuple of :class:`~nasc.graph.dims.Axis`, one an axis of the tensor (a tuple of such tuples
  for an operator with several outputs). The batch is the dim named ``"batch"`` of size 1. Fixed numbers (positions,
  kernel taps) are dims named by their size, e.g. ``"49"``.
- ``parameters``: dotted name -> axes of the parameter or buffer.
"""

import linecache
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from nasc.errors import ModelError, NascError, TraceError
from nasc.graph.lowering import lower
from nasc.graph.network import Network
from nasc.graph.program import evaluating, export_program
from nasc.graph.resolve import resolve
from nasc.graph.walk import walk_program


def trace(model: nn.Module, example_inputs: tuple[Any, ...]) -> Network:
    """Find the dims and kernels of a model. The model itself is never changed.

    Args:
        model: Any module; it is traced in eval mode.
        example_inputs: The positional inputs of one call; axis 0 of every tensor is the batch, of any size.

    Returns:
        The network, for any batch size.

    Raises:
        ModelError: The model does not accept the example inputs.
        TraceError: The model runs but cannot be traced; names the module, the source line and the operator.
    """
    inputs = _as_tuple(example_inputs)
    try:
        program, batch = export_program(model, inputs)
    except NascError:
        raise
    except Exception as failure:
        raise _explain(model, inputs, failure) from failure
    walked = walk_program(program, model, batch)
    resolved = resolve(walked)
    return Network(
        model=model,
        program=program,
        example_inputs=inputs,
        dims=resolved.dims,
        parameters=resolved.parameters,
        tensors=resolved.tensors,
        contractions=resolved.contractions,
        kernels=lower(program, resolved.tensors, resolved.parameters),
        unsupported=dict(walked.unsupported),
        inputs=_inputs(program),
        outputs=_outputs(program),
        rewrites=resolved.rewrites,
        names=walked.names,
        running_variances=resolved.running_variances,
        batch=batch,
    )


def _as_tuple(example_inputs: Any) -> tuple[Any, ...]:
    if isinstance(example_inputs, tuple):
        return example_inputs
    return tuple(example_inputs) if isinstance(example_inputs, list) else (example_inputs,)


def _inputs(program: ExportedProgram) -> tuple[str, ...]:
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return tuple(
        spec.arg.name
        for spec in program.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT and isinstance(placeholders[spec.arg.name].meta.get("val"), Tensor)
    )


def _outputs(program: ExportedProgram) -> tuple[str, ...]:
    returned: Any = next(iter(reversed(program.graph.nodes))).args[0]
    pairs = zip(returned, program.graph_signature.output_specs, strict=True)
    return tuple(
        value.name for value, spec in pairs if spec.kind is OutputKind.USER_OUTPUT and isinstance(value, fx.Node)
    )


# -- errors -------------------------------------------------------------------------------------------


def _explain(model: nn.Module, inputs: tuple[Any, ...], failure: Exception) -> ModelError:
    """One sentence for a model that could not be exported: where, what, and what to do."""
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
        f"cannot trace model {name}{_where(model, failure)}: {_first_line(failure)}",
        "Keep tensor values out of Python control flow (.item(), .tolist(), if tensor: ...): use torch.where or "
        "shapes instead, or trace the part of the model that is free of them.",
    )


def _describe(inputs: tuple[Any, ...]) -> str:
    return ", ".join(
        f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}" if isinstance(value, Tensor) else repr(value)
        for value in inputs
    )


def _first_line(failure: BaseException) -> str:
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[0] if lines else type(failure).__name__


def _where(model: nn.Module, failure: BaseException) -> str:
    """The innermost module of the model and the innermost source line outside torch that the failure passed through."""
    paths = {module: path for path, module in model.named_modules()}
    module_path, source = "", ""
    for frame, line in traceback.walk_tb(failure.__traceback__):
        file = frame.f_code.co_filename
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and owner in paths:
            module_path = f"{paths[owner] or 'the top module'} ({type(owner).__name__})"
            inside = _is_library(file)
            if not inside:
                source = f"{file}:{line} `{linecache.getline(file, line).strip()}`"
    place = f" in {module_path}" if module_path else ""
    return f"{place} at {source}" if source else place


def _is_library(file: str) -> bool:
    return str(Path(torch.__file__).parent) in file
