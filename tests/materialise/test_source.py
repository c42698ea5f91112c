"""The written file reads like one written by hand, is the same every time, and cannot be made to say anything else."""

import subprocess
import sys
import textwrap

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasc.errors import ModelError
from nasc.graph import Selection, trace
from nasc.materialise import load_model, materialise, save_model, verify
from nasc.materialise.expressions import FUNCTIONS, METHODS
from nasc.materialise.generated import source_of
from nasc.materialise.source import write_source


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)) + x)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.head = nn.Linear(8, 10)

    def forward(self, image):
        return self.head(self.blocks(self.stem(image)).mean((2, 3)))


EXPECTED = '''
class Small(nn.Module):
    """The model.

    Inputs:
        image: float32, [batch, 3, 9, 9]
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, stride=2)
        self.blocks = nn.ModuleList([
            Block(
                conv=nn.Conv2d(3, 3, 3, padding=1, bias=False),
                norm=nn.BatchNorm2d(3),
            ),
            Block(
                conv=nn.Conv2d(3, 3, 3, padding=1, bias=False),
                norm=nn.BatchNorm2d(3),
            ),
        ])
        self.head = nn.Linear(3, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)

        # blocks.0: Block
        y = self.blocks[0].conv(x)
        y = self.blocks[0].norm(y)
        x = y + x
        x = F.relu(x)

        # blocks.1: Block
        y = self.blocks[1].conv(x)
        y = self.blocks[1].norm(y)
        x = y + x
        x = F.relu(x)

        # the model's own
        x = x.mean([2, 3])
        x = self.head(x)

        return x
'''


def text_of(model, *inputs, selection=None):
    return source_of(materialise(trace(model, inputs), selection or Selection())).text


def test_the_file_reads_as_if_written_by_hand():
    network = trace(Small(), (torch.randn(2, 3, 9, 9),))
    text = source_of(materialise(network, Selection({"stem": torch.tensor([1, 4, 6])}))).text
    assert EXPECTED in text


def test_the_text_is_the_same_in_another_process():
    recipe = textwrap.dedent(
        """
        import torch
        from torch import nn
        from nasc.graph import Selection, trace
        from nasc.materialise import materialise
        from nasc.materialise.generated import source_of
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
        print(source_of(materialise(trace(model, (torch.randn(2, 3, 8, 8),)), Selection())).text)
        """
    )
    other = subprocess.run([sys.executable, "-c", recipe], capture_output=True, text=True, check=True).stdout
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    assert text_of(model, torch.randn(5, 3, 8, 8)).split("Inputs:")[0] == other.split("Inputs:")[0]
    assert text_of(model, torch.randn(2, 3, 8, 8)).strip() == other.strip()


def test_numbered_members_of_the_model_itself_are_reached_by_number():
    text = text_of(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.randn(2, 4))
    assert 'self["0"] = nn.Linear(4, 3)' in text
    assert 'self["2"](' in text


def test_numbered_members_without_gaps_are_reached_the_same_way():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    small = materialise(trace(model, (torch.randn(2, 4),)), Selection())
    assert list(small.state_dict()) == list(model.state_dict())
    assert torch.equal(small(torch.ones(1, 4)), model(torch.ones(1, 4)))


def test_a_class_name_that_means_something_else_is_not_taken():
    for name in ("Linear", "Block", "torch", "class", "a b", "x\ny"):
        model = type(name, (Small,), {})()
        text = text_of(model, torch.randn(2, 3, 9, 9))
        assert "class Model(nn.Module):" in text


@pytest.mark.parametrize("name", ["a'b", "self", "_conv", "forward_", "0", "a b", "é", "#", "F", "x"])
def test_odd_names_of_modules_are_kept(name, tmp_path):
    torch.manual_seed(0)

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(name, nn.Linear(4, 4))
            self.inner = nn.Module()
            self.inner.add_module(name, nn.Linear(4, 4))
            self.inner.register_parameter("scale", nn.Parameter(torch.full((4,), 2.0)))

        def forward(self, x):
            x = self.get_submodule(name)(x)
            return self.inner.get_submodule(name)(torch.tanh(x)) * self.inner.scale

    model = Named()
    network = trace(model, (torch.randn(2, 4),))
    small = materialise(network, Selection())
    assert list(small.state_dict()) == list(model.state_dict())
    assert verify(network, Selection(), small) == 0
    save_model(small, tmp_path)
    assert torch.equal(load_model(tmp_path)(torch.ones(1, 4)), small.eval()(torch.ones(1, 4)))


def test_buffers_outside_the_state_dict_stay_outside_and_keep_their_value(tmp_path):
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)
            self.register_buffer("shift", torch.arange(3.0), persistent=False)
            self.register_buffer("scale", torch.full((3,), 2.0))

        def forward(self, x):
            return (self.linear(x) + self.shift) * self.scale + torch.tensor([1.0, 2.0, 3.0])

    model = Shifted()
    small = materialise(trace(model, (torch.randn(2, 4),)), Selection())
    assert "detach" not in source_of(small).text
    assert list(small.state_dict()) == list(model.state_dict())
    save_model(small, tmp_path)
    x = torch.randn(5, 4)
    assert torch.equal(load_model(tmp_path)(x), model(x))


def test_a_layer_under_two_names_is_one_layer():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter = nn.Linear(4, 6)
            self.first = nn.Linear(6, 6)
            self.second = self.first
            self.leave = nn.Linear(6, 2)

        def forward(self, x):
            return self.leave(F.relu(self.second(F.relu(self.first(F.relu(self.enter(x)))))))

    model = Twice()
    network = trace(model, (torch.randn(2, 4),))
    small = materialise(network, Selection())
    assert small.second is small.first
    assert list(small.state_dict()) == list(model.state_dict())
    assert verify(network, Selection(), small) == 0


class Layers(nn.Module):
    """A layer of many kinds, each with an option that is not its default."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(4, 8, (3, 1), stride=(2, 1), padding=(1, 0), dilation=1, groups=2)
        self.b = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.c = nn.GroupNorm(2, 4, eps=1e-3)
        self.d = nn.PReLU(4)
        self.e = nn.LayerNorm((4, 8), eps=1e-2)
        self.f = nn.Conv1d(4, 4, 3, padding="same")
        self.g = nn.BatchNorm1d(4, eps=1e-2, momentum=0.3)
        self.h = nn.BatchNorm1d(4, affine=False)
        self.i = nn.BatchNorm1d(4, track_running_stats=False)
        self.j = nn.Embedding(5, 8, padding_idx=0)

    def forward(self, x):
        x = self.d(self.c(self.b(self.a(x))))
        x = self.f(self.e(x.mean(2)[:, :, :8]))
        return self.i(self.h(self.g(x))) + self.j((x > 0).long().sum(-1) % 5).sum(1, keepdim=True)


WRITTEN = """\
        self.a = nn.Conv2d(4, 8, (3, 1), stride=(2, 1), padding=(1, 0), groups=2)
        self.b = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.c = nn.GroupNorm(2, 4, eps=0.001)
        self.d = nn.PReLU(4)
        self.e = nn.LayerNorm((4, 8), eps=0.01)
        self.f = nn.Conv1d(4, 4, 3, padding="same")
        self.g = nn.BatchNorm1d(4, eps=0.01, momentum=0.3)
        self.h = nn.BatchNorm1d(4, affine=False)
        self.i = nn.BatchNorm1d(4, track_running_stats=False)
        self.j = nn.Embedding(5, 8, padding_idx=0)
"""


def test_layers_that_torch_has_are_layers_and_their_options_are_said():
    assert WRITTEN in text_of(Layers(), torch.randn(2, 4, 8, 8))


def test_layers_with_options_compute_and_learn_what_the_originals_do():
    torch.manual_seed(0)
    model = Layers()
    small = materialise(trace(model, (torch.randn(2, 4, 8, 8),)), Selection())
    x = torch.randn(3, 4, 8, 8)
    for module in (model, small):
        module.train()
        module(x).square().sum().backward()
    assert torch.equal(model.eval()(x), small.eval()(x))
    for (name, one), (_, other) in zip(model.named_parameters(), small.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-5, msg=name)
    assert all(torch.equal(one, other) for one, other in zip(model.buffers(), small.buffers(), strict=True))


class Pointwise(nn.Module):
    """Many operators in one expression each; none may change its value by being written down."""

    def forward(self, x):
        a = F.hardtanh(x, -0.5, 0.5) + F.relu6(x) - F.elu(x, 0.7) * F.softplus(x, 2) / (x.abs() + 1)
        b = 2 - x + x**2 + 3 * x.clamp(min=-0.1) + x.clamp(max=0.2) - (-x) + F.gelu(x, approximate="tanh")
        c = F.softmax(x, -1) @ x.transpose(-1, -2) @ x
        d = torch.cat([x[..., 1:3], x[..., -1:], x[:, :, ::2], x[:, 0].unsqueeze(1).expand(-1, 3, -1)], dim=-1)
        e = torch.where(x > 0, x, -x) + (x.mean(-1, keepdim=True) >= 0.1) + torch.full_like(x, 0.5).rsqrt()
        f = F.pad(x, (1, 2), value=0.3)[..., 1:-2] + x.roll(1, 1) + torch.einsum("bij,bkj->bik", x, x) @ x
        g = sum(part * (index + 1) for index, part in enumerate(x.split(2, dim=-1)))
        h = x.topk(2, dim=-1).values + x.max(dim=-1, keepdim=True)[0] + x.to(torch.float64).to(torch.float32)[..., :2]
        i = F.scaled_dot_product_attention(x, x, x, scale=0.3) + F.layer_norm(x, (4,)) + x.masked_fill(x > 0, -1.0)
        m = (
            x.cumsum(1, dtype=torch.float64)
            + torch.zeros_like(x, dtype=torch.float64)
            + torch.ones(4, dtype=torch.float64)
        )
        n = x.sum(-1, dtype=torch.float64).unsqueeze(-1) + torch.arange(2, 10, 2, dtype=torch.float64, device=x.device)
        k = x % 0.3 + 2**x + x / 3 + torch.add(x, x, alpha=2) - torch.div(x, 0.2, rounding_mode="floor") + 1 / x.exp()
        j = x.view(x.size(0) * 3, 4).reshape(x.size(0), -1).unflatten(1, (3, 4)) + torch.arange(4, device=x.device)
        return a, [b, c], {"d": d, "e": (e, f), "rest": [g, h, i, j, k, m, n]}


def test_what_is_written_computes_what_was_traced(tmp_path):
    model = Pointwise().eval()
    network = trace(model, (torch.randn(2, 3, 4),))
    small = materialise(network, Selection()).eval()
    x = torch.randn(5, 3, 4)
    got, expected = torch.utils._pytree.tree_flatten(small(x)), torch.utils._pytree.tree_flatten(model(x))
    assert got[1] == expected[1]
    for one, other in zip(got[0], expected[0], strict=True):
        assert torch.equal(one, other)
    save_model(small, tmp_path)
    assert torch.equal(load_model(tmp_path)(x)[0], small(x)[0])


def test_a_gradient_that_the_model_stops_stays_stopped():
    class Stopping(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))
            self.other = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x * self.weight.detach() + (x * self.other).detach() + x * self.other

    model = Stopping()
    small = materialise(trace(model, (torch.randn(2, 4),)), Selection())
    for module in (model, small):
        module(torch.ones(1, 4)).sum().backward()
    assert small.weight.grad is None
    assert torch.equal(small.other.grad, model.other.grad)


def test_several_inputs_keep_their_order_and_names():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(5, 3)

        def forward(self, first, device):
            return self.left(first) - self.right(device)

    model = Pair()
    network = trace(model, (torch.randn(2, 4), torch.randn(2, 5)))
    small = materialise(network, Selection())
    inputs = (torch.randn(3, 4), torch.randn(3, 5))
    assert torch.equal(small(*inputs), model(*inputs))
    assert [spec.shape[1] for spec in source_of(small).inputs] == [4, 5]


def test_operators_of_other_libraries_are_refused_in_words():
    library = torch.library.Library("stranger", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
    library.impl("twice", torch.empty_like, "Meta")
    graph = torch.fx.Graph()
    node = graph.placeholder("x")
    graph.output(graph.call_function(torch.ops.stranger.twice.default, (node,)))
    with pytest.raises(ModelError, match=r"stranger\.twice"):
        write_source(torch.fx.GraphModule(nn.Module(), graph), example_inputs=[torch.randn(2, 2)])


def test_every_name_in_the_tables_exists_in_torch():
    for function in FUNCTIONS.values():
        root, name = function.name.split(".")
        assert callable(getattr({"F": F, "torch": torch}[root], name)), function
    for name in METHODS:
        assert callable(getattr(torch.Tensor, name)), name
