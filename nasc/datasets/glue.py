"""``glue/sst2:DIR``, ``glue/cola:DIR``, ``glue/rte:DIR``: three tasks of GLUE (Wang et al., arXiv 1804.07461).

The folder is that of all tasks or of one, with ``train.tsv`` and ``dev.tsv`` in it; GLUE keeps the labels of its test
sentences, so the development sentences are the test part here.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nasc.datasets.folders import existing_folder
from nasc.datasets.text import Rows, TextData, assemble_text
from nasc.errors import DataError

_HINT = "the folder must hold train.tsv and dev.tsv of the task, or a folder of its name (SST-2, CoLA, RTE) with them"


@dataclass(frozen=True)
class Task:
    """Where a task's columns are.

    Args:
        folder: Its usual name.
        header: Whether the first line names the columns.
        texts: Columns of the sentences.
        label: Column of the label.
        labels: The labels, in the order of their numbers.
        length: Tokens a row: what nearly all rows fit into.
    """

    folder: str
    header: bool
    texts: tuple[int, ...]
    label: int
    labels: tuple[str, ...]
    length: int


TASKS: Mapping[str, Task] = {
    "sst2": Task("SST-2", True, (0,), 1, ("0", "1"), 48),
    "cola": Task("CoLA", False, (3,), 1, ("0", "1"), 24),
    "rte": Task("RTE", True, (1, 2), 3, ("not_entailment", "entailment"), 96),
}


def load_glue(task: str, folder: Path, *, train_size: int | None = None, seed: int = 0) -> TextData:
    """One task.

    Args:
        task: ``sst2``, ``cola`` or ``rte``.
        folder: See the module.
        train_size: How many training rows to keep, class-balanced; all but the validation part when not given.
        seed: Which of them.

    Raises:
        DataError: A file is missing or has other columns.
    """
    chosen = TASKS[task]
    existing_folder(folder, f"GLUE {chosen.folder}", _HINT)
    if (folder / chosen.folder).is_dir():
        folder = folder / chosen.folder
    return assemble_text(
        f"glue-{task}",
        read_rows(folder / "train.tsv", chosen),
        read_rows(folder / "dev.tsv", chosen),
        num_classes=len(chosen.labels),
        length=chosen.length,
        train_size=train_size,
        seed=seed,
    )


def read_rows(path: Path, task: Task) -> Rows:
    """The rows of one file: tab separated, nothing quoted.

    Raises:
        DataError: The file is missing, a line has too few columns, or a label is unknown.
    """
    if not path.is_file():
        raise DataError(f"expected {path.name} in {path.parent}, found none", _HINT)
    texts, labels = [], []
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        for number, line in enumerate(lines, start=1):
            if number == 1 and task.header:
                continue
            if len(line) <= max(*task.texts, task.label) or line[task.label] not in task.labels:
                raise DataError(
                    f"expected {path} line {number} to have a label of {', '.join(task.labels)} in column "
                    f"{task.label + 1}, got {len(line)} columns: {' | '.join(line)[:60]!r}",
                    _HINT,
                )
            texts.append(tuple(line[column] for column in task.texts))
            labels.append(task.labels.index(line[task.label]))
    return Rows(tuple(texts), tuple(labels))


def loader(task: str) -> Callable[..., TextData]:
    """:func:`load_glue` for one task."""

    def load(folder: Path, *, train_size: int | None = None, seed: int = 0) -> TextData:
        return load_glue(task, folder, train_size=train_size, seed=seed)

    return load
