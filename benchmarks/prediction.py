"""Predicted against measured: whole models that the table was not fitted to.

First the table is extended for each family at full width (``nasc profile``); then members of other widths are predicted,
exported and measured, interleaved with the anchor and with each other. Random weights: latency does not depend on them.
Nothing else may run on the machine.

    python benchmarks/prediction.py --size tiny     # nasc's own families, minutes
    python benchmarks/prediction.py --size small    # with torchvision's at 224 pixels
    python benchmarks/prediction.py --report
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from study import Cell, load_rows, parse_arguments, run_study

NAME = "prediction"
WIDTHS = (1.0, 0.75, 0.5, 0.3)
OWN = ("resnet-tiny", "mobilenetv3-tiny", "vgg-tiny", "densenet-tiny")
TORCHVISION = ("mobilenet_v2", "mobilenet_v3_small", "mnasnet", "shufflenet_v2")
GOAL = (0.03, 0.10)
"""Median and largest relative error to reach."""


def cells(size: str) -> list[Cell]:
    """One cell a family: its members are measured in the same processes."""
    families = OWN if size == "tiny" else (*OWN, *(f"torchvision:{name}" for name in TORCHVISION))
    return [{"family": family} for family in families]


def members(family: str) -> tuple[list[tuple[str, Callable[[], Any]]], tuple[int, int, int]]:
    """Name and maker of every width of a family, the full one first; and the shape of its pictures."""
    from nasc.models import load_model

    if not family.startswith("torchvision:"):
        shape = (3, 32, 32)
        specs = [f"{family}@{width}" for width in WIDTHS]
        return [(s, lambda s=s: load_model(s, num_classes=10, input_shape=shape)) for s in specs], shape
    name = family.removeprefix("torchvision:")
    makers = _torchvision_makers(name)
    return makers, (3, 224, 224)


def _torchvision_makers(name: str) -> list[tuple[str, Callable[[], Any]]]:
    from nasc.models.torchvision import import_torchvision

    import_torchvision()
    from torchvision import models

    if name in ("mnasnet", "shufflenet_v2"):
        joint = {"mnasnet": "{}{}_{}", "shufflenet_v2": "{}_x{}_{}"}[name]
        steps = ((1, 3), (1, 0), (0, 75), (0, 5)) if name == "mnasnet" else ((2, 0), (1, 5), (1, 0), (0, 5))
        names = [joint.format(name, *step) for step in steps]
        return [(n, getattr(models, n)) for n in names]
    maker = getattr(models, name)
    return [(f"{name}@{width}", lambda width=width: maker(width_mult=width)) for width in WIDTHS]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Extend the table for the family's full width, then compare its members."""
    import torch

    from nasc.cost import price_latency
    from nasc.devices import get_device
    from nasc.exporters import export
    from nasc.graph import trace
    from nasc.measurement import measure_anchored
    from nasc.table import profile

    device = get_device("cpu")
    makers, shape = members(cell["family"])
    example = (torch.randn(1, *shape),)
    networks = {name: trace(make().eval(), example) for name, make in makers}
    profiled = profile(device, [next(iter(networks.values()))], progress=False)
    table = profiled.table
    with TemporaryDirectory() as folder:
        files = [export(n.model, example, Path(folder) / f"{i}.tflite") for i, n in enumerate(networks.values())]
        measured = measure_anchored(files, device, anchor_reference_s=table.anchor_s)
    models = []
    for (name, network), time in zip(networks.items(), measured, strict=True):
        price = price_latency(network, {}, table)
        models.append(
            {
                "model": name,
                "predicted_s": price.total_s,
                "measured_s": time.seconds,
                "interval": time.interval,
                "uncovered_share": price.uncovered_share,
                "warnings": time.warnings,
            }
        )
    return {"models": models, "rows_added": profiled.added, "profile_s": profiled.elapsed_s}


def report(size: str) -> None:
    """Every model's error, and the two figures that are judged."""
    print(f"{'model':28} {'predicted us':>13} {'measured us':>12} {'±':>6} {'error':>8} {'uncovered':>10}")
    errors = []
    for row in load_rows(NAME, size):
        for model in row.get("models", ()):
            low, high = model["interval"]
            error = model["predicted_s"] / model["measured_s"] - 1
            errors.append(abs(error))
            print(
                f"{model['model']:28} {1e6 * model['predicted_s']:13.1f} {1e6 * model['measured_s']:12.1f} "
                f"{5e5 * (high - low):6.1f} {error:+8.1%} {model['uncovered_share']:10.1%}"
            )
    if errors:
        print(
            f"{len(errors)} models: median error {median(errors):.1%} (to reach {GOAL[0]:.0%}), "
            f"largest {max(errors):.1%} (to reach {GOAL[1]:.0%})"
        )


if __name__ == "__main__":
    arguments: argparse.Namespace = parse_arguments(__doc__ or "")
    arguments.jobs = 1
    run_study(NAME, cells(arguments.size), run_cell, arguments)
    report(arguments.size)
