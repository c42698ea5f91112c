"""The record of a finished run: everything that is claimed about the model, in one value."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from nasc.artifact import Artifact
from nasc.cost import cost, nonzero_macs, nonzero_params
from nasc.graph import Network, Selection
from nasc.measurement import Measurement
from nasc.records import Record, Width, date_now, package_versions, source_commit
from nasc.stages.config import CompressConfig
from nasc.stages.goal import Dense, Goal
from nasc.stages.settling import Settled
from nasc.table import LatencyTable
from nasc.training import Accuracy, History
from nasc.training.history import write_history

HISTORY = "history.jsonl"
PACKAGES = ("nasc", "torch", "ai-edge-litert", "numpy")


def make_record(
    config: CompressConfig,
    network: Network,
    goal: Goal,
    dense: Dense,
    settled: Settled,
    history: History,
    artifact: Artifact,
    times: tuple[Measurement, Measurement],
    accuracy: Accuracy,
    baseline: Accuracy | None,
    difference: float,
    table: LatencyTable,
    folder: Path,
) -> Record:
    """Put together what the stages found.

    Args:
        config: What was asked.
        network: The traced model.
        goal: The target.
        dense: The dense model.
        settled: The selection and the attempts.
        history: Epochs of the whole run; written to the folder.
        artifact: The exported small model.
        times: It and the dense model, timed side by side.
        accuracy: Of the small model on the test pictures.
        baseline: Of the dense model, where it is known.
        difference: Largest difference between the small model and the masked one.
        table: The latency table.
        folder: The run's folder.
    """
    small, large = times
    sizes = settled.selection.sizes
    write_history(folder / HISTORY, history.rows)
    return Record(
        run=folder.name,
        model=config.model,
        data=config.data,
        method=config.method,
        seed=config.recipe.seed,
        epochs=float(config.recipe.epochs),
        device=table.provenance.environment.device,  # without the address at which it was reached
        runtime=config.runtime,
        threads=config.threads,
        dtype=table.provenance.environment.dtype,
        target=str(config.target),
        date=date_now(),
        accuracy=accuracy.value,
        accuracy_stderr=accuracy.stderr,
        dense_accuracy=baseline.value if baseline else None,
        dense_accuracy_stderr=baseline.stderr if baseline else None,
        macs=int(cost(network, sizes, "macs")),
        dense_macs=dense.macs,
        params=int(cost(network, sizes, "params")),
        dense_params=dense.params,
        target_s=goal.seconds,
        predicted_s=_predict(network, sizes, table),
        measured_s=small.seconds,
        spread_s=small.spread_s,
        interval=small.interval,
        dense_predicted_s=dense.predicted_s,
        dense_measured_s=large.seconds,
        dense_spread_s=large.spread_s,
        origin=table.origin,
        artifact=artifact.path.name,
        artifact_format=artifact.format,
        artifact_sha256=artifact.sha256,
        artifact_bytes=artifact.size_bytes,
        max_abs_difference=difference,
        widths=_widths(network, settled.selection),
        history=HISTORY,
        train_s=sum(row.seconds for row in history.rows),
        recipe={**asdict(config.recipe), "options": dict(config.options), "precision": history.precision},
        versions=package_versions(*PACKAGES),
        commit=source_commit(),
        command=shlex.join(["nasc", *sys.argv[1:]]),
        warnings=(*small.warnings, *_unused_forms(settled.selection)),
        extra={
            "ratio": small.seconds / large.seconds,
            "correction": goal.correction,
            "attempts": [asdict(attempt) for attempt in settled.attempts],
            "train_size": config.train_size,
            **_weights_left(network, settled.selection),
            **_forms(settled.selection),
        },
    )


def _unused_forms(selection: Selection) -> tuple[str, ...]:
    """What was made smaller in a way that this runtime's float kernels do not run faster for."""
    notes = []
    if selection.masks:
        notes.append(
            "single weights that are zero take their time in the runtime's dense kernels, and their place in the file"
        )
    if selection.bits:
        notes.append("weights on few bits are stored as float32 here; nasc export --quantise writes them as integers")
    return tuple(notes)


def _predict(network: Network, sizes: dict[str, int], table: LatencyTable) -> float:
    return float(cost(network, sizes, "seconds", table))


def _weights_left(network: Network, selection: Selection) -> dict[str, float]:
    """What a runtime that skips zeros would compute; nothing where no single weights are masked."""
    if not selection.masks:
        return {}
    masked = sum(mask.numel() for mask in selection.masks.values())
    left = sum(int(mask.sum()) for mask in selection.masks.values())
    return {
        "weight_sparsity": 1 - left / masked,
        "nonzero_macs": nonzero_macs(network, selection),
        "nonzero_params": nonzero_params(network, selection),
    }


def _widths(network: Network, selection: Selection) -> tuple[Width, ...]:
    return tuple(
        Width(name=name, dense=dim.size, kept=selection.sizes.get(name, dim.size))
        for name, dim in network.dims.items()
        if dim.maskable
    )


def _forms(selection: Selection) -> dict[str, dict[str, float]]:
    """Bits and densities of the weight tensors whose form a method decided, by name."""
    found: dict[str, dict[str, float]] = {
        "bits": {name: float(bits) for name, bits in selection.bits.items()},
        "density": {name: float(mask.float().mean()) for name, mask in selection.masks.items()},
    }
    return {name: values for name, values in found.items() if values}
