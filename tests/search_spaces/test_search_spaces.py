"""Search spaces: read from YAML, obeyed by the network and so by every method."""

from pathlib import Path

import pytest
import torch
from torch import nn

from nasc.errors import UsageError
from nasc.graph import Network, trace
from nasc.graph.restrict import restrict, retrace
from nasc.materialise import load_model
from nasc.methods import METHODS, Price, build
from nasc.pipeline import CompressConfig, compress
from nasc.search_spaces import list_spaces, load_space, parse_space
from nasc.testing.architectures import ARCHITECTURES
from nasc.testing.architectures import build as build_architecture
from nasc.testing.network import graph_difference, module_difference, random_inputs, random_kept
from nasc.training import Recipe
from nasc.units import parse_target


def network_of(name: str = "residual") -> Network:
    return trace(*build_architecture(name))


def free(network: Network) -> list[str]:
    return [name for name, dim in network.dims.items() if dim.frozen is None]


@pytest.fixture(scope="module")
def network() -> Network:
    return network_of()


def test_without_a_rule_nothing_changes(network: Network) -> None:
    assert restrict(network, parse_space({}, "empty")).dims == network.dims


def test_a_held_dim_says_which_space_holds_it(network: Network) -> None:
    first, *others = free(network)
    space = restrict(network, parse_space({"dims": {first: "freeze"}}, "mine.yaml"))
    assert "mine.yaml" in str(space.dims[first].frozen)
    assert free(space) == others
    assert first not in space.maskable


def test_later_patterns_win(network: Network) -> None:
    first, *_ = free(network)
    space = restrict(network, parse_space({"dims": {"*": "freeze", first: "move"}}, "mine"))
    assert free(space) == [first]


def test_what_the_tracer_froze_stays_frozen(network: Network) -> None:
    space = restrict(network, parse_space({"dims": {"*": "move"}}, "mine"))
    assert {name: dim.frozen for name, dim in space.dims.items()} == {
        name: dim.frozen for name, dim in network.dims.items()
    }


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_groups_of_entries_slice_as_they_mask(name: str) -> None:
    network = network_of(name)
    space = restrict(network, parse_space({"dims": {"*": {"multiple": 2}}}, "pairs"))
    kept = random_kept(space, maskable=False, seed=1)
    assert space.batch is not None
    assert graph_difference(space, kept, random_inputs(space, space.batch)) < 1e-5
    assert module_difference(space, random_kept(space), random_inputs(space, 3)) < 1e-5


def test_a_multiple_moves_neighbours_together(network: Network) -> None:
    space = restrict(network, parse_space({"dims": {"*": {"multiple": 4}}}, "fours"))
    for name in free(space):
        dense = network.dims[name].size
        assert space.dims[name].size * 4 == dense
        axes = [axis for axes in space.parameters.values() for axis in axes if name in {d.name for d in axis.dims()}]
        alone = [axis for axis in axes if int(axis.size()) == dense]
        assert all(axis.kept({name: torch.tensor([1])}).tolist() == [4, 5, 6, 7] for axis in alone)


def test_a_dim_that_a_multiple_does_not_divide_stays_whole_and_says_so(network: Network) -> None:
    space = restrict(network, parse_space({"dims": {"*": {"multiple": 7}}}, "sevens"))
    assert free(space) == []
    assert any("do not divide" in str(dim.frozen) for dim in space.dims.values())


def test_tied_dims_become_one_and_slice_as_they_mask() -> None:
    layers = (nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))
    network = trace(nn.Sequential(*layers), (torch.randn(2, 5),))
    same = ["0", "4"]
    space = restrict(network, parse_space({"ties": ["|".join(same)]}, "twins"))
    assert [name for name in free(space) if name in same] == same[:1]
    kept = random_kept(space)
    assert set(kept) == {"0", "2"}
    assert module_difference(space, kept, random_inputs(space, 3)) < 1e-5


def test_a_dim_tied_to_one_that_a_norm_runs_over_is_reduced_too() -> None:
    layers = (nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 10), nn.Linear(10, 12), nn.LayerNorm(12), nn.Linear(12, 3))
    network = trace(nn.Sequential(*layers), (torch.randn(2, 5),))
    assert network.dims["0"].reduced is None
    assert network.dims["3"].reduced is not None
    space = restrict(network, parse_space({"ties": ["0|3"]}, "twins"))
    assert space.dims["0"].reduced == network.dims["3"].reduced
    assert set(space.maskable) == {"0", "2"}
    kept = random_kept(space, maskable=False)
    assert set(kept) == {"0", "2"}
    assert module_difference(space, kept, random_inputs(space, 3)) < 1e-5
    assert space.batch is not None
    assert graph_difference(space, kept, random_inputs(space, space.batch)) < 1e-5


def test_dims_of_different_sizes_are_not_tied(network: Network) -> None:
    assert len({dim.size for dim in network.dims.values()}) > 1
    with pytest.raises(UsageError, match="different sizes"):
        restrict(network, parse_space({"ties": ["*"]}, "all"))


def test_a_pattern_that_matches_nothing_is_an_error_that_shows_names(network: Network) -> None:
    with pytest.raises(UsageError, match=r"matches none of the model's .* dims") as caught:
        restrict(network, parse_space({"dims": {"nowhere.*": "freeze"}}, "mine"))
    assert next(iter(network.dims)) in str(caught.value)


def test_a_rewritten_model_is_traced_under_the_same_space(network: Network) -> None:
    first, *_ = free(network)
    space = restrict(network, parse_space({"dims": {"*": "freeze", first: "move"}}, "mine"))
    assert free(retrace(space, space.model)) == [first]
    assert free(retrace(network, network.model)) == free(network)


@pytest.mark.parametrize(
    "method", ["magnitude-uniform", "magnitude-global", "l1", "halp", "width-multiplier", "surrogate"]
)
def test_methods_obey_bounds_and_multiples(method: str, network: Network) -> None:
    assert method in METHODS
    rules = {"*": {"multiple": 4, "min": "50%"}}
    space = restrict(network, parse_space({"dims": rules}, "mine"))
    price = Price(space, "macs")
    built = build(method, space, price, 0.6 * price.dense, 4)
    for _ in range(4):
        inputs = random_inputs(space, 2)
        (built.model(*inputs).square().mean() + built.penalty()).backward()
        with torch.no_grad():
            for parameter in built.model.parameters():
                if parameter.grad is not None:
                    parameter -= 1e-3 * parameter.grad
                    parameter.grad = None
        built.step()
    sizes = built.select().sizes
    assert sizes
    for name, size in sizes.items():
        assert 2 * size >= space.dims[name].size, name
    widths = {int(axis.size(sizes)) for kernel in space.kernels for axis in kernel.sizes.values()}
    assert any(width % 4 == 0 for width in widths)
    assert price.total(sizes) <= 0.6 * price.dense


WRONG = {
    "a list": (["*"], "expected a mapping"),
    "an unknown part": ({"dim": {}}, "unknown entry"),
    "an unknown key": ({"dims": {"*": {"least": 3}}}, "unknown entry"),
    "a word": ({"dims": {"*": "hold"}}, "freeze, move"),
    "a negative bound": ({"dims": {"*": {"min": -1}}}, "min"),
    "a share above one": ({"dims": {"*": {"min": "120%"}}}, "min"),
    "a broken multiple": ({"dims": {"*": {"multiple": 0}}}, "multiple"),
    "ties that are no list": ({"ties": "a"}, "ties"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_space_that_says_something_else_is_refused(case: str) -> None:
    found, words = WRONG[case]
    with pytest.raises(UsageError, match=words):
        parse_space(found, "mine")


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('about: mine\ndims:\n  "*": {min: 25%, multiple: 8}\nties: ["a|b"]\n')
    space = load_space(str(path))
    assert (space.about, space.ties) == ("mine", ("a|b",))
    assert (space.rules[0].least, space.rules[0].multiple) == (0.25, 8)


def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found no file"):
        load_space(str(tmp_path / "none.yaml"))
    path = tmp_path / "broken.yaml"
    path.write_text("dims: [")
    with pytest.raises(UsageError, match="cannot read the search space"):
        load_space(str(path))


def test_an_unknown_name_gives_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown search space") as caught:
        load_space("feed-forwards")
    assert "feed-forward" in caught.value.hint


@pytest.mark.parametrize("name", list_spaces())
def test_every_shipped_space_is_read_and_says_what_it_is_for(name: str) -> None:
    space = load_space(name)
    assert space.about
    assert space.rules or space.ties


def test_a_method_that_would_lose_the_space_is_refused_before_training(tmp_path: Path) -> None:
    space_file = tmp_path / "half.yaml"
    space_file.write_text('dims: {"*": {min: 50%}}\n')
    config = CompressConfig(
        model="digits-cnn",
        data="digits",
        target=parse_target("-30%"),
        device="simulated",
        method="pixelfly",
        out=tmp_path / "run",
        recipe=Recipe(epochs=1),
        search_space=str(space_file),
        progress=False,
    )
    with pytest.raises(UsageError, match="cannot keep to the search space"):
        compress(config)


def test_compress_ends_inside_the_search_space(tmp_path: Path) -> None:
    space_file = tmp_path / "fours.yaml"
    space_file.write_text('dims: {"*": {min: 25%, multiple: 4}}\n')
    config = CompressConfig(
        model="digits-cnn",
        data="digits",
        target=parse_target("-30%"),
        device="simulated",
        method="magnitude-global",
        out=tmp_path / "run",
        recipe=Recipe(epochs=1),
        train_size=200,
        dense_baseline=False,
        search_space=str(space_file),
        progress=False,
    )
    compress(config)
    small = load_model(tmp_path / "run" / "model")
    widths = [m.out_channels for m in small.modules() if isinstance(m, nn.Conv2d)]
    assert widths
    assert all(width % 4 == 0 for width in widths)
