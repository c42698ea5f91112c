"""Single LiteRT operators that several kinds of kernels are made of."""

from collections.abc import Mapping, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from nasc.exporters.litert.flatbuffer import ModelBuilder

ACTIVATIONS: Mapping[str | None, int] = {
    None: schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}
"""The schema's number of a clamp that is folded in."""

# op -> (operator, options table, has a fused activation)
ARITHMETIC: Mapping[str, tuple[str, str, bool]] = {
    "add": ("ADD", "AddOptions", True),
    "sub": ("SUB", "SubOptions", True),
    "mul": ("MUL", "MulOptions", True),
    "div": ("DIV", "DivOptions", True),
    "maximum": ("MAXIMUM", "MaximumMinimumOptions", False),
    "minimum": ("MINIMUM", "MaximumMinimumOptions", False),
    "equal": ("EQUAL", "EqualOptions", False),
    "not_equal": ("NOT_EQUAL", "NotEqualOptions", False),
    "greater": ("GREATER", "GreaterOptions", False),
    "greater_equal": ("GREATER_EQUAL", "GreaterEqualOptions", False),
    "less": ("LESS", "LessOptions", False),
    "less_equal": ("LESS_EQUAL", "LessEqualOptions", False),
    "logical_and": ("LOGICAL_AND", "LogicalAndOptions", False),
    "logical_or": ("LOGICAL_OR", "LogicalOrOptions", False),
}
"""Operators of two operands that broadcast."""


COMPARISONS = frozenset({"equal", "not_equal", "greater", "greater_equal", "less", "less_equal"})
"""Those that answer yes or no."""


def arithmetic(
    builder: ModelBuilder, op: str, operands: Sequence[int], name: str = "", activation: str | None = None
) -> int:
    """One of :data:`ARITHMETIC`; the output has the broadcast shape."""
    code, options, clamps = ARITHMETIC[op]
    shape = np.broadcast_shapes(*(builder.shape(operand) for operand in operands))
    dtype = "bool" if op in COMPARISONS else builder.dtype(operands[0])
    values = {"fusedActivationFunction": ACTIVATIONS[activation]} if clamps else {}
    return builder.operator(code, operands, shape, name=name, options=options, dtype=dtype, **values)


def cut(builder: ModelBuilder, source: int, begin: Sequence[int], size: Sequence[int], name: str = "") -> int:
    """``size`` entries from ``begin`` on, along every axis."""
    operands = [source, *(builder.constant(np.asarray(values, np.int32)) for values in (begin, size))]
    return builder.operator("SLICE", operands, size, name=name, options="SliceOptions", dtype=builder.dtype(source))


def pad(
    builder: ModelBuilder, source: int, amounts: Sequence[tuple[int, int]], fill: float = 0.0, name: str = ""
) -> int:
    """Entries of value ``fill`` before and after every axis."""
    shape = [size + before + after for size, (before, after) in zip(builder.shape(source), amounts, strict=True)]
    operands = [source, builder.constant(np.asarray(amounts, np.int32))]
    if fill == 0.0:
        return builder.operator("PAD", operands, shape, name=name, options="PadOptions")
    return builder.operator("PADV2", [*operands, scalar(builder, fill)], shape, name=name, options="PadV2Options")


def reshape(builder: ModelBuilder, source: int, shape: Sequence[int], name: str = "") -> int:
    """The same entries in another shape."""
    target = np.asarray(shape, np.int32)
    operands = [source, builder.constant(target)]
    dtype = builder.dtype(source)
    return builder.operator(
        "RESHAPE", operands, shape, name=name, options="ReshapeOptions", dtype=dtype, newShape=target
    )


def scalar(builder: ModelBuilder, value: float) -> int:
    """A constant of one entry."""
    return builder.constant(np.asarray([value], np.float32))
