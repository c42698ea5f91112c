"""Learning from a teacher: the loss by hand, and what the loop does with it."""

import copy

import pytest
import torch
from torch import nn

from nasc.datasets import load_dataset
from nasc.errors import UsageError
from nasc.training import Recipe, Teacher, train


def test_the_loss_is_the_weighted_sum_of_the_paper() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3), torch.randn(5, 4)
    scores, loss = torch.randn(5, 3), torch.tensor(0.7)
    teacher = Teacher(model, weight=0.25, temperature=3.0)
    wanted = torch.softmax(model(x) / 3, 1)
    divergence = (wanted * (wanted.log() - torch.log_softmax(scores / 3, 1))).sum(1).mean()
    torch.testing.assert_close(teacher.mix(loss, scores, x), 0.75 * loss + 0.25 * 9 * divergence)


def test_a_student_equal_to_its_teacher_has_nothing_to_learn_from_it() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3), torch.randn(5, 4)
    loss = Teacher(copy.deepcopy(model), weight=1.0).mix(torch.tensor(9.0), model(x), x)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert model.weight.grad is not None
    assert float(model.weight.grad.abs().max()) < 1e-6


def test_the_loop_learns_from_scores_alone_and_leaves_the_teacher_as_it_is() -> None:
    data = load_dataset("digits")
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    before = copy.deepcopy(teacher.state_dict())
    recipe = Recipe(epochs=8, batch_size=50, learning_rate=0.5, precision="fp32", augment=False, weight_decay=0.0)
    train(student, data, recipe, progress=False, teacher=Teacher(teacher, weight=1.0))
    same = (student(data.test_x).argmax(1) == teacher(data.test_x).argmax(1)).float().mean()
    assert float(same) > 0.8
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("options", [{"weight": 0.0}, {"weight": 1.5}, {"temperature": 0.0}])
def test_shares_and_temperatures_that_mean_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Teacher(nn.Linear(2, 2), **options)
