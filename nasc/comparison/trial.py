"""One trial, in a process of its own: a compression that holds still while another trial measures."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from nasc.comparison.config import CompareConfig, Trial
from nasc.comparison.ledger import STATE, complete, finished_record
from nasc.datasets import load_dataset
from nasc.pipeline import compress
from nasc.quiet import give_way, working
from nasc.records import Record, save_record
from nasc.stages.config import CompressConfig
from nasc.stages.search import dense_accuracy
from nasc.training import Accuracy
from nasc.training.observers import Observer, observed

_PATIENCE_S = 0.2  # between two looks at a lock that another trial holds


def run_trial(config: CompareConfig, trial: Trial, params: Mapping[str, Any], observer: Observer) -> Record:
    """Run a trial to its end, or go on with it where it was killed.

    Args:
        config: The comparison.
        trial: Which one.
        params: Its hyper-parameters.
        observer: Sees the epochs of the compression, not those of the dense model.

    Returns:
        Its record, which stands in its folder too.

    Raises:
        NascError: As :func:`nasc.pipeline.compress` does.
    """
    known = finished_record(config.out, trial.name)
    if known is not None:
        return known
    began = time.monotonic()
    asked = config.compress_config(trial, params)
    with working(), observed(Observer(on_step=give_way)):
        with observed(observer):
            record = compress(asked)
        baseline = dense_baseline(config, trial)
    facts = {"proposal": trial.proposal, "params": dict(params), "seconds": time.monotonic() - began}
    record = complete(_with_baseline(record, baseline), trial.name, facts)
    save_record(record, asked.folder)
    return record


def dense_baseline(config: CompareConfig, trial: Trial) -> Accuracy | None:
    """Accuracy of the dense model by the comparison's own recipe; whoever comes first trains it, the others wait."""
    asked = baseline_config(config, trial)
    name = "".join(letter if letter.isalnum() else "_" for letter in f"dense-{trial.group.model}-{trial.seed}")
    lock = FileLock(_made(config.out / STATE) / f"{name}.lock")
    while True:
        try:
            with lock.acquire(timeout=_PATIENCE_S):
                data = load_dataset(asked.data, train_size=asked.train_size, seed=asked.recipe.seed)
                return dense_accuracy(asked, data)
        except Timeout:
            give_way()


def baseline_config(config: CompareConfig, trial: Trial) -> CompressConfig:
    """The run whose dense model the trial is compared with: no proposal has moved its recipe."""
    return replace(config.compress_config(trial, {}), dense_baseline=True)


def _with_baseline(record: Record, baseline: Accuracy | None) -> Record:
    if baseline is None:
        return record
    return msgspec.structs.replace(record, dense_accuracy=baseline.value, dense_accuracy_stderr=baseline.stderr)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
