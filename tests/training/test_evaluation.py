import math

import pytest
import torch
from torch import nn

from nasc.training import Accuracy, evaluate, recalibrate_norms


def test_accuracy_is_a_count_with_the_binomial_standard_error():
    accuracy = Accuracy(correct=30, total=40)
    assert accuracy.value == 0.75
    assert accuracy.stderr == pytest.approx(math.sqrt(0.75 * 0.25 / 40))


@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_evaluation_counts_every_picture_once_whatever_the_batch(batch_size):
    x = torch.randn(50, 4, 1, 1)
    y = x.flatten(1).argmax(1)
    y[:13] = (y[:13] + 1) % 4
    assert evaluate(nn.Flatten(), x, y, batch_size=batch_size) == Accuracy(correct=37, total=50)


def test_evaluation_changes_neither_state_nor_modes(net):
    net[1].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    evaluate(net, torch.randn(10, 1, 8, 8), torch.zeros(10, dtype=torch.int64))
    assert modes == [module.training for module in net.modules()]
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_recalibrated_norms_hold_the_mean_of_the_batches_statistics():
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(9.0)
    x = torch.randn(40, 3, 5, 5) * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1) + 4
    recalibrate_norms(nn.Sequential(norm), x, batch_size=10, batches=4)
    batches = x.split(10)
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    variance = torch.stack([batch.transpose(0, 1).flatten(1).var(1) for batch in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    assert norm.momentum == 0.1


def test_recalibration_touches_nothing_but_the_statistics(net):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    recalibrate_norms(net, torch.randn(30, 1, 8, 8), batch_size=10)
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert modes == [module.training for module in net.modules()]


def test_a_model_without_norms_is_left_alone():
    recalibrate_norms(nn.Flatten(), torch.randn(3, 1, 2, 2))
