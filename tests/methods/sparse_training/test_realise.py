"""From masks to selections: emptied channels go, what is left computes the same, costs count what is not zero."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nasc.cost import cost, nonzero_macs, nonzero_params
from nasc.datasets import load_dataset
from nasc.graph import Selection, trace
from nasc.graph.network import Network
from nasc.materialise import materialise, small_masks, verify, verify_trained
from nasc.methods import Price, build, readjust
from nasc.methods.sparse_training import SparseTraining
from nasc.methods.sparse_training.realise import realise
from nasc.models import example_input, load_model
from nasc.training import Recipe, train

Maker = Callable[..., SparseTraining]


def ones(network: Network) -> dict[str, torch.Tensor]:
    names = ("stem.0.weight", "wide.0.weight", "head.weight")
    return {name: torch.ones(network.model.get_parameter(name).shape, dtype=torch.bool) for name in names}


def test_masks_that_drop_nothing_select_everything(network: Network) -> None:
    selection = realise(network, ones(network))
    assert (selection.kept, selection.masks) == ({}, {})


def test_a_channel_that_nothing_writes_is_removed(network: Network) -> None:
    masks = ones(network)
    masks["wide.0.weight"][3] = False
    selection = realise(network, masks)
    (kept,) = selection.kept.values()
    assert kept.tolist() == [index for index in range(16) if index != 3]
    assert selection.masks == {}  # what is left of every weight is whole


def test_a_channel_that_nothing_reads_is_removed_through_the_depthwise_kernel(network: Network) -> None:
    masks = ones(network)
    masks["wide.0.weight"][:, 5] = False
    selection = realise(network, masks)
    (kept,) = selection.kept.values()
    assert kept.tolist() == [index for index in range(8) if index != 5]


def test_removing_a_channel_can_empty_another(network: Network) -> None:
    masks = ones(network)
    masks["head.weight"][:, :8] = False  # nobody reads the first half of the wide layer ...
    masks["wide.0.weight"][8:, 2] = False  # ... and only that half reads channel 2 of the stem
    sizes = realise(network, masks).sizes
    assert sorted(sizes.values()) == [7, 8]


def test_a_dim_keeps_one_channel_when_all_its_weights_are_gone(network: Network) -> None:
    masks = {name: torch.zeros_like(mask) for name, mask in ones(network).items()}
    selection = realise(network, masks)
    assert set(selection.sizes.values()) == {1}
    assert bool(torch.isfinite(materialise(network, selection)(torch.randn(2, 3, 6, 6))).all())


@pytest.mark.parametrize("pattern", ["unstructured", "block4", "2:4", "block4x4", "channels"])
def test_the_small_model_computes_what_the_masked_one_does(
    make: Maker, drive: Callable[..., Any], network: Network, pattern: str
) -> None:
    options = {} if pattern == "2:4" else {"sparsity": 0.5 if pattern == "channels" else 0.95}
    method = make("gmp", pattern=pattern, steps=20, **options)
    drive(method, 20)
    selection = method.select()
    small = materialise(network, selection)
    assert verify(network, selection, small) < 1e-6


def test_channels_emptied_by_unstructured_pruning_make_a_smaller_model(
    make: Maker, drive: Callable[..., Any], network: Network
) -> None:
    method = make("gmp", sparsity=0.99, steps=20)
    drive(method, 20)
    assert cost(network, method.select().sizes, "macs") < cost(network, {}, "macs")


@pytest.mark.parametrize("sparsity", [0.0, 0.9])
def test_multiply_adds_of_weights_that_are_not_zero_follow_the_formula(
    make: Maker, network: Network, sparsity: float
) -> None:
    method = make("static", sparsity=sparsity, budget="uniform-all")
    masks = method.masks.rule.masks(method.masks.kept)
    left = {name: int(mask.sum()) for name, mask in masks.items()}
    depthwise = 8 * 9 * 36
    expected = 36 * left["stem.0.weight"] + 36 * left["wide.0.weight"] + left["head.weight"] + depthwise
    assert nonzero_macs(network, Selection(masks=masks)) == pytest.approx(expected)
    dense = int(cost(network, {}, "params"))
    assert nonzero_params(network, Selection(masks=masks)) == dense - sum(
        mask.numel() - left[name] for name, mask in masks.items()
    )


def test_readjusting_trims_further_but_brings_no_emptied_channel_back(network: Network) -> None:
    price = Price(network)
    masks = ones(network)
    masks["wide.0.weight"][:4] = False
    selection = realise(network, masks)
    (name,) = selection.kept
    scores = {dim: torch.rand(network.dims[dim].size) + 0.1 for dim in network.maskable}
    scores[name][:4] = 0.0
    grown = readjust(price, selection, scores, price.dense)
    assert not set(range(4)) & set(grown.kept[name].tolist())
    trimmed = readjust(price, selection, scores, 0.4 * price.dense)
    assert price.total(trimmed.sizes) <= 0.4 * price.dense


class Tied(nn.Module):
    """An embedding whose weights are also the head's."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.hidden(self.words(tokens))))


def test_a_weight_that_is_also_an_embedding_is_never_pruned() -> None:
    network = trace(Tied(), (torch.randint(0, 11, (2, 5)),))
    method = build("gmp", network, Price(network), 0.0, 20, sparsity=0.5)
    assert isinstance(method, SparseTraining)
    assert list(method.weights.parameters) == ["hidden.weight"]


# -- with the training loop ---------------------------------------------------------------------------

RECIPE = Recipe(epochs=4, batch_size=64, learning_rate=0.1)


@pytest.fixture(scope="module")
def digits() -> Any:
    return load_dataset("digits", train_size=320)


def digits_method(digits: Any, name: str, **options: Any) -> SparseTraining:
    torch.manual_seed(0)
    model = load_model("digits-cnn@0.125", num_classes=10, input_shape=digits.input_shape)
    network = trace(model, (example_input(digits.input_shape),))
    method = build(name, network, Price(network), 0.0, 20, sparsity=0.8, **options)
    assert isinstance(method, SparseTraining)
    return method


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("acdc", {"open_sparsity": 0.5, "keep_twin": True}),
        ("gmp", {}),
        ("rigl", {"interval": 3}),
        ("set", {"interval": 3}),
        ("powerpropagation", {}),
    ],
)
def test_a_run_resumed_in_the_middle_of_a_phase_ends_with_the_same_bits(
    digits: Any, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    whole, stopped, resumed = (digits_method(digits, name, **options) for _ in range(3))
    train(whole, digits, RECIPE, progress=False)

    class Stop(Exception):
        pass

    def stop(row: Any) -> None:
        if row.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        train(stopped, digits, RECIPE, folder=tmp_path, progress=False, on_epoch=stop)
    history = train(resumed, digits, RECIPE, folder=tmp_path, progress=False)
    expected = whole.model.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in resumed.model.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(whole.masks.kept, resumed.masks.kept, strict=True))
    assert history.rows[-1].metrics == whole.metrics()


def test_fine_tuning_keeps_what_the_search_dropped(digits: Any) -> None:
    method = digits_method(digits, "gmp")
    searched = train(method, digits, RECIPE, progress=False, on_frozen=lambda frozen: True)
    selection = method.select()
    small = materialise(method.network, selection)
    masks = small_masks(method.network, selection)
    train(small, digits, RECIPE, progress=False, start_step=searched.step, masks=masks)
    assert searched.step < 20
    assert not any(bool(small.get_parameter(name)[~mask].any()) for name, mask in masks.items())
    assert verify_trained(method.network, selection, small) < 1e-6


def test_a_recipe_stretches_in_epochs_and_nothing_else() -> None:
    assert Recipe(epochs=4).stretched(2.5) == replace(Recipe(), epochs=10)
