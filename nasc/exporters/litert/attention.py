"""How the kernels of transformers are written: products of activations, norms, statistics of rows, look-ups."""

from collections.abc import Sequence

import numpy as np

from nasc.exporters.litert.flatbuffer import ModelBuilder
from nasc.exporters.litert.instruction import Instruction, unknown_op
from nasc.exporters.litert.operators import arithmetic, reshape, scalar

_MOST_AXES = 4  # of a product that the runtime's fast path takes


def matmul(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    """``left[..., m, k] right[..., k, n]``; the second factor may lie the other way round."""
    swapped = bool(it.extra.get("swapped", False))
    left, right = inputs
    *lead, rows, _ = builder.shape(left)
    columns = builder.shape(right)[-2 if swapped else -1]
    if len(lead) > _MOST_AXES - 2:
        left, right = (_flat(builder, one) for one in (left, right))
    product = builder.operator(
        "BATCH_MATMUL",
        [left, right],
        (*builder.shape(left)[:-2], rows, columns),
        name=it.name if len(lead) <= _MOST_AXES - 2 else "",
        options="BatchMatMulOptions",
        adjX=False,
        adjY=swapped,
    )
    if len(lead) <= _MOST_AXES - 2:
        return product
    return reshape(builder, product, (*lead, rows, columns), it.name)


def _flat(builder: ModelBuilder, tensor: int) -> int:
    """A tensor of matrices with a single axis in front."""
    *lead, rows, columns = builder.shape(tensor)
    return reshape(builder, tensor, (int(np.prod(lead)), rows, columns))


# --- norms ------------------------------------------------------------------------------------------------------------


def norm(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    """Subtract the mean (but for RMS norms), divide by the root of the mean square, scale and shift."""
    (source,) = inputs
    shape = builder.shape(source)
    count = int(it.extra.get("axes", 1))
    axes = tuple(range(len(shape) - count, len(shape)))
    if it["op"] == "group":
        groups = int(it.extra.get("groups", 1))
        positions = int(np.prod(shape[1:-1]))
        source, axes = reshape(builder, source, (shape[0], positions, groups, shape[-1] // groups)), (1, 3)
    elif it["op"] not in ("layer", "rms"):
        raise unknown_op(it, ("layer", "rms", "group"))
    centred = source
    if it["op"] != "rms":
        centred = arithmetic(builder, "sub", (source, reduce_axes(builder, "MEAN", source, axes)))
    squares = arithmetic(builder, "mul", (centred, centred))
    variance = reduce_axes(builder, "MEAN", squares, axes)
    shifted = arithmetic(builder, "add", (variance, scalar(builder, float(it.extra.get("eps", 1e-5)))))
    inverse = builder.operator("RSQRT", [shifted], builder.shape(shifted))
    weight, bias = it.constants.get("weight"), it.constants.get("bias")
    last = "normed" if weight is None and bias is None and it["op"] != "group" else ""
    result = arithmetic(builder, "mul", (centred, inverse), it.name if last else "")
    if it["op"] == "group":
        result = reshape(builder, result, shape, it.name if weight is None and bias is None else "")
    if weight is not None:
        result = arithmetic(builder, "mul", (result, builder.constant(weight)), it.name if bias is None else "")
    if bias is not None:
        result = arithmetic(builder, "add", (result, builder.constant(bias)), it.name)
    return result


def reduce_axes(
    builder: ModelBuilder, code: str, source: int, axes: Sequence[int], *, keep: bool = True, name: str = ""
) -> int:
    """One reducing operator over some axes of the file's tensor."""
    shape = builder.shape(source)
    kept = [1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes]
    operands = [source, builder.constant(np.asarray(axes, np.int32))]
    dtype = builder.dtype(source)
    return builder.operator(code, operands, kept, name=name, options="ReducerOptions", dtype=dtype, keepDims=keep)


_REDUCERS = {"mean": "MEAN", "sum": "SUM", "max": "REDUCE_MAX", "min": "REDUCE_MIN"}


def reduce(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    """A statistic of the last axes."""
    (source,) = inputs
    rank, count = len(builder.shape(source)), int(it.extra.get("axes", 1))
    axes, keep = tuple(range(rank - count, rank)), bool(it.extra.get("keepdim", False))
    op = str(it["op"])
    if op == "l2":
        squares = arithmetic(builder, "mul", (source, source))
        total = reduce_axes(builder, "SUM", squares, axes, keep=keep)
        return builder.operator("SQRT", [total], builder.shape(total), name=it.name)
    if op not in _REDUCERS:
        raise unknown_op(it, (*_REDUCERS, "l2"))
    return reduce_axes(builder, _REDUCERS[op], source, axes, keep=keep, name=it.name)


# --- look-ups ---------------------------------------------------------------------------------------------------------


def embedding(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    """Rows of a table by whole numbers."""
    table = it.constants["weight"]
    shape = (*builder.shape(inputs[0]), *table.shape[1:])
    operands = [builder.constant(table), inputs[0]]
    return builder.operator("GATHER", operands, shape, name=it.name, options="GatherOptions", axis=0, batchDims=0)
