"""Families by other means at equal updates (Table 2 of arXiv 2309.00255; the method's sheet, rows 8, 9, 13 and 14).

Every family is trained on the same network, data and recipe until its members have had the same number of updates together:
a step that sums four members counts as four, so what draws one member a step takes four times the steps. Seven widths are
evaluated. Time per step is the mean over epochs without the first (protocol of the paper); only fair on a quiet machine.

    python benchmarks/sorted_rivals.py --size small
    python benchmarks/sorted_rivals.py --size small --report
"""

from typing import TYPE_CHECKING, Any

from study import Cell, load_rows, mean_and_spread, parse_arguments, run_study

if TYPE_CHECKING:
    from torch import nn

NAME = "sorted_rivals"
WIDTHS = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
RIVALS = (
    "plain",
    "sorted",
    "sorted-4",
    "sorted-own-statistics",
    "slimmable",
    "slimmable-one-norm",
    "universally-slimmable",
    "universally-slimmable-distilled",
    "lcs-point",
    "lcs-line",
    "progressive-shrinking",
)
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"data": "digits", "model": "digits-cnn@0.25", "train_size": None, "epochs": 6, "norms": ("batch",)},
    "small": {
        "data": "fashion-mnist",
        "model": "resnet-tiny@0.5",
        "train_size": 6000,
        "epochs": 4,
        "norms": ("batch", "instance"),
    },
    "full": {
        "data": "cifar10",
        "model": "resnet-tiny",
        "train_size": None,
        "epochs": 50,
        "norms": ("batch", "instance"),
    },
}
"""Epochs are those of a family that trains four members a step."""


def cells(size: str, seeds: int) -> list[Cell]:
    """Seeds outermost."""
    setting = SETTINGS[size]
    shared = {key: setting[key] for key in ("data", "model", "train_size", "epochs")}
    return [
        {"seed": seed, "rival": rival, "norm": norm} | shared
        for seed in range(seeds)
        for norm in setting["norms"]
        for rival in RIVALS
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train one family and evaluate every width, with the shared statistics and with re-estimated ones."""
    import torch

    from nasc.datasets import load_dataset
    from nasc.graph import trace
    from nasc.methods import Price
    from nasc.methods.sorted_networks import PRESETS, UPDATES, Knob, Pool, SortedNetwork, match_dims
    from nasc.models import load_model
    from nasc.stages.family import build_member
    from nasc.training import Recipe, evaluate, recalibrate_norms, train

    data = load_dataset(data_spec(cell["data"]), train_size=cell["train_size"], seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    model = load_model(cell["model"], num_classes=data.num_classes, input_shape=data.input_shape)
    if cell["norm"] == "instance":
        replace_norms(model)
    network = trace(model, (data.train_x[:1],))
    preset = {"plain": "sorted", "sorted-own-statistics": "sorted"}.get(cell["rival"], cell["rival"])
    options = dict(PRESETS[preset]) | ({"widths": (1.0,)} if cell["rival"] == "plain" else {})
    epochs = cell["epochs"] * 4 // UPDATES[preset]
    recipe = Recipe(epochs=epochs, seed=cell["seed"], batch_size=128, learning_rate=0.1)
    price = Price(network, "macs")
    steps = recipe.steps_per_epoch(len(data.train_y)) * epochs
    method = SortedNetwork(network, price, price.dense, steps, **options, seed=cell["seed"])
    history = train(method, data, recipe, progress=False)
    pool = Pool(network, [Knob("width", WIDTHS, match_dims(network))])
    accuracies, recalibrated = {}, {}
    for member in pool.members:
        width = f"{member.values['width']:g}"
        if method.config.norms == "own":  # slimmable networks have norms for four widths
            twin = next((own for own in method.pool.members if own.sizes == member.sizes), None)
            if twin is None:
                continue
            member = twin
        with method.family.as_member(member):
            accuracies[width] = evaluate(method.family, data.test_x, data.test_y).value
        if method.config.norms == "shared" and cell["norm"] == "batch":
            small = build_member(network, member.sizes)
            recalibrate_norms(small, data.train_x, batches=10)
            recalibrated[width] = evaluate(small, data.test_x, data.test_y).value
    seconds = [row.seconds for row in history.rows][1:] or [row.seconds for row in history.rows]
    per_epoch = recipe.steps_per_epoch(len(data.train_y))
    return {
        "accuracy": accuracies,
        "recalibrated": recalibrated,
        "step_s": sum(seconds) / len(seconds) / per_epoch,
        "members_per_step": UPDATES[preset],
        "steps": steps,
        "curve": [[row.epoch, row.val_accuracy] for row in history.rows],
    }


def replace_norms(model: "nn.Module") -> None:
    """Instance norm in the place of every batch norm."""
    from torch import nn

    for module in model.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.InstanceNorm2d(child.num_features, affine=True))


def data_spec(name: str) -> str:
    """Where a data set lies."""
    from accuracy import data_spec as known

    return name if name == "digits" else known(name)


def report(size: str) -> None:
    """Mean over widths per rival, and every width."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    for norm in ("batch", "instance"):
        for rival in RIVALS:
            mine = [row for row in rows if (row["cell"]["norm"], row["cell"]["rival"]) == (norm, rival)]
            if not mine:
                continue
            key = "recalibrated" if rival in ("sorted-own-statistics", "universally-slimmable") else "accuracy"
            held = [row[key] or row["accuracy"] for row in mine]
            means = [100 * sum(widths.values()) / len(widths) for widths in held]
            each = " ".join(f"{w}:{100 * sum(h[w] for h in held) / len(held):.1f}" for w in held[0])
            steps = mean_and_spread([1e3 * row["step_s"] for row in mine])
            print(f"{norm:8} {rival:32} mean {mean_and_spread(means):22} step {steps} ms   {each}")


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
