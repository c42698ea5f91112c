"""Writes a traced graph as one readable Python file: a plain ``nn.Module`` that runs and trains with torch alone.

The file holds shapes and operations; the weights lie beside it as safetensors. Parameters and buffers keep the names
they have in the user's model. Where a group of parameters is exactly a ``torch.nn`` layer the file says so
(``self.conv1 = nn.Conv2d(16, 31, 3, padding=1)``); dropout and batch norm follow ``self.training`` as they do there.
What a model does only while training under a Python ``if self.training:`` is not in an exported graph, and so not in
the file, which then says so.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from nasc.artifact import TensorSpec
from nasc.materialise.containers import Containers, Held, is_name
from nasc.materialise.forward import BUFFER, Forward, nodes_in
from nasc.materialise.layers import Layer, recognise

_TAKEN = frozenset({"Block", "F", "Path", "Tensor", "load", "load_file", "nn", "torch", "str"})

BLOCK = '''
class Block(nn.Module):
    """A named group of layers and parameters."""

    def __init__(self, /, **members) -> None:
        super().__init__()
        for name, member in members.items():
            setattr(self, name, member)

'''

LOAD = '''

def load(weights: str | Path = Path(__file__).with_name("model.safetensors")) -> {name}:
    """The model with its trained weights, in training mode like any new module."""
    model, tensors = {name}(), load_file(weights)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            tensor.copy_(tensors[name])
    return model
'''


@dataclass(frozen=True)
class Source:
    """A model as Python text.

    Args:
        text: The file.
        class_name: The class in it that is the model.
        inputs: Name, shape and dtype of each input, as traced; the batch (axis 0) is free.
    """

    text: str
    class_name: str
    inputs: tuple[TensorSpec, ...]


def write_source(
    graph_module: GraphModule,
    *,
    class_name: str = "Model",
    example_inputs: Sequence[Any] | None = None,
    ties: Mapping[str, str] | None = None,
    order: Collection[str] = (),
    persistent: Collection[str] | None = None,
    cumulative: Collection[str] = (),
    out_spec: Any = None,
    training_only: Mapping[str, str] | None = None,
) -> Source:
    """One Python file that says what a graph says.

    Args:
        graph_module: Exported at ATen level in evaluation mode; parameters and buffers by their dotted names.
        class_name: Name of the class to write; ``"Model"`` where it is not usable.
        example_inputs: A value for each placeholder, any batch size; not needed where the nodes carry ``meta["val"]``.
        ties: Further names of parameters that are the same tensor, by name: ``{"head.weight": "embed.weight"}``.
        order: Names of parameters and buffers in the order they shall have.
        persistent: Names of the buffers that belong to the state dict; None for what the graph module says.
        cumulative: Paths of batch norms with ``momentum=None``, which an evaluation's graph does not tell.
        out_spec: Structure of the model's result, as ``torch.utils._pytree`` has it; None for the graph's own.
        training_only: Class by path of the modules whose behaviour in training the graph does not have; the file says so.

    Raises:
        ModelError: An operator that is not part of PyTorch.
    """
    usable = is_name(class_name) and class_name not in _TAKEN and not hasattr(nn, class_name)
    name = class_name if usable else "Model"
    if example_inputs is not None:
        shapes_only = FakeTensorMode(allow_non_fake_inputs=True)
        FakeTensorProp(graph_module, shapes_only).propagate(
            *(value for value in example_inputs if isinstance(value, Tensor))
        )
    writer = _Writer(graph_module, dict(ties or {}), order, persistent, cumulative, out_spec)
    return Source(writer.text(name, _note(training_only or {})), name, writer.inputs())


class _Writer:
    def __init__(
        self,
        graph_module: GraphModule,
        ties: dict[str, str],
        order: Collection[str],
        persistent: Collection[str] | None,
        cumulative: Collection[str],
        out_spec: Any,
    ) -> None:
        self._module, self._ties, self._cumulative = graph_module, ties, cumulative
        returned = _returned(graph_module, out_spec)
        names = {node: self._canonical(str(node.target)) for node in graph_module.graph.nodes if node.op == "get_attr"}
        self._targets = {name: str(node.target) for node, name in names.items()}
        results = set(nodes_in(returned))
        used = {name for node, name in names.items() if node.users or node in results}
        known = persistent if persistent is not None else graph_module.state_dict().keys()
        self._held = {
            name: Held(tensor, name in known, tensor.requires_grad)
            for name in [*(name for name in order if name in used), *sorted(used - set(order))]
            for tensor in [self._tensor(name)]
        }
        self._names = names
        for node, name in names.items():
            if name in self._held and not self._held[name].is_parameter:
                node.meta[BUFFER] = True
        layers, calls = self._find_layers()
        self._containers = Containers(self._held, layers, self._living_ties(layers), order)
        called = {node: (self._containers.access(path), layer.input) for node, (path, layer) in calls.items()}
        self._forward = Forward(graph_module.graph, self._attribute, called, returned)

    def _canonical(self, name: str) -> str:
        return self._ties.get(name, name)

    def _tensor(self, name: str) -> Tensor:
        path, _, last = self._targets[name].rpartition(".")
        tensor = getattr(self._module.get_submodule(path), last)
        assert isinstance(tensor, Tensor)
        return tensor

    def _attribute(self, node: Node) -> str:
        return self._containers.access(self._names[node])

    def _find_layers(self) -> tuple[dict[str, str], dict[Node, tuple[str, Layer]]]:
        """Constructor by path, and for every node that calls one its path and layer."""
        constructors: dict[str, str] = {}
        calls: dict[Node, tuple[str, Layer]] = {}
        for node in self._module.graph.nodes:
            if node.op != "call_function":
                continue
            layer = recognise(node, lambda slot: self._tensor(self._names[slot]))
            path = self._path_of(layer) if layer else None
            if layer is None or path is None:
                continue
            if path in self._cumulative:
                layer = recognise(node, lambda slot: self._tensor(self._names[slot]), cumulative=True) or layer
            if constructors.setdefault(path, layer.constructor) == layer.constructor:
                calls[node] = (path, layer)
        return constructors, calls

    def _path_of(self, layer: Layer) -> str | None:
        """The path whose tensors are exactly the layer's, under their own or a tied name."""
        wanted = {slot: self._names[node] for slot, node in layer.slots.items()}
        candidates = [name.rpartition(".")[0] for name in (*wanted.values(), *self._ties)]
        for path in dict.fromkeys(candidates):
            if path and self._group(path) == wanted:
                return path
        return None

    def _group(self, path: str) -> dict[str, str]:
        """Canonical name by attribute name, of the tensors directly under a path."""
        under = {name: name for name in self._held}
        under |= {name: same for name, same in self._ties.items() if same in self._held}
        return {
            name.rpartition(".")[2]: same
            for name, same in under.items()
            if name.rpartition(".")[0] == path and name.rpartition(".")[2] != "num_batches_tracked"
        }

    def _living_ties(self, layers: Mapping[str, str]) -> dict[str, str]:
        """Ties whose tensor is held; a layer tied as a whole is one tie of its path."""
        result: dict[str, str] = {}
        for name, same in self._ties.items():
            if same not in self._held:
                continue
            path, last = name.rpartition(".")[0], name.rpartition(".")[2]
            whole = same.rpartition(".")[0]
            if whole in layers and same == f"{whole}.{last}" and path and self._group(path) == self._group(whole):
                result[path] = whole
            else:
                result[name] = same
        return result

    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and dtype of each input."""
        specs = []
        for name, node in zip(self._forward.input_names, self._forward.inputs, strict=True):
            value = node.meta["val"]
            shape = tuple(int(size) if isinstance(size, int) else _hint(size) for size in value.shape)
            specs.append(TensorSpec(name, shape, str(value.dtype).removeprefix("torch.")))
        return tuple(specs)

    def text(self, name: str, note: Collection[str] = ()) -> str:
        """The whole file, with further lines for its docstring."""
        body = list(self._forward.lines())
        init = list(self._containers.init_lines())
        described = [f"        {spec.name}: {spec.dtype}, {_shape_text(spec.shape)}" for spec in self.inputs()]
        code = "\n".join((*init, *body))
        arguments = ", ".join(f"{argument}: Tensor" for argument in self._forward.input_names)
        lines = [
            f'"""{name}, written by nasc: runs and trains with torch and safetensors alone.',
            "",
            "``load()`` gives the model with the weights in model.safetensors beside this file.",
            *note,
            '"""',
            "",
            "from pathlib import Path",
            "",
            "import torch",
            *(["import torch.nn.functional as F"] if "F." in code else []),
            "from safetensors.torch import load_file",
            "from torch import Tensor, nn",
            "",
            *(BLOCK.split("\n") if "Block(" in code else [""]),
            f"class {name}({self._containers.base}):",
            '    """The model.',
            "",
            "    Inputs:",
            *described,
            '    """',
            "",
            "    def __init__(self) -> None:",
            *_indented(init),
            "",
            f"    def forward(self, {arguments}){_result_type(body[-1])}:",
            *_indented(_tidy(body)),
        ]
        return "\n".join(lines) + "\n" + LOAD.replace("{name}", name)


def _note(training_only: Mapping[str, str]) -> list[str]:
    """What the file says about behaviour that it lacks: every class, and in how many places."""
    places: dict[str, list[str]] = {}
    for path, kind in training_only.items():
        if kind.isidentifier():
            places.setdefault(kind, []).append(path)
    told = [f"- {kind} ({len(paths)}x)" for kind, paths in places.items()]
    return ["", "Not in this file, since it acts in training alone and is no operator of torch:", *told] if told else []


def _returned(graph_module: GraphModule, out_spec: Any) -> Any:
    """What the graph gives back, in the structure of the user's model, of tuples, lists and dicts."""
    result = next(node for node in graph_module.graph.nodes if node.op == "output").args[0]
    info = getattr(graph_module.graph._codegen, "pytree_info", None)
    spec = out_spec if out_spec is not None else getattr(info, "out_spec", None)
    flat = [result] if isinstance(result, Node) else list(result)
    if spec is None or spec.num_leaves != len(flat) or not all(isinstance(item, Node | None) for item in flat):
        return result
    return _plain(spec, iter(flat))


def _plain(spec: Any, leaves: Any) -> Any:
    """A result's structure with its leaves filled in; named tuples become tuples, mappings of any class dicts."""
    if spec.is_leaf():
        return next(leaves)
    children = [_plain(child, leaves) for child in spec.children()]
    kind, keys = spec.type, spec.context
    if isinstance(kind, type) and issubclass(kind, Mapping):
        keys = keys if kind is dict else next(item for item in _flat_lists(keys))
        return dict(zip(keys, children, strict=True))
    return children if kind is list else tuple(children)


def _flat_lists(context: Any) -> Any:
    """The lists in a mapping's context: OrderedDict has its keys alone, others put them among more."""
    if isinstance(context, list) and all(isinstance(item, str) for item in context):
        yield context
    elif isinstance(context, list | tuple):
        for item in context:
            yield from _flat_lists(item)


def _hint(size: Any) -> int:
    """A symbolic size as the number it was traced with."""
    return int(size.node.hint)


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(['batch', *(str(size) for size in shape[1:])])}]" if shape else "[]"


def _indented(lines: Collection[str]) -> list[str]:
    return [f"        {line}" if line else "" for line in lines]


def _tidy(lines: list[str]) -> list[str]:
    """Without an empty first line."""
    return lines[1:] if lines and not lines[0] else lines


def _result_type(last: str) -> str:
    return "" if last.startswith(("return (", "return [", "return {")) else " -> Tensor"
