"""Whether training longer would pay."""

import pytest

from nasc.analysis import Coefficients, Longer, Signs, advise, fit
from nasc.errors import UsageError

LINE = Coefficients(learn=3.0, forget=2.0)


def test_an_undecided_network_with_a_high_training_loss_is_told_to_go_on() -> None:
    advice = advise(Signs(train_loss=0.9, test_loss=0.95, entropy=1.0), LINE)
    assert advice.verdict == "longer pays"
    assert advice.gain_per_doubling > 2
    assert advice.factor > 2


def test_a_network_that_left_the_test_loss_behind_is_told_to_stop() -> None:
    advice = advise(Signs(train_loss=0.01, test_loss=0.8, entropy=0.05), LINE)
    assert advice.verdict == "too long"
    assert advice.factor == 1


def test_in_between_it_was_long_enough() -> None:
    assert advise(Signs(train_loss=0.1, test_loss=0.16, entropy=0.2), LINE).verdict == "long enough"


def test_the_more_there_is_to_gain_the_longer_it_may_take_up_to_eight_times() -> None:
    factors = [advise(Signs(loss, loss, 1.0), LINE).factor for loss in (0.07, 0.2, 0.5, 5.0)]
    assert factors == sorted(factors)
    assert factors[-1] == 8


def test_the_line_is_found_again_from_gains_that_lie_on_it() -> None:
    signs = [Signs(0.9, 1.0, 1.0), Signs(0.1, 0.8, 0.3), Signs(0.4, 0.5, 0.5)]
    found = fit([Longer(each, LINE.gain(each)) for each in signs])
    assert (found.learn, found.forget) == pytest.approx((3.0, 2.0))


def test_runs_that_do_not_differ_and_losses_that_make_no_sense_are_refused() -> None:
    same = Longer(Signs(0.5, 0.6, 0.5), 1.0)
    with pytest.raises(UsageError, match="at least two pairs"):
        fit([same, same])
    with pytest.raises(UsageError, match="at least zero"):
        advise(Signs(float("nan"), 0.1, 0.1), LINE)
