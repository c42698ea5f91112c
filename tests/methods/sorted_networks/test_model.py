"""Members computed on views: against networks built by hand, and what a step may touch."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from nasc.errors import UsageError
from nasc.graph.blocks import find_exits, find_skips
from nasc.graph.network import Network
from nasc.graph.shortening import cut_network
from nasc.graph.state import full_state
from nasc.methods.sorted_networks import DEPTH, Knob, Pool, PrefixModel, match_dims


def widths(network: Network, *shares: float, reduced: bool = False) -> Pool:
    return Pool(network, [Knob("width", shares or (0.5, 1.0), match_dims(network, reduced=reduced))])


def unsettle(model: nn.Module) -> None:
    """Norm statistics and parameters that are not the neutral ones."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in full_state(model).items():
        if "running" in name or "norm" in name:
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)


@pytest.fixture(params=["residual", "encoder", "stages"])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    found: Network = request.getfixturevalue(request.param)
    unsettle(found.model)
    return found


def batch_of(network: Network, count: int = 4) -> Tensor:
    return torch.randn(count, *network.example_inputs[0].shape[1:])


@pytest.mark.parametrize("training", [False, True])
def test_the_whole_member_is_the_users_module_bit_for_bit(network: Network, training: bool) -> None:
    model = PrefixModel(widths(network)).train(training)
    x, twin = batch_of(network), copy.deepcopy(network.model).train(training)
    assert torch.equal(model(x), twin(x))
    program = PrefixModel(widths(network)).train(training)
    assert torch.equal(program.run(program.member, x), twin(x))


def test_every_member_equals_a_small_network_with_the_sliced_weights(network: Network) -> None:
    reduced = any(dim.reduced for dim in network.dims.values())
    pool = widths(network, 0.3, 0.5, 0.8, 1.0, reduced=reduced)
    model, x = PrefixModel(pool).eval(), batch_of(network)
    for member in pool.members:
        with model.as_member(member), torch.no_grad():
            assert torch.allclose(model(x), cut_network(network, member.sizes)(x), atol=1e-6)


def test_a_member_of_a_convnet_equals_one_built_by_hand_also_while_it_trains(residual: Network) -> None:
    unsettle(residual.model)
    pool = widths(residual, 0.5, 1.0)
    model = PrefixModel(pool)
    member, x = pool.members[0], torch.randn(4, 1, 8, 8)
    small = type(residual.model)(6)
    full = full_state(residual.model)
    for name, tensor in full_state(small).items():
        tensor.data.copy_(full[name][tuple(slice(0, length) for length in tensor.shape)])
    with model.as_member(member):
        assert torch.allclose(model.eval()(x), small.eval()(x), atol=1e-6)
        assert torch.allclose(model.train()(x), small.train()(x), atol=1e-6)
    for name, tensor in full_state(small).items():
        if "running" in name:
            sliced = full_state(residual.model)[name][: tensor.numel()]
            assert torch.allclose(sliced, tensor, atol=1e-6)


def test_a_cut_hidden_size_is_normalised_over_what_is_left(encoder: Network) -> None:
    unsettle(encoder.model)
    hidden = encoder.parameters["norm.weight"][0].terms[0]
    pool = Pool(encoder, [Knob("hidden", (0.5, 1.0), (hidden.name,))])
    x, full = batch_of(encoder), full_state(encoder.model)
    small = type(encoder.model)(hidden=8)
    for name, tensor in full_state(small).items():
        tensor.data.copy_(full[name][tuple(slice(0, length) for length in tensor.shape)])
    model = PrefixModel(pool).eval()
    with model.as_member(pool.members[0]):
        assert torch.allclose(model(x), small.eval()(x), atol=1e-6)


def test_cut_heads_leave_the_others_as_they_are(encoder: Network) -> None:
    heads = encoder.parameters["layers.0.q.weight"][0].terms[0].name
    pool = Pool(encoder, [Knob("heads", (0.5, 1.0), (heads,))])
    model, x = PrefixModel(pool).eval(), batch_of(encoder)
    twin = copy.deepcopy(encoder.model).eval()
    twin.layers[0].o.weight.data[:, 8:] = 0  # the last two of four heads are not read
    with model.as_member(pool.members[0]):
        assert torch.allclose(model(x), twin(x), atol=1e-6)


@pytest.mark.parametrize("name", ["encoder", "stages"])
def test_a_prefix_of_the_blocks_goes_to_the_same_head_cut_from_the_origin(
    name: str, request: pytest.FixtureRequest
) -> None:
    network: Network = request.getfixturevalue(name)
    unsettle(network.model)
    exits = find_exits(network)
    assert [exit_.blocks for exit_ in exits] == [1, 2, 3]
    pool, x = Pool(network, [Knob(DEPTH, (1, 2, 3))], exits), batch_of(network)
    model = PrefixModel(pool).eval()
    for member in pool.members:
        twin = copy.deepcopy(network.model).eval()
        if name == "encoder":
            twin.layers = nn.ModuleList(list(twin.layers)[: member.cuts[0] + 1])
        else:
            twin.blocks = twin.blocks[: member.cuts[0] + 1]
            channels = twin.blocks[-1][0].out_channels
            twin.head.weight = nn.Parameter(twin.head.weight[:, :channels])
        with model.as_member(member), torch.no_grad():
            assert torch.allclose(model(x), twin(x), atol=1e-6)
            detour = member.exit.detour if member.exit else None
            assert torch.allclose(model(x), cut_network(network, member.sizes, detour)(x), atol=1e-6)


def test_width_and_depth_cut_in_either_order_give_the_same_weights(stages: Network) -> None:
    exits, names = find_exits(stages), match_dims(stages)
    first = Pool(stages, [Knob("width", (0.5, 1.0), names), Knob(DEPTH, (1, 2, 3))], exits)
    second = Pool(stages, [Knob(DEPTH, (1, 2, 3)), Knob("width", (0.5, 1.0), names)], exits)
    one, two = first.at((0, 1)), second.at((1, 0))
    assert one is not None
    assert two is not None
    a, b = PrefixModel(first).touched(one), PrefixModel(second).touched(two)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_members_are_nested_where_all_cuts_are_and_only_there(stages: Network) -> None:
    pool = Pool(stages, [Knob("width", (0.5, 1.0), match_dims(stages)), Knob(DEPTH, (1, 3))], find_exits(stages))
    model = PrefixModel(pool)
    entries = {
        member.cuts: {(name, int(i)) for name, places in model.touched(member).items() for i in places}
        for member in pool.members
    }
    assert entries[0, 0] < entries[1, 0] < entries[1, 1]
    assert entries[0, 0] < entries[0, 1] < entries[1, 1]
    assert not entries[0, 1] <= entries[1, 0]
    assert not entries[1, 0] <= entries[0, 1]
    assert entries[0, 1] & entries[1, 0]


def test_gradients_outside_a_member_are_exactly_zero(network: Network) -> None:
    pool = widths(network, 0.5, 1.0)
    model = PrefixModel(pool).train()
    with model.as_member(pool.members[0]):
        model(batch_of(network)).square().sum().backward()
    touched = model.touched(pool.members[0])
    for name, parameter in network.model.named_parameters():
        outside = torch.ones(parameter.numel(), dtype=torch.bool)
        outside[touched[name]] = False
        assert parameter.grad is not None
        assert float(parameter.grad.flatten()[outside].abs().sum()) == 0
    some = sum(float(p.grad.abs().sum()) for p in network.model.parameters() if p.grad is not None)
    assert some > 0


def test_evaluating_any_member_leaves_running_statistics_alone(residual: Network) -> None:
    pool = widths(residual, 0.5, 1.0)
    model = PrefixModel(pool).eval()
    before = {name: tensor.clone() for name, tensor in residual.model.named_buffers()}
    for member in pool.members:
        with model.as_member(member):
            model(batch_of(residual))
    assert all(torch.equal(before[name], tensor) for name, tensor in residual.model.named_buffers())


def test_own_norms_start_as_slices_and_then_belong_to_their_member(residual: Network) -> None:
    unsettle(residual.model)
    pool = widths(residual, 0.5, 1.0)
    own, shared = PrefixModel(pool, "own").eval(), PrefixModel(pool).eval()
    x = batch_of(residual)
    for member in pool.members:
        assert torch.allclose(own.run(member, x), shared.run(member, x), atol=1e-6)
    own.train().run(pool.members[0], x)
    own.eval()
    assert torch.allclose(own.run(pool.members[1], x), shared.run(pool.members[1], x), atol=1e-6)
    assert not torch.allclose(own.run(pool.members[0], x), shared.run(pool.members[0], x), atol=1e-4)
    own.settle_norms(pool.members[0])
    assert torch.allclose(own.run(pool.members[0], x), shared.run(pool.members[0], x), atol=1e-6)


def test_the_ends_of_a_line_are_its_two_sets_and_its_cosine_tells_them_apart(residual: Network) -> None:
    model = PrefixModel(widths(residual, 0.25, 1.0), "line")
    unsettle(residual.model)
    learned = dict(residual.model.named_parameters())
    for name, tensor in model.line(0.0).items():
        assert torch.equal(tensor, learned[name])
    for name, tensor in model.line(1.0).items():
        assert torch.allclose(tensor, dict(model.own["end"].named_parameters())[name.replace(".", "/")])
    with torch.no_grad():
        for name, tensor in model.own["end"].named_parameters():
            tensor.copy_(learned[name.replace("/", ".")])
        assert float(model.line_cosine()) == pytest.approx(1.0)
        ends = list(model.own["end"].parameters())
        for tensor in ends[1:]:
            tensor.zero_()
        first = learned[next(iter(dict(model.own["end"].named_parameters()))).replace("/", ".")]
        first.zero_()
        assert float(model.line_cosine()) == 0.0


def test_left_out_blocks_are_not_run_and_the_rest_is_as_without_them(encoder: Network) -> None:
    skips = find_skips(encoder)
    assert len(skips) == 2  # all but the first
    model, x = PrefixModel(widths(encoder)).eval(), batch_of(encoder)
    for chosen, kept in ((skips[:1], (0, 2)), (skips[1:], (0, 1)), (skips, (0,))):
        model.skips = frozenset(chosen)
        twin = copy.deepcopy(encoder.model).eval()
        twin.layers = nn.ModuleList([list(twin.layers)[block] for block in kept])
        assert torch.allclose(model(x), twin(x), atol=1e-6)
        assert len(model.program.needed(skips=model.skips)) < len(model.program.needed())


def test_blocks_that_change_the_channels_cannot_be_left_out(stages: Network) -> None:
    assert find_skips(stages) == ()


def test_norms_of_their_own_are_not_for_depths(stages: Network) -> None:
    pool = Pool(stages, [Knob(DEPTH, (1, 3))], find_exits(stages))
    with pytest.raises(UsageError, match="for pools of widths"):
        PrefixModel(pool, "own")
