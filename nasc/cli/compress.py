"""``nasc compress``."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from nasc.cli._options import (
    TargetType,
    data_option,
    device_options,
    model_option,
    out_option,
    search_space_option,
    target_option,
)
from nasc.cli._output import Reply, Verb
from nasc.errors import UsageError
from nasc.units import Target, format_count, format_percent, format_seconds

if TYPE_CHECKING:
    from nasc.records import Record

KEYS = (
    "target_s",
    "predicted_s",
    "measured_s",
    "spread_s",
    "dense_measured_s",
    "accuracy",
    "dense_accuracy",
    "macs",
    "dense_macs",
    "params",
    "max_abs_difference",
)
"""Fields of the record that the JSON reply repeats, beside the paths."""


@click.command("compress", cls=Verb)
@model_option()
@data_option()
@device_options
@target_option
@click.option(
    "--target-size",
    "further",
    type=TargetType(),
    multiple=True,
    metavar="SIZE",
    help="A further limit, such as 4MB, 2Mparam or 300MMAC. Repeatable.",
)
@click.option("--method", default="surrogate", show_default=True, metavar="NAME", help="How to choose what goes.")
@out_option("The run's folder; by default one under runs/ named after what is asked.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs in total, fine-tuning included.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images a step.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="The highest learning rate.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the run.")
@click.option(
    "--train-size", type=click.IntRange(min=1), metavar="N", help="Train on so many images, of all classes alike."
)
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE", help="Start from these weights (.safetensors or .pt)."
)
@click.option(
    "--blocks", metavar="FORMS", help="Forms a layer may take, joined by commas: prune, lowrank, sparse, quant."
)
@click.option(
    "--distill",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Share of the loss that comes from the dense model's scores.",
)
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="A further setting of the method. Repeatable."
)
@search_space_option
@click.option(
    "--dense/--no-dense", default=True, show_default=True, help="Also train the dense model, to compare with."
)
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on where the same run stopped.")
def command(
    model: str,
    data: str,
    device: str,
    runtime: str,
    threads: int,
    target: Target,
    further: tuple[Target, ...],
    method: str,
    out: Path | None,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int,
    train_size: int | None,
    weights: Path | None,
    blocks: str | None,
    distill: float,
    options: tuple[str, ...],
    search_space: str | None,
    dense: bool,
    resume: bool,
) -> Reply:
    """Make a model smaller until its exported file meets the target on the device.

    One training run: dims shrink while the network learns, what is left is fine-tuned, exported and measured. The same
    command goes on where it was stopped.

    \b
    Examples:
      nasc compress --model digits-cnn --data digits --target-latency -40%
      nasc compress --model digits-cnn --data digits --target-latency -40% --blocks prune,lowrank
      nasc compress -m net.py:build -d cifar10:data/ --device cpu --target-latency 800us --out runs/first
    """  # noqa: D301 - click reads the backspace
    from nasc.methods import METHODS
    from nasc.pipeline import CompressConfig, compress
    from nasc.training import Recipe

    if method not in METHODS:  # before anything is measured or trained for it
        raise UsageError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    chosen: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    config = CompressConfig(
        model=model,
        data=data,
        target=target,
        device=device,
        method=method,
        runtime=runtime,
        threads=threads,
        out=out,
        recipe=Recipe(**{name: value for name, value in chosen.items() if value is not None}),
        train_size=train_size,
        weights=weights,
        dense_baseline=dense,
        distill=distill,
        further=further,
        options={**dict(map(read_option, options)), **({"blocks": blocks} if blocks else {})},
        search_space=search_space,
        resume=resume,
    )
    return reply(compress(config), config.folder)


def read_option(text: str) -> tuple[str, Any]:
    """Read ``name=value``; the value is JSON, or else text.

    >>> read_option("strength=0.5"), read_option("form=paper")
    (('strength', 0.5), ('form', 'paper'))

    Raises:
        UsageError: There is no ``=``.
    """
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise UsageError(f"cannot read the option {text!r}: expected NAME=VALUE", "such as --option strength=0.5")
    try:
        return name.replace("-", "_"), msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name.replace("-", "_"), value


def reply(record: "Record", folder: Path) -> Reply:
    """What ``compress`` and ``demo`` print of a finished run."""
    data: dict[str, Any] = {"run": folder, **{key: getattr(record, key) for key in KEYS}}
    data["artifact"] = folder / record.artifact if record.artifact else None
    data["interval"] = record.interval
    data["warnings"] = record.warnings
    return Reply(data, "\n".join(_describe(record, folder)))


def _describe(record: "Record", folder: Path) -> list[str]:
    lines = []
    if record.measured_s is not None:
        measured = format_seconds(record.measured_s, record.spread_s)
        predicted = f", predicted {format_seconds(record.predicted_s)}" if record.predicted_s is not None else ""
        lines.append(f"latency     {measured} for a target of {record.target}{predicted}")
    if record.measured_s is not None and record.dense_measured_s:
        change = format_percent(record.measured_s / record.dense_measured_s - 1)
        lines.append(f"            {change} against the dense model's {format_seconds(record.dense_measured_s)}")
    dense = f", dense {format_percent(record.dense_accuracy)}" if record.dense_accuracy is not None else ""
    lines.append(f"accuracy    {format_percent(record.accuracy, record.accuracy_stderr)}{dense}")
    of = f" of {format_count(record.dense_macs)}" if record.dense_macs else ""
    lines.append(f"size        {format_count(record.macs)}{of} MACs, {format_count(record.params)} parameters")
    lines += _describe_forms(record)
    if record.max_abs_difference is not None:
        lines.append(f"checked     masked and finished model differ by {record.max_abs_difference:.1e} at most")
    lines.append(f"file        {folder / record.artifact if record.artifact else folder}")
    return [*lines, *(f"warning     {warning}" for warning in record.warnings)]


def _describe_forms(record: "Record") -> list[str]:
    """Bits and shares of weights, where there are any: how many layers have which."""
    bits, shares = record.extra.get("bits") or {}, record.extra.get("shares") or {}
    lines = []
    if bits:
        counts = Counter(bits.values())
        lines.append("bits        " + ", ".join(f"{width} in {counts[width]} weights" for width in sorted(counts)))
    if shares:
        lowest, highest = (format_percent(edge(shares.values())) for edge in (min, max))
        lines.append(f"weights     {lowest} to {highest} of {len(shares)} matrices stay")
    return lines
