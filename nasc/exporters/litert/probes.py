"""One kernel alone in a file: what a latency table times."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nasc.errors import ExportError
from nasc.exporters.litert.emitters import emit
from nasc.exporters.litert.flatbuffer import ModelBuilder
from nasc.exporters.litert.instruction import Array, Instruction
from nasc.kernels import KernelShape

Shape = tuple[int, ...]


def write_kernel(shape: KernelShape) -> bytes:
    """A LiteRT model of one kernel with random weights, for timing.

    The same shape gives the same bytes in every process.

    Args:
        shape: What to write; every size is at least one.

    Returns:
        The file's bytes.

    Raises:
        ExportError: The format has no operators for this kernel, or a size is below one.
    """
    for name, value in shape.sizes:
        if value < 1:
            raise ExportError(f"expected every size of a kernel to be at least 1; got {name}={value} in {shape}")
    instruction = random_instruction(shape)
    builder = ModelBuilder()
    dtype = "int32" if shape.kind == "embedding" else "float32"
    inputs = [builder.activation(size, f"x{i}", dtype) for i, size in enumerate(input_shapes(shape))]
    output = emit(builder, instruction, inputs)
    return builder.finish(inputs, [output], description=str(shape))


def random_instruction(shape: KernelShape, seed: int = 0) -> Instruction:
    """The kernel with weights drawn from a standard normal scaled by 1/sqrt(fan-in), so that outputs stay near one."""
    generator = np.random.default_rng(seed)

    def draw(*size: int) -> Array:
        fan_in = max(int(np.prod(size[1:])), 1)
        return generator.standard_normal(size, np.float32) / np.float32(np.sqrt(fan_in))

    weight = _weight_shape(shape)
    constants = {} if weight is None else {"weight": draw(*weight), "bias": draw(weight[0])}
    if shape.kind == "embedding" or shape.signature.attributes == (("op", "rms"),):
        constants.pop("bias")
    return Instruction(shape, name="y", constants=constants, extra=_extra(shape))


def input_shapes(shape: KernelShape) -> list[Shape]:
    """Shapes of the activations a probe of this kernel reads, in the file's layout.

    Raises:
        ExportError: The format has no operators for this kernel.
    """
    kind, of = shape.kind, shape.signature
    if kind in ("conv", "grouped_conv", "depthwise", "conv_transpose", "pool", "global_pool"):
        return [(1, int(of["height"]), int(of["width"]), _input_channels(shape))]
    if kind == "linear":
        return [(int(of["rows"]), shape["c_in"])]
    if kind == "linear_rows":
        return [(shape["rows"], shape["c_in"])]
    if kind == "matmul":
        return [(shape["batch"], shape["m"], shape["k"]), (shape["batch"], shape["k"], shape["n"])]
    if kind in ("softmax", "norm", "reduce"):
        return [(1, shape["rows"], shape["channels"])]
    if kind == "embedding":
        return [(1, int(of["rows"]))]
    if kind == "move":
        return [_move_source(shape)]
    if kind == "unary":
        return [_image(int(of["positions"]), shape["channels"])]
    if kind == "binary":
        return _binary_shapes(shape)
    if kind == "concat":
        return [_image(int(of["positions"]), part) for part in _parts(shape["channels"], int(of["parts"]))]
    if kind == "free":
        return [(1, 1)]
    raise ExportError(f"LiteRT files have no kernel of kind {kind!r} yet; got {shape}")


def _input_channels(shape: KernelShape) -> int:
    if shape.kind == "grouped_conv":
        return shape["groups"] * shape["c_in"]
    return shape["c_in"] if shape.kind in ("conv", "conv_transpose") else shape["channels"]


def _binary_shapes(shape: KernelShape) -> list[Shape]:
    positions, channels = int(shape.signature["positions"]), shape["channels"]
    whole = _image(positions, channels)
    other = {
        "none": whole,
        "channel": (1, 1, 1, channels),
        "position": (*whole[:3], 1),
        "scalar": (1, 1, 1, 1),
    }[str(shape.signature["broadcast"])]
    return [whole, other]


def _image(positions: int, channels: int) -> Shape:
    """The squarest image with that many positions."""
    height = int(positions**0.5)
    while positions % height:
        height -= 1
    return (1, height, positions // height, channels)


def _parts(channels: int, parts: int) -> list[int]:
    """Channels split as evenly as possible, at least one each."""
    parts = min(parts, channels)
    return [channels // parts + (i < channels % parts) for i in range(parts)]


def _weight_shape(shape: KernelShape) -> Shape | None:
    """Shape of the weight in torch's layout; None for kernels without."""
    of = shape.signature
    if shape.kind in ("linear", "linear_rows"):
        return (shape["c_out"], shape["c_in"])
    if shape.kind == "norm":
        return (shape["channels"],)
    if shape.kind == "embedding":
        return (int(of["vocabulary"]), shape["channels"])
    if shape.kind in ("conv", "conv_transpose"):
        return (shape["c_out"], shape["c_in"], int(of["kernel_h"]), int(of["kernel_w"]))
    if shape.kind == "grouped_conv":
        return (shape["groups"] * shape["c_out"], shape["c_in"], int(of["kernel_h"]), int(of["kernel_w"]))
    if shape.kind == "depthwise":
        return (shape["channels"] * int(of["multiplier"]), 1, int(of["kernel_h"]), int(of["kernel_w"]))
    return None


def _move_source(shape: KernelShape) -> Shape:
    """What a move reads: a slice takes half of the channels, a shuffle swaps two halves, all others keep them."""
    op, start, channels = shape.signature["op"], int(shape.signature["from_positions"]), shape["channels"]
    if op in ("pad", "tile", "strided_slice"):
        return (1, start, 1, channels)
    if op == "shuffle":
        return (1, start, 2, -(-channels // 2))  # an odd number would be no shuffle; it takes what the next one takes
    return _image(start, 2 * channels if op == "slice" else channels)


def _extra(shape: KernelShape) -> Mapping[str, Any]:
    """What the emitter wants to know beyond the shape, at its most typical."""
    if shape.kind == "free":
        return {"shape": (1, 1, 1, 1)}
    if shape.kind != "move":
        return {}
    start, end = int(shape.signature["from_positions"]), int(shape.signature["positions"])
    _, height, width, channels = _image(end, shape["channels"])
    typical: dict[str, dict[str, Any]] = {
        "transpose": {"order": (0, 3, 1, 2)},
        "shuffle": {"order": (0, 1, 3, 2)},
        "pad": {"amounts": ((0, 0), (0, end - start), (0, 0), (0, 0))},
        "slice": {"begin": (0, 0, 0, 0), "size": (1, height, width, channels)},
        "strided_slice": {
            "begin": (0, 0, 0, 0),
            "size": (1, end, 1, channels),
            "strides": (1, max(start // end, 1), 1, 1),
        },
        "tile": {"multiples": (1, max(end // start, 1), 1, 1)},
        "roll": {"shifts": (0, height // 2, width // 2, 0)},
    }
    return typical.get(str(shape.signature["op"]), {"size": (height, width)})
