"""Ray Tune runs the trials: on this machine's cores, or on a cluster's.

Ray's own state is scratch. What a comparison knows stands in its folder (see :mod:`nasc.comparison.ledger`), so that going
on after a kill is starting again with what is left.
"""

import json
import logging
import os
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nasc.comparison.config import CompareConfig, Trial
from nasc.comparison.ledger import Ledger
from nasc.comparison.proposals import Proposals
from nasc.errors import NascError, UsageError
from nasc.records import Record, to_json
from nasc.training import EpochRow
from nasc.training.observers import Observer

_log = logging.getLogger(__name__)

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing leaves the machine
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the command prints a line a trial itself
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the comparison; what is done is noted down already
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",
}
STARTS = 3
"""Ray gives its own processes thirty seconds to come up; so often it may try."""

OBJECT_STORE_BYTES = 128 * 2**20  # trials hand over records, which are small


def run_trials(
    config: CompareConfig, ledger: Ledger, proposals: Proposals, announce: Any, *, address: str | None = None,
    callbacks: tuple[Any, ...] = (),
) -> None:  # fmt: skip
    """Run every trial that is left.

    Args:
        config: The comparison.
        ledger: What has ended already; grows.
        proposals: Hyper-parameters.
        announce: Called with a trial and its record or failure whenever one ends.
        address: A running cluster (``ray start --head`` prints it), or None for this machine alone. The comparison's
            folder must be at the same path on every node.
        callbacks: Ray's own trackers.

    Raises:
        UsageError: The cluster cannot be reached.
    """
    with _ray(address):
        from ray import tune

        from nasc.comparison.queue import TrialQueue
        from nasc.comparison.stopping import StopWithinGroups

        scratch = Path(tempfile.mkdtemp(prefix="ray-", dir=config.out / "state"))
        resources = {"cpu": config.cpus, **({"gpu": config.gpus} if config.gpus else {})}
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_work, comparison=config), resources),
            tune_config=tune.TuneConfig(
                search_alg=TrialQueue(config, ledger, proposals, announce),
                scheduler=StopWithinGroups(config.recipe.epochs) if config.stop_early else None,
                num_samples=-1,
                max_concurrent_trials=config.concurrent,
                reuse_actors=False,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(scratch.resolve()),
                failure_config=tune.FailureConfig(max_failures=config.crashes),
                callbacks=list(callbacks),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _work(settings: dict[str, Any], comparison: CompareConfig) -> None:
    """What a worker does: one trial; what goes wrong inside is an answer, and only the death of the process is not."""
    from ray import tune

    import nasc.comparison.trial as work

    trial: Trial = settings["trial"]

    def report(row: EpochRow) -> None:
        if not row.metrics:  # the method is done: the small model is fine-tuned
            tune.report({"epoch": row.epoch, "val_accuracy": row.val_accuracy})

    try:
        record = work.run_trial(comparison, trial, settings["params"], Observer(on_epoch=report))
    except NascError as error:
        tune.report({"failure": _failure(error.message, error.hint)})
    except Exception as error:
        tune.report({"failure": _failure(f"{type(error).__name__}: {error}", "report it with the traceback")})
    else:
        tune.report(_result(record))


def _result(record: Record) -> dict[str, Any]:
    """What goes back to the driver; the numbers stand alone too, for trackers."""
    numbers = {"accuracy": record.accuracy, "measured_s": record.measured_s, "predicted_s": record.predicted_s}
    known = {name: value for name, value in numbers.items() if value is not None}
    return {**known, "macs": record.macs, "params": record.params, "record": json.dumps(to_json(record))}


def _failure(error: str, hint: str) -> str:
    return json.dumps(
        {"error": error, "hint": hint, "traceback": traceback.format_exc()}
    )  # Ray flattens what is nested


@contextmanager
def _ray(address: str | None) -> Iterator[None]:
    """Ray, started for this comparison on loopback, or joined."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    started = not ray.is_initialized()
    if started:
        _start(ray, address)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any, address: str | None) -> None:
    """Start Ray here, or join a cluster; a start that a busy machine made too slow is tried again."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "object_store_memory": OBJECT_STORE_BYTES}
    for left in reversed(range(STARTS)):
        try:
            ray.init(**(local if address is None else {"address": address}), **quiet)
        except Exception as error:  # Ray raises plain ones
            ray.shutdown()
            if left and "timed out during startup" in str(error):
                continue
            raise UsageError(
                f"no Ray cluster answers at {address or 'this machine'}: {str(error).splitlines()[0]}",
                "start one with: ray start --head, or leave --address away",
            ) from error
        return
