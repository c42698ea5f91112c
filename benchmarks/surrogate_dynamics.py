"""How should masks move? Variants of the surrogate's controller and its rivals at half the price, equal total epochs.

The price is a closed form with a staircase like a wide-vector CPU's (output channels in steps of 8, reduction side in a
straight line, depthwise and element-wise kernels by their traffic), so the study needs no measured table and no device.
``benchmarks/accuracy.py`` then compares the method that ships on measured latency.

    python benchmarks/surrogate_dynamics.py --size small --jobs 1
    python benchmarks/surrogate_dynamics.py --size small --report

``results/surrogate_dynamics-first.jsonl`` holds the rows of the tries that came before, on hand-written nets with masks on
explicit dims (half the MACs; ``prior`` is today's ``sensitivity``, ``gamma`` today's ``crowding``): they are why readers'
norms rank entries, why masks fade, and why pruning starts later than a tenth of the run.
"""

import math
from collections.abc import Mapping
from typing import Any

from study import DATA, Cell, load_rows, mean_and_spread, parse_arguments, run_study

NAME = "surrogate_dynamics"
TARGET = 0.5
PERIOD = 8

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("dense", {}),
    "surrogate": ("surrogate", {}),
    "magnitude-uniform": ("magnitude-uniform", {}),
    "width-multiplier": ("width-multiplier", {}),
    "surrogate, sensitivity 0": ("surrogate", {"sensitivity": 0.0}),
    "surrogate, sensitivity 1": ("surrogate", {"sensitivity": 1.0}),
    "surrogate, at once": ("surrogate", {"fade": 0.0}),
    "surrogate, early": ("surrogate", {"start": 0.1, "end": 0.4}),
    "surrogate, late": ("surrogate", {"start": 0.3, "end": 0.65}),
    "magnitude-global": ("magnitude-global", {}),
    "magnitude-uniform, ramp": ("magnitude-uniform", {"start": 0.2, "end": 0.6}),
    "surrogate, no crowding": ("surrogate", {"crowding": 0.0}),
    "l1": ("l1", {}),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"train_size": 500, "epochs": 3, "pairs": (("cifar10", "mobilenetv3-tiny@0.5"),)},
    "small": {
        "train_size": 5000,
        "epochs": 15,
        "pairs": (("cifar10", "resnet-tiny@0.5"),),
    },
    "full": {
        "train_size": None,
        "epochs": 60,
        "pairs": (("cifar10", "mobilenetv3-tiny"), ("cifar10", "resnet-tiny"), ("fashion-mnist", "resnet-tiny")),
    },
}


class ClosedFormTable:
    """Seconds of a kernel as a formula: 1 ns per thousand multiply-adds or moved elements."""

    def seconds(self, signature: Any, sizes: Mapping[str, Any]) -> Any:
        """Seconds at any sizes; a staircase in the output channels."""
        base, inputs, outputs = self._terms(signature, sizes)
        return base * inputs * outputs

    def slope(self, signature: Any, sizes: Mapping[str, float]) -> dict[str, float]:
        """Slopes along the line through the ends of the steps."""
        base, inputs, outputs = self._terms(signature, sizes)
        if "c_in" in sizes:
            return {"c_in": base * outputs, "c_out": base * inputs}
        return dict.fromkeys(sizes, base * inputs)

    def covers(self, signature: Any, sizes: Mapping[str, Any]) -> bool:
        """Always: it is a formula."""
        return True

    def _terms(self, signature: Any, sizes: Mapping[str, Any]) -> tuple[float, Any, Any]:
        attributes = dict(signature.attributes)
        positions = attributes.get("positions", attributes.get("rows", 1))
        if "height" in attributes:
            strides = attributes.get("stride_h", 1) * attributes.get("stride_w", 1)
            positions = attributes["height"] * attributes["width"] / strides
        area = attributes.get("kernel_h", 1) * attributes.get("kernel_w", 1)
        if signature.kind in ("conv", "linear"):
            return 1e-12 * positions * area, sizes["c_in"], math.ceil(float(sizes["c_out"]) / PERIOD - 1e-9) * PERIOD
        return 4e-12 * positions * area, 1.0, sizes.get("channels", 0)


def cells(size: str, seeds: int) -> list[Cell]:
    """Seeds outermost, so that an unfinished study has every variant once before any twice."""
    setting = SETTINGS[size]
    return [
        {"data": data, "model": model, "variant": variant, "method": method, "options": options, "seed": seed}
        | {"train_size": setting["train_size"], "epochs": setting["epochs"]}
        for seed in range(seeds)
        for data, model in setting["pairs"]
        for variant, (method, options) in VARIANTS.items()
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train one variant with one seed."""
    import torch
    from accuracy import data_spec

    from nasc.datasets import load_dataset
    from nasc.graph import trace
    from nasc.materialise import materialise
    from nasc.methods import Price, build, readjust
    from nasc.models import load_model
    from nasc.training import Recipe, evaluate, train

    data = load_dataset(data_spec(cell["data"]), train_size=cell["train_size"], seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    model = load_model(cell["model"], num_classes=data.num_classes, input_shape=data.input_shape)
    recipe = Recipe(epochs=cell["epochs"], seed=cell["seed"])
    network = trace(model, (data.train_x[:1],))
    price = Price(network, "seconds", ClosedFormTable())
    if cell["method"] == "dense":
        train(model, data, recipe, progress=False)
        return {"accuracy": evaluate(model, data.test_x, data.test_y).value, "price": 1.0, "widths": {}}
    steps = recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
    method = build(cell["method"], network, price, TARGET * price.dense, steps, **cell["options"])
    searched = train(method, data, recipe, progress=False, on_frozen=lambda frozen: True)
    selection = readjust(price, method.select(), method.scores(), TARGET * price.dense)  # all spend the whole limit
    small = materialise(network, selection)
    train(small, data, recipe, progress=False, start_step=searched.step)
    accuracy = evaluate(small, data.test_x, data.test_y).value
    return {"accuracy": accuracy, "price": price.total(selection.sizes) / price.dense, "widths": selection.sizes}


def report(size: str) -> None:
    """Mean accuracy over seeds, and the difference to the dense net of the same seed, in points."""
    assert DATA is not None
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    for pair in SETTINGS[size]["pairs"]:
        mine = [row for row in rows if (row["cell"]["data"], row["cell"]["model"]) == pair]
        dense = {row["cell"]["seed"]: row["accuracy"] for row in mine if row["cell"]["method"] == "dense"}
        print(f"\n{pair[0]}, {pair[1]}, half the price")
        print(f"{'variant':28} {'accuracy, %':20} {'minus dense':20} price")
        for variant in VARIANTS:
            chosen = [row for row in mine if row["cell"]["variant"] == variant]
            if chosen:
                lost = [
                    100 * (row["accuracy"] - dense[row["cell"]["seed"]])
                    for row in chosen
                    if row["cell"]["seed"] in dense
                ]
                print(
                    f"{variant:28} {mean_and_spread([100 * row['accuracy'] for row in chosen]):20} "
                    f"{mean_and_spread(lost) if lost else '-':20} "
                    f"{mean_and_spread([row['price'] for row in chosen])}"
                )


if __name__ == "__main__":
    arguments = parse_arguments(__doc__ or "")
    run_study(NAME, cells(arguments.size, arguments.seeds), run_cell, arguments)
    report(arguments.size)
