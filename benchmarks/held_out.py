"""Whole models of random widths: nasc's prediction beside three others that see the same measurements.

For each family the table is extended for the full model (``nasc profile``); then members of random widths, every dim drawn
on its own, are predicted, exported and measured beside the anchor. Rivals: a *FLOPs regression* (a line through the models
of all other families), a *plain additive table* (the same rows, interpolated without steps, no cold weights), and a
*per-kernel random forest* on the same rows (the method of nn-Meter, Zhang et al., MobiSys 2021).
Random weights: latency does not depend on them. Nothing else may run on the machine.

    python benchmarks/held_out.py --size small
    python benchmarks/held_out.py --report
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

from study import Cell, load_rows, parse_arguments, run_study

NAME = "held_out"
FAMILIES = (
    "own:resnet-tiny",
    "own:mobilenetv3-tiny",
    "own:vgg-tiny",
    "own:densenet-tiny",
    "torchvision:resnet18",
    "torchvision:vgg11_bn",
    "torchvision:squeezenet1_1",
    "torchvision:mobilenet_v2",
    "torchvision:mobilenet_v3_large",
    "torchvision:mnasnet0_5",
    "torchvision:efficientnet_b0",
    "torchvision:regnet_x_400mf",
    "torchvision:regnet_y_400mf",
    "torchvision:densenet121",
    "torchvision:resnext50_32x4d",
    "timm:vit_tiny_patch16_224",
    "timm:mixer_s32_224",
    "timm:convnext_atto",
    "transformers:bert",
    "transformers:gpt2",
)
MEMBERS = {"tiny": 2, "small": 4, "full": 10}
RIVALS = ("flops", "additive", "forest")
COLUMNS = {"nasc": "predicted_s", "additive": "additive_s", "forest": "forest_s"}


def cells(size: str) -> list[Cell]:
    """One cell a family: its members are measured in the same processes."""
    return [{"family": family, "members": MEMBERS[size]} for family in FAMILIES]


def build(family: str) -> tuple[Any, tuple[Any, ...]]:
    """The full model and one sample of its input."""
    import torch

    source, _, name = family.partition(":")
    if source == "own":
        from nasc.models import load_model

        return load_model(name, num_classes=10, input_shape=(3, 32, 32)).eval(), (torch.randn(1, 3, 32, 32),)
    from zoo_models import build_model

    model, inputs = build_model(family)
    return model, tuple(one[:1] for one in inputs)


def run_cell(cell: Cell) -> dict[str, Any]:
    """Extend the table for the family's full model, then compare members of random widths."""
    from nasc.cost import cost, price_latency
    from nasc.devices import get_device
    from nasc.exporters import export
    from nasc.graph import Selection, trace
    from nasc.materialise import materialise
    from nasc.measurement import measure_anchored
    from nasc.table import profile
    from nasc.testing.network import random_kept

    device = get_device("cpu")
    model, example = build(cell["family"])
    full = trace(model, example)
    profiled = profile(device, [full], progress=False)
    table = profiled.table
    kept = [random_kept(full, seed=seed, least=0.15 + 0.2 * (seed % 4)) for seed in range(cell["members"])]
    networks = [trace(materialise(full, Selection(one)).eval(), example) for one in kept]
    with TemporaryDirectory() as folder:
        files = [export(n.model, example, Path(folder) / f"{i}.tflite") for i, n in enumerate(networks)]
        measured = measure_anchored(files, device, anchor_reference_s=table.anchor_s)
    models = []
    for number, (network, time) in enumerate(zip(networks, measured, strict=True)):
        price = price_latency(network, {}, table)
        models.append(
            {
                "model": f"{cell['family']}#{number}",
                "macs": int(cost(network, {}, "macs")),
                "params": int(cost(network, {}, "params")),
                "predicted_s": price.total_s,
                "additive_s": add_up(network, table),
                "forest_s": forest(network, table),
                "measured_s": time.seconds,
                "interval": time.interval,
                "uncovered_share": price.uncovered_share,
                "uncovered": sorted({kernel.kind for kernel in network.kernels if kernel.name in price.uncovered}),
                "warnings": time.warnings,
            }
        )
    return {"models": models, "rows_added": profiled.added, "profile_s": profiled.elapsed_s}


def add_up(network: Any, table: Any) -> float:
    """The plain additive table: bilinear between the same rows, warm."""
    from nasc.table import LatencyTable

    plain = LatencyTable(table.rows, table.provenance, "bilinear")
    return float(
        sum(
            plain.seconds(kernel.signature, dict(kernel.shape().sizes))
            for kernel in network.kernels
            if kernel.kind not in ("free", "unsupported") and plain.covers(kernel.signature, dict(kernel.shape().sizes))
        )
    )


def forest(network: Any, table: Any) -> float:
    """The per-kernel random forest: one regressor a kind, trained on the rows of that kind."""
    trees = {kernel.kind: grow(kernel.kind, table) for kernel in network.kernels if kernel.kind != "free"}
    return float(
        sum(
            trees[kernel.kind].predict([features(kernel.shape())])[0]
            for kernel in network.kernels
            if trees.get(kernel.kind) is not None
        )
    )


@cache
def _grow(kind: str, rows: tuple[Any, ...]) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    mine = [row for row in rows if row.shape.kind == kind]
    if not mine:
        return None
    model = RandomForestRegressor(n_estimators=100, random_state=0, n_jobs=1)
    # relative errors count: a kernel of 1 us weighs as much as one of 1 ms
    weights = [1 / max(row.seconds, 1e-7) ** 2 for row in mine]
    return model.fit([features(row.shape) for row in mine], [row.seconds for row in mine], sample_weight=weights)


def grow(kind: str, table: Any) -> Any:
    """A forest of the rows of a kind, grown once; None where there are none."""
    return _grow(kind, tuple(table.rows.values()))


def features(shape: Any) -> list[float]:
    """Sizes, attributes and their products, as nn-Meter takes: extents, channels, FLOPs-like volume."""
    sizes = [float(size) for _, size in shape.sizes]
    attributes = [
        float(value) if isinstance(value, int | float) else float(sum(map(ord, value)) % 97)
        for _, value in shape.signature.attributes
    ]
    volume = 1.0
    for value in (*sizes, *(a for a in attributes if a > 0)):
        volume *= value
    return [*sizes, *attributes, volume]


def flops_line(models: Sequence[Mapping[str, Any]], family: str) -> tuple[float, float]:
    """Intercept and slope of seconds over multiply-adds, relative least squares over all families but one."""
    import numpy as np

    others = [model for model in models if not model["model"].startswith(f"{family}#")]
    seconds = np.array([model["measured_s"] for model in others])
    design = np.array([[1.0, model["macs"]] for model in others]) / seconds[:, None]
    (intercept, slope), *_ = np.linalg.lstsq(design, np.ones(len(others)), rcond=None)
    return float(intercept), float(slope)


def report(size: str) -> None:
    """Every model's errors, and for each predictor the figures that are judged."""
    models = [model for row in load_rows(NAME, size) for model in row.get("models", ())]
    if not models:
        return
    errors: dict[str, list[float]] = {name: [] for name in ("nasc", *RIVALS)}
    print(f"{'model':36} {'measured us':>12} {'nasc':>8} {'flops':>8} {'additive':>9} {'forest':>8} {'uncovered':>10}")
    for model in models:
        intercept, slope = flops_line(models, model["model"].partition("#")[0])
        guesses = {name: model[column] for name, column in COLUMNS.items()}
        guesses["flops"] = intercept + slope * model["macs"]
        for name, guess in guesses.items():
            errors[name].append(guess / model["measured_s"] - 1)
        latest = {name: errors[name][-1] for name in errors}
        print(
            f"{model['model']:36} {1e6 * model['measured_s']:12.1f} {latest['nasc']:+8.1%} {latest['flops']:+8.1%} "
            f"{latest['additive']:+9.1%} {latest['forest']:+8.1%} {model['uncovered_share']:10.1%}"
        )
    families = len({model["model"].partition("#")[0] for model in models})
    print(f"\n{len(models)} models of {families} families; to reach: mean 2.5 %, 95 % within 5 %, all within 10 %")
    for name, of in errors.items():
        sizes = [abs(error) for error in of]
        print(
            f"{name:10} mean {mean(sizes):6.1%}   within 5 %: {mean(e <= 0.05 for e in sizes):4.0%}   "
            f"within 10 %: {mean(e <= 0.10 for e in sizes):4.0%}   largest {max(sizes):6.1%}"
        )


if __name__ == "__main__":
    arguments = parse_arguments(__doc__ or "")
    arguments.jobs = 1
    run_study(NAME, cells(arguments.size), run_cell, arguments)
    report(arguments.size)
