"""How each kind of kernel is written as LiteRT operators.

One function per kind appends the operators of one kernel to a :class:`~nasc.exporters.litert.flatbuffer.ModelBuilder`.
A table's probe and a finished model both come from here, so the time stored under a shape is the time of what a model
runs.

Layout: images are (batch, height, width, channels); everything else has its channels last already. Batch is one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from nasc.errors import ExportError
from nasc.exporters.litert import attention, functions
from nasc.exporters.litert.flatbuffer import ModelBuilder
from nasc.exporters.litert.instruction import Instruction, unknown_op
from nasc.exporters.litert.operators import ACTIVATIONS, ARITHMETIC, arithmetic, cut, pad, reshape
from nasc.exporters.litert.windows import sides

LOWEST = float(np.finfo(np.float32).min)

Emitter = Callable[[ModelBuilder, Instruction, Sequence[int]], int]


def emit(builder: ModelBuilder, instruction: Instruction, inputs: Sequence[int]) -> int:
    """Append one kernel.

    Args:
        builder: The file under construction.
        instruction: What to write.
        inputs: Indices of the activations it reads.

    Returns:
        Index of the activation it writes.

    Raises:
        ExportError: The format has no operators for the kind or its ``op``.
    """
    emitter = EMITTERS.get(instruction.shape.kind)
    if emitter is None:
        raise ExportError(
            f"expected one of the kernels {', '.join(EMITTERS)}; got {instruction.shape.kind!r} ({instruction.name})",
            "pip install 'nasc[litert]' (converts such models as a whole), or nasc export --format onnx",
        )
    return emitter(builder, instruction, inputs)


# --- convolutions and linear layers -----------------------------------------------------------------------------------


def _conv(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    weight = it.constants["weight"].transpose(0, 2, 3, 1)  # (out, in, h, w) -> (out, h, w, in)
    source, padding = _padded(builder, it, inputs[0], fill=0.0)
    return builder.operator(
        "CONV_2D",
        [source, builder.constant(weight), builder.constant(it.constants["bias"])],
        (1, *_output_positions(it), weight.shape[0]),
        name=it.name,
        options="Conv2DOptions",
        padding=padding,
        fusedActivationFunction=ACTIVATIONS[it.activation],
        **_strides(it),
        **_dilations(it),
    )


def _depthwise(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    weight = it.constants["weight"].transpose(1, 2, 3, 0)  # (channels x multiplier, 1, h, w) -> (1, h, w, ...)
    source, padding = _padded(builder, it, inputs[0], fill=0.0)
    return builder.operator(
        "DEPTHWISE_CONV_2D",
        [source, builder.constant(weight), builder.constant(it.constants["bias"])],
        (1, *_output_positions(it), weight.shape[3]),
        name=it.name,
        options="DepthwiseConv2DOptions",
        padding=padding,
        depthMultiplier=int(it["multiplier"]),
        fusedActivationFunction=ACTIVATIONS[it.activation],
        **_strides(it),
        **_dilations(it),
    )


def _conv_transpose(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    weight = it.constants["weight"].transpose(0, 2, 3, 1)  # (out, in, h, w) -> (out, h, w, in)
    both = sides(it.shape.signature)
    same = all(side.grows_as_same for side in both)
    left = [side.grown - side.before - side.after for side in both]
    whole = (1, *(left if same else [side.grown for side in both]), weight.shape[0])
    shape = builder.constant(np.asarray(whole, np.int32))
    result = builder.operator(
        "TRANSPOSE_CONV",
        [shape, builder.constant(weight), inputs[0], builder.constant(it.constants["bias"])],
        whole,
        name=it.name if same else "",
        options="TransposeConvOptions",
        padding=schema.Padding.SAME if same else schema.Padding.VALID,
        fusedActivationFunction=ACTIVATIONS[it.activation],
        **_strides(it),
    )
    if same or list(whole[1:3]) == left:
        return result
    return cut(builder, result, (0, both[0].before, both[1].before, 0), (1, *left, weight.shape[0]), it.name)


def _linear(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    weight = it.constants["weight"]
    weight = weight.reshape(weight.shape[0], -1)  # a 1x1 convolution on one position is a linear layer
    return builder.operator(
        "FULLY_CONNECTED",
        [inputs[0], builder.constant(weight), builder.constant(it.constants["bias"])],
        (*builder.shape(inputs[0])[:-1], weight.shape[0]),
        name=it.name,
        options="FullyConnectedOptions",
        keepNumDims=True,
        fusedActivationFunction=ACTIVATIONS[it.activation],
    )


# --- windows ----------------------------------------------------------------------------------------------------------


def _output_positions(it: Instruction) -> tuple[int, int]:
    """Height and width of what a convolution or pool writes."""
    down, right = sides(it.shape.signature)
    return down.count, right.count


def _padded(builder: ModelBuilder, it: Instruction, source: int, fill: float) -> tuple[int, int]:
    """What to read, with which padding mode: SAME where it matches exactly, else PAD and VALID (XNNPACK fuses them)."""
    both = sides(it.shape.signature)
    if all(side.read_padding == (0, 0) for side in both):
        return source, schema.Padding.VALID
    if all(side.is_same for side in both):
        return source, schema.Padding.SAME
    return _pad_explicitly(builder, it, source, fill), schema.Padding.VALID


def _pad_explicitly(builder: ModelBuilder, it: Instruction, source: int, fill: float) -> int:
    down, right = sides(it.shape.signature)
    amounts = ((0, 0), down.read_padding, right.read_padding, (0, 0))
    return pad(builder, source, amounts, fill) if any(map(any, amounts)) else source


def _strides(it: Instruction) -> dict[str, Any]:
    return {"strideH": int(it["stride_h"]), "strideW": int(it["stride_w"])}


def _dilations(it: Instruction) -> dict[str, Any]:
    return {"dilationHFactor": int(it["dilation_h"]), "dilationWFactor": int(it["dilation_w"])}


# --- pooling ----------------------------------------------------------------------------------------------------------


def _pool(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    maximum = it["op"] == "max"
    if maximum:
        source, padding = _padded(builder, it, inputs[0], fill=LOWEST)
    else:  # the format's own padding of averages leaves the padding out of the count; PAD counts it, as torch does
        source, padding = _pad_explicitly(builder, it, inputs[0], fill=0.0), schema.Padding.VALID
    divisors = it.constants.get("divisors")  # (height, width) of window size / torch's divisor, where they differ
    pooled = builder.operator(
        "MAX_POOL_2D" if maximum else "AVERAGE_POOL_2D",
        [source],
        (1, *_output_positions(it), builder.shape(source)[3]),
        name=it.name if divisors is None else "",
        options="Pool2DOptions",
        padding=padding,
        filterHeight=int(it["kernel_h"]),
        filterWidth=int(it["kernel_w"]),
        fusedActivationFunction=schema.ActivationFunctionType.NONE,
        **_strides(it),
    )
    if divisors is None:
        return pooled
    return arithmetic(builder, "mul", (pooled, builder.constant(divisors[None, :, :, None])), it.name)


def _global_pool(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    axes = range(1, len(builder.shape(inputs[0])) - 1)
    code, keep = "MEAN" if it["op"] == "mean" else "REDUCE_MAX", bool(it.extra.get("keepdim", True))
    return attention.reduce_axes(builder, code, inputs[0], tuple(axes), keep=keep, name=it.name)


# --- element-wise -----------------------------------------------------------------------------------------------------


def _binary(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    if it["op"] == "select":
        return _select(builder, it, inputs)
    operands = list(inputs)
    if "other" in it.constants:
        other = it.constants["other"].astype(builder.dtype(inputs[0]))
        operands.insert(int(it.extra.get("other_position", 1)), builder.constant(other))
    op = str(it["op"])
    if op not in ARITHMETIC:
        raise unknown_op(it, tuple(ARITHMETIC))
    return arithmetic(builder, op, operands, it.name, it.activation)


def _select(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    """The tensor's entries, or one number, by a mask."""
    source, dtype = inputs[0], builder.dtype(inputs[0])
    number = builder.constant(it.constants.get("fill", np.zeros(1, np.float32)).astype(dtype))
    chosen = [number, source] if bool(it.extra.get("fills", True)) else [source, number]
    mask = inputs[1] if len(inputs) > 1 and builder.dtype(inputs[1]) == "bool" else None
    if mask is None:
        alternating = np.arange(builder.shape(source)[-1]) % 2
        mask = builder.constant(it.constants.get("other", alternating) != 0)
    return builder.operator(
        "SELECT_V2", [mask, *chosen], builder.shape(source), name=it.name, options="SelectV2Options", dtype=dtype
    )


def _softmax(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    return builder.operator(
        "SOFTMAX", inputs, builder.shape(inputs[0]), name=it.name, options="SoftmaxOptions", beta=1.0
    )


# --- what moves data --------------------------------------------------------------------------------------------------


def _concat(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    axis = int(it.extra.get("axis", len(builder.shape(inputs[0])) - 1))
    return join(builder, inputs, axis, it.name)


def join(builder: ModelBuilder, parts: Sequence[int], axis: int, name: str = "") -> int:
    """Tensors end to end along one axis."""
    shapes = [builder.shape(tensor) for tensor in parts]
    whole = [sum(shape[axis] for shape in shapes) if place == axis else n for place, n in enumerate(shapes[0])]
    return builder.operator(
        "CONCATENATION",
        parts,
        whole,
        name=name,
        options="ConcatenationOptions",
        dtype=builder.dtype(parts[0]),
        axis=axis,
        fusedActivationFunction=schema.ActivationFunctionType.NONE,
    )


def _move(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    writer = _MOVES.get(str(it["op"]))
    if writer is None:
        raise unknown_op(it, tuple(_MOVES))
    return writer(builder, it, inputs[0])


def _transpose(builder: ModelBuilder, it: Instruction, source: int) -> int:
    order = tuple(it.extra["order"])
    shape = builder.shape(source)
    return builder.operator(
        "TRANSPOSE",
        [source, builder.constant(np.asarray(order, np.int32))],
        [shape[axis] for axis in order],
        name=it.name,
        options="TransposeOptions",
        dtype=builder.dtype(source),
    )


def _pad(builder: ModelBuilder, it: Instruction, source: int) -> int:
    return pad(builder, source, it.extra["amounts"], float(it.extra.get("fill", 0.0)), it.name)


def _slice(builder: ModelBuilder, it: Instruction, source: int) -> int:
    return cut(builder, source, it.extra["begin"], it.extra["size"], it.name)


def _strided_slice(builder: ModelBuilder, it: Instruction, source: int) -> int:
    begin, size, strides = (it.extra[name] for name in ("begin", "size", "strides"))
    end = [first + (count - 1) * step + 1 for first, count, step in zip(begin, size, strides, strict=True)]
    operands = [source, *(builder.constant(np.asarray(values, np.int32)) for values in (begin, end, strides))]
    dtype = builder.dtype(source)
    return builder.operator("STRIDED_SLICE", operands, size, name=it.name, options="StridedSliceOptions", dtype=dtype)


def _tile(builder: ModelBuilder, it: Instruction, source: int) -> int:
    multiples = tuple(it.extra["multiples"])
    shape = [size * times for size, times in zip(builder.shape(source), multiples, strict=True)]
    operands = [source, builder.constant(np.asarray(multiples, np.int32))]
    dtype = builder.dtype(source)
    return builder.operator("TILE", operands, shape, name=it.name, options="TileOptions", dtype=dtype)


def _roll(builder: ModelBuilder, it: Instruction, source: int) -> int:
    """The end of every rolled axis comes to its front."""
    rolled = [(axis, shift) for axis, shift in enumerate(it.extra["shifts"]) if shift]
    for index, (axis, shift) in enumerate(rolled):
        shape = builder.shape(source)
        rest = [size - shift if place == axis else size for place, size in enumerate(shape)]
        tail = [shift if place == axis else size for place, size in enumerate(shape)]
        start = [shape[axis] - shift if place == axis else 0 for place in range(len(shape))]
        parts = (cut(builder, source, start, tail), cut(builder, source, [0] * len(shape), rest))
        source = join(builder, parts, axis, it.name if index == len(rolled) - 1 else "")
    return source


def _resize(code: str, options: str) -> Callable[[ModelBuilder, Instruction, int], int]:
    def write(builder: ModelBuilder, it: Instruction, source: int) -> int:
        batch, _, _, channels = builder.shape(source)
        height, width = it.extra["size"]
        align = bool(it.extra.get("align_corners", False))
        return builder.operator(
            code,
            [source, builder.constant(np.asarray((height, width), np.int32))],
            (batch, height, width, channels),
            name=it.name,
            options=options,
            alignCorners=align,
            # nearest: torch takes floor(i * scale), which is the format's rule without half-pixel centres
            halfPixelCenters=code == "RESIZE_BILINEAR" and not align,
        )

    return write


_MOVES: Mapping[str, Callable[[ModelBuilder, Instruction, int], int]] = {
    "transpose": _transpose,
    "shuffle": _transpose,
    "pad": _pad,
    "slice": _slice,
    "strided_slice": _strided_slice,
    "tile": _tile,
    "roll": _roll,
    "resize_bilinear": _resize("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    "resize_nearest": _resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
}


def _free(builder: ModelBuilder, it: Instruction, inputs: Sequence[int]) -> int:
    if it["op"] == "constant":
        return builder.constant(it.constants["value"], it.name)
    shape = tuple(it.extra["shape"])
    if shape == builder.shape(inputs[0]):
        return inputs[0]
    return reshape(builder, inputs[0], shape, it.name)


EMITTERS: Mapping[str, Emitter] = {
    "conv": _conv,
    "grouped_conv": _conv,
    "depthwise": _depthwise,
    "conv_transpose": _conv_transpose,
    "linear": _linear,
    "linear_rows": _linear,
    "matmul": attention.matmul,
    "norm": attention.norm,
    "reduce": attention.reduce,
    "embedding": attention.embedding,
    "pool": _pool,
    "global_pool": _global_pool,
    "unary": functions.unary,
    "binary": _binary,
    "softmax": _softmax,
    "concat": _concat,
    "move": _move,
    "free": _free,
}
