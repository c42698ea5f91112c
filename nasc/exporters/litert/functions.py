"""How element-wise functions of one tensor are written: by an operator of the format, or by a few."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nasc.exporters.litert.flatbuffer import ModelBuilder
from nasc.exporters.litert.instruction import Instruction, unknown_op
from nasc.exporters.litert.operators import arithmetic, scalar

# op -> (operator, options table, fields)
_UNARY: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "relu": ("RELU", "", {}),
    "relu6": ("RELU6", "", {}),
    "hard_swish": ("HARD_SWISH", "HardSwishOptions", {}),
    "sigmoid": ("LOGISTIC", "", {}),
    "tanh": ("TANH", "", {}),
    "elu": ("ELU", "", {}),
    "gelu": ("GELU", "GeluOptions", {"approximate": False}),
    "gelu_tanh": ("GELU", "GeluOptions", {"approximate": True}),
    "leaky_relu": ("LEAKY_RELU", "LeakyReluOptions", {"alpha": 0.01}),
    "abs": ("ABS", "AbsOptions", {}),
    "neg": ("NEG", "NegOptions", {}),
    "exp": ("EXP", "ExpOptions", {}),
    "sqrt": ("SQRT", "", {}),
    "rsqrt": ("RSQRT", "", {}),
    "square": ("SQUARE", "SquareOptions", {}),
    "sin": ("SIN", "", {}),
    "cos": ("COS", "CosOptions", {}),
    "log": ("LOG", "", {}),
    "floor": ("FLOOR", "", {}),
}


def unary(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    """An element-wise function of one tensor."""
    (source,) = inputs
    op = str(it["op"])
    if op == "hard_sigmoid":  # min(max(x + 3, 0), 6) / 6
        shifted = arithmetic(builder, "add", (source, scalar(builder, 3.0)), activation="relu6")
        return arithmetic(builder, "mul", (shifted, scalar(builder, 1.0 / 6.0)), it.name)
    if op in _COMPOSED:
        return _COMPOSED[op](builder, it, source)
    if op not in _UNARY:
        raise unknown_op(it, (*_UNARY, *_COMPOSED, "hard_sigmoid"))
    code, options, fields = _UNARY[op]
    values = {name: it.extra.get(name, value) for name, value in fields.items()}
    dtype = builder.dtype(source)
    return builder.operator(code, [source], builder.shape(source), name=it.name, options=options, dtype=dtype, **values)


def _apply(builder: ModelBuilder, code: str, source: int, name: str = "", options: str = "") -> int:
    return builder.operator(code, [source], builder.shape(source), name=name, options=options)


def _silu(builder: ModelBuilder, it: Instruction, source: int) -> int:
    return arithmetic(builder, "mul", (source, _apply(builder, "LOGISTIC", source)), it.name)


def _log_of_one_plus_exp(builder: ModelBuilder, source: int, name: str = "") -> int:
    """``max(x, 0) + log(1 + exp(-|x|))``, which overflows nowhere."""
    distance = _apply(builder, "NEG", _apply(builder, "ABS", source, options="AbsOptions"), options="NegOptions")
    grown = arithmetic(builder, "add", (_apply(builder, "EXP", distance, options="ExpOptions"), scalar(builder, 1.0)))
    return arithmetic(builder, "add", (_apply(builder, "RELU", source), _apply(builder, "LOG", grown)), name)


def _softplus(builder: ModelBuilder, it: Instruction, source: int) -> int:
    return _log_of_one_plus_exp(builder, source, it.name)


def _log_sigmoid(builder: ModelBuilder, it: Instruction, source: int) -> int:
    opposite = _apply(builder, "NEG", source, options="NegOptions")
    return _apply(builder, "NEG", _log_of_one_plus_exp(builder, opposite), it.name, "NegOptions")


def _mish(builder: ModelBuilder, it: Instruction, source: int) -> int:
    gate = _apply(builder, "TANH", _log_of_one_plus_exp(builder, source))
    return arithmetic(builder, "mul", (source, gate), it.name)


def _cube(builder: ModelBuilder, it: Instruction, source: int) -> int:
    return arithmetic(builder, "mul", (arithmetic(builder, "mul", (source, source)), source), it.name)


def _reciprocal(builder: ModelBuilder, it: Instruction, source: int) -> int:
    return arithmetic(builder, "div", (scalar(builder, 1.0), source), it.name)


def _power(builder: ModelBuilder, it: Instruction, source: int) -> int:
    exponent = scalar(builder, float(it.extra.get("exponent", 1.5)))
    return builder.operator("POW", [source, exponent], builder.shape(source), name=it.name, options="PowOptions")


def _prelu(builder: ModelBuilder, it: Instruction, source: int) -> int:
    """The slopes have the tensor's axes but the first."""
    slopes = it.constants.get("other")
    if slopes is None:
        slopes = np.full(builder.shape(source)[-1:], 0.25, np.float32)
    slopes = slopes.reshape((1,) * (len(builder.shape(source)) - slopes.ndim) + slopes.shape)[0]
    operands = [source, builder.constant(np.ascontiguousarray(slopes))]
    return builder.operator("PRELU", operands, builder.shape(source), name=it.name)


def _cast(builder: ModelBuilder, it: Instruction, source: int) -> int:
    to = str(it.extra.get("to", "float32"))
    return builder.operator("CAST", [source], builder.shape(source), name=it.name, dtype=to)


def _logical_not(builder: ModelBuilder, it: Instruction, source: int) -> int:
    options = "LogicalNotOptions"
    return builder.operator("LOGICAL_NOT", [source], builder.shape(source), name=it.name, options=options, dtype="bool")


_COMPOSED: Mapping[str, Callable[[ModelBuilder, Instruction, int], int]] = {
    "silu": _silu,
    "softplus": _softplus,
    "log_sigmoid": _log_sigmoid,
    "mish": _mish,
    "cube": _cube,
    "reciprocal": _reciprocal,
    "pow": _power,
    "prelu": _prelu,
    "cast": _cast,
    "logical_not": _logical_not,
}
