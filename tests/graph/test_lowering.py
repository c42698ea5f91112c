"""Which kernels the device runs for which PyTorch code."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasc.graph import Kernel, trace
from nasc.graph.slicing import slice_network
from nasc.models import load_model


class Lambda(nn.Module):
    """A function as a module, with some layers to use."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.layers)


def lowered(model: nn.Module | Callable[..., Tensor], *shape: int, **layers: nn.Module) -> tuple[Kernel, ...]:
    module = model if isinstance(model, nn.Module) else Lambda(model, **layers)
    return trace(module, (torch.zeros(1, *(shape or (4, 8, 8))),)).kernels


def kinds(kernels: tuple[Kernel, ...]) -> list[str]:
    return [kernel.kind for kernel in kernels if kernel.kind != "free"]


def conv(c_in: int = 4, c_out: int = 6, **options: object) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1, **options)  # type: ignore[arg-type]


def test_norm_and_clamp_fold_into_the_convolution_before_them() -> None:
    for clamp, name in ((nn.ReLU(), "relu"), (nn.ReLU6(), "relu6"), (nn.ReLU(inplace=True), "relu")):
        (kernel,) = lowered(nn.Sequential(conv(), nn.BatchNorm2d(6), nn.Dropout(), clamp))
        assert (kernel.kind, kernel.activation) == ("conv", name)
        assert kernel.weights.weight == "0.weight"
        assert kernel.weights.norm == ("1.weight", "1.bias", "1.running_mean", "1.running_var")


def test_a_clamp_spelled_otherwise_folds_too() -> None:
    for function in (
        lambda x, c: F.hardtanh(c(x), 0.0, 6.0),
        lambda x, c: torch.clamp(c(x), 0.0, 6.0),
        lambda x, c: F.relu6(c(x)),
    ):
        (kernel,) = lowered(function, c=conv())
        assert kernel.activation == "relu6"
    (kernel,) = lowered(lambda x, c: c(x).clamp(min=0), c=conv())
    assert kernel.activation == "relu"


def test_an_asymmetric_clamp_is_a_maximum_and_a_minimum() -> None:
    kernels = lowered(lambda x, c: c(x).clamp(-1.0, 1.0), c=conv())
    assert [kernel.signature["op"] for kernel in kernels[1:]] == ["maximum", "minimum"]
    assert kernels[0].activation is None


def test_what_has_a_second_reader_does_not_fold() -> None:
    kernels = lowered(lambda x, c: (y := c(x)) + F.relu(y), c=conv())
    assert kinds(kernels) == ["conv", "unary", "binary"]
    assert kernels[0].activation is None


def test_an_output_of_the_network_does_not_fold() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.conv(x)
            return y, F.relu(y)

    assert kinds(lowered(Two())) == ["conv", "unary"]


def test_a_clamp_after_an_addition_is_a_kernel_of_its_own() -> None:
    kernels = lowered(lambda x, c: F.relu(c(x) + x), c=conv(4, 4))
    assert kinds(kernels) == ["conv", "binary", "unary"]


def test_hard_swish_follows_the_convolution_as_a_kernel() -> None:
    kernels = lowered(nn.Sequential(conv(), nn.BatchNorm2d(6), nn.Hardswish()))
    assert kinds(kernels) == ["conv", "unary"]
    assert kernels[1].signature["op"] == "hard_swish"


def test_a_norm_before_the_convolution_is_a_depthwise_one_with_the_clamp_folded_in() -> None:
    kernels = lowered(nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), conv()))
    assert kinds(kernels) == ["depthwise", "conv"]
    assert kernels[0].activation == "relu"
    assert kernels[0].weights.weight is None
    assert kernels[0].macs() == 0  # a norm counts for nothing, wherever it runs


def test_zero_padding_folds_into_the_convolution_after_it() -> None:
    kernels = lowered(nn.Sequential(nn.ZeroPad2d((0, 1, 2, 3)), conv(stride=2)))
    (kernel,) = kernels
    pads = [kernel.signature[f"pad_{edge}"] for edge in ("left", "right", "top", "bottom")]
    assert pads == [1, 2, 3, 4]
    assert (kernel.signature["height"], kernel.signature["width"]) == (8, 8)


def test_padding_that_something_else_reads_is_a_move() -> None:
    kernels = lowered(lambda x, c: c(y := F.pad(x, (1, 1, 1, 1))) + y[:, :, :, :], c=conv(4, 4))
    assert kinds(kernels) == ["move", "conv", "binary"]
    assert kinds(lowered(lambda x, c: c(F.pad(x, (1, 1, 1, 1), value=1.0)), c=conv())) == ["move", "conv"]


def test_string_padding_is_the_padding_it_stands_for() -> None:
    (same,) = lowered(nn.Conv2d(4, 4, 4, padding="same", dilation=2))
    assert [same.signature[f"pad_{edge}"] for edge in ("top", "bottom")] == [3, 3]


def test_groups_make_three_kinds_of_convolution() -> None:
    for groups, c_out, kind in ((1, 8, "conv"), (2, 8, "grouped_conv"), (4, 4, "depthwise"), (4, 8, "depthwise")):
        (kernel,) = lowered(conv(4, c_out, groups=groups))
        assert kernel.kind == kind
    assert kernel.signature["multiplier"] == 2


def test_sizes_of_a_grouped_convolution_are_per_group() -> None:
    kernels = lowered(nn.Sequential(conv(4, 12), conv(12, 18, groups=3)))
    assert kernels[1].shape().sizes == (("groups", 3), ("c_in", 4), ("c_out", 6))


def test_squeeze_and_excite_is_pool_linear_linear_gate() -> None:
    def function(x: Tensor, down: nn.Module, up: nn.Module) -> Tensor:
        return x * F.hardsigmoid(up(F.relu(down(F.adaptive_avg_pool2d(x, 1)))))

    kernels = lowered(function, down=nn.Conv2d(4, 2, 1), up=nn.Conv2d(2, 4, 1))
    assert kinds(kernels) == ["global_pool", "linear", "linear", "unary", "binary"]
    assert kernels[1].activation == "relu"
    assert kernels[-1].signature["broadcast"] == "channel"


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
        lambda x: x.mean((2, 3)),
        lambda x: x.mean([-1, -2]),
        lambda x: F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1),
        lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
        lambda x: x.flatten(2).mean(2),
    ],
)
def test_every_spelling_of_global_pooling_is_one_kernel(pool: Callable[[Tensor], Tensor]) -> None:
    kernels = lowered(lambda x, head: head(pool(x)), head=nn.Linear(4, 3))
    assert kinds(kernels) == ["global_pool", "linear"]


def test_flatten_before_a_linear_layer_moves_nothing() -> None:
    kernels = lowered(nn.Sequential(conv(), nn.Flatten(), nn.Dropout(), nn.ReLU(), nn.Linear(6 * 64, 3)))
    assert kinds(kernels) == ["conv", "unary", "linear"]
    assert kernels[-1].extra["columns"].shape == (6, 8, 8)


def test_flatten_as_an_output_has_to_move() -> None:
    assert kinds(lowered(nn.Sequential(conv(), nn.Flatten()))) == ["conv", "move"]


def test_permuting_back_and_forth_moves_nothing() -> None:
    def function(x: Tensor, mix: nn.Module) -> Tensor:
        return mix(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    assert kinds(lowered(function, mix=nn.Linear(4, 6))) == ["linear"]


def test_a_channel_shuffle_is_one_move() -> None:
    def function(x: Tensor, c: nn.Module) -> Tensor:
        y = c(x)
        return y.view(y.size(0), 2, 3, 8, 8).transpose(1, 2).reshape(y.size(0), 6, 8, 8)

    kernels = lowered(function, c=conv())
    assert kinds(kernels) == ["conv", "move"]
    assert kernels[2].signature["op"] == "shuffle"


def test_chunks_are_slices_and_concat_counts_all_channels() -> None:
    def function(x: Tensor, c: nn.Module) -> Tensor:
        left, right = c(x).chunk(2, 1)
        return torch.cat((F.relu(right), left), 1)

    kernels = lowered(function, c=conv())
    assert kinds(kernels) == ["conv", "move", "move", "unary", "concat"]
    assert kernels[-1].shape().sizes == (("channels", 6),)
    assert kernels[-1].signature["parts"] == 2


def test_arithmetic_with_numbers_and_parameters_keeps_one_operand() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma = nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            return 2.0 * x * self.gamma.view(-1, 1, 1)

    kernels = lowered(Scaled())
    assert [kernel.signature["broadcast"] for kernel in kernels] == ["scalar", "channel"]
    assert all(len(kernel.inputs) == 1 for kernel in kernels)


def test_what_depends_on_no_input_is_gone() -> None:
    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x: Tensor) -> Tensor:
            weight = self.conv.weight - self.conv.weight.mean((1, 2, 3), keepdim=True)
            return F.conv2d(x, weight, self.conv.bias, padding=1)

    (kernel,) = lowered(Standardised())
    assert kernel.kind == "conv"
    assert kernel.extra["weight"]


def test_an_operator_without_a_rule_is_listed_not_invented() -> None:
    kernels = lowered(lambda x, c: torch.cumsum(c(x), 1), c=conv())
    assert kinds(kernels) == ["conv", "unsupported"]
    assert kernels[1].signature["op"] == "aten.cumsum.default"
    assert kernels[1].inputs == (kernels[0].output,)


def test_names_are_module_paths_and_unique() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(conv(4, 4), nn.BatchNorm2d(4))

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.inner(x) + x)

    kernels = lowered(nn.Sequential(Block(), Block()))
    names = [kernel.name for kernel in kernels]
    assert names == ["0.inner.0", "0.add", "0.relu", "1.inner.0", "1.add", "1.relu"]


def test_every_tensor_a_kernel_reads_was_written_before() -> None:
    network = trace(nn.Sequential(conv(), nn.Flatten(), nn.Linear(384, 3)), (torch.zeros(2, 4, 8, 8),))
    written = set(network.inputs)
    for kernel in network.kernels:
        assert set(kernel.inputs) <= written
        written.add(kernel.output)
    assert set(network.outputs) <= written


def test_the_batch_of_the_example_does_not_matter() -> None:
    model = nn.Sequential(conv(), nn.Flatten(), nn.Linear(384, 3))
    one, five = (trace(model, (torch.zeros(batch, 4, 8, 8),)).kernels for batch in (1, 5))
    assert [kernel.shape() for kernel in one] == [kernel.shape() for kernel in five]


def test_a_dense_block_joins_what_was_joined_before_as_one_part() -> None:
    def function(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
        parts = [torch.cat([x], 1), a(x)]
        parts.append(b(torch.cat(parts, 1)))
        return c(torch.cat(parts, 1))

    kernels = lowered(function, a=conv(4, 2), b=conv(6, 3), c=conv(9, 2))
    first, second = (kernel for kernel in kernels if kernel.kind == "concat")
    assert second.inputs == (first.output, kernels[2].output)
    assert second.shape().sizes == (("channels", 9),)


@pytest.mark.parametrize("name", ["densenet-tiny", "mobilenetv3-tiny", "resnet-tiny", "vgg-tiny"])
def test_kernels_at_some_sizes_are_the_kernels_of_the_sliced_network(name: str) -> None:
    network = trace(load_model(name, num_classes=5, input_shape=(3, 32, 32)), (torch.zeros(1, 3, 32, 32),))
    generator = torch.Generator().manual_seed(0)
    kept = {
        dim.name: torch.arange(int(torch.randint(2, dim.size + 1, (), generator=generator)))
        for dim in network.dims.values()
        if dim.frozen is None
    }
    sizes = {dim: len(indices) for dim, indices in kept.items()}
    small = trace(slice_network(network, kept), network.example_inputs)
    assert [kernel.shape(sizes) for kernel in network.kernels] == [kernel.shape() for kernel in small.kernels]
