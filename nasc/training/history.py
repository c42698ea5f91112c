"""What happened in a training run, an epoch a row."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nasc.records import write_atomic


@dataclass(frozen=True)
class EpochRow:
    """One epoch.

    Args:
        epoch: From 1.
        step: Steps done at its end, from the start of the recipe.
        train_loss: Mean over the epoch's steps, without the method's penalty.
        train_accuracy: Over the epoch's augmented pictures, 0 to 1.
        val_accuracy: On the validation pictures, 0 to 1.
        learning_rate: Of the last step.
        seconds: Of the epoch with its validation.
        metrics: The method's own numbers.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """The epochs of a run so far.

    Args:
        rows: One for each whole epoch.
        step: Steps done, from the start of the recipe.
        total_steps: Of the whole recipe.
        precision: What was computed in, ``"bf16"`` or ``"fp32"``.
    """

    rows: tuple[EpochRow, ...]
    step: int
    total_steps: int
    precision: str

    @property
    def finished(self) -> bool:
        """Whether the recipe was trained to its end."""
        return self.step >= self.total_steps

    @property
    def val_accuracy(self) -> float:
        """Of the last epoch, 0 to 1; NaN before the first."""
        return self.rows[-1].val_accuracy if self.rows else float("nan")


def write_history(path: Path, rows: Iterable[EpochRow]) -> None:
    """Write all rows to a JSON-lines file, replacing it at once.

    Args:
        path: ``history.jsonl`` of the run's folder.
        rows: All of them.

    Raises:
        RunError: The file cannot be written.
    """
    write_atomic(path, "".join(json.dumps(asdict(row)) + "\n" for row in rows).encode())


def read_history(path: Path) -> tuple[EpochRow, ...]:
    """The rows of a JSON-lines file; none if there is no file."""
    if not path.is_file():
        return ()
    return tuple(EpochRow(**json.loads(line)) for line in path.read_text().splitlines())
