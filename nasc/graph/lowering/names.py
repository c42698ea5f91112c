"""Names of kernels and of operators."""

from torch.fx import Graph, Node


class KernelNames:
    """Names kernels by the module they come from; unique, the same in every process."""

    def __init__(self, graph: Graph) -> None:
        self._inner = {outer for node in graph.nodes for outer in _enclosing(module_path(node))}
        self._used: set[str] = set()

    def take(self, node: Node, label: str) -> str:
        """A name that was not given yet: the module's path, with a label where the module holds more than this."""
        path = module_path(node)
        name = path
        if path in self._inner or path in self._used:
            name = f"{path}.{label}" if path else label
        base, count = name, 1
        while name in self._used:
            count += 1
            name = f"{base}_{count}"
        self._used.add(name)
        return name


def module_path(node: Node) -> str:
    """Dotted path of the module a node was traced in; empty for the model itself."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def _enclosing(path: str) -> set[str]:
    """The paths of the modules around a module, the model's own (the empty path) included."""
    parts = path.split(".")
    return {".".join(parts[:depth]) for depth in range(len(parts))} | {""}


def operator_name(node: Node) -> str:
    """The out-of-place name of a node's operator without its namespace: ``"relu.default"`` for aten.relu_.default."""
    name, dot, overload = str(node.target).removeprefix("aten.").partition(".")
    return name.removesuffix("_") + dot + overload
