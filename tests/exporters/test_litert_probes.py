"""Every kind of kernel, alone in a file: it runs, its output has the right shape, and equals PyTorch's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor

from nasc.errors import ExportError
from nasc.exporters.litert import write_kernel
from nasc.exporters.litert.probes import input_shapes, random_instruction
from nasc.kernels import KINDS, KernelShape, signature


def run(content: bytes, inputs: list[np.ndarray]) -> np.ndarray:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def draw_inputs(shape: KernelShape) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [generator.standard_normal(size, np.float32) for size in input_shapes(shape)]


def spatial(size: int, kernel: int, stride: int, before: int, after: int, **more: int) -> dict[str, int]:
    return {
        "height": size,
        "width": size + 1,
        "kernel_h": kernel,
        "kernel_w": kernel,
        "stride_h": stride,
        "stride_w": stride,
        "pad_top": before,
        "pad_bottom": after,
        "pad_left": before,
        "pad_right": after,
        **more,
    }


WINDOWS = [
    spatial(9, 3, 1, 1, 1, dilation_h=1, dilation_w=1),  # SAME
    spatial(9, 3, 1, 0, 0, dilation_h=1, dilation_w=1),  # VALID
    spatial(8, 3, 2, 1, 1, dilation_h=1, dilation_w=1),  # neither: the format would pad at the end
    spatial(9, 3, 2, 1, 1, dilation_h=1, dilation_w=1),
    spatial(8, 3, 2, 0, 1, dilation_h=1, dilation_w=1),
    spatial(9, 5, 1, 4, 4, dilation_h=2, dilation_w=2),
    spatial(7, 1, 2, 0, 0, dilation_h=1, dilation_w=1),
    spatial(7, 4, 3, 2, 2, dilation_h=1, dilation_w=1),
]


def padded_by_torch(x: Tensor, attributes: dict[str, int], fill: float = 0.0) -> Tensor:
    edges = [attributes[f"pad_{edge}"] for edge in ("left", "right", "top", "bottom")]
    return F.pad(x, edges, value=fill)


def convolved_by_torch(shape: KernelShape, x: Tensor, groups: int) -> Tensor:
    of = dict(shape.signature.attributes)
    constants = random_instruction(shape).constants
    weight, bias = torch.from_numpy(constants["weight"]), torch.from_numpy(constants["bias"])
    stride, dilation = (of["stride_h"], of["stride_w"]), (of["dilation_h"], of["dilation_w"])
    return F.conv2d(padded_by_torch(x, of), weight, bias, stride, 0, dilation, groups)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    ("kind", "more", "sizes", "groups"),
    [
        ("conv", {}, {"c_in": 5, "c_out": 6}, 1),
        ("grouped_conv", {}, {"groups": 3, "c_in": 2, "c_out": 4}, 3),
        ("depthwise", {"multiplier": 1}, {"channels": 5}, 5),
        ("depthwise", {"multiplier": 2}, {"channels": 5}, 5),
    ],
)
def test_a_convolution_equals_pytorchs(
    kind: str, more: dict[str, int], sizes: dict[str, int], groups: int, window: dict[str, int]
) -> None:
    shape = signature(kind, **window, **more).at(**sizes)
    (image,) = draw_inputs(shape)
    expected = convolved_by_torch(shape, torch.from_numpy(image).permute(0, 3, 1, 2), groups)
    result = run(write_kernel(shape), [image])
    np.testing.assert_allclose(result, expected.permute(0, 2, 3, 1).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cuts", [(0, 0), (1, 1), (1, 0)])
def test_a_transposed_convolution_equals_pytorchs_with_its_edges_cut(cuts: tuple[int, int]) -> None:
    window = spatial(5, 4, 2, *cuts)
    shape = signature("conv_transpose", **window).at(c_in=3, c_out=4)
    (image,) = draw_inputs(shape)
    constants = {name: torch.from_numpy(values) for name, values in random_instruction(shape).constants.items()}
    x = torch.from_numpy(image).permute(0, 3, 1, 2)
    whole = F.conv_transpose2d(x, constants["weight"].swapaxes(0, 1), constants["bias"], 2)
    end = [size - cuts[1] for size in whole.shape[2:]]
    expected = whole[:, :, cuts[0] : end[0], cuts[0] : end[1]].permute(0, 2, 3, 1)
    np.testing.assert_allclose(run(write_kernel(shape), [image]), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7])
def test_a_linear_layer_equals_pytorchs(rows: int) -> None:
    shape = signature("linear", rows=rows).at(c_in=17, c_out=5)
    (x,) = draw_inputs(shape)
    constants = random_instruction(shape).constants
    np.testing.assert_allclose(
        run(write_kernel(shape), [x]), x @ constants["weight"].T + constants["bias"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("window", [spatial(9, 3, 2, 1, 1), spatial(8, 2, 2, 0, 0), spatial(8, 3, 2, 1, 1)])
def test_a_pool_equals_pytorchs(window: dict[str, int]) -> None:
    for op, pool, fill in (("max", F.max_pool2d, -torch.inf), ("avg", F.avg_pool2d, 0.0)):
        shape = signature("pool", op=op, **window).at(channels=3)
        (image,) = draw_inputs(shape)
        x = padded_by_torch(torch.from_numpy(image).permute(0, 3, 1, 2), window, fill)
        expected = pool(x, window["kernel_h"], window["stride_h"]).permute(0, 2, 3, 1)
        np.testing.assert_allclose(run(write_kernel(shape), [image]), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_a_global_pool_is_the_mean_or_maximum_over_positions() -> None:
    for op, reduce in (("mean", np.mean), ("max", np.max)):
        shape = signature("global_pool", op=op, height=3, width=4).at(channels=6)
        (image,) = draw_inputs(shape)
        np.testing.assert_allclose(
            run(write_kernel(shape), [image]), reduce(image, (1, 2), keepdims=True), rtol=1e-5, atol=1e-6
        )


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hard_swish": F.hardswish,
    "hard_sigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "tanh": torch.tanh,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "abs": torch.abs,
    "neg": torch.neg,
    "exp": torch.exp,
    "square": torch.square,
    "sin": torch.sin,
    "cos": torch.cos,
    "floor": torch.floor,
    "cube": lambda x: x**3,
    "softplus": F.softplus,
    "log_sigmoid": F.logsigmoid,
    "mish": F.mish,
    "prelu": lambda x: F.prelu(x, torch.full((1,), 0.25)),
}


@pytest.mark.parametrize("op", FUNCTIONS)
def test_an_elementwise_function_equals_pytorchs(op: str) -> None:
    shape = signature("unary", op=op, positions=15).at(channels=7)
    (x,) = draw_inputs(shape)
    x *= 4  # beyond both clamps of the hard functions
    expected = FUNCTIONS[op](torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(write_kernel(shape), [x]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", ["sqrt", "rsqrt", "log", "reciprocal"])
def test_roots_and_the_like_equal_pytorchs(op: str) -> None:
    shape = signature("unary", op=op, positions=4).at(channels=3)
    (x,) = draw_inputs(shape)
    x = np.abs(x) + 0.1
    expected = getattr(torch, op)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(write_kernel(shape), [x]), expected, rtol=1e-4)


@pytest.mark.parametrize("broadcast", ["none", "channel", "position", "scalar"])
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "maximum", "minimum"])
def test_arithmetic_broadcasts_as_named(op: str, broadcast: str) -> None:
    shape = signature("binary", op=op, positions=6, broadcast=broadcast).at(channels=5)
    left, right = draw_inputs(shape)
    compute: dict[str, Any] = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "div": np.divide,
        "maximum": np.maximum,
        "minimum": np.minimum,
    }
    np.testing.assert_allclose(run(write_kernel(shape), [left, right]), compute[op](left, right), rtol=1e-4, atol=1e-6)


def test_concat_lays_parts_side_by_side() -> None:
    shape = signature("concat", positions=4, parts=3).at(channels=8)
    parts = draw_inputs(shape)
    assert [part.shape[-1] for part in parts] == [3, 3, 2]
    np.testing.assert_array_equal(run(write_kernel(shape), parts), np.concatenate(parts, -1))


def test_softmax_equals_pytorchs() -> None:
    shape = signature("softmax").at(rows=4, channels=9)
    (x,) = draw_inputs(shape)
    np.testing.assert_allclose(
        run(write_kernel(shape), [x]), torch.from_numpy(x).softmax(-1).numpy(), rtol=1e-4, atol=1e-6
    )


def test_a_product_of_two_activations_equals_numpys() -> None:
    shape = signature("matmul").at(batch=3, m=4, k=5, n=6)
    left, right = draw_inputs(shape)
    np.testing.assert_allclose(run(write_kernel(shape), [left, right]), left @ right, rtol=1e-4, atol=1e-5)


def test_a_linear_layer_on_rows_that_change_equals_pytorchs() -> None:
    shape = signature("linear_rows").at(rows=7, c_in=17, c_out=5)
    (x,) = draw_inputs(shape)
    constants = random_instruction(shape).constants
    expected = x @ constants["weight"].T + constants["bias"]
    np.testing.assert_allclose(run(write_kernel(shape), [x]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", ["layer", "rms", "group"])
def test_a_norm_equals_pytorchs(op: str) -> None:
    shape = signature("norm", op=op).at(rows=6, channels=9)
    (x,) = draw_inputs(shape)
    constants = {role: torch.from_numpy(values) for role, values in random_instruction(shape).constants.items()}
    source = torch.from_numpy(x)
    expected = {
        "layer": lambda: F.layer_norm(source, (9,), constants["weight"], constants["bias"]),
        "rms": lambda: F.rms_norm(source, (9,), constants["weight"], 1e-5),
        "group": lambda: F.group_norm(source.transpose(1, 2), 1, constants["weight"], constants["bias"]).transpose(
            1, 2
        ),
    }[op]()
    np.testing.assert_allclose(run(write_kernel(shape), [x]), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("op", "compute"),
    [
        ("mean", np.mean),
        ("sum", np.sum),
        ("max", np.max),
        ("min", np.min),
        ("l2", lambda x, axis: np.sqrt(np.square(x).sum(axis))),
    ],
)
def test_a_reduction_is_that_of_the_channels(op: str, compute: Callable[..., Any]) -> None:
    shape = signature("reduce", op=op).at(rows=6, channels=9)
    (x,) = draw_inputs(shape)
    np.testing.assert_allclose(run(write_kernel(shape), [x]), compute(x, -1), rtol=1e-4, atol=1e-5)


def test_a_look_up_takes_rows_of_its_table() -> None:
    shape = signature("embedding", rows=4, vocabulary=11).at(channels=5)
    rows = np.asarray([[3, 0, 10, 3]], np.int32)
    table = random_instruction(shape).constants["weight"]
    np.testing.assert_array_equal(run(write_kernel(shape), [rows]), table[rows])


@pytest.mark.parametrize(
    ("op", "before", "after", "expected"),
    [
        ("transpose", 6, 6, (1, 8, 2, 3)),
        ("shuffle", 6, 6, (1, 6, 4, 2)),
        ("pad", 4, 6, (1, 6, 1, 8)),
        ("slice", 6, 6, (1, 2, 3, 8)),
        ("strided_slice", 12, 6, (1, 6, 1, 8)),
        ("tile", 3, 6, (1, 6, 1, 8)),
        ("roll", 6, 6, (1, 2, 3, 8)),
        ("resize_nearest", 4, 16, (1, 4, 4, 8)),
        ("resize_bilinear", 4, 16, (1, 4, 4, 8)),
    ],
)
def test_a_move_gives_as_many_positions_as_it_says(op: str, before: int, after: int, expected: tuple[int, ...]) -> None:
    shape = signature("move", op=op, from_positions=before, positions=after).at(channels=8)
    assert run(write_kernel(shape), draw_inputs(shape)).shape == expected


def test_a_reshape_runs_too() -> None:
    assert run(write_kernel(signature("free", op="reshape").at()), [np.ones((1, 1), np.float32)]).item() == 1.0


@pytest.mark.parametrize("kind", ["conv", "depthwise", "linear", "unary"])
def test_one_channel_is_enough(kind: str) -> None:
    window = WINDOWS[2]
    attributes: dict[str, dict[str, Any]] = {
        "conv": window,
        "depthwise": {**window, "multiplier": 1},
        "linear": {"rows": 1},
        "unary": {"op": "silu", "positions": 9},
    }
    shape = signature(kind, **attributes[kind]).at(**dict.fromkeys(KINDS[kind].sizes, 1))
    assert np.isfinite(run(write_kernel(shape), draw_inputs(shape))).all()


def test_the_same_shape_gives_the_same_bytes() -> None:
    shape = signature("linear", rows=1).at(c_in=8, c_out=4)
    assert write_kernel(shape) == write_kernel(shape)


def test_constants_start_at_multiples_of_sixteen_bytes() -> None:
    shape = signature("linear", rows=1).at(c_in=5, c_out=3)
    content = write_kernel(shape)
    for values in random_instruction(shape).constants.values():
        assert content.index(values.tobytes()) % 16 == 0


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (signature("linear", rows=1).at(c_in=0, c_out=4), "at least 1; got c_in=0"),
        (signature("unary", op="erfc", positions=4).at(channels=4), "unary kernel with op .*; got 'erfc'"),
        (signature("binary", op="pow", positions=4, broadcast="none").at(channels=4), "got 'pow'"),
        (signature("unsupported", op="aten.foo").at(), "no kernel of kind 'unsupported'"),
        (signature("norm", op="cosine").at(rows=2, channels=3), "norm kernel with op group, layer, rms; got 'cosine'"),
    ],
)
def test_what_the_format_cannot_express_is_refused_by_name(shape: KernelShape, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        write_kernel(shape)
