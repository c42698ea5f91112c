"""Is the target met on the exported file? Four models, three targets each, through the whole pipeline.

Training is short: what is judged is the latency of the file, which does not depend on the values of its weights. Every
finished file is timed again in fresh sessions, interleaved with its dense model, after the run said it was done. Runs
one at a time: nothing else may run on the machine.

    python benchmarks/target_hit.py --size small
    python benchmarks/target_hit.py --report
"""

import argparse
from pathlib import Path
from typing import Any

from accuracy import data_spec
from study import Cell, load_rows, parse_arguments, run_study

NAME = "target_hit"
MODELS = (
    ("digits-cnn", "digits"),
    ("resnet-tiny", "cifar10"),
    ("mobilenetv3-tiny", "cifar10"),
    ("vgg-tiny", "fashion-mnist"),
)
TARGETS = ("-30%", "-50%", "-70%")
SETTINGS = {"tiny": (500, 2), "small": (1500, 2), "full": (None, 30)}
TOLERANCE = 0.03
ABOVE = 0.01


def cells(size: str) -> list[Cell]:
    """Every model with every target."""
    train_size, epochs = SETTINGS[size]
    return [
        {"model": model, "data": data, "target": target, "epochs": epochs}
        | {"train_size": None if data == "digits" else train_size}  # digits has 1,294 pictures in all
        for model, data in MODELS
        for target in TARGETS
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Compress, then time the file again."""
    from nasc.artifact import Artifact
    from nasc.devices import get_device
    from nasc.measurement import measure_anchored
    from nasc.pipeline import CompressConfig, compress
    from nasc.table import load_table
    from nasc.training import Recipe
    from nasc.units import parse_target

    folder = Path("runs") / "study-target" / f"{cell['model']}{cell['target']}".replace("%", "")
    config = CompressConfig(
        model=cell["model"],
        data=cell["data"] if cell["data"] == "digits" else data_spec(cell["data"]),
        target=parse_target(cell["target"]),
        out=folder,
        recipe=Recipe(epochs=cell["epochs"]),
        train_size=cell["train_size"],
        dense_baseline=False,
        resume=False,
        progress=False,
    )
    record = compress(config)
    files = [Artifact(folder / name, "litert", (), ()) for name in ("model.tflite", "dense.tflite")]
    again, dense = measure_anchored(files, get_device("cpu"), anchor_reference_s=load_table("cpu").anchor_s)
    return {
        "target_s": record.target_s,
        "predicted_s": record.predicted_s,
        "measured_s": record.measured_s,
        "interval": record.interval,
        "again_s": again.seconds,
        "again_spread_s": again.spread_s,
        "dense_predicted_s": record.dense_predicted_s,
        "dense_measured_s": record.dense_measured_s,
        "dense_again_s": dense.seconds,
        "attempts": len(record.extra["attempts"]),
        "max_abs_difference": record.max_abs_difference,
        "warnings": list(again.warnings),
    }


def report(size: str) -> None:
    """Target, final measurement of the run, and the later one, as shares of the target."""
    print(
        f"{'model':18} {'target':7} {'target us':>10} {'measured/target':>16} {'again/target':>13} {'±':>6} {'tries':>5} hit"
    )
    hits = 0
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    for row in rows:
        share, again = row["measured_s"] / row["target_s"], row["again_s"] / row["target_s"]
        bar = row["again_spread_s"] / row["target_s"]
        hit = abs(again - 1) <= TOLERANCE and again - 1 <= max(bar, ABOVE)
        hits += hit
        cell = row["cell"]
        print(
            f"{cell['model']:18} {cell['target']:7} {1e6 * row['target_s']:10.1f} {share:16.3f} {again:13.3f} {bar:6.3f} "
            f"{row['attempts']:5}  {'yes' if hit else 'no'}"
        )
    print(
        f"{hits} of {len(rows)} within {TOLERANCE:.0%} of the target, and above it by at most the error bar or {ABOVE:.0%}"
    )


if __name__ == "__main__":
    arguments: argparse.Namespace = parse_arguments(__doc__ or "")
    arguments.jobs = 1
    run_study(NAME, cells(arguments.size), run_cell, arguments)
    report(arguments.size)
