"""What the masks and the price add to a training step (the method's sheet, row 23; to reach: a ratio of at most 1.10).

Plain, steered and paper-form steps run in turns (A B C A B C ...) in one process on one thread, each on its own copy of
one network, on the same pictures, through the loop of ``nasc.training``: forward, loss, backward, optimiser, and for a
method its penalty and its own step. The pictures are random; no augmentation, which would only bring the ratio nearer to
one. The steered surrogate is timed in its searching phase, the dearest part of its run; the paper's form is the same
throughout. The price is the device's latency table where there is one that covers the network, multiply-adds otherwise.

    python benchmarks/step_cost.py --size small            # nothing else may run on the machine
    python benchmarks/step_cost.py --size small --report   # also what whole trainings cost, from the accuracy study
"""

import argparse
import json
import statistics
from collections.abc import Callable
from typing import Any

from study import RESULTS, Cell, load_rows, mean_and_spread, parse_arguments, provenance, results_file

NAME = "step_cost"
LIMIT = 1.10
VARIANTS = ("plain", "steered", "paper")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"models": ("mlp",), "input_shape": (1, 8, 8), "batch": 32, "steps": 4, "blocks": 5},
    "small": {
        "models": ("resnet-tiny", "mobilenetv3-tiny"),
        "input_shape": (3, 32, 32),
        "batch": 128,
        "steps": 8,
        "blocks": 15,
    },
    "full": {
        "models": ("resnet-tiny", "mobilenetv3-tiny"),
        "input_shape": (3, 32, 32),
        "batch": 128,
        "steps": 16,
        "blocks": 61,
    },
}


def cells(size: str, device: str) -> list[Cell]:
    """A cell a network."""
    setting = SETTINGS[size]
    shared = {key: setting[key] for key in ("batch", "steps", "blocks")} | {"device": device}
    return [{"model": model, "input_shape": list(setting["input_shape"])} | shared for model in setting["models"]]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Time the three kinds of step in turns; seconds a step, block by block."""
    import torch

    from nasc.measurement import Stopwatch

    torch.set_num_threads(1)
    unit, steppers = build_steppers(cell)
    for step in steppers.values():
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(cell["blocks"]):
        for name, step in steppers.items():
            watch = Stopwatch()
            for _ in range(cell["steps"]):
                step()
            seconds[name].append(watch.seconds / cell["steps"])
    return {"price": unit, "seconds": seconds, "ratios": {name: compare(seconds, name) for name in VARIANTS[1:]}}


def build_steppers(cell: Cell) -> tuple[str, dict[str, Callable[[], None]]]:
    """The price's unit, and what does one step of each variant, on copies of one network with the same pictures."""
    import torch

    from nasc.graph import trace
    from nasc.methods import Surrogate
    from nasc.models import load_model

    channels, height, width = cell["input_shape"]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(cell["batch"], channels, height, width, generator=generator)
    y = torch.randint(10, (cell["batch"],), generator=generator)
    steppers: dict[str, Callable[[], None]] = {}
    unit = ""
    for name in VARIANTS:
        torch.manual_seed(0)
        model = load_model(cell["model"], num_classes=10, input_shape=(channels, height, width))
        network = trace(model, (x[:1],))
        price = make_price(network, cell["device"])
        unit, method = price.unit, None
        if name == "steered":  # so long a run that every timed step is a searching one
            method = Surrogate(network, price=price, limit=0.5 * price.dense, total_steps=SEARCHING, start=0.0, end=0.5)
        if name == "paper":
            method = Surrogate(
                network, price=price, total_steps=SEARCHING, controller=None, strength=1.0, normalised=True
            )
        steppers[name] = stepper(model, method, x, y)
    return unit, steppers


SEARCHING = 20_000
"""Steps of the pretended run."""


def make_price(network: Any, device: str) -> Any:
    """Seconds by the device's table where it covers the network, else multiply-adds."""
    from nasc.cost import price_latency
    from nasc.errors import TableError
    from nasc.methods import Price
    from nasc.table import load_table

    try:
        table = load_table(device)
    except TableError:
        return Price(network, "macs")
    return Price(network, "macs") if price_latency(network, {}, table).uncovered else Price(network, "seconds", table)


def stepper(model: Any, method: Any, x: Any, y: Any) -> Callable[[], None]:
    """One training step as ``nasc.training`` does it, for a plain model (no method) or a method.

    Args:
        model: The network.
        method: Holds the network, or None.
        x: Pictures, shape (batch, channels, height, width).
        y: Labels, shape (batch,).
    """
    import torch

    from nasc.training import Recipe
    from nasc.training.precision import autocast, resolve, to_model_format
    from nasc.training.recipe import build_criterion, build_optimizer

    recipe, cpu = Recipe(device="cpu"), torch.device("cpu")
    trained = model if method is None else method.model
    trained.train()
    optimizer, criterion = build_optimizer(recipe, trained.parameters()), build_criterion(recipe)
    for group in optimizer.param_groups:
        group["lr"] = 1e-3  # on random labels, so that losses stay finite
    precision = resolve(recipe.precision, cpu, trained)

    def step() -> None:
        with autocast(precision, cpu):
            scores = trained(to_model_format(x))
        loss = criterion(scores.float(), y)
        total = loss if method is None else loss + method.penalty()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        if method is not None:
            method.step()

    return step


def compare(seconds: dict[str, list[float]], name: str) -> dict[str, float]:
    """A variant against the plain step: ratio of medians, and the quartiles of the ratios of neighbouring blocks."""
    paired = [masked / plain for masked, plain in zip(seconds[name], seconds["plain"], strict=True)]
    low, _, high = statistics.quantiles(paired, n=4)
    ratio = statistics.median(seconds[name]) / statistics.median(seconds["plain"])
    return {"ratio": ratio, "low_quartile": low, "high_quartile": high}


def append_row(cell: Cell, figures: dict[str, Any], size: str) -> None:
    """Keep a result; timings are taken anew on every call, and none is ever replaced."""
    RESULTS.mkdir(exist_ok=True)
    with results_file(NAME, size).open("a") as file:
        file.write(json.dumps({"cell": cell, **figures, "load": load_average(), "origin": provenance()}) + "\n")


def load_average() -> float:
    """Programs that wanted a core in the last minute: a reader's hint at how quiet the machine was."""
    import psutil

    return round(float(psutil.getloadavg()[0]), 2)


def report(size: str) -> None:
    """Ratios of every measurement, then what whole trainings cost."""
    print(f"a step with masks and price against a plain one (to reach: {LIMIT:.2f})")
    print(f"{'model':18} {'price':8} {'form':8} {'ratio':>6}  {'quartiles':15} {'plain ms':>9} {'load':>5}  date")
    for row in load_rows(NAME, size):
        plain = 1e3 * statistics.median(row["seconds"]["plain"])
        for name, figures in row["ratios"].items():
            between = f"{figures['low_quartile']:.3f} to {figures['high_quartile']:.3f}"
            print(
                f"{row['cell']['model']:18} {row['price']:8} {name:8} {figures['ratio']:6.3f}  {between:15} "
                f"{plain:9.2f} {row['load']:5.1f}  {row['origin']['date']}"
            )
    print_training_cost([row for row in load_rows("accuracy", size) if "error" not in row])


def training_cost(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, list[float]]]:
    """Seconds and multiply-adds of whole trainings as multiples of the dense one with the same data, model and seed.

    Args:
        rows: Of the accuracy study. Multiply-adds need ``search_share``, the share of the steps that the dense-sized
            network was trained for; the rest ran at the size of the result.

    Returns:
        By (data, model, method): lists over seeds under ``"seconds"`` and ``"macs"``.
    """
    dense = {identity(row): row for row in rows if row["cell"]["method"] == "dense"}
    costs: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for row in rows:
        base, cell = dense.get(identity(row)), row["cell"]
        if base is None:
            continue
        mine = costs.setdefault((cell["data"], cell["model"], cell["method"]), {"seconds": [], "macs": []})
        mine["seconds"].append(row["train_s"] / base["train_s"])
        share = 1.0 if cell["method"] == "dense" else row.get("search_share")
        if share is not None:
            mine["macs"].append(share + (1 - share) * row["macs"] / base["macs"])
    return costs


def identity(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row shares with its dense run."""
    return tuple(row["cell"][key] for key in ("data", "model", "seed", "train_size", "epochs"))


def print_training_cost(rows: list[dict[str, Any]]) -> None:
    """Row 23: the price of one whole training, in dense ones."""
    print("\na whole training against a dense one, mean ± deviation over seeds (from the accuracy study)")
    costs = training_cost(rows)
    if not costs:
        print("no results of the accuracy study yet")
    for (data, model, method), figures in costs.items():
        macs = mean_and_spread(figures["macs"]) if figures["macs"] else "not recorded"
        print(f"{data:14} {model:18} {method:18} seconds {mean_and_spread(figures['seconds']):18} multiply-adds {macs}")


if __name__ == "__main__":
    extra = argparse.ArgumentParser(add_help=False)
    extra.add_argument("--device", default="cpu", help="whose latency table the price reads")
    own, rest = extra.parse_known_args()
    parsed = parse_arguments(__doc__ or "", rest)
    if not parsed.report:
        for planned in cells(parsed.size, own.device):
            append_row(planned, run_cell(planned), parsed.size)
    report(parsed.size)
