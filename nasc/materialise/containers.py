"""Writes ``__init__``: the parameters and layers of a model under their dotted names, in nested containers.

A name such as ``layer1.0.conv1.weight`` becomes ``self.layer1[0].conv1.weight``: numbers in a row become an
``nn.ModuleList``, numbers with gaps an ``nn.ModuleDict``, names a ``Block``. The state dict of the written model has
the names of the user's.
"""

import keyword
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

_INDENT = "    "
_LINE_LENGTH = 100


@dataclass(frozen=True)
class Held:
    """A tensor that the written model holds.

    Args:
        tensor: The value; only shape, dtype and being a parameter matter here.
        persistent: It is part of the state dict (parameters always are).
        trained: A parameter that takes gradients.
    """

    tensor: Tensor
    persistent: bool = True
    trained: bool = True

    @property
    def is_parameter(self) -> bool:
        """It is a parameter, not a buffer."""
        return isinstance(self.tensor, nn.Parameter)

    def empty(self) -> str:
        """Text of a tensor of this shape and dtype, of zeros."""
        shape = ", ".join(str(size) for size in self.tensor.shape) or "()"
        dtype = "" if str(self.tensor.dtype) == "torch.float32" else f", dtype={self.tensor.dtype}"
        return f"torch.zeros({shape}{dtype})"


@dataclass(frozen=True)
class _Tie:
    """A member of the model itself that is another one, by that one's name."""

    same: str


@dataclass
class _Group:
    """A container to be: its children in order, each a group, a layer's constructor text, a tensor, or a tie."""

    children: "dict[str, _Group | str | Held | _Tie]" = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``"list"``, ``"dict"``, ``"block"``, or ``"odd"`` where a name is not a Python identifier."""
        modules = bool(self.children) and not any(isinstance(child, Held) for child in self.children.values())
        if modules and list(self.children) == [str(index) for index in range(len(self.children))]:
            return "list"
        if modules and all(name.isdigit() for name in self.children):
            return "dict"
        return "block" if all(map(is_name, self.children)) else "odd"


class Containers:
    """The containers of a model to be written.

    Args:
        held: Every tensor by dotted name; tied ones once.
        layers: Constructor text by path, for every path whose tensors are exactly a ``torch.nn`` layer.
        ties: Further names of tensors, and paths of layers, that are the same object: name by name.
        order: All names of the user's model in their order.
    """

    def __init__(
        self, held: Mapping[str, Held], layers: Mapping[str, str], ties: Mapping[str, str], order: Iterable[str] = ()
    ) -> None:
        self._held, self._layers, self._ties = held, layers, ties
        self._root = _Group()
        for name in dict.fromkeys([*order, *held, *ties]):
            self._settle(name)

    def _settle(self, name: str) -> None:
        """Give a name its place: in a layer, on its own, or as a tie."""
        path = name.rpartition(".")[0]
        if path in self._layers:
            self._place(path, self._layers[path])
        elif name in self._held and self._held[name].is_parameter:
            self._place(name, self._held[name])
        elif path in self._ties and "." not in path:
            self._root.children.setdefault(path, _Tie(self._ties[path]))
        elif path in self._ties:
            self._group(path.rpartition(".")[0])
        elif path and (name in self._held or name in self._ties):
            self._group(path)

    def _group(self, path: str) -> _Group:
        group = self._root
        for name in path.split("."):
            child = group.children.setdefault(name, _Group())
            if not isinstance(child, _Group):
                raise ValueError(f"{path!r} lies inside a layer")
            group = child
        return group

    def _place(self, name: str, value: str | Held) -> None:
        path, _, last = name.rpartition(".")
        group = self._group(path) if path else self._root
        group.children.setdefault(last, value)

    @property
    def base(self) -> str:
        """The class to derive the model from: ``nn.Module``, or ``nn.ModuleDict`` where its children are numbers."""
        return "nn.ModuleDict" if self._root.kind in ("list", "dict") and self._root.children else "nn.Module"

    @property
    def uses_block(self) -> bool:
        """The class ``Block`` is needed."""
        return any("Block(" in line for line in self.init_lines())

    def access(self, name: str) -> str:
        """Python text for a parameter, buffer or layer by dotted name: ``self.layer1[0].conv1``."""
        group: _Group | str | Held | _Tie | None = self._root
        text = "self"
        at_root = True
        for part in name.split("."):
            kind = group.kind if isinstance(group, _Group) else "block"
            if at_root and kind == "list":
                kind = "dict"
            if kind == "list" and part.isdigit():
                text += f"[{int(part)}]"
            elif kind == "dict" and part.isdigit():
                text += f'["{part}"]'
            elif is_name(part):
                text += f".{part}"
            else:
                text = f"getattr({text}, {quoted(part)})"
            group = group.children.get(part) if isinstance(group, _Group) else None
            at_root = False
        return text

    def init_lines(self) -> Iterator[str]:
        """The body of ``__init__``, without indentation."""
        yield "super().__init__()"
        for name, child in self._root.children.items():
            if isinstance(child, _Tie):
                yield self._tie_line(name, child.same)
            elif self.base == "nn.ModuleDict":
                yield from _assign(f'self["{name}"]', child)
            elif is_name(name):
                yield from _assign(f"self.{name}", child)
            else:
                register = "register_parameter" if isinstance(child, Held) else "add_module"
                yield f"self.{register}({quoted(name)}, {_text(child)})"
        yield from self._buffer_lines()
        yield from self._tie_lines()
        yield from self._frozen_lines()

    def _buffer_lines(self) -> Iterator[str]:
        for name, value in self._held.items():
            path, _, last = name.rpartition(".")
            if not value.is_parameter and path not in self._layers:
                owner = self.access(path) if path else "self"
                persistent = "" if value.persistent else ", persistent=False"
                yield f"{owner}.register_buffer({quoted(last)}, {value.empty()}{persistent})"

    def _tie_lines(self) -> Iterator[str]:
        for name, same in self._ties.items():
            if not isinstance(self._root.children.get(name), _Tie):
                yield self._tie_line(name, same)

    def _tie_line(self, name: str, same: str) -> str:
        path, _, last = name.rpartition(".")
        owner = self.access(path) if path else "self"
        if same not in self._held and not is_name(last):
            return f"{owner}.add_module({quoted(last)}, {self.access(same)})"
        if same not in self._held or self._held[same].is_parameter:
            return f"{owner}.{last} = {self.access(same)}"
        return f"{owner}.register_buffer({quoted(last)}, {self.access(same)})"

    def _frozen_lines(self) -> Iterator[str]:
        for name, value in self._held.items():
            if value.is_parameter and not value.trained and name.rpartition(".")[0] in self._layers:
                yield f"{self.access(name)}.requires_grad_(False)"


def is_name(text: str) -> bool:
    """A Python identifier that is not a keyword."""
    return text.isidentifier() and not keyword.iskeyword(text)


def quoted(text: str) -> str:
    """A Python string literal, in double quotes where that needs no escapes."""
    plain = repr(text)
    return f'"{plain[1:-1]}"' if plain.startswith("'") and '"' not in plain else plain


def _assign(target: str, child: _Group | str | Held | _Tie) -> Iterator[str]:
    yield from f"{target} = {_text(child)}".split("\n")


def _text(child: _Group | str | Held | _Tie) -> str:
    assert not isinstance(child, _Tie), "ties are written after what they tie to"
    if isinstance(child, str):
        return child
    if isinstance(child, Held):
        trained = "" if child.trained else ", requires_grad=False"
        return f"nn.Parameter({child.empty()}{trained})"
    return _group_text(child)


def _group_text(group: _Group) -> str:
    items = {name: _text(child) for name, child in group.children.items()}
    kind = group.kind
    if kind == "list":
        opening, closing, parts = "nn.ModuleList([", "])", list(items.values())
    elif kind == "dict":
        opening, closing, parts = "nn.ModuleDict({", "})", [f'"{name}": {text}' for name, text in items.items()]
    elif kind == "block":
        opening, closing, parts = "Block(", ")", [f"{name}={text}" for name, text in items.items()]
    else:
        opening, closing, parts = "Block(**{", "})", [f"{quoted(name)}: {text}" for name, text in items.items()]
    one_line = opening + ", ".join(parts) + closing
    if len(parts) <= 1 and "\n" not in one_line and len(one_line) < _LINE_LENGTH:
        return one_line
    lines = [line for part in parts for line in f"{part},".split("\n")]
    return "\n".join([opening, *(_INDENT + line for line in lines), closing])
