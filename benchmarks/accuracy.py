"""Accuracy at -50 % latency: the surrogate against its rivals, at equal total epochs, data, schedule and seeds.

Every method gets the same dense model, recipe, price (the CPU's latency table) and limit, and ends in a LiteRT file.
Files are timed afterwards, with nothing else running, each interleaved with its dense model.

    python benchmarks/accuracy.py --size small            # trains what is missing, two cells at a time
    python benchmarks/accuracy.py --size small --further  # all rivals
    python benchmarks/accuracy.py --size small --measure  # times every file of the study
    python benchmarks/accuracy.py --size small --report
"""

import argparse
import json
from pathlib import Path
from typing import Any

from study import DATA, Cell, load_rows, mean_and_spread, parse_arguments, results_file, run_study

NAME = "accuracy"
METHODS = ("dense", "width-multiplier", "magnitude-uniform", "magnitude-global", "l1", "surrogate")
FURTHER = ("halp", "taylor", "morphnet", "slimming", "hard-concrete", "nas-random", "nas-evolution", "nas-policy")
"""Run with ``--further``: all rivals of the surrogate's paper and of practice."""
TARGET = "-50%"
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"train_size": 1000, "epochs": 2, "models": ("resnet-tiny",)},
    "small": {"train_size": 10_000, "epochs": 15, "models": ("resnet-tiny@2",)},
    "full": {"train_size": None, "epochs": 200, "models": ("resnet-tiny", "mobilenetv3-tiny")},
}
PAIRS = (
    ("cifar10", "resnet-tiny@2"),
    ("fashion-mnist", "resnet-tiny@2"),
    ("cifar10", "resnet-tiny"),
    ("fashion-mnist", "resnet-tiny"),
    ("cifar10", "mobilenetv3-tiny"),
)


def cells(size: str, seeds: int, methods: tuple[str, ...] = METHODS) -> list[Cell]:
    """Seeds outermost, so that an unfinished study has every method once before any twice."""
    setting = SETTINGS[size]
    return [
        {"data": data, "model": model, "method": method, "seed": seed, "target": TARGET}
        | {"train_size": setting["train_size"], "epochs": setting["epochs"], "size": size}
        for seed in range(seeds)
        for data, model in PAIRS
        if model in setting["models"]
        for method in methods
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train one method on one data set with one seed; the file stays beside the results for timing."""
    import torch

    from nasc.cost import cost
    from nasc.datasets import load_dataset
    from nasc.exporters import export
    from nasc.graph import Selection, trace
    from nasc.materialise import materialise, verify_trained
    from nasc.methods import build, price_for_target, readjust
    from nasc.models import load_model
    from nasc.table import load_table
    from nasc.training import Recipe, evaluate, train

    data = load_dataset(data_spec(cell["data"]), train_size=cell["train_size"], seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    model = load_model(cell["model"], num_classes=data.num_classes, input_shape=data.input_shape)
    network = trace(model, (data.train_x[:1],))
    recipe = Recipe(epochs=cell["epochs"], seed=cell["seed"])
    table = load_table("cpu")
    selection, difference, survivors, search_share = Selection(), 0.0, {}, 1.0
    if cell["method"] == "dense":
        small = model
        history = train(model, data, recipe, progress=False)
        seconds = sum(row.seconds for row in history.rows)
    else:
        price, limit = price_for_target(network, cell["target"], table)
        total_steps = recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
        method = build(cell["method"], network, price, limit, total_steps)
        searched = train(method, data, recipe, progress=False, on_frozen=lambda frozen: True)
        selection = readjust(price, method.select(), method.scores(), limit)  # all spend the whole limit
        small = materialise(network, selection)
        tuned = train(small, data, recipe, progress=False, start_step=searched.step)
        difference = verify_trained(network, selection, small)
        seconds = sum(row.seconds for row in (*searched.rows, *tuned.rows))
        search_share = searched.step / total_steps
        survivors = selection.sizes
    accuracy = evaluate(small, data.test_x, data.test_y)
    artifact = export(small, (data.train_x[:1],), artifact_path(cell))
    return {
        "accuracy": accuracy.value,
        "train_s": round(seconds, 1),
        "search_share": search_share,
        "macs": int(cost(network, selection.sizes, "macs")),
        "params": int(cost(network, selection.sizes, "params")),
        "predicted_s": float(cost(network, selection.sizes, "seconds", table)),
        "dense_predicted_s": float(cost(network, {}, "seconds", table)),
        "max_abs_difference": difference,
        "widths": survivors,
        "artifact": artifact.path.name,
        "recipe": {"learning_rate": recipe.learning_rate, "batch_size": recipe.batch_size},
    }


def data_spec(name: str) -> str:
    """Where a data set lies: CIFAR-10 in its standard binary version is written once from the stored arrays."""
    import subprocess
    import sys
    import tempfile

    if name == "fashion-mnist":
        return f"fashion-mnist:{DATA / 'fashion_mnist'}"
    folder = Path(tempfile.gettempdir()) / "cifar10"
    if not (folder / "test_batch.bin").is_file():
        subprocess.run([sys.executable, str(DATA / "cifar10_to_binary.py"), str(folder)], check=True)
    return f"cifar10:{folder}"


def artifact_path(cell: Cell) -> Path:
    """The file of a cell, kept out of the repository."""
    folder = Path("runs") / "study-accuracy"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / ("-".join(str(cell[key]) for key in ("size", "data", "model", "method", "seed")) + ".tflite")


def measure_files(arguments: argparse.Namespace) -> None:
    """Time every file of the study, interleaved with the dense model of its pair and seed 0."""
    from nasc.artifact import Artifact
    from nasc.devices import get_device
    from nasc.measurement import measure_anchored
    from nasc.table import load_table

    device, table = get_device("cpu"), load_table("cpu")
    rows = [row for row in load_rows(NAME, arguments.size) if "error" not in row]
    done = {row["artifact"] for row in load_rows(f"{NAME}-latency", arguments.size)}
    with results_file(f"{NAME}-latency", arguments.size).open("a") as file:
        for data, model in PAIRS:
            dense = artifact_path({"size": arguments.size, "data": data, "model": model, "method": "dense", "seed": 0})
            group = [row for row in rows if (row["cell"]["data"], row["cell"]["model"]) == (data, model)]
            for row in group:
                path = artifact_path(row["cell"])
                if path.name in done or not path.is_file() or row["cell"]["method"] == "dense":
                    continue
                pair = [Artifact(path, "litert", (), ()), Artifact(dense, "litert", (), ())]
                small, large = measure_anchored(pair, device, anchor_reference_s=table.anchor_s)
                figures = {
                    "artifact": path.name,
                    "measured_s": small.seconds,
                    "spread_s": small.spread_s,
                    "dense_measured_s": large.seconds,
                    "ratio": small.seconds / large.seconds,
                    "predicted_s": row["predicted_s"],
                }
                file.write(json.dumps(figures) + "\n")
                file.flush()
                print(path.name, f"{small.seconds / large.seconds:.3f} of dense")


def report(size: str) -> None:
    """The table: accuracy in per cent (mean ± deviation over seeds), latency as a share of the dense model's."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    ratios = {row["artifact"]: row["ratio"] for row in load_rows(f"{NAME}-latency", size)}
    for data, model in PAIRS:
        print(f"\n{data}, {model}, target {TARGET}")
        print(f"{'method':20} {'accuracy, %':22} {'predicted/dense':18} {'measured/dense':18} train s")
        for method in (*METHODS, *FURTHER):
            mine = [
                row
                for row in rows
                if (row["cell"]["data"], row["cell"]["model"], row["cell"]["method"]) == (data, model, method)
            ]
            if not mine:
                continue
            predicted = [row["predicted_s"] / row["dense_predicted_s"] for row in mine]
            measured = [ratios[row["artifact"]] for row in mine if row["artifact"] in ratios]
            print(
                f"{method:20} {mean_and_spread([100 * row['accuracy'] for row in mine]):22} "
                f"{mean_and_spread(predicted):18} {mean_and_spread(measured) if measured else '-':18} "
                f"{mean_and_spread([row['train_s'] for row in mine])}"
            )


if __name__ == "__main__":
    extra = argparse.ArgumentParser(add_help=False)
    extra.add_argument("--measure", action="store_true")
    extra.add_argument("--further", action="store_true")
    own, rest = extra.parse_known_args()
    parsed = parse_arguments(__doc__ or "", rest)
    if own.measure:
        measure_files(parsed)
    elif not parsed.report:
        methods = (*METHODS, *FURTHER) if own.further else METHODS
        run_study(NAME, cells(parsed.size, parsed.seeds, methods), run_cell, parsed)
    report(parsed.size)
