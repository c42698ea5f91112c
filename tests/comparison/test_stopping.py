from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import TrialScheduler

from nasc.comparison.stopping import StopWithinGroups


def trial(group: str, name: str) -> Any:
    return SimpleNamespace(config={"group": group}, trial_id=name)


def report(scheduler: StopWithinGroups, who: Any, accuracy: float, epoch: int) -> str:
    result = {"epoch": epoch, "val_accuracy": accuracy, "training_iteration": epoch}
    return scheduler.on_trial_result(None, who, result)


def enter(scheduler: StopWithinGroups, group: str, count: int) -> list[Any]:
    entered = [trial(group, f"{group}{number}") for number in range(count)]
    for one in entered:
        scheduler.on_trial_add(None, one)
    return entered


def test_what_falls_behind_its_group_is_stopped_and_what_leads_goes_on() -> None:
    scheduler = StopWithinGroups(epochs=10)
    first, second, third, fourth = enter(scheduler, "tight", 4)
    for one, accuracy in ((first, 0.9), (second, 0.8), (third, 0.85)):
        report(scheduler, one, accuracy, 6)
    assert report(scheduler, fourth, 0.2, 6) == TrialScheduler.STOP
    assert report(scheduler, first, 0.95, 7) == TrialScheduler.CONTINUE


def test_groups_are_no_rivals_of_each_other() -> None:
    scheduler = StopWithinGroups(epochs=10)
    for one in enter(scheduler, "loose", 4):
        report(scheduler, one, 0.9, 6)
    (alone,) = enter(scheduler, "tight", 1)
    assert report(scheduler, alone, 0.2, 6) == TrialScheduler.CONTINUE


def test_nothing_is_stopped_before_half_of_the_epochs_or_without_an_accuracy() -> None:
    scheduler = StopWithinGroups(epochs=10)
    *ahead, last = enter(scheduler, "tight", 5)
    for one in ahead:
        report(scheduler, one, 0.9, 4)
    assert report(scheduler, last, 0.1, 4) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, last, {"record": "{}"}) == TrialScheduler.CONTINUE
