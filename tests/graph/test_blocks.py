"""Depths of networks as they come: where nasc's own families can end early."""

import pytest
import torch

from nasc.graph import trace
from nasc.graph.blocks import find_exits
from nasc.graph.running import PrefixState, Program
from nasc.graph.shortening import cut_network
from nasc.graph.state import full_state
from nasc.models import load_model

PICTURES = (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "shape", "depths"),
    [
        ("digits-cnn@0.25", (1, 8, 8), [1, 2, 3, 4, 5]),
        ("resnet-tiny@0.25", PICTURES, [1, 2, 3]),
        ("mobilenetv3-tiny@0.25", PICTURES, [1, 2, 3, 4, 5]),
        ("encoder-tiny@0.25", (16,), [1, 2, 3, 4]),
        ("mlp", (1, 8, 8), [1]),
    ],
)
def test_the_depths_of_a_family_are_its_blocks(name: str, shape: tuple[int, ...], depths: list[int]) -> None:
    torch.manual_seed(0)
    model = load_model(name, num_classes=10, input_shape=shape).eval()
    x = torch.randint(0, 100, (3, *shape)) if len(shape) == 1 else torch.randn(3, *shape)
    network = trace(model, (x[:1],))
    exits = find_exits(network)
    assert [exit_.blocks for exit_ in exits] == depths
    weights, program = PrefixState(network).weights(full_state(model)), Program(network)
    sizes = {dim: max(1, value.size // 2) for dim, value in network.dims.items() if value.frozen is None}
    with torch.no_grad():
        for exit_ in exits:
            expected = cut_network(network, sizes, exit_.detour)(x)
            got = program.run(weights, sizes, (x,), detour=exit_.detour)
            assert torch.allclose(got, expected, atol=1e-5)
            assert got.shape == (3, 10)
