"""Compressing while transferring: pretrained on five classes of CIFAR-10, fine-tuned on the other five (paper Fig. 3).

Every cell starts from the same pretrained weights and fine-tunes for the same number of epochs: dense, narrower from
scratch (``scratch``: no pretraining), the surrogate at its targets, global magnitude pruning, HALP.

    python benchmarks/transfer.py --size small
    python benchmarks/transfer.py --size small --report
"""

from pathlib import Path
from typing import Any

from accuracy import data_spec
from study import Cell, load_rows, mean_and_spread, parse_arguments, run_study

NAME = "transfer"
METHODS = ("surrogate", "magnitude-global", "halp")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"train_size": 500, "epochs": 2, "pretrain": 2, "targets": (0.5,), "model": "resnet-tiny@0.25"},
    "small": {"train_size": 5_000, "epochs": 8, "pretrain": 15, "targets": (0.7, 0.4), "model": "resnet-tiny@0.5"},
    "full": {
        "train_size": None,
        "epochs": 40,
        "pretrain": 120,
        "targets": (0.8, 0.6, 0.4, 0.2),
        "model": "resnet-tiny",
    },
}


def cells(size: str, seeds: int) -> list[Cell]:
    """Seeds outermost."""
    setting = SETTINGS[size]
    common = {key: setting[key] for key in ("train_size", "epochs", "pretrain", "model")} | {"size": size}
    modes = [{"method": "dense", "target": 1.0}, {"method": "scratch", "target": 1.0}]
    modes += [{"method": method, "target": target} for target in setting["targets"] for method in METHODS]
    return [{**mode, **common, "seed": seed} for seed in range(seeds) for mode in modes]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Fine-tune one method on the second half of the classes."""
    import torch

    from nasc.datasets import load_dataset
    from nasc.graph import trace
    from nasc.materialise import materialise, verify_trained
    from nasc.methods import build, readjust
    from nasc.methods._price import Price
    from nasc.models import load_model
    from nasc.training import Recipe, evaluate, train

    whole = load_dataset(data_spec("cifar10"), train_size=cell["train_size"], seed=cell["seed"])
    data = half(whole, 5)
    torch.manual_seed(cell["seed"])
    model = load_model(cell["model"], num_classes=5, input_shape=data.input_shape)
    if cell["method"] != "scratch":
        load_pretrained(model, cell, whole)
    network = trace(model, (data.train_x[:1],))
    recipe = Recipe(epochs=cell["epochs"], seed=cell["seed"], learning_rate=0.05, precision="fp32")
    price = Price(network, "macs")
    small, macs, difference = model, price.dense, 0.0
    if cell["target"] == 1.0:
        train(small, data, recipe, progress=False)
    else:
        limit = cell["target"] * price.dense
        steps = recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
        method = build(cell["method"], network, price, limit, steps)
        searched = train(method, data, recipe, progress=False, on_frozen=lambda frozen: True)
        selection = readjust(price, method.select(), method.scores(), limit)
        small = materialise(network, selection)
        train(small, data, recipe, progress=False, start_step=searched.step)
        difference, macs = verify_trained(network, selection, small), price.total(selection.sizes)
    accuracy = evaluate(small, data.test_x, data.test_y).value
    return {"accuracy": accuracy, "macs": macs, "dense_macs": price.dense, "max_abs_difference": difference}


def half(data: Any, first: int) -> Any:
    """The five classes from ``first`` on, numbered from zero."""
    from dataclasses import replace

    parts = {}
    for name in ("train", "val", "test"):
        x, y = getattr(data, f"{name}_x"), getattr(data, f"{name}_y")
        mine = (y >= first) & (y < first + 5)
        parts |= {f"{name}_x": x[mine], f"{name}_y": y[mine] - first}
    return replace(data, num_classes=5, sha256=f"{data.sha256}-{first}", **parts)


def load_pretrained(model: Any, cell: Cell, whole: Any) -> None:
    """Weights trained on the first five classes, made once a seed; the classifier starts anew."""
    import torch
    from safetensors.torch import load_file, save_file

    from nasc.models import load_model
    from nasc.training import Recipe, train

    path = Path("runs") / "study-transfer" / f"{cell['size']}-{cell['seed']}.safetensors"
    if not path.is_file():
        torch.manual_seed(cell["seed"])
        first = load_model(cell["model"], num_classes=5, input_shape=whole.input_shape)
        recipe = Recipe(epochs=cell["pretrain"], seed=cell["seed"], learning_rate=0.1, precision="fp32")
        train(first, half(whole, 0), recipe, progress=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in first.state_dict().items()}, path)
    own = model.state_dict()
    last = max(name for name in own if name.endswith("linear.weight")).removesuffix(".weight")
    found = {name: value for name, value in load_file(path).items() if not name.startswith(last)}
    model.load_state_dict({**own, **found})


def report(size: str) -> None:
    """Accuracy by method and target."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    print(f"{'method':18} {'target':8} {'accuracy, %':22} MACs left")
    for target, method in sorted({(-row["cell"]["target"], row["cell"]["method"]) for row in rows}):
        mine = [row for row in rows if (-row["cell"]["target"], row["cell"]["method"]) == (target, method)]
        print(
            f"{method:18} {-target:<8g} {mean_and_spread([100 * row['accuracy'] for row in mine]):22} "
            f"{mean_and_spread([row['macs'] / row['dense_macs'] for row in mine])}"
        )


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
