"""What a person sees while a run trains."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nasc.training.history import EpochRow


class TrainingProgress:
    """A bar of steps with the time left on stderr; silent when not wanted.

    Args:
        total_steps: Of the whole recipe.
        epochs: Of the whole recipe.
        shown: Whether anything is shown.
    """

    def __init__(self, total_steps: int, epochs: int, *, shown: bool) -> None:
        self._epochs = epochs
        self._bar = Progress(
            TextColumn("[progress.description]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(file=sys.stderr),
            disable=not shown,
        )
        self._task = self._bar.add_task("training", total=total_steps, note="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, step: int, epoch: int) -> None:
        """Show that ``step`` steps are done, in epoch ``epoch`` (from 0)."""
        self._bar.update(self._task, completed=step, description=f"epoch {min(epoch + 1, self._epochs)}/{self._epochs}")

    def note(self, row: EpochRow) -> None:
        """Show the figures of the epoch that just ended."""
        self._bar.update(self._task, note=f"loss {row.train_loss:.3f}, validation {100 * row.val_accuracy:.2f} %")
