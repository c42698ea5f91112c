"""The key of a latency table and the leaf of a graph: one operation as the device runs it.

A :class:`Signature` says what kind of kernel it is and everything about it that pruning does not change; a
:class:`KernelShape` adds the sizes that pruning does change. The kinds, their sizes and their attributes are listed in
:data:`KINDS`; exporters write a kernel from its shape alone, tables store its time under it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Attribute = int | float | str


@dataclass(frozen=True)
class Kind:
    """What a kind of kernel is described by.

    Args:
        sizes: Names of the sizes that pruning changes, in order.
        attributes: Names of what stays, in order.
        meaning: One line for people.
    """

    sizes: tuple[str, ...]
    attributes: tuple[str, ...]
    meaning: str


_SPATIAL = (
    "height",  # of the input, before padding
    "width",
    "kernel_h",
    "kernel_w",
    "stride_h",
    "stride_w",
    "pad_top",
    "pad_bottom",
    "pad_left",
    "pad_right",
)

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "conv": Kind(
            ("c_in", "c_out"), (*_SPATIAL, "dilation_h", "dilation_w"), "convolution, norm and clamp folded in"
        ),
        "grouped_conv": Kind(
            ("groups", "c_in", "c_out"),
            (*_SPATIAL, "dilation_h", "dilation_w"),
            "grouped convolution; c_in and c_out are per group",
        ),
        "depthwise": Kind(
            ("channels",), (*_SPATIAL, "dilation_h", "dilation_w", "multiplier"), "depthwise convolution"
        ),
        "conv_transpose": Kind(("c_in", "c_out"), _SPATIAL, "transposed convolution; pads are cut off its output"),
        "linear": Kind(("c_in", "c_out"), ("rows",), "fully connected, clamp folded in"),
        "linear_rows": Kind(
            ("rows", "c_in", "c_out"), (), "fully connected on rows that pruning changes, as in a mixer"
        ),
        "matmul": Kind(("batch", "m", "k", "n"), (), "product of two activations"),
        "pool": Kind(("channels",), ("op", *_SPATIAL), "max or average pooling; op is 'max' or 'avg'"),
        "global_pool": Kind(("channels",), ("op", "height", "width"), "mean or max over all positions"),
        "unary": Kind(("channels",), ("op", "positions"), "element-wise function that is not folded, e.g. hard_swish"),
        "binary": Kind(
            ("channels",),
            ("op", "positions", "broadcast"),
            "element-wise add, mul, ...; broadcast: 'none', 'channel' ([1,C] to [P,C]), 'position' ([P,1]) or 'scalar'",
        ),
        "concat": Kind(("channels",), ("positions", "parts"), "concatenation along the channels"),
        "softmax": Kind(("rows", "channels"), (), "softmax over the channels"),
        "norm": Kind(("rows", "channels"), ("op",), "norm that is not folded; op is 'layer', 'rms' or 'group'"),
        "reduce": Kind(("rows", "channels"), ("op",), "mean, sum, max, min or L2 norm over the channels"),
        "embedding": Kind(("channels",), ("rows", "vocabulary"), "table look-up"),
        "move": Kind(
            ("channels",),
            ("op", "from_positions", "positions"),
            "transpose, shuffle, pad, slice, resize, of that many positions to that many: moves data, computes nothing",
        ),
        "unsupported": Kind((), ("op",), "an operator without a lowering rule: it has no price and no LiteRT form"),
        "free": Kind((), ("op",), "reshape and the like: costs nothing on the device"),
    }
)


@dataclass(frozen=True, order=True)
class Signature:
    """A kind of kernel and everything about it that pruning does not change.

    Args:
        kind: One of :data:`KINDS`.
        attributes: Name and value of each attribute, in the order of :data:`KINDS`.
    """

    kind: str
    attributes: tuple[tuple[str, Attribute], ...]

    def __getitem__(self, name: str) -> Attribute:
        for key, value in self.attributes:
            if key == name:
                return value
        raise KeyError(name)

    def at(self, **sizes: int) -> "KernelShape":
        """The kernel of this signature with the given sizes."""
        return KernelShape(self, tuple((name, int(sizes[name])) for name in KINDS[self.kind].sizes))

    def __str__(self) -> str:
        inner = " ".join(f"{key}={value}" for key, value in self.attributes)
        return f"{self.kind}[{inner}]"


@dataclass(frozen=True, order=True)
class KernelShape:
    """One kernel with all its sizes: what a device can run and a table can store.

    >>> shape = signature("linear", rows=1).at(c_in=64, c_out=10)
    >>> shape["c_out"]
    10
    """

    signature: Signature
    sizes: tuple[tuple[str, int], ...]

    @property
    def kind(self) -> str:
        """The kind, one of :data:`KINDS`."""
        return self.signature.kind

    def __getitem__(self, name: str) -> int:
        for key, value in self.sizes:
            if key == name:
                return value
        raise KeyError(name)

    def __str__(self) -> str:
        inner = " ".join(f"{key}={value}" for key, value in self.sizes)
        return f"{self.signature}({inner})"


def signature(kind: str, **attributes: Attribute) -> Signature:
    """A checked signature: every attribute of the kind, once, in its order.

    Raises:
        ValueError: The kind is unknown, or an attribute is missing or unknown (a mistake in nasc, not in user input).
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    expected = KINDS[kind].attributes
    if set(expected) != set(attributes):
        raise ValueError(f"{kind} takes the attributes {', '.join(expected) or 'none'}; got {', '.join(attributes)}")
    return Signature(kind, tuple((name, attributes[name]) for name in expected))
