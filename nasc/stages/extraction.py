"""Another member of a trained family, as a finished model: no search and no training.

Choosing needs records alone (:mod:`nasc.frontier.members`); building the chosen member needs the weights. The finished
member lies in the family's folder under ``members/`` and has a record of its own.
"""

import logging
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasc.artifact import Artifact
from nasc.datasets import ImageData, load_dataset
from nasc.devices import Device
from nasc.errors import NascError, RunError
from nasc.exporters import export
from nasc.family import Family, MemberLine, price_members
from nasc.graph import Network, trace
from nasc.graph.blocks import Exit, find_exits
from nasc.graph.running import PrefixState, Program
from nasc.graph.state import full_state
from nasc.materialise import save_model
from nasc.measurement import Measurement, measure_anchored
from nasc.models import load_model
from nasc.records import Record, Width, date_now, load_record, package_versions, save_record, source_commit
from nasc.stages.family import RECALIBRATION_BATCHES, build_member, largest_difference, load_weights
from nasc.stages.goal import SUFFIX
from nasc.table import LatencyTable
from nasc.training import Accuracy, evaluate, recalibrate_norms
from nasc.units import Target

_log = logging.getLogger(__name__)

MEMBERS = "members"


@dataclass(frozen=True)
class Extracted:
    """A finished member.

    Args:
        record: What is claimed about it.
        folder: Where its files are.
    """

    record: Record
    folder: Path


def extract(
    run: Path,
    family: Family,
    member: MemberLine,
    target: Target,
    device: Device,
    table: LatencyTable,
    out: Path | None = None,
) -> Extracted:
    """Build, check, export, measure and record one member.

    Args:
        run: The family's run folder.
        family: Its record.
        member: The chosen member.
        target: What was asked.
        device: Where it will run.
        table: The device's latency table.
        out: The member's folder; by default one under the run's.

    Raises:
        RunError: The family's files are not whole.
        ModelError: The member does not equal the family.
    """
    folder = out or run / MEMBERS / re.sub(r"[^\w.]+", "-", f"{member.label}-{device.name}")
    network = open_family(run, family)
    exit_ = find_exit(network, member)
    small = build_member(network, member.sizes, exit_)
    difference = compare(network, member, exit_, small)
    data = _data_of(family)
    if data is not None and family.recalibrates:
        recalibrate_norms(small, data.train_x, batches=RECALIBRATION_BATCHES)
    save_model(small, folder / "model")
    example = network.example_inputs
    artifact = export(small, example, folder / f"model{SUFFIX[device.format]}")
    dense = export(network.model, example, folder / f"dense{SUFFIX[device.format]}")
    times = measure_anchored([artifact, dense], device, anchor_reference_s=table.anchor_s)
    accuracy = evaluate(small, data.test_x, data.test_y) if data is not None else None
    record = _record(run, family, member, target, device, table, artifact, (times[0], times[1]), accuracy, difference)
    save_record(record, folder)
    return Extracted(record, folder)


def open_family(run: Path, family: Family) -> Network:
    """The family's network with its weights, traced as it was.

    Raises:
        RunError: The model is not what it was when the family was trained.
    """
    shape: Any = family.input_shape
    model = load_model(family.model, num_classes=family.num_classes, input_shape=shape)
    load_weights(run, model)
    kind = torch.float32 if len(shape) > 1 else torch.int64  # pictures, or rows of tokens
    network = trace(model, (torch.zeros(1, *shape, dtype=kind),))
    if network.dense_sizes != family.dims:
        raise RunError(
            f"the model {family.model} has other dims than when {family.run} was trained", "train the family again"
        )
    return network


def find_exit(network: Network, member: MemberLine) -> Exit | None:
    """The member's way through the network; None for the whole depth."""
    if not member.blocks:
        return None
    found = next((exit_ for exit_ in find_exits(network) if exit_.blocks == member.blocks), None)
    if found is None:
        raise RunError(f"the network cannot end after block {member.blocks} any more", "train the family again")
    return found if found.detour else None


def compare(network: Network, member: MemberLine, exit_: Exit | None, small: nn.Module) -> float:
    """Largest difference between the built member and the family run at its sizes."""
    weights = PrefixState(network).weights(full_state(network.model))
    x: Tensor = network.example_inputs[0].repeat_interleave(4, 0)
    if x.is_floating_point():
        x = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    small.eval()
    with torch.no_grad():
        detour = exit_.detour if exit_ else None
        return largest_difference(Program(network).run(weights, member.sizes, (x,), detour=detour), small(x))


def _data_of(family: Family) -> ImageData | None:
    """The family's data set, where it is still there: then the member is evaluated on its test pictures."""
    try:
        return load_dataset(family.data, train_size=family.train_size, seed=family.seed)
    except NascError as missing:
        _log.warning("the member is not evaluated: %s", missing.message)
        return None


def _record(
    run: Path,
    family: Family,
    member: MemberLine,
    target: Target,
    device: Device,
    table: LatencyTable,
    artifact: Artifact,
    times: tuple[Measurement, Measurement],
    accuracy: Accuracy | None,
    difference: float,
) -> Record:
    small, dense = times
    price = {unit: price_members(family, unit, members=[member])[0] for unit in ("macs", "params")}
    whole = max(family.members, key=lambda line: price_members(family, "macs", members=[line])[0])
    predicted = price_members(family, "seconds", table, [member])[0]
    parent = _parent(run)
    return Record(
        run=f"{family.run}/{member.label}",
        model=family.model,
        data=family.data,
        method="sorted",
        seed=family.seed,
        epochs=parent.epochs if parent else 0.0,
        device=device.name,
        runtime=device.runtime,
        threads=device.threads,
        dtype=table.provenance.environment.dtype,
        target=str(target),
        date=date_now(),
        accuracy=accuracy.value if accuracy else float(member.accuracy or 0.0),
        accuracy_stderr=accuracy.stderr if accuracy else None,
        dense_accuracy=parent.dense_accuracy if parent else None,
        macs=int(price["macs"]),
        params=int(price["params"]),
        dense_macs=int(price_members(family, "macs", members=[whole])[0]),
        target_s=target.limit(dense.seconds) if target.unit == "seconds" or target.kind == "relative" else None,
        predicted_s=predicted,
        measured_s=small.seconds,
        spread_s=small.spread_s,
        interval=small.interval,
        dense_measured_s=dense.seconds,
        dense_spread_s=dense.spread_s,
        origin=table.origin,
        artifact=artifact.path.name,
        artifact_format=artifact.format,
        artifact_sha256=artifact.sha256,
        artifact_bytes=artifact.size_bytes,
        max_abs_difference=difference,
        widths=tuple(
            Width(name=name, dense=family.dims[name], kept=size) for name, size in sorted(member.sizes.items())
        ),
        versions=package_versions("nasc", "torch", "ai-edge-litert", "numpy"),
        commit=source_commit(),
        command=shlex.join(["nasc", *sys.argv[1:]]),
        warnings=small.warnings,
        extra={"member": member.label, "validation_accuracy": member.accuracy, "updates": member.updates},
    )


def _parent(run: Path) -> Record | None:
    try:
        return load_record(run)
    except RunError:
        return None
