"""A sweep over lambda, FLOPs price against latency price: the paper's own form (arXiv 2306.05785, eq. 5 and 6, Fig. 4).

Fixed lambda, no controller, no fine-tuning, no dense start (the method's sheet, rows 1, 7, 8, 22, 27): masks descend with
the weights, under the same optimiser and step size, and are clipped at zero; what is left is cut out and tested as it is.
The price is divided by that of the dense model, so that lambda is in units of a loss for both prices. One departure: eq. 6
reads the device's table with its steps (the slope is the secant across the step), where the paper interpolates bilinearly.

    python benchmarks/lambda_sweep.py --size small              # trains what is missing; makes the table if there is none
    python benchmarks/lambda_sweep.py --size small --measure    # times every file; nothing else may run on the machine
    python benchmarks/lambda_sweep.py --size small --report     # tables, CSV, figure
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figure import Panel, Series, write_figure
from study import DATA, RESULTS, Cell, load_rows, mean_and_spread, parse_arguments, results_file, run_study

if TYPE_CHECKING:
    from nasc.datasets import ImageData
    from nasc.graph import Network

NAME = "lambda_sweep"
PRICES = {"macs": "FLOPs (eq. 5)", "seconds": "latency (eq. 6)"}
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "data": "digits",
        "model": "resnet-tiny@0.25",
        "train_size": 512,
        "epochs": 2,
        "strengths": (3.0, 30.0),
    },
    "small": {
        "data": "fashion-mnist",
        "model": "resnet-tiny@0.5",
        "train_size": 10_000,
        "epochs": 10,
        "strengths": (1.0, 2.0, 1.5, 1.25, 0.5, 3.0, 4.0),
    },
    "full": {
        "data": "fashion-mnist",
        "model": "resnet-tiny",
        "train_size": None,
        "epochs": 60,
        "strengths": (0.2, 0.05, 0.1, 0.4, 0.025, 0.8, 1.6),
    },
}


def cells(size: str, seeds: int, device: str) -> list[Cell]:
    """The dense model and every lambda of both prices; seeds outermost, then lambdas from a coarse grid to a fine one."""
    setting = SETTINGS[size]
    shared = {key: setting[key] for key in ("data", "model", "train_size", "epochs")} | {"device": device}
    points = [("none", 0.0), *((price, strength) for strength in setting["strengths"] for price in PRICES)]
    return [
        {"price": price, "strength": strength, "seed": seed} | shared
        for seed in range(seeds)
        for price, strength in points
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train one lambda of one price with one seed, cut out what is left, test it and write its file."""
    from dataclasses import asdict

    from nasc.cost import cost
    from nasc.exporters import export
    from nasc.graph import Selection
    from nasc.materialise import materialise, verify_trained
    from nasc.methods import Price
    from nasc.table import load_table
    from nasc.training import Recipe, evaluate, train

    data, network = load_subject(cell)
    recipe = Recipe(epochs=cell["epochs"], seed=cell["seed"])
    table = load_table(cell["device"])
    selection, small, difference = Selection(), network.model, 0.0
    if cell["price"] == "none":
        history = train(network.model, data, recipe, progress=False)
    else:
        price = Price(network, cell["price"], table if cell["price"] == "seconds" else None)
        method = make_method(price, cell["strength"], recipe, len(data.train_y))
        history = train(method, data, recipe, progress=False)
        selection = method.select()
        small = materialise(network, selection)
        difference = verify_trained(network, selection, small)
    accuracy = evaluate(small, data.test_x, data.test_y)
    artifact = export(small, (data.train_x[:1],), artifact_path(cell))
    return {
        "accuracy": accuracy.value,
        "macs": int(cost(network, selection.sizes, "macs")),
        "dense_macs": int(cost(network, {}, "macs")),
        "params": int(cost(network, selection.sizes, "params")),
        "predicted_s": float(cost(network, selection.sizes, "seconds", table)),
        "dense_predicted_s": float(cost(network, {}, "seconds", table)),
        "latency_origin": table.origin,
        "max_abs_difference": difference,
        "widths": {name: selection.sizes.get(name, dim.size) for name, dim in network.maskable.items()},
        "dense_widths": {name: dim.size for name, dim in network.maskable.items()},
        "train_s": round(sum(row.seconds for row in history.rows), 1),
        "epochs": [{"val_accuracy": row.val_accuracy} | row.metrics for row in history.rows],
        "artifact": artifact.path.name,
        "recipe": asdict(recipe),
    }


def load_subject(cell: Cell) -> "tuple[ImageData, Network]":
    """The cell's data, and its freshly initialised and traced network: the same for every price and lambda of a seed."""
    import torch

    from nasc.datasets import load_dataset
    from nasc.graph import trace
    from nasc.models import load_model

    spec = "digits" if cell["data"] == "digits" else f"fashion-mnist:{DATA / 'fashion_mnist'}"
    data = load_dataset(spec, train_size=cell["train_size"], seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    model = load_model(cell["model"], num_classes=data.num_classes, input_shape=data.input_shape)
    return data, trace(model, (data.train_x[:1],))


def make_method(price: Any, strength: float, recipe: Any, pictures: int) -> Any:
    """The paper's dynamics: masks under SGD with the weights' momentum and, step by step, the weights' learning rate.

    Args:
        price: Eq. 5 or eq. 6, a :class:`nasc.methods.Price`.
        strength: Lambda, in loss per dense price.
        recipe: The weights' recipe.
        pictures: Training pictures, for the number of steps.
    """
    import torch

    from nasc.methods import Surrogate

    total_steps = recipe.steps_per_epoch(pictures) * recipe.epochs

    class SameStepSize(Surrogate):
        """Follows a learning rate that goes through the recipe's schedule."""

        def step(self) -> None:
            schedule.param_groups[0]["lr"] = recipe.learning_rate_at(self.step_count, total_steps)
            super().step()

    schedule = torch.optim.SGD([torch.zeros(())], lr=recipe.learning_rate)
    method = SameStepSize(
        price.network,
        price=price,
        total_steps=total_steps,
        controller=None,
        normalised=True,
        strength=strength,
        momentum=recipe.momentum,
    )
    method.follow(schedule)
    return method


def artifact_path(cell: Cell) -> Path:
    """The file of a cell, kept out of the repository."""
    folder = Path("runs") / "study-lambda-sweep"
    folder.mkdir(parents=True, exist_ok=True)
    keys = ("data", "model", "train_size", "epochs", "device", "price", "strength", "seed")
    return folder / ("-".join(str(cell[key]) for key in keys) + ".tflite")


def cover_table(cell: Cell) -> None:
    """Measure what the device's latency table lacks for this study's network, before any cell needs it."""
    from nasc.devices import get_device
    from nasc.pipeline import cover
    from nasc.table import load_table

    _, network = load_subject(cell)
    device = get_device(cell["device"])
    if not table_covers(device, network):
        cover(device, network)
        load_table(device)


def table_covers(device: Any, network: "Network") -> bool:
    """There is a table, and it prices every kernel of the dense network."""
    from nasc.cost import price_latency
    from nasc.errors import TableError
    from nasc.table import load_table

    try:
        return not price_latency(network, {}, load_table(device)).uncovered
    except TableError:
        return False


def measure_files(size: str, device_name: str) -> None:
    """Time every file of the study that was not timed yet, interleaved with the dense model's of its seed."""
    from nasc.artifact import Artifact
    from nasc.devices import get_device
    from nasc.measurement import measure_anchored
    from nasc.table import load_table

    device, table = get_device(device_name), load_table(device_name)
    rows = [row for row in load_rows(NAME, size) if "error" not in row and row["cell"]["device"] == device_name]
    done = {row["artifact"] for row in load_rows(f"{NAME}-latency", size)}
    dense = {row["cell"]["seed"]: artifact_path(row["cell"]) for row in rows if row["cell"]["price"] == "none"}
    RESULTS.mkdir(exist_ok=True)
    for row in rows:
        path, beside = artifact_path(row["cell"]), dense.get(row["cell"]["seed"])
        if row["cell"]["price"] == "none" or path.name in done or beside is None:
            continue
        if not (path.is_file() and beside.is_file()):
            print(f"{path.name}: no file, so not timed; remove its row and train it again")
            continue
        pair = [Artifact(file, "litert", (), ()) for file in (path, beside)]
        small, large = measure_anchored(pair, device, anchor_reference_s=table.anchor_s or None)
        figures = {
            "artifact": path.name,
            "measured_s": small.seconds,
            "spread_s": small.spread_s,
            "dense_measured_s": large.seconds,
            "ratio": small.seconds / large.seconds,
            "predicted_s": row["predicted_s"],
            "origin": device.origin,
        }
        with results_file(f"{NAME}-latency", size).open("a") as file:
            file.write(json.dumps(figures) + "\n")
        print(path.name, f"{figures['ratio']:.3f} of dense")


# -- reading the results ---------------------------------------------------------------------------------------------


def load_points(size: str) -> list[dict[str, Any]]:
    """One flat row a trained network, with what was measured of it; the CSV's rows."""
    measured = {row["artifact"]: row for row in load_rows(f"{NAME}-latency", size)}
    points = []
    for row in load_rows(NAME, size):
        if "error" in row:
            continue
        timed = measured.get(row["artifact"], {})
        point = {key: row["cell"][key] for key in ("price", "strength", "seed", "device")}
        point |= {key: row[key] for key in ("accuracy", "macs", "params", "predicted_s", "train_s")}
        point["macs_share"] = row["macs"] / row["dense_macs"]
        point["predicted_share"] = row["predicted_s"] / row["dense_predicted_s"]
        point |= {"measured_s": timed.get("measured_s"), "measured_share": timed.get("ratio")}
        points.append(point | {"max_abs_difference": row["max_abs_difference"]})
    return points


def front(points: Sequence[Mapping[str, Any]], latency: str) -> list[Mapping[str, Any]]:
    """The points that no other beats in both accuracy and latency, from fast to slow.

    Args:
        points: From :func:`load_points`, all with a number under ``latency``.
        latency: ``"predicted_s"`` or ``"measured_s"``.
    """
    from nasc.frontier import Point, pareto

    return [points[index] for index in pareto([Point(point[latency], point["accuracy"]) for point in points])]


def group(points: Sequence[Mapping[str, Any]]) -> dict[tuple[str, float], list[Mapping[str, Any]]]:
    """Points of the same price and lambda, over seeds; the dense model first, then each price by lambda."""
    order = ["none", *PRICES]
    keys = sorted(
        {(point["price"], point["strength"]) for point in points}, key=lambda key: (order.index(key[0]), key[1])
    )
    return {key: [point for point in points if (point["price"], point["strength"]) == key] for key in keys}


def report(size: str) -> None:
    """Print the sweep and the Pareto table; write the CSV and the figure beside the results."""
    points = load_points(size)
    if not points:
        print(f"no results of size {size} yet")
        return
    print_sweep(points)
    timed = [point for point in points if point["measured_s"] is not None]
    print_front(points, "predicted_s")
    if timed:
        print_front(timed, "measured_s")
    print_widths(size)
    write_csv(RESULTS / f"{NAME}-{size}.csv", points)
    draw(points, RESULTS / f"{NAME}-{size}.svg")


def print_sweep(points: Sequence[Mapping[str, Any]]) -> None:
    """Accuracy against true cost for every lambda, mean ± deviation over seeds."""
    header = ("price", "lambda", "accuracy, %", "MACs/dense", "predicted/dense", "measured/dense", "train s")
    print("{:17} {:>7} {:22} {:20} {:20} {:20} {}".format(*header))
    for (price, strength), members in group(points).items():
        measured = [point["measured_share"] for point in members if point["measured_share"] is not None]
        print(
            f"{PRICES.get(price, 'dense'):17} {strength:7g} "
            f"{mean_and_spread([100 * point['accuracy'] for point in members]):22} "
            f"{mean_and_spread([point['macs_share'] for point in members]):20} "
            f"{mean_and_spread([point['predicted_share'] for point in members]):20} "
            f"{mean_and_spread(measured) if measured else '-':20} "
            f"{mean_and_spread([point['train_s'] for point in members])}"
        )


def print_front(points: Sequence[Mapping[str, Any]], latency: str) -> None:
    """The Pareto table over both prices and all seeds."""
    print(f"\nPareto front of accuracy against {latency.removesuffix('_s')} latency, every seed a point")
    for point in front(points, latency):
        print(
            f"{1e6 * point[latency]:9.1f} us  {100 * point['accuracy']:6.2f} %  {point['macs'] / 1e6:7.3f} MMAC  "
            f"{PRICES.get(point['price'], 'dense')}, lambda {point['strength']:g}, seed {point['seed']}"
        )


def print_widths(size: str) -> None:
    """The learned widths of seed 0."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row and row["cell"]["seed"] == 0]
    if not rows:
        return
    print("\nKept widths, seed 0: " + ", ".join(f"{name} ({full})" for name, full in rows[0]["dense_widths"].items()))
    order = ["none", *PRICES]
    for row in sorted(rows, key=lambda row: (order.index(row["cell"]["price"]), row["cell"]["strength"])):
        widths = " ".join(f"{width:4d}" for width in row["widths"].values())
        print(f"{PRICES.get(row['cell']['price'], 'dense'):17} {row['cell']['strength']:7g} {widths}")


def write_csv(path: Path, points: Sequence[Mapping[str, Any]]) -> None:
    """All points as CSV, written in one step."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(points[0]))
        writer.writeheader()
        writer.writerows(points)
    temporary.replace(path)
    print(f"\ntable: {path}")


def draw(points: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy against true MACs and against latency, a line a price through the means over seeds."""
    axes = [
        ("macs", 1e6, "multiply-adds", "true cost, MMAC"),
        ("predicted_s", 1e-6, "predicted latency", "by table, us"),
    ]
    if any(point["measured_s"] is not None for point in points):
        axes.append(("measured_s", 1e-6, "measured latency", "of the exported file, us"))
    panels = [
        Panel(f"accuracy against {what}", label, "test accuracy, %", lines(points, key, unit))
        for key, unit, what, label in axes
    ]
    write_figure(path, panels, columns=len(panels))
    print(f"figure: {path}")


def lines(points: Sequence[Mapping[str, Any]], key: str, unit: float) -> list[Series]:
    """A line a price, through the mean of every lambda, and a dot for the dense model."""
    groups = group([point for point in points if point[key] is not None])
    series = []
    for index, price in enumerate(("none", *PRICES)):
        means = sorted(
            (mean(members, key) / unit, 100 * mean(members, "accuracy"))
            for (name, _), members in groups.items()
            if name == price
        )
        x, y = [place[0] for place in means], [place[1] for place in means]
        series.append(Series(PRICES.get(price, "dense"), x, y, mark="line", colour=index))
    return series


def mean(points: Sequence[Mapping[str, Any]], key: str) -> float:
    """The mean of one column."""
    return float(sum(point[key] for point in points) / len(points))


if __name__ == "__main__":
    extra = argparse.ArgumentParser(add_help=False)
    extra.add_argument("--measure", action="store_true", help="time every file; train nothing")
    extra.add_argument("--device", default="cpu", help="whose latency table eq. 6 reads: cpu, simulated, ...")
    own, rest = extra.parse_known_args()
    parsed = parse_arguments(__doc__ or "", rest)
    if own.measure:
        measure_files(parsed.size, own.device)
    elif not parsed.report:
        planned = cells(parsed.size, parsed.seeds, own.device)
        cover_table(planned[0])
        run_study(NAME, planned, run_cell, parsed)
    report(parsed.size)
