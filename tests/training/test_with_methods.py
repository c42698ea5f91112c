"""The loop with the real surrogate on a real trace: resume, stop at the freeze, go on with the small model."""

import signal
from dataclasses import replace

import pytest
import torch

from nasc.graph import trace
from nasc.materialise import materialise, verify
from nasc.methods import Price, build
from nasc.models import example_input, load_model
from nasc.training import Recipe, evaluate, train

RECIPE = Recipe(epochs=10, batch_size=64, learning_rate=0.1)
STEPS = 40


@pytest.fixture(scope="module")
def make_search(data):
    """A surrogate search for half of a small network's multiply-adds, and the traced network."""

    def make(seed=0, **options):
        torch.manual_seed(seed)
        model = load_model("digits-cnn@0.25", num_classes=10, input_shape=data.input_shape)
        network = trace(model, (example_input(data.input_shape),))
        price = Price(network)
        return build("surrogate", network, price, 0.5 * price.dense, STEPS, **options), network

    return make


def stop_after(epochs):
    def on_epoch(row):
        if row.epoch == epochs:
            signal.raise_signal(signal.SIGINT)

    return on_epoch


@pytest.mark.parametrize("epochs", [2, 5])
def test_an_interrupted_search_ends_with_the_weights_and_the_selection_of_one_that_was_not(
    data, make_search, same_state, tmp_path, epochs
):
    (whole, _), (interrupted, _), (resumed, _) = make_search(), make_search(), make_search(seed=1)
    expected = train(whole, data, RECIPE, progress=False)
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, data, RECIPE, folder=tmp_path, progress=False, on_epoch=stop_after(epochs))
    history = train(resumed, data, RECIPE, folder=tmp_path, progress=False)
    assert whole.frozen
    assert same_state(whole.model, resumed.model)
    assert whole.select().sizes == resumed.select().sizes
    assert [row.metrics for row in history.rows] == [row.metrics for row in expected.rows]


def test_a_search_stops_when_its_selection_stands_and_the_small_model_trains_on(data, make_search):
    search, network = make_search()
    searched = train(search, data, RECIPE, progress=False, on_frozen=lambda frozen: True)
    assert 0 < searched.step < STEPS
    small = materialise(network, search.select())
    assert verify(network, search.select(), small) < 1e-5
    at_freeze = evaluate(small, data.test_x, data.test_y).value
    tuned = train(small, data, RECIPE, progress=False, start_step=searched.step)
    assert tuned.finished
    assert [row.epoch for row in (*searched.rows, *tuned.rows)] == list(range(1, 11))
    assert evaluate(small, data.test_x, data.test_y).value > at_freeze


def test_the_papers_form_at_strength_zero_is_plain_training_bit_for_bit(data, make_search, same_state):
    search, network = make_search(controller=None, strength=0.0)
    torch.manual_seed(0)
    plain = load_model("digits-cnn@0.25", num_classes=10, input_shape=data.input_shape)
    recipe = replace(RECIPE, epochs=2)
    train(search, data, recipe, progress=False)
    train(plain, data, recipe, progress=False)
    assert same_state(network.model, plain)
