"""The small part of Python that written models consist of, and a check that a text stays inside it.

A text that passes can build ``torch.nn`` layers, run operations of torch on tensors, and nothing more: it reads no file
but the weights beside it when *its own* ``load`` is called, imports nothing else, and reaches no attribute that leads
out of torch's operations.
"""

import ast
import re
from collections.abc import Iterator

import torch
from torch import nn

from nasc.errors import ModelError
from nasc.materialise.expressions import FUNCTIONS, METHODS
from nasc.materialise.operators import SPEAKING
from nasc.materialise.source import BLOCK, LOAD

_IMPORTS = frozenset(
    {
        "from pathlib import Path",
        "import torch",
        "import torch.nn.functional as F",
        "from safetensors.torch import load_file",
        "from torch import Tensor, nn",
    }
)

_LAYERS = frozenset(
    {
        *(f"nn.{kind}{rank}d" for kind in ("Conv", "ConvTranspose", "BatchNorm") for rank in (1, 2, 3)),
        *("nn.Linear", "nn.LayerNorm", "nn.GroupNorm", "nn.Embedding", "nn.PReLU"),
        *("nn.Parameter", "nn.ModuleList", "nn.ModuleDict", "nn.Module"),
    }
)

_TORCH = frozenset(
    {
        *(function.name for function in FUNCTIONS.values()),
        *("F.batch_norm", "F.embedding", "F.relu6", "F.interpolate", "torch.einsum", "torch.zeros"),
        *(
            str(value)
            for value in vars(torch).values()
            if isinstance(value, torch.dtype | torch.layout | torch.memory_format)
        ),
    }
)

_METHODS = frozenset(
    {
        *METHODS,
        *(f"{name}_" for name in METHODS),
        *("size", "to", "register_buffer", "register_parameter", "add_module", "requires_grad_", "device", "training"),
    }
)

_ATEN = re.compile(r"torch(\.ops(\.aten(\.[A-Za-z_]\w*(\.[A-Za-z]\w*)?)?)?)?")
_INTERNALS = frozenset(
    name for kind in (nn.Module(), nn.ModuleList(), nn.ModuleDict(), torch.zeros(0)) for name in dir(kind)
)
_BUILTINS = frozenset({"getattr", "float"})
_RESERVED = frozenset({"self", "torch", "nn", "F", "Block", "super", "Tensor", "Path", "load", "load_file", *_BUILTINS})
_EXPRESSIONS = (
    *(ast.Assign, ast.Expr, ast.Return, ast.Call, ast.keyword, ast.Attribute, ast.Subscript, ast.Slice, ast.Name),
    *(ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Load, ast.Store),
    *(ast.operator, ast.unaryop, ast.cmpop),
)


def check_source(text: str, name: str) -> None:
    """Refuse a text that nasc cannot have written.

    Args:
        text: Content of a ``model.py``.
        name: What to call it in the message.

    Raises:
        ModelError: The text is not Python, or says something that written models never say; names the line.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(f"expected Python in {name}; got: {error}", "save the model again") from error
    for line, words in _strangers(tree):
        raise ModelError(
            f"expected only layers and operations of torch in {name}; line {line} has {words}",
            "nasc runs no other code from a saved model; if you wrote it, import the file yourself",
        )


def _strangers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and words of everything outside the grammar."""
    model = _written_class(tree)
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            if ast.unparse(statement) not in _IMPORTS:
                yield statement.lineno, ast.unparse(statement)
        elif isinstance(statement, ast.ClassDef) and statement.name == "Block":
            if ast.unparse(statement) != _shape_of_block():
                yield statement.lineno, "another class Block than nasc's"
        elif isinstance(statement, ast.FunctionDef) and statement.name == "load":
            if ast.unparse(statement) != _shape_of_load(model):
                yield statement.lineno, "another function load than nasc's"
        elif isinstance(statement, ast.ClassDef) and statement.name == model:
            yield from _strangers_in_class(statement)
        elif not _is_text(statement):
            yield statement.lineno, f"{ast.unparse(statement)[:60]!r}"


def _strangers_in_class(model: ast.ClassDef) -> Iterator[tuple[int, str]]:
    bases = [ast.unparse(base) for base in model.bases]
    if model.decorator_list or model.keywords or bases not in (["nn.Module"], ["nn.ModuleDict"]):
        yield model.lineno, f"class {model.name}({', '.join(bases)})"
    for method in model.body:
        if _is_text(method):
            continue
        if not isinstance(method, ast.FunctionDef) or method.name not in ("__init__", "forward"):
            yield method.lineno, f"{ast.unparse(method)[:60]!r}"
            continue
        if method.decorator_list or not _is_plain(method.args):
            yield method.lineno, f"decorators, defaults or starred arguments of {method.name}"
        annotations = [argument.annotation for argument in method.args.args] + [method.returns]
        if any(note is not None and ast.unparse(note) not in ("Tensor", "None") for note in annotations):
            yield method.lineno, f"annotations of {method.name}"
        local = {argument.arg for argument in method.args.args} | _assigned(method)
        for statement in method.body:
            yield from _strangers_in_statement(statement, local)


def _is_plain(arguments: ast.arguments) -> bool:
    """Positional arguments without defaults, nothing else."""
    return not any((arguments.posonlyargs, arguments.kwonlyargs, arguments.defaults, arguments.vararg, arguments.kwarg))


def _strangers_in_statement(statement: ast.stmt, local: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(statement):
        line = getattr(node, "lineno", statement.lineno)
        if not isinstance(node, _EXPRESSIONS):
            yield line, type(node).__name__
        elif isinstance(node, ast.Name) and node.id not in local | _BUILTINS | {"torch", "nn", "F", "Block", "super"}:
            yield line, f"the name {node.id!r}"
        elif isinstance(node, ast.Attribute) and not _allowed_attribute(node):
            yield line, ast.unparse(node)
        elif isinstance(getattr(node, "ctx", None), ast.Store) and not _allowed_target(node):
            yield line, f"an assignment to {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and not _allowed_call(node):
            yield line, ast.unparse(node)[:60]


def _allowed_attribute(node: ast.Attribute) -> bool:
    """Attributes of modules are on the lists; those of other values have no underscores in front."""
    text = ast.unparse(node)
    root = text.split(".")[0]
    if root in ("torch", "nn", "F"):
        return _ATEN.fullmatch(text) is not None or text in _TORCH | _LAYERS
    return text == "super().__init__" or _harmless(node.attr, own=_is_layer_access(node))


def _harmless(name: str, *, own: bool) -> bool:
    """No private attribute, but for what a user may have named ``self._conv``."""
    return not name.startswith("_") or (own and not name.startswith("__") and name not in _INTERNALS)


def _allowed_call(node: ast.Call) -> bool:
    """Calls of listed functions, of ``self``'s layers, and of listed methods of tensors."""
    called = node.func
    text = ast.unparse(called)
    if isinstance(called, ast.Name):
        if called.id == "getattr":
            name = node.args[1] if len(node.args) == 2 else None
            return isinstance(name, ast.Constant) and isinstance(name.value, str) and _harmless(name.value, own=True)
        return called.id in ("Block", "float", "super")
    if text == "super().__init__":
        return not node.args and not node.keywords
    if text.split(".")[0] in ("torch", "nn", "F"):  # the attribute itself is looked at where it stands
        return not text.startswith("torch.ops.") or _allowed_aten_call(text.split("."), node)
    if isinstance(called, ast.Attribute) and called.attr in _METHODS:
        return True
    return _is_layer_access(called) and not (isinstance(called, ast.Attribute) and hasattr(nn.Module, called.attr))


def _allowed_aten_call(name: list[str], node: ast.Call) -> bool:
    """``torch.ops.aten.NAME.OVERLOAD(...)``, given a text only where that is a mode or an equation."""
    if len(name) != 5:
        return False
    texts = (part for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str))
    return name[3] in SPEAKING or not any(texts)


def _allowed_target(node: ast.AST) -> bool:
    """Variables, and members of ``self`` that are not methods of it."""
    if isinstance(node, ast.Name):
        return node.id not in _RESERVED
    if isinstance(node, ast.Attribute):
        return _is_layer_access(node) and not hasattr(nn.Module, node.attr)
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "self"


def _is_layer_access(node: ast.expr) -> bool:
    """``self.a["0"].b[1]`` and the like, and ``getattr(self.a, "0")``."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Name) and node.func.id == "getattr" and node.args):
                return False
            node = node.args[0]
        else:
            node = node.value
    return isinstance(node, ast.Name) and node.id == "self"


def _assigned(method: ast.FunctionDef) -> set[str]:
    return {node.id for node in ast.walk(method) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _written_class(tree: ast.Module) -> str:
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name != "Block"]
    return names[0] if len(names) == 1 else ""


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _shape_of_block() -> str:
    return ast.unparse(ast.parse(BLOCK).body[0])


def _shape_of_load(name: str) -> str:
    return ast.unparse(ast.parse(LOAD.replace("{name}", name)).body[0])
