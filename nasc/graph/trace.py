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

from typing import Any

from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torch.utils._pytree import tree_leaves

from nasc.graph.explain import explain_failure, refuse_unknown_sizes
from nasc.graph.lowering import lower
from nasc.graph.network import Network
from nasc.graph.program import export_program
from nasc.graph.resolve import resolve
from nasc.graph.sites import mark_live
from nasc.graph.slicing import slice_network
from nasc.graph.walk import BATCH, walk_program


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
    except Exception as failure:
        raise explain_failure(model, inputs, failure) from failure
    network = read_program(model, inputs, program, batch)
    if batch is None or not network.unsupported or _runs_at(network, batch + 1):
        return network
    # An operator without a rule counts on the batch size it was exported with: keep to the example's.
    return read_program(model, inputs, *export_program(model, inputs, free_batch=False))


def _runs_at(network: Network, batch: int) -> bool:
    """Whether the program, nothing removed, accepts another batch size and returns outputs of that size."""
    tensors = [leaf for leaf in tree_leaves(network.example_inputs) if isinstance(leaf, Tensor)]
    shapes_only = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        graph = slice_network(network, {})
        outputs = FakeTensorProp(graph, shapes_only).propagate(
            *(tensor[:1].repeat_interleave(batch, dim=0) for tensor in tensors)
        )
    except Exception:  # whatever an operator objects to, it objects to the batch
        return False
    found = [tuple(leaf.shape) for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return found == [
        tuple(int(axis.size({BATCH: batch})) for axis in network.tensors[name]) for name in network.outputs
    ]


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
