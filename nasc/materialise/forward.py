"""Writes ``forward``: one line per operation, a comment per block, few and short variable names."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.fx import Graph, Node

from nasc.materialise.containers import is_name
from nasc.materialise.expressions import expression, literal
from nasc.materialise.operators import INTEGER_ARITHMETIC, arguments, base_name, is_assertion, module_path, mutates

BUFFER = "nasc_buffer"
"""Key in the ``meta`` of a ``get_attr`` node that stands for a buffer."""

_SHORT_NAMES = ("x", "y", "z", "u", "v", "w")
_TAKEN = frozenset({"self", "device", "torch", "nn", "F", "Tensor", "Path", "Block", "load_file"})


class Forward:
    """The text of a model's ``forward``.

    Args:
        graph: An exported graph, every parameter and buffer a ``get_attr`` node, buffers marked :data:`BUFFER`.
        attribute: Python text for the parameter or buffer behind a ``get_attr`` node.
        called: ``(access text, input node)`` by node, for every node that is a call of a layer.
        returned: What the graph gives back, nodes in any nesting of tuples, lists and dicts.
    """

    def __init__(
        self,
        graph: Graph,
        attribute: Callable[[Node], str],
        called: Mapping[Node, tuple[str, Node]],
        returned: Any,
    ) -> None:
        self._attribute, self._called, self._returned = attribute, called, returned
        self._nodes = [node for node in graph.nodes if node.op != "output"]
        self._place = {node: place for place, node in enumerate(self._nodes)}
        self._used = self._reached()
        self._last_use = self._last_uses()
        self._names: dict[Node, str] = {}
        self.inputs = [node for node in self._nodes if node.op == "placeholder"]
        for node in self.inputs:
            self._names[node] = self._input_name(node)

    @property
    def input_names(self) -> list[str]:
        """Names of the arguments of ``forward``, in order."""
        return [self._names[node] for node in self.inputs]

    def lines(self) -> Iterator[str]:
        """The body of ``forward``, without indentation."""
        if any(self._needs_device(node) for node in self._nodes):
            yield f"device = {self._names[self.inputs[0]]}.device"
        block = ""
        for node in self._nodes:
            if not self._is_statement(node):
                continue
            path, class_name = module_path(node)
            if path != block:
                block = path
                yield ""
                yield f"# {_comment(path)}: {_comment(class_name)}" if path else "# the model's own"
            yield self._statement(node)
        yield ""
        yield f"return {self._render(self._returned)}"

    def _statement(self, node: Node) -> str:
        if node in self._called:
            access, source = self._called[node]
            text = f"{access}({self._render(source)})"
        else:
            text = expression(node, self._render)
        if mutates(node) and not node.users:
            return text
        self._names[node] = self._new_name(node)
        return f"{self._names[node]} = {text}"

    def _render(self, value: Any) -> str:
        if isinstance(value, Node):
            if value in self._names:
                return self._names[value]
            if value.op == "get_attr":
                return self._attribute(value)
            source = _same_as(value)
            return self._render(source) if source is not None else expression(value, self._render)
        if isinstance(value, tuple):
            inner = ", ".join(self._render(item) for item in value)
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if isinstance(value, list):
            return f"[{', '.join(self._render(item) for item in value)}]"
        if isinstance(value, Mapping):
            return "{" + ", ".join(f"{literal(key)}: {self._render(item)}" for key, item in value.items()) + "}"
        return literal(value)

    def _is_statement(self, node: Node) -> bool:
        return node.op == "call_function" and node in self._used and not _is_inlined(node)

    def _reached(self) -> set[Node]:
        """Nodes that the result depends on, and nodes that write into something."""
        wanted = list(nodes_in(self._returned))
        wanted += [
            node for node in self._nodes if node.op == "call_function" and mutates(node) and not is_assertion(node)
        ]
        reached: set[Node] = set()
        while wanted:
            node = wanted.pop()
            if node not in reached:
                reached.add(node)
                wanted.extend(node.all_input_nodes)
        return reached

    def _last_uses(self) -> dict[Node, int]:
        """The place of the last statement that reads each node, through what is written inline."""
        last: dict[Node, int] = {}

        def read(node: Node, place: int) -> None:
            last[node] = place
            if node.op == "call_function" and _is_inlined(node):
                for source in node.all_input_nodes:
                    read(source, place)

        for place, node in enumerate(self._nodes):
            if self._is_statement(node):
                for source in node.all_input_nodes:
                    read(source, place)
        for node in nodes_in(self._returned):
            read(node, len(self._nodes))
        return last

    def _new_name(self, node: Node) -> str:
        """The name of the oldest variable that ends here, else the first short name that is free."""
        place = self._place[node]
        alive = {name for other, name in self._names.items() if self._last_use.get(other, -1) > place}
        ending = [
            name
            for other, name in self._names.items()
            if self._last_use.get(other) == place and name not in alive and name in _SHORT_NAMES
        ]
        if ending:
            return ending[0]
        numbered = (f"t{number}" for number in range(len(self._nodes) + 1))
        return next(name for name in (*_SHORT_NAMES, *numbered) if name not in alive)

    def _input_name(self, node: Node) -> str:
        name = str(node.target)
        taken = _TAKEN | set(self._names.values())
        return name if is_name(name) and name not in taken else f"input_{len(self._names)}"

    def _needs_device(self, node: Node) -> bool:
        constants = (*node.args, *node.kwargs.values())
        return self._is_statement(node) and any(isinstance(value, torch.device) for value in constants)


def nodes_in(value: Any) -> Iterator[Node]:
    """Every node in a nesting of tuples, lists and dicts."""
    if isinstance(value, Node):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from nodes_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from nodes_in(item)


def _is_inlined(node: Node) -> bool:
    """The node is written where it is used: sizes, sums of them, items of a tuple, and what changes nothing."""
    if is_assertion(node) or node.target in INTEGER_ARITHMETIC:
        return True
    return base_name(node) in ("getitem", "sym_size") or _same_as(node) is not None


def _same_as(node: Node) -> Node | None:
    """The node whose value this one merely repeats, where nobody writes into it; else None."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload) or not node.args:
        return None
    source, name = node.args[0], base_name(node)
    if not isinstance(source, Node) or any(_writes(user) for user in node.users):
        return None
    if name in ("lift_fresh_copy", "alias") or (name == "dropout" and arguments(node)["p"] == 0):
        return source
    return source if name in ("detach", "detach_") and _is_constant(source) else None


def _is_constant(node: Node) -> bool:
    """A buffer of the model: no gradient ends where it is detached."""
    if node.op == "call_function" and base_name(node) in ("lift_fresh_copy", "alias", "detach", "detach_"):
        return isinstance(node.args[0], Node) and _is_constant(node.args[0])
    return node.op == "get_attr" and BUFFER in node.meta


def _writes(node: Node) -> bool:
    return node.op == "call_function" and mutates(node) and base_name(node) != "detach_"


def _comment(text: str) -> str:
    """Text that cannot end a comment: printable, on one line."""
    return "".join(character if character.isprintable() else "?" for character in text)
