"""What a traced model must obey, for anyone to run on their own: removing entries equals masking them.

Two independent checks. :func:`module_difference` masks weights of the untouched eager module, and knows nothing of the
graph but the names of the weights that read a dim. :func:`graph_difference` also covers dims that a norm or softmax
runs over: it runs the full-size program with removed entries held at zero, and evaluates what depends on the number of
entries on the kept ones alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from nasc.graph.dims import Axis, Dim, Sum
from nasc.graph.masking import masked_call
from nasc.graph.network import Network
from nasc.graph.program import evaluating
from nasc.graph.slicing import rewritten_call, slice_network, slice_tensor
from nasc.graph.state import full_state
from nasc.graph.trace import trace
from nasc.graph.walk import BATCH

Kept = Mapping[str, Tensor]


@dataclass(frozen=True)
class ModelReport:
    """How a model did; differences are relative to the largest output.

    Args:
        network: The traced network.
        dense_difference: Graph with nothing removed against the module.
        graph_difference: Sliced against masked graph, half of every unfrozen dim removed; None for a fixed batch.
        module_difference: Sliced graph against the module with masked weights.
        flops_difference: Relative difference between the price formula's multiply-adds and those counted on the sliced
            graph; None where some operator has no kernel.
        prunable_share: Share of the parameters' entries that lie along some dim that may change.
    """

    network: Network
    dense_difference: float
    graph_difference: float | None
    module_difference: float
    prunable_share: float
    flops_difference: float | None = None


def check_model(
    model: nn.Module, example_inputs: tuple[Any, ...], *, tolerance: float = 1e-4, seed: int = 0
) -> ModelReport:
    """Check that nasc sees through a model: what it slices computes what it masks.

    >>> from torch import nn
    >>> report = check_model(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), (torch.randn(1, 4),))
    >>> sorted(report.network.maskable)
    ['0']

    Args:
        model: Any module; it is not changed.
        example_inputs: Positional inputs of one call.
        tolerance: Largest relative difference allowed.
        seed: Chooses what is removed and the inputs.

    Returns:
        The differences that were found.

    Raises:
        AssertionError: A difference is larger than the tolerance; names the check.
        TraceError: The model cannot be traced.
    """
    network = trace(model, example_inputs)
    some = random_inputs(network, 3 if network.batch else _batch_of(example_inputs), seed=seed)
    whole = random_kept(network, maskable=False, seed=seed)
    report = ModelReport(
        network=network,
        dense_difference=module_difference(network, {}, some),
        graph_difference=graph_difference(network, whole, random_inputs(network, network.batch, seed=seed))
        if network.batch
        else None,
        module_difference=module_difference(network, random_kept(network, seed=seed), some),
        prunable_share=prunable_share(network),
        flops_difference=flops_difference(network, whole),
    )
    for name in ("dense_difference", "graph_difference", "module_difference", "flops_difference"):
        difference = getattr(report, name)
        assert difference is None or difference <= tolerance, f"{name} is {difference:.1e}, allowed {tolerance:.0e}"
    return report


def _batch_of(inputs: tuple[Any, ...]) -> int:
    return next(int(leaf.shape[0]) for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim)


def prunable_share(network: Network) -> float:
    """Share of the parameters' entries that lie along at least one dim that may change."""
    sizes = {name: parameter.numel() for name, parameter in network.model.named_parameters()}
    free = {
        name: any(dim.frozen is None and dim.size > 1 for axis in network.parameters[name] for dim in axis.dims())
        for name in sizes
    }
    return sum(size for name, size in sizes.items() if free[name]) / max(sum(sizes.values()), 1)


def random_kept(network: Network, *, seed: int = 0, maskable: bool = True, least: float = 0.3) -> dict[str, Tensor]:
    """Random kept indices for every dim that may change, at least one each; half of the removable branches go.

    Args:
        network: A traced network.
        seed: Same seed, same indices.
        maskable: Only the dims for which a zero mask equals removal; otherwise every unfrozen dim.
        least: Smallest share of entries to keep.
    """
    generator = torch.Generator().manual_seed(seed)
    kept: dict[str, Tensor] = {}
    for name, dim in network.dims.items():
        if name in network.branches:
            removed = bool(torch.rand((), generator=generator) < 0.5)
            kept[name] = torch.arange(0 if removed else 1)
            continue
        if dim.frozen is not None or dim.size < 2 or (maskable and name not in network.maskable):
            continue
        share = least + (1 - least) * float(torch.rand((), generator=generator))
        count = min(max(1, int(share * dim.size)), dim.size - 1)
        kept[name] = torch.randperm(dim.size, generator=generator)[:count].sort().values
    return kept


def random_inputs(network: Network, batch: int, *, seed: int = 0) -> tuple[Any, ...]:
    """Inputs like the example's with another batch size: normal numbers, or integers up to the example's largest."""
    generator = torch.Generator().manual_seed(seed)

    def like(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.ndim:
            return leaf
        shape = (batch, *leaf.shape[1:])
        if leaf.dtype.is_floating_point:
            return torch.randn(shape, generator=generator, dtype=leaf.dtype).to(leaf.device)
        if leaf.dtype == torch.bool:
            return leaf[:1].expand(shape)
        return torch.randint(0, int(leaf.max()) + 1, shape, generator=generator, dtype=leaf.dtype).to(leaf.device)

    inputs: tuple[Any, ...] = pytree.tree_map(like, network.example_inputs)
    return inputs


def relative_difference(left: Any, right: Any) -> float:
    """Largest difference of two (nested) outputs, relative to the largest entry of the second; NaN is infinite."""
    pairs = list(zip(_flat(left), _flat(right), strict=True))
    scale = max((float(b.detach().abs().max()) for _, b in pairs if b.numel()), default=0.0)
    worst = max((float((a.detach() - b.detach()).abs().max()) for a, b in pairs if b.numel()), default=0.0)
    return worst / max(scale, 1e-12) if worst == worst else float("inf")


def _flat(value: Any) -> list[Tensor]:
    return [leaf.double() for leaf in pytree.tree_leaves(_plain(value)) if isinstance(leaf, Tensor)]


def _plain(value: Any) -> Any:
    return list(value.values()) if isinstance(value, Mapping) else value


def masks(network: Network, kept: Kept) -> dict[str, Tensor]:
    """The 0/1 mask of every dim in ``kept``."""
    return {name: torch.zeros(network.dims[name].size).index_fill(0, indices, 1.0) for name, indices in kept.items()}


def module_difference(network: Network, kept: Kept, inputs: Sequence[Any]) -> float:
    """Sliced graph against the untouched eager module with masked weights.

    Args:
        network: A traced network.
        kept: Kept indices of maskable dims.
        inputs: Model inputs, any batch size.
    """
    small = slice_network(network, kept)
    tensors = [leaf for leaf in pytree.tree_leaves(tuple(inputs)) if isinstance(leaf, Tensor)]
    with evaluating(network.model), torch.no_grad():
        expected = masked_call(network, masks(network, kept), tuple(inputs))
        return relative_difference(small(*tensors), expected)


def graph_difference(network: Network, kept: Kept, inputs: Sequence[Any]) -> float:
    """Sliced graph against the full-size program with removed entries held at zero.

    Args:
        network: A traced network.
        kept: Kept indices of any dims that are not frozen.
        inputs: Model inputs with the batch size the program was exported with.
    """
    tensors = [leaf for leaf in pytree.tree_leaves(tuple(inputs)) if isinstance(leaf, Tensor)]
    with torch.no_grad():
        expected = _MaskedProgram(network, kept).outputs(tensors)
        actual = slice_network(network, kept)(*tensors)
    return relative_difference(list(_flat(actual)), expected)


def flops_difference(network: Network, kept: Kept) -> float | None:
    """How far the price formula's multiply-adds are from those counted; None where some operator has no kernel."""
    if any(kernel.kind == "unsupported" for kernel in network.kernels):
        return None
    counted = counted_macs(network, kept)
    priced = float(
        sum(kernel.macs({name: int(one.numel()) for name, one in kept.items()}) for kernel in network.kernels)
    )
    return abs(priced - counted) / max(counted, 1)


def counted_macs(network: Network, kept: Kept) -> int:
    """Multiply-adds of the sliced graph for one sample, as PyTorch's own FLOP counter sees them.

    Attention is counted as the products it is made of. What depends on no input is left out: a device does that once.

    Args:
        network: A traced network.
        kept: Kept indices of any dims that are not frozen.
    """
    inputs = random_inputs(network, 1 if network.batch else _batch_of(network.example_inputs))
    tensors = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        counter = _CountedRun(slice_network(network, kept))
        counter.run(*tensors)
    return counter.macs


class _CountedRun(fx.Interpreter):
    """Runs a graph and counts the multiply-adds of the calls that depend on an input."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.macs = 0
        self._activations: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        with FlopCounterMode(display=False) as counter:
            result = super().run_node(n)
        depends = n.op == "placeholder" or any(source in self._activations for source in n.all_input_nodes)
        if depends and not isinstance(result, int):  # a size is no value
            self._activations.add(n)
            self.macs += counter.get_total_flops() // 2
        return result


class _MaskedProgram:
    """Runs the full-size program; after every operator the removed entries are set to zero."""

    def __init__(self, network: Network, kept: Kept) -> None:
        self.network = network
        self.kept = kept
        self.state = full_state(network.model)
        batch = network.batch or 1
        self.tensors = {name: _at_batch(axes, batch) for name, axes in network.tensors.items()}
        self.closed = network.closed(kept)
        self.nodes = {node.name: node for node in network.program.graph.nodes}

    def outputs(self, inputs: list[Tensor]) -> list[Tensor]:
        """The values of the model's outputs."""
        values: dict[fx.Node, Any] = {}
        given = dict(zip(self.network.inputs, inputs, strict=True))
        for node in self.network.program.graph.nodes:
            if node.op == "placeholder":
                values[node] = self._enter(node, given)
            elif node.op == "output":
                return [values[result] for result in node.args[0] if result.name in self.network.outputs]
            elif node.op == "get_attr":
                values[node] = getattr(self.network.program.graph_module, str(node.target))
            else:
                values[node] = self._run(node, values)
        raise AssertionError("a program ends with its output")

    def _enter(self, node: fx.Node, given: Mapping[str, Tensor]) -> Any:
        if node.name in given:
            return given[node.name]
        if node.name in self.network.names:
            value: Any = self.state[self.network.names[node.name]]
        else:
            spec = next(s for s in self.network.program.graph_signature.input_specs if s.arg.name == node.name)
            value = self.network.program.constants.get(str(spec.target))
        axes = self.tensors.get(node.name)
        return self._mask(value, axes) if isinstance(value, Tensor) and axes is not None else value

    def _run(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        if node.name in self.closed:
            return values[self.nodes[self.closed[node.name].skip]]
        rewrite = self.network.rewrites.get(node.name)
        axes = self.tensors.get(node.name)
        if rewrite is not None and rewrite.counted and any(self._touches(source) for source in node.all_input_nodes):
            return self._scatter(self._run_small(node, values), axes, node.meta["val"])
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        result = node.target(*args, **kwargs)  # type: ignore[operator]
        return self._mask(result, axes) if axes is not None else result

    def _run_small(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        """The operator on kept entries alone, with the arguments it has in the sliced graph."""
        graph = fx.Graph()
        inputs: dict[fx.Node, Any] = {source: graph.placeholder(source.name) for source in node.all_input_nodes}
        graph.output(rewritten_call(graph, node, self.network, self.kept, inputs))
        taken = [self._take(values[source], self.tensors.get(source.name)) for source in node.all_input_nodes]
        return fx.GraphModule(torch.nn.Module(), graph)(*taken)

    def _touches(self, node: fx.Node) -> bool:
        axes = self.tensors.get(node.name)
        return axes is not None and any(dim.name in self.kept for axis in _each_axis(axes) for dim in axis.dims())

    def _take(self, value: Any, axes: Any) -> Any:
        if isinstance(value, Tensor) and axes is not None:
            return slice_tensor(value, axes, self.kept)
        return value

    def _mask(self, value: Any, axes: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._mask(item, inner) for item, inner in zip(value, axes, strict=True)]
        if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
            return value
        for place, axis in enumerate(axes):
            if any(dim.name in self.kept for dim in axis.dims()):
                removed = torch.ones(value.shape[place], dtype=torch.bool)
                removed[axis.kept(self.kept)] = False
                shape = [1] * value.ndim
                shape[place] = -1
                value = value.masked_fill(removed.view(shape), 0)
        return value

    def _scatter(self, value: Any, axes: Any, like: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._scatter(*item) for item in zip(value, axes, like, strict=True)]
        for place, axis in enumerate(axes):
            if any(dim.name in self.kept for dim in axis.dims()):
                shape = list(value.shape)
                shape[place] = like.shape[place]
                value = value.new_zeros(shape).index_copy(place, axis.kept(self.kept), value)
        return value


def _at_batch(value: Any, batch: int) -> Any:
    """Axes that count one sample, turned into axes that count a whole batch."""
    if isinstance(value, Axis):
        return Axis(tuple(_at_batch(term, batch) for term in value.terms))
    if isinstance(value, Sum):
        return Sum(tuple(_at_batch(part, batch) for part in value.parts))
    if isinstance(value, Dim):
        return Dim(BATCH, batch, frozen=value.frozen) if value.name == BATCH else value
    return None if value is None else tuple(_at_batch(item, batch) for item in value)


def _each_axis(axes: Any) -> list[Axis]:
    result: list[Axis] = []
    for item in axes:
        if isinstance(item, Axis):
            result.append(item)
        elif item is not None:
            result += _each_axis(item)
    return result
