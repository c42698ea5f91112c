import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nasc.errors import ModelError, RunError, TrainingError
from nasc.methods._base import Method
from nasc.training import CHECKPOINT, HISTORY, Recipe, evaluate, read_history, train

RECIPE = Recipe(epochs=3, batch_size=64, learning_rate=0.1)
STEPS = 4  # an epoch of 256 pictures

CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from conftest import Idle, build_net
from nasc.datasets import load_dataset
from nasc.training import Recipe, train
subject = Idle(build_net())
train(subject, load_dataset("digits", train_size=256), Recipe(**{recipe!r}), folder=Path({folder!r}), progress=False)
"""


def quiet(subject, data, recipe=RECIPE, **options):
    return train(subject, data, recipe, progress=False, **options)


def start_child(folder, **recipe):
    code = CHILD.format(tests=str(Path(__file__).parent), recipe=recipe, folder=str(folder))
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True
    )


def wait_for_rows(folder, count, child):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        if len(read_history_lines(folder)) >= count:
            return
        time.sleep(0.005)
    raise AssertionError(f"the run ended or stalled before {count} rows: {child.stderr.read()}")


def read_history_lines(folder):
    path = folder / HISTORY
    return path.read_text().splitlines() if path.is_file() else []


def test_training_learns_the_digits(data, net):
    before = evaluate(net, data.test_x, data.test_y).value
    history = quiet(net, data, replace(RECIPE, epochs=12))
    after = evaluate(net, data.test_x, data.test_y).value
    assert before < 0.3
    assert after > 0.6
    assert history.finished
    assert [row.epoch for row in history.rows] == list(range(1, 13))
    assert history.rows[-1].train_loss < history.rows[0].train_loss


def test_the_same_recipe_gives_the_same_weights_whatever_the_global_generator_was(data, make_net, same_state):
    one, two = make_net(), make_net()
    quiet(one, data)
    torch.manual_seed(123)
    quiet(two, data)
    assert same_state(one, two)


def test_training_leaves_the_global_generator_alone(data, net):
    before = torch.get_rng_state()
    quiet(net, data)
    assert torch.equal(before, torch.get_rng_state())


def test_another_seed_gives_other_weights(data, make_net, same_state):
    one, two = make_net(), make_net()
    quiet(one, data)
    quiet(two, data, replace(RECIPE, seed=1))
    assert not same_state(one, two)


def test_a_method_of_strength_zero_trains_as_the_plain_module_does_bit_for_bit(data, make_net, make_idle, same_state):
    plain, method = make_net(), make_idle(make_net())
    assert isinstance(method, Method)
    one, two = quiet(plain, data), quiet(method, data)
    assert same_state(plain, method.model)
    assert [row.train_loss for row in one.rows] == [row.train_loss for row in two.rows]
    assert two.rows[-1].metrics == {"steps": 12.0}


def test_the_first_step_is_what_the_equations_say(data):
    """Nesterov SGD by hand: v = g + wd w; w -= lr (g + wd w + momentum v), on full-batch gradients in double."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()
    weight, bias = (tensor.detach().clone() for tensor in net.parameters())
    double = replace(data, train_x=data.train_x.double(), val_x=data.val_x.double(), test_x=data.test_x.double())
    recipe = Recipe(epochs=1, batch_size=256, learning_rate=0.5, warmup=0.0, augment=False, precision="fp32")
    quiet(net, double, recipe)
    x, y = double.train_x.flatten(1), data.train_y
    probabilities = (x @ weight.T + bias).softmax(1)
    target = torch.full((256, 10), 0.01, dtype=torch.float64)
    target[torch.arange(256), y] += 0.9
    slope = (probabilities - target) / 256
    for parameter, before, gradient in (
        (net[1].weight, weight, slope.T @ x + 5e-4 * weight),
        (net[1].bias, bias, slope.sum(0)),
    ):
        torch.testing.assert_close(parameter.detach(), before - 0.5 * 1.9 * gradient, rtol=1e-5, atol=1e-7)


def test_a_run_that_is_killed_at_any_moment_resumes_to_the_same_weights(
    data, make_net, make_idle, same_state, tmp_path
):
    recipe = replace(RECIPE, epochs=40)
    whole = make_idle(make_net())
    expected = quiet(whole, data, recipe)
    for rows in (1, 9):
        child = start_child(tmp_path, epochs=40, batch_size=64, learning_rate=0.1)
        wait_for_rows(tmp_path, rows, child)
        child.kill()
        child.wait()
        child.stderr.close()
        assert len(read_history_lines(tmp_path)) < 40
    resumed = make_idle(make_net(seed=7))
    history = quiet(resumed, data, recipe, folder=tmp_path)
    assert same_state(whole.model, resumed.model)
    assert torch.equal(whole.trace, resumed.trace)
    assert [row.val_accuracy for row in history.rows] == [row.val_accuracy for row in expected.rows]
    assert read_history(tmp_path / HISTORY) == history.rows


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_ctrl_c_saves_in_the_middle_of_an_epoch_and_says_how_to_go_on(
    data, make_net, make_idle, same_state, tmp_path, optimizer
):
    recipe = replace(RECIPE, optimizer=optimizer, learning_rate=0.01)
    whole = make_idle(make_net())
    expected = quiet(whole, data, recipe)

    class Interrupting(make_idle):
        def step(self):
            super().step()
            if self.steps == 6:
                signal.raise_signal(signal.SIGINT)

    Interrupting.__name__ = make_idle.__name__  # a checkpoint is of one method
    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 6 of 12; saved in .*: start the same run again"):
        quiet(Interrupting(make_net()), data, recipe, folder=tmp_path)
    resumed = make_idle(make_net(seed=3))
    history = quiet(resumed, data, recipe, folder=tmp_path)
    assert same_state(whole.model, resumed.model)
    assert [row.train_loss for row in history.rows] == [row.train_loss for row in expected.rows]


def test_ctrl_c_without_a_folder_says_that_nothing_was_saved(data, net):
    with pytest.raises(KeyboardInterrupt, match="nothing was saved"):
        quiet(net, data, on_epoch=lambda row: signal.raise_signal(signal.SIGINT))


def test_ctrl_c_works_as_before_once_training_is_over(data, net):
    before = signal.getsignal(signal.SIGINT)
    quiet(net, data)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_is_not_trained_again(data, make_net, same_state, tmp_path):
    net = make_net()
    first = quiet(net, data, folder=tmp_path)
    again = make_net(seed=5)
    second = quiet(again, data, folder=tmp_path, on_epoch=lambda row: pytest.fail("trained again"))
    assert first == second
    assert same_state(net, again)


def test_a_row_that_was_lost_between_the_checkpoint_and_the_history_comes_back(data, make_net, tmp_path):
    history = quiet(make_net(), data, folder=tmp_path)
    path = tmp_path / HISTORY
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    quiet(make_net(), data, folder=tmp_path)
    assert read_history(path) == history.rows


def test_without_resume_a_run_starts_over(data, make_net, same_state, tmp_path):
    quiet(make_net(), data, replace(RECIPE, epochs=1), folder=tmp_path)
    net, fresh = make_net(), make_net()
    quiet(net, data, folder=tmp_path, resume=False)
    quiet(fresh, data)
    assert same_state(net, fresh)
    assert len(read_history(tmp_path / HISTORY)) == 3


def test_a_checkpoint_of_another_recipe_is_refused_with_what_differs(data, make_net, tmp_path):
    quiet(make_net(), data, folder=tmp_path)
    with pytest.raises(TrainingError, match=r"of another run: learning_rate = 0\.1 there, 0\.2 here"):
        quiet(make_net(), data, replace(RECIPE, learning_rate=0.2), folder=tmp_path)


def test_a_checkpoint_of_another_model_is_refused(data, make_net, tmp_path):
    quiet(make_net(), data, folder=tmp_path)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(TrainingError, match="of another model"):
        quiet(other, data, folder=tmp_path)


def test_a_damaged_checkpoint_is_refused(data, net, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")
    with pytest.raises(RunError, match="is not a checkpoint"):
        quiet(net, data, folder=tmp_path)


def test_no_file_of_a_run_is_a_pickle(data, net, tmp_path):
    quiet(net, data, folder=tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {CHECKPOINT, HISTORY, ".lock"}
    header = (tmp_path / CHECKPOINT).read_bytes()
    assert json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])


def test_a_loss_that_is_not_a_number_stops_the_run_before_it_reaches_the_weights(data, net, tmp_path):
    class Diverging(type(net)):
        pass

    net.__class__ = Diverging
    calls = 0

    def forward(x):
        nonlocal calls
        calls += net.training
        scores = nn.Sequential.forward(net, x)
        return scores * math.nan if net.training and calls == 7 else scores

    net.forward = forward
    with pytest.raises(
        TrainingError, match=r"got nan at step 6 of 12 \(learning rate 0\.\d+, \w+\); .*step 4 in .*is good"
    ):
        quiet(net, data, folder=tmp_path)
    assert all(bool(parameter.isfinite().all()) for parameter in net.parameters())


def test_a_model_with_other_outputs_in_training_mode_is_refused(data, net):
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            scores = self.net(x)
            return (scores, scores) if self.training else scores

    with pytest.raises(ModelError, match="one tensor of class scores in training mode, got tuple"):
        quiet(Auxiliary(), data)


def test_two_processes_never_write_to_one_folder(data, net, tmp_path):
    child = start_child(tmp_path, epochs=100000, batch_size=64)
    try:
        wait_for_rows(tmp_path, 1, child)
        with pytest.raises(RunError, match=f"another run is writing to {tmp_path}"):
            quiet(net, data, folder=tmp_path)
    finally:
        child.kill()
        child.wait()
        child.stderr.close()
    quiet(net, data, folder=tmp_path, resume=False)  # the lock went with the process


def test_a_folder_below_a_file_is_refused(data, net, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        quiet(net, data, folder=tmp_path / "file" / "run")


def test_training_goes_on_from_a_step_with_another_module_as_if_nothing_had_happened(
    data, make_net, make_idle, same_state
):
    """Stop when the method freezes, in the middle of an epoch; a second call trains a copy to the end."""
    whole = make_net()
    quiet(whole, data)
    method, taken = make_idle(make_net(), freeze_at=6), []
    first = quiet(method, data, on_frozen=lambda frozen: taken.append(frozen) or True)
    assert first.step == taken[0].step == 6
    assert not first.finished
    small = make_net(seed=9)
    small.load_state_dict(method.model.state_dict())
    second = quiet(small, data, start_step=6, start_optimizer=taken[0].optimizer_state)
    assert second.finished
    assert same_state(whole, small)


def test_a_frozen_method_whose_callback_declines_is_trained_to_the_end(data, make_net, make_idle):
    told = []
    method = make_idle(make_net(), freeze_at=6)
    history = quiet(method, data, on_frozen=lambda frozen: told.append(frozen.step))
    assert told == [6]
    assert history.finished


def test_a_run_that_stopped_when_it_froze_stops_there_again_after_a_resume(data, make_net, make_idle, tmp_path):
    steps = []
    for seed in (0, 1):
        method = make_idle(make_net(seed), freeze_at=6)
        quiet(method, data, folder=tmp_path, on_frozen=lambda frozen: steps.append(frozen.step) or True)
    assert steps == [6, 6]


def test_a_set_smaller_than_a_batch_is_one_batch(data, net):
    small = replace(data, train_x=data.train_x[:10], train_y=data.train_y[:10])
    history = quiet(net, small)
    assert history.step == 3


def test_progress_goes_to_stderr_and_nothing_to_stdout(data, net, capsys):
    train(net, data, RECIPE)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "validation" in captured.err


def test_bf16_and_fp32_learn_alike(data, make_net):
    accuracies = []
    for precision in ("fp32", "bf16"):
        net = make_net()
        history = quiet(net, data, replace(RECIPE, epochs=12, precision=precision))
        assert history.precision == precision
        assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
        accuracies.append(evaluate(net, data.test_x, data.test_y).value)
    assert abs(accuracies[0] - accuracies[1]) < 0.06


@pytest.mark.parametrize("step", [-1, 13])
def test_a_start_outside_the_recipe_is_refused(data, net, step):
    with pytest.raises(TrainingError, match=f"between step 0 and 12, got {step}"):
        quiet(net, data, start_step=step)


def test_dropped_weights_stay_zero_and_the_others_learn(data, net):
    name, weight = next((name, p) for name, p in net.named_parameters() if p.dim() >= 2)
    mask = torch.arange(weight.numel()).view(weight.shape) % 2 == 0
    before = weight.detach().clone()
    quiet(net, data, masks={name: mask})
    assert torch.all(weight[~mask] == 0)
    assert not torch.equal(weight[mask], before[mask])
