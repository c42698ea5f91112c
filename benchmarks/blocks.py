"""Every building block under one price: accuracy at equal multiply-adds on a perceptron and a small CNN (Fashion-MNIST).

Each cell is one training of equal length that ends at its target: ``prune``, ``lowrank`` (learned ranks), ``sparse`` (single
weights), and combinations, against ``svd``: dense training, the same rank share in every layer by truncated SVD,
fine-tuning. Multiply-adds are recounted: the cheaper of dense and factored, zeros of sparse weights left out.

    python benchmarks/blocks.py --size small
    python benchmarks/blocks.py --size small --report
"""

from typing import Any

from accuracy import data_spec
from study import Cell, load_rows, mean_and_spread, parse_arguments, run_study

NAME = "blocks"
FORMS = ("prune", "lowrank", "sparse", "prune,lowrank", "lowrank,sparse", "prune,sparse", "svd")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"train_size": 1_000, "epochs": 3, "targets": (0.3,), "models": ("mlp",)},
    "small": {"train_size": 10_000, "epochs": 10, "targets": (0.4, 0.15), "models": ("mlp",)},
    "full": {"train_size": None, "epochs": 60, "targets": (0.5, 0.3, 0.15, 0.08), "models": ("mlp", "resnet-tiny")},
}


def cells(size: str, seeds: int) -> list[Cell]:
    """Seeds outermost."""
    setting = SETTINGS[size]
    common = {"train_size": setting["train_size"], "epochs": setting["epochs"]}
    dense = [{"model": model, "form": "dense", "target": 1.0} for model in setting["models"]]
    smaller = [
        {"model": model, "form": form, "target": target}
        for model in setting["models"]
        for target in setting["targets"]
        for form in FORMS
    ]
    return [{**one, **common, "seed": seed} for seed in range(seeds) for one in (*dense, *smaller)]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train one form to one target."""
    import torch

    from nasc.datasets import load_dataset
    from nasc.graph import trace
    from nasc.materialise import materialise, small_masks, verify_trained
    from nasc.methods import Surrogate, readjust
    from nasc.methods._price import Price
    from nasc.models import load_model
    from nasc.training import Recipe, evaluate, train

    data = load_dataset(data_spec("fashion-mnist"), train_size=cell["train_size"], seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    model = load_model(cell["model"], num_classes=data.num_classes, input_shape=data.input_shape)
    network = trace(model, (data.train_x[:1],))
    recipe = Recipe(epochs=cell["epochs"], seed=cell["seed"], learning_rate=0.1, precision="fp32")
    price = Price(network, "macs")
    steps = recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
    difference, forms, macs = 0.0, {}, price.dense
    if cell["form"] == "dense":
        small = model
        train(small, data, recipe, progress=False)
    elif cell["form"] == "svd":
        small, macs = train_svd(network, data, recipe, cell["target"] * price.dense)
    else:
        limit = cell["target"] * price.dense
        method = Surrogate(network, price=price, limit=limit, total_steps=steps, blocks=cell["form"])
        searched = train(method, data, recipe, progress=False, on_frozen=lambda frozen: True)
        selection = readjust(method.price, method.select(), method.scores(), limit)
        small = materialise(method.network, selection)
        masks = small_masks(method.network, selection)
        train(small, data, recipe, progress=False, start_step=searched.step, masks=masks)
        difference, forms = verify_trained(method.network, selection, small), method.forms
        macs = float(method.price.total(selection.sizes))
    return {
        "accuracy": evaluate(small, data.test_x, data.test_y).value,
        "macs": macs,
        "dense_macs": price.dense,
        "forms": forms,
        "max_abs_difference": difference,
    }


def train_svd(network: Any, data: Any, recipe: Any, limit: float) -> tuple[Any, float]:
    """Dense for the first half, then one share of the break-even rank everywhere, then the second half."""
    from nasc.blocks import break_even_rank, factorise, is_factorisable, replace_modules
    from nasc.graph import trace
    from nasc.methods._price import Price
    from nasc.training import train

    half = max(1, recipe.epochs // 2)
    steps = recipe.steps_per_epoch(len(data.train_y))
    stopped = _train_until(network.model, data, recipe, half * steps)
    layers = {path: module for path, module in network.model.named_modules() if is_factorisable(module)}
    classifier = list(layers)[-1]
    del layers[classifier]
    low, high, best = 0.0, 1.0, None
    for _ in range(12):
        share = (low + high) / 2
        ranks = {path: max(1, int(share * break_even_rank(module))) for path, module in layers.items()}
        small = replace_modules(network.model, {path: factorise(layers[path], rank) for path, rank in ranks.items()})
        macs = Price(trace(small, (data.train_x[:1],)), "macs").dense
        low, high = (share, high) if macs <= limit else (low, share)
        best = (small, macs) if macs <= limit else best
    assert best is not None, "no rank meets the limit"
    train(best[0], data, recipe, progress=False, start_step=stopped)
    return best


def _train_until(model: Any, data: Any, recipe: Any, step: int) -> int:
    """Train in place up to a step of the recipe, through a method that is done there and does nothing else."""
    import torch

    from nasc.training import train

    class Stop:
        def __init__(self) -> None:
            self.model, self.steps = model, 0

        @property
        def frozen(self) -> bool:
            return self.steps >= step

        def penalty(self) -> Any:
            return torch.zeros(())

        def step(self) -> None:
            self.steps += 1

        def metrics(self) -> dict[str, float]:
            return {}

        def state_dict(self) -> dict[str, Any]:
            return {"steps": self.steps}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.steps = state["steps"]

    return train(Stop(), data, recipe, progress=False, on_frozen=lambda frozen: True).step  # type: ignore[arg-type]


def report(size: str) -> None:
    """Accuracy by form and target."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    for model in sorted({row["cell"]["model"] for row in rows}):
        print(f"\n{model}: {'form':18} {'target':8} {'accuracy, %':22} MACs left")
        keys = sorted({(-row["cell"]["target"], row["cell"]["form"]) for row in rows if row["cell"]["model"] == model})
        for target, form in keys:
            mine = [
                r
                for r in rows
                if (r["cell"]["model"], -r["cell"]["target"], r["cell"]["form"]) == (model, target, form)
            ]
            print(
                f"      {form:18} {-target:<8g} {mean_and_spread([100 * row['accuracy'] for row in mine]):22} "
                f"{mean_and_spread([row['macs'] / row['dense_macs'] for row in mine])}"
            )


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
