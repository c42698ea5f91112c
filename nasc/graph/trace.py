"""From a PyTorch module to a :class:`~nasc.graph.network.Network`.

The stages: export to ATen (:mod:`~nasc.graph.program`), walk the operators and unify axes (:mod:`~nasc.graph.walk`),
name the dims (:mod:`~nasc.graph.resolve`), lower to kernels (:mod:`~nasc.graph.lowering`), find where masks of dims that
norms run over act (:mod:`~nasc.graph.sites`).

What lowering is given, ``lower(program, tensors, parameters)``:

- ``program``: the cleaned :class:`torch.export.ExportedProgram`. Functional (no in-place operators), no dead code, no
  assertions, eval mode, composite operators kept (``conv2d``, ``linear``, ``batch_norm``, ``adaptive_avg_pool2d``,
  ``scaled_dot_product_attention``). Nodes carry ``meta["val"]`` (a fake tensor) and ``meta["nn_module_stack"]``;
  :func:`nasc.graph.rules._base.module_path` gives a node's module path. The shapes in ``meta["val"]`` have an arbitrary
  prime as batch size; take sizes from the axes instead, which count one sample.
- ``tensors``: node name -> tuple of :class:`~nasc.graph.dims.Axis`, one an axis of the tensor (a tuple of such tuples
  for an operator with several outputs). The batch is the dim named ``"batch"`` of size 1. Fixed numbers (positions,
  kernel taps) are dims named by their size, e.g. ``"=49"``.
- ``parameters``: dotted name -> axes of the parameter or buffer.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils._pytree import tree_leaves, tree_map

from nasc.graph.explain import explain_failure, refuse_unknown_sizes
from nasc.graph.lowering import lower
from nasc.graph.network import Network
from nasc.graph.program import evaluating, export_program
from nasc.graph.resolve import resolve
from nasc.graph.sites import mark_live
from nasc.graph.slicing import slice_network
from nasc.graph.walk import walk_program

_OTHER_BATCH = 3


def trace(model: nn.Module, example_inputs: tuple[Any, ...]) -> Network:
    """Find the dims and kernels of a model. The model itself is never changed.

    Args:
        model: Any module; it is traced in eval mode.
        example_inputs: The positional inputs of one call; axis 0 of every tensor is the batch, of any size.

    Returns:
        The network, for any batch size; for the example's alone where the model, or an operator nasc has no rule for,
        counts on it (``network.batch`` is None).

    Raises:
        ModelError: The model does not accept the example inputs.
        TraceError: The model runs but cannot be traced; names the module, the source line and the operator.
    """
    inputs = _as_tuple(example_inputs)
    network = _trace(model, inputs, free_batch=True)
    if network.batch is None or not network.unsupported or _follows_batch(network, _OTHER_BATCH):
        return network
    # An operator without a rule counts on the batch size it was exported with: keep to the example's.
    return _trace(model, inputs, free_batch=False)


def _trace(model: nn.Module, inputs: tuple[Any, ...], *, free_batch: bool) -> Network:
    try:
        program, batch = export_program(model, inputs, free_batch=free_batch)
    except Exception as failure:
        raise explain_failure(model, inputs, failure) from failure
    return read_program(model, inputs, program, batch)


def _follows_batch(network: Network, batch: int) -> bool:
    """Whether the program, nothing removed, gives what the module gives at another batch size."""

    def repeat(leaf: Any) -> Any:
        return leaf[:1].repeat_interleave(batch, dim=0) if isinstance(leaf, Tensor) else leaf

    inputs = tree_map(repeat, network.example_inputs)
    try:
        with evaluating(network.model), torch.no_grad():
            expected = network.model(*inputs)
            found = slice_network(network, {})(*(leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)))
    except Exception:  # whatever an operator objects to, it objects to the batch
        return False
    pairs = list(zip(_tensors(expected), _tensors(found), strict=False))
    return bool(pairs) and all(a.shape == b.shape and torch.allclose(a, b, 1e-3, 1e-5) for a, b in pairs)


def _tensors(value: Any) -> list[Tensor]:
    plain = list(value.values()) if isinstance(value, Mapping) else value
    return [leaf for leaf in tree_leaves(plain) if isinstance(leaf, Tensor)]


def read_program(
    model: nn.Module, example_inputs: tuple[Any, ...], program: ExportedProgram, batch: int | None
) -> Network:
    """The second half of :func:`trace`: dims and kernels of an exported program.

    Args:
        model: The module it was exported from.
        example_inputs: The positional inputs of one call.
        program: Cleaned, from :func:`nasc.graph.program.export_program`.
        batch: The batch size in it, None where the batch is fixed.

    Raises:
        TraceError: A size of the program depends on values.
    """
    refuse_unknown_sizes(program, model)
    walked = walk_program(program, model, batch)
    resolved = resolve(walked)
    network = Network(
        model=model,
        program=program,
        example_inputs=example_inputs,
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
    return mark_live(network, resolved.reasons)


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
