"""A finished run, opened for analysis: its model, its data, its history."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from nasc.datasets import ImageData, load_dataset
from nasc.errors import RunError
from nasc.materialise import load_model
from nasc.records import Record, load_record
from nasc.stages.run_folder import IDENTITY
from nasc.training import EpochRow, read_history
from nasc.training.loop import CHECKPOINT

__all__ = ["CHECKPOINT", "Subject"]


@dataclass(frozen=True)
class Subject:
    """A run's folder.

    Args:
        folder: As ``nasc compress`` left it.
        data_spec: Another place of the data set than the run's record names; None for the same.
    """

    folder: Path
    data_spec: str | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.record.run

    @cached_property
    def record(self) -> Record:
        """What the run claims."""
        return load_record(self.folder)

    @cached_property
    def model(self) -> nn.Module:
        """The finished model.

        Raises:
            RunError: There is none.
        """
        if not (self.folder / "model").is_dir():
            raise RunError(
                f"expected a finished model in {self.folder}, got none", "finish it: run nasc compress again"
            )
        return load_model(self.folder / "model").eval()

    @cached_property
    def data(self) -> ImageData:
        """The run's data set, split as it was."""
        return load_dataset(self.data_spec or self.record.data, train_size=self._train_size, seed=self.record.seed)

    @cached_property
    def history(self) -> tuple[EpochRow, ...]:
        """The epochs of the run.

        Raises:
            RunError: There are none.
        """
        rows = read_history(self.folder / (self.record.history or "history.jsonl"))
        if not rows:
            raise RunError(f"expected a training history in {self.folder}, got none", "run nasc compress again")
        return rows

    @property
    def _train_size(self) -> int | None:
        identity = json.loads((self.folder / IDENTITY).read_text())
        size = identity.get("train_size")
        return int(size) if size else None
