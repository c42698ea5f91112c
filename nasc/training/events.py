"""Events for TensorBoard: what the history says, an epoch a step, in ``events/`` of the run's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from nasc.training.history import EpochRow, read_history
from nasc.training.observers import Observer, observed

HISTORY = "history.jsonl"
EVENTS = "events"
"""Folder inside a run's."""

_OF_ROW = ("train_loss", "train_accuracy", "val_accuracy", "learning_rate", "seconds")


@contextmanager
def tensorboard_events(folder: Path) -> Iterator[None]:
    """Write the epochs of a run as TensorBoard's scalars; nothing where its package is not installed.

    A run's epochs only ever go on: one that starts over is another training inside, of the dense model, and left out.

    Args:
        folder: The run's folder; what its histories hold already is not written again.
    """
    if find_spec("tensorboardX") is None:
        yield
        return
    from tensorboardX import SummaryWriter

    last = max((row.step for path in folder.glob(f"*/{HISTORY}") for row in read_history(path)), default=0)
    with SummaryWriter(str(folder / EVENTS)) as writer:

        def write(row: EpochRow) -> None:
            nonlocal last
            if row.step <= last:
                return
            last = row.step
            values = {name: getattr(row, name) for name in _OF_ROW} | {f"method/{k}": v for k, v in row.metrics.items()}
            for name, value in values.items():
                writer.add_scalar(name, value, global_step=row.step)
            writer.flush()

        with observed(Observer(on_epoch=write)):
            yield
