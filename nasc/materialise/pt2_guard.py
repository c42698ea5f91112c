"""Reads a ``.pt2`` archive without executing anything, and refuses what an ordinary exported model does not contain."""

import ast
import io
import json
import math
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

from nasc.errors import ModelError
from nasc.materialise.operators import SPEAKING

_KNOWN_ENTRY = re.compile(
    r"data/weights/weight_\d+|data/weights/model_weights_config\.json"
    r"|data/constants/tensor_\d+|data/constants/model_constants_config\.json"
    r"|models/model\.json|data/sample_inputs/model\.pt|archive_format|archive_version"
)
_WRITERS_OWN = re.compile(r"\.data/version|\.data/serialization_id|byteorder")
_REQUIRED = ("models/model.json", "archive_format", "archive_version", "data/sample_inputs/model.pt")
_SAMPLES = "data/sample_inputs/model.pt"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")

_NAME = re.compile(r"[A-Za-z0-9_.@]*")
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.[A-Za-z_]\w*\.[A-Za-z]\w*|_operator\.(getitem|add|sub|mul|floordiv|mod|eq|ne|lt|le|gt|ge)"
)
_TEXT = re.compile(r"[A-Za-z0-9_,.> -]{0,200}")
_FREE_TEXT = frozenset({"stack_trace", "nn_module_stack", "torch_fn", "torch_version"})
_REFUSED_KEYS = frozenset(
    {"as_graph", "as_custom_obj", "as_operator", "custom", "custom_obj", "opaque", "triton_kernel"}
)

_SYMBOLIC = frozenset(
    {
        *("Symbol", "Integer", "Add", "Mul", "Mod", "PythonMod", "FloorDiv", "CeilDiv", "CleanDiv", "ModularIndexing"),
        *("Max", "Min", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "IntTrueDiv"),
    }
)
_SYMBOLIC_NODES = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.USub, ast.cmpop),
)
_LONGEST_EXPRESSION = 1000
_STRUCTURES = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})


def read_archive(content: bytes, path: str) -> dict[str, bytes]:
    """The checked entries of a ``.pt2`` archive by name, without the root folder.

    Args:
        content: The archive.
        path: What to call it in messages.

    Raises:
        ModelError: The archive is broken, or holds what could run code; the message names the entry.
    """
    try:
        entries = _entries(content)
        _check_configs(entries)
        _check_program(_json(entries, "models/model.json"))
        entries[_SAMPLES] = _clean_samples(entries[_SAMPLES])
    except _Refusal as refusal:
        raise ModelError(
            f"expected {path} to hold tensors and torch's own operators only; {refusal}",
            "nasc loads no archive that could run code; export the model again from its source",
        ) from refusal
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        OSError,
        ValueError,
        RecursionError,
        NotImplementedError,
    ) as error:
        raise ModelError(f"expected {path} to be a .pt2 archive; got: {error}", "export the model again") from error
    return entries


class _Refusal(Exception):  # noqa: N818 - reads as what it is
    """Why an archive is not loaded, as the end of a sentence."""


def _entries(content: bytes) -> dict[str, bytes]:
    entries: dict[str, bytes] = {}
    roots = set()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            root, _, name = info.filename.partition("/")
            roots.add(root)
            if len(roots) > 1 or ".." in info.filename.split("/") or "\\" in info.filename:
                raise _Refusal(f"{info.filename!r} lies outside its folder")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(content):
                raise _Refusal(f"{info.filename!r} is compressed, which torch never writes")
            if _WRITERS_OWN.fullmatch(name):
                continue
            if not _KNOWN_ENTRY.fullmatch(name) or name in entries:
                raise _Refusal(f"{info.filename!r} is unknown or there twice")
            entries[name] = archive.read(info)
    missing = [name for name in (*_REQUIRED, *_CONFIGS) if name not in entries]
    if missing:
        raise _Refusal(f"{missing[0]!r} is missing")
    return entries


def _json(entries: dict[str, bytes], name: str) -> Any:
    return json.loads(entries[name].decode())


def _check_configs(entries: dict[str, bytes]) -> None:
    """Every tensor is raw bytes of its stated size: no pickles, no objects, no size made up."""
    for config in _CONFIGS:
        folder = config.rpartition("/")[0]
        found = _json(entries, config)
        payloads = found.get("config") if isinstance(found, dict) else None
        if not isinstance(payloads, dict):
            raise _Refusal(f"{config!r} has no table of tensors")
        for name, payload in payloads.items():
            _require(_NAME, name, f"a name in {config!r}")
            if not isinstance(payload, dict) or payload.get("use_pickle") is not False:
                raise _Refusal(f"{name!r} is stored as a pickle")
            path_name = payload.get("path_name")
            if not isinstance(path_name, str) or not re.fullmatch(r"(weight|tensor)_\d+", path_name):
                raise _Refusal(f"{name!r} is stored as {path_name!r}")
            _check_size(name, payload.get("tensor_meta"), entries.get(f"{folder}/{path_name}"))


def _check_size(name: str, meta: Any, content: bytes | None) -> None:
    if not isinstance(meta, dict) or content is None:
        raise _Refusal(f"{name!r} has no data")
    sizes = [size.get("as_int") if isinstance(size, dict) else None for size in meta.get("sizes", [None])]
    whole = [size for size in sizes if isinstance(size, int) and size >= 0]
    if len(whole) != len(sizes):
        raise _Refusal(f"{name!r} has a size that is not a number")
    if not content and math.prod(whole) != 0:
        raise _Refusal(f"{name!r} claims {math.prod(whole)} entries and has none")


def _check_program(program: Any) -> None:
    """Names are names, operators are ATen's, shape expressions are arithmetic, structures are plain."""
    for key, parent, value in _texts(program):
        if key in _REFUSED_KEYS:
            raise _Refusal(f"its program has {key!r}")
        if key == "target":
            _require(_OPERATOR, value, "an operator")
        elif key == "expr_str":
            _check_expression(value)
        elif key == "guards_code":
            _check_guard(value)
        elif key in ("in_spec", "out_spec"):
            _check_structure(json.loads(value))
        elif key == "as_string":
            _require(_TEXT, value, "a text")
        elif key not in _FREE_TEXT:
            _require(_NAME, value, f"a name ({key or parent})")
    _check_speaking(program)


def _texts(value: Any, key: str = "", parent: str = "") -> Iterator[tuple[str, str, str]]:
    """Every text in a JSON value with the key it stands under; keys count as texts of their own."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield "", key, name
            if name in _REFUSED_KEYS and inner not in (None, [], {}, ""):
                yield name, key, ""
            yield from _texts(inner, name, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key, parent)
    elif isinstance(value, str):
        yield key, parent, value


def _check_speaking(program: Any) -> None:
    """Text is an argument only of operators that take a mode or an equation, never a file name."""
    try:
        nodes = program["graph_module"]["graph"]["nodes"]
        speakers = {node["target"].split(".")[-2] for node in nodes if '"as_string' in json.dumps(node["inputs"])}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise _Refusal("its program has no list of operators") from error
    if strangers := sorted(speakers - SPEAKING):
        raise _Refusal(f"its operator {strangers[0]!r} is given a text")


def _check_expression(text: str) -> None:
    """A shape expression is arithmetic on named sizes: what sympify evaluates can do nothing else."""
    if not all(_is_arithmetic(node) for node in _parsed(text)):
        raise _Refusal(f"a size is {text[:60]!r}")


def _parsed(text: str) -> list[ast.AST]:
    """Every node of an expression."""
    try:
        if len(text) <= _LONGEST_EXPRESSION:
            return list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        pass
    raise _Refusal(f"a size is {text[:60]!r}")


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _SYMBOLIC
    if isinstance(node, ast.Name):
        return node.id in _SYMBOLIC or re.fullmatch(r"[suz]\d+", node.id) is not None
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int) or (
            isinstance(node.value, str) and re.fullmatch(r"[A-Za-z_]\w*", node.value) is not None
        )
    return isinstance(node, _SYMBOLIC_NODES)


def _check_guard(text: str) -> None:
    """A condition on the inputs compares sizes with numbers; torch compiles it as Python."""
    if not all(_is_about_sizes(node) for node in _parsed(text)):
        raise _Refusal(f"a condition is {text[:60]!r}")


def _is_about_sizes(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and not node.args and not node.keywords
    if isinstance(node, ast.Attribute):
        return node.attr == "size"
    if isinstance(node, ast.Name):
        return node.id == "L"
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.isidentifier()
    return isinstance(node, (*_SYMBOLIC_NODES, ast.Subscript, ast.BoolOp, ast.And, ast.Or, ast.Not))


def _check_structure(spec: Any) -> None:
    """Inputs and outputs are tensors in tuples, lists and dicts; other types would be looked up or imported."""
    if isinstance(spec, list) and len(spec) == 2 and spec[0] == 1:
        spec = spec[1]
    if not isinstance(spec, dict) or spec.get("type") not in _STRUCTURES:
        raise _Refusal(f"an input or output is a {spec.get('type') if isinstance(spec, dict) else spec!r}")
    context = spec.get("context")
    names = json.loads(context) if isinstance(context, str) else context
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise _Refusal("the keys of an input or output are not names")
    for name in names or ():
        _require(_NAME, name, "a key")
    for child in spec.get("children_spec", ()):
        _check_structure(child)


def _require(pattern: re.Pattern[str], value: Any, what: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _Refusal(f"{what} is {str(value)[:60]!r}")


def _clean_samples(content: bytes) -> bytes:
    """The sample inputs, read without unpickling anything but tensors and written anew."""
    if not content:
        return content
    try:
        samples = torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # torch raises many kinds; each means the same here
        raise _Refusal("its sample inputs are a pickle of more than tensors") from error
    buffer = io.BytesIO()
    torch.save(samples, buffer)
    return buffer.getvalue()
