"""A comparison from beginning to end: what is left of it is run, and everything there is is returned."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasc.comparison.config import CompareConfig, Trial
from nasc.comparison.engine import run_trials
from nasc.comparison.ledger import RECORDS, STATE, Failure, Ledger
from nasc.comparison.proposals import Proposals
from nasc.comparison.queue import tell_when_whole
from nasc.datasets import load_dataset
from nasc.devices import get_device
from nasc.errors import RunError
from nasc.graph import trace
from nasc.methods import rewritten
from nasc.pipeline import cover
from nasc.records import Record, write_atomic
from nasc.stages.search import load_classifier
from nasc.training import lock_run

_log = logging.getLogger(__name__)

IDENTITY = "comparison.json"


@dataclass(frozen=True)
class Comparison:
    """How a comparison stands.

    Args:
        folder: Where it is.
        records: Of every finished trial that was asked for, in order.
        failures: Of those that ended without a model.
        left: Names of the trials that have not ended.
    """

    folder: Path
    records: tuple[Record, ...]
    failures: tuple[Failure, ...]
    left: tuple[str, ...]

    @property
    def ledger(self) -> Path:
        """The file of records, one a line."""
        return self.folder / RECORDS


def compare(
    config: CompareConfig,
    *,
    address: str | None = None,
    retry_failed: bool = False,
    announce: Callable[[Trial, Record | Failure], None] | None = None,
    callbacks: tuple[Any, ...] = (),
) -> Comparison:
    """Run every trial of a comparison that has not ended yet.

    The same call goes on after a kill -9 of a worker, of this process or of the machine: every record is there once.

    Args:
        config: What is compared.
        address: A running Ray cluster; by default this machine.
        retry_failed: Run the failed trials again.
        announce: Called whenever a trial ends.
        callbacks: Trackers of Ray's.

    Raises:
        RunError: The folder is in use, or holds another comparison.
        NascError: Nothing can be started: a model, data set or device is not there.
    """
    with lock_run(config.out):
        _check_identity(config)
        ledger = Ledger(config.out)
        if retry_failed:
            ledger.forget_failures()
        ledger.reconcile(trial.name for trial in config.all_trials())
        if left := [trial for trial in config.all_trials() if not ledger.done(trial.name)]:
            prepare(config, left)
            proposals = Proposals(config, config.out)
            try:
                for trial in config.all_trials():
                    tell_when_whole(config, ledger, proposals, trial)  # what was killed between ledger and study
                run_trials(config, ledger, proposals, announce or _ignore, address=address, callbacks=callbacks)
            finally:
                proposals.close()
        return standing(config, ledger)


def standing(config: CompareConfig, ledger: Ledger) -> Comparison:
    """How a comparison stands by its ledger."""
    names = [trial.name for trial in config.all_trials()]
    return Comparison(
        folder=config.out,
        records=tuple(ledger.records[name] for name in names if name in ledger.records),
        failures=tuple(ledger.failures[name] for name in names if name in ledger.failures),
        left=tuple(name for name in names if not ledger.done(name)),
    )


def prepare(config: CompareConfig, trials: list[Trial]) -> None:
    """Check models and data, and measure what the tables lack, before trials would all do it at once.

    A method that rewrites the model (factors, blocks) asks for the kernels of what it makes of it as well.
    """
    first = {(t.group.model, t.group.device, t.group.method): t for t in reversed(trials)}
    for trial in first.values():
        asked = config.compress_config(trial, {})
        data = load_dataset(asked.data, train_size=asked.train_size, seed=asked.recipe.seed)
        network = trace(load_classifier(asked, data), (data.train_x[:1],))
        forms = rewritten(asked.method, network, **asked.options)
        cover(get_device(asked.device, runtime=asked.runtime, threads=asked.threads), network, *forms)
    (config.out / STATE).mkdir(parents=True, exist_ok=True)


def _check_identity(config: CompareConfig) -> None:
    """Refuse a folder that holds something else; a comparison may grow, but what its trials share stays."""
    file = config.out / IDENTITY
    wanted = config.identity()
    if not file.is_file():
        foreign = sorted(path.name for path in config.out.iterdir() if path.name != ".lock")
        if foreign:
            raise RunError(
                f"expected an empty folder or a comparison at {config.out}, got {', '.join(foreign[:3])}",
                "give another --out",
            )
        write_atomic(file, json.dumps(wanted, indent=2).encode() + b"\n")
        return
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{file} is not readable: {error}", "give another --out") from error
    differing = sorted(key for key in wanted if found.get(key) != wanted[key])
    if differing:
        changes = "; ".join(f"{key}: {found.get(key)!r} there, {wanted[key]!r} asked" for key in differing)
        raise RunError(f"{config.out} holds another comparison ({changes})", "give another --out")


def _ignore(_trial: Trial, _outcome: Record | Failure) -> None:
    """Nobody listens."""
