from pathlib import Path

import pytest

from nasc.training.events import EVENTS, tensorboard_events
from nasc.training.history import EpochRow
from nasc.training.observers import Observer, observed, observers


def row(epoch: int) -> EpochRow:
    return EpochRow(
        epoch=epoch, step=10 * epoch, train_loss=1 / epoch, train_accuracy=0.5, val_accuracy=0.6, learning_rate=0.1,
        seconds=2.0, metrics={"strength": 3.0},
    )  # fmt: skip


def test_epochs_become_scalars_that_tensorboard_reads(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: nothing here reads its files")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tensorboard_events(tmp_path):
        for epoch in (1, 2, 1):  # the last is of the dense model, which is trained after
            for observer in observers():
                observer.on_epoch(row(epoch))
    assert observers() == ()
    found = EventAccumulator(str(tmp_path / EVENTS))
    found.Reload()
    losses = [(event.step, event.value) for event in found.Scalars("train_loss")]
    assert losses == [(10, 1.0), (20, 0.5)]
    assert found.Scalars("method/strength")[0].value == 3.0


def test_observers_see_what_is_inside_and_nothing_after() -> None:
    seen: list[int] = []
    with observed(Observer(on_epoch=lambda r: seen.append(r.epoch))), observed(Observer()):
        assert len(observers()) == 2
        for observer in observers():
            observer.on_epoch(row(1))
    assert seen == [1]
    assert observers() == ()
