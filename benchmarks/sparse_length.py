"""Longer sparse training: AC/DC++ against GMP, RigL and its controls at 1x, 2.5x, 5x (and 10x) the epochs.

Every method gets the same model, data, recipe and seeds; a run's recipe and phases are stretched together. Accuracy is on
the test pictures, loss on the training pictures without augmentation and smoothing, entropy of the predictions on the
test pictures, so that the claims of arXiv 2308.02060 (figures 1, 3 and 4) can be looked at side by side.

    python benchmarks/sparse_length.py --size small    # a 784-300-100-10 perceptron on Fashion-MNIST
    python benchmarks/sparse_length.py --size full     # a ResNet of 20 layers on CIFAR-10: a GPU
    python benchmarks/sparse_length.py --size small --report
"""

from typing import Any

from study import DATA, Cell, load_rows, mean_and_spread, parse_arguments, run_study

NAME = "sparse_length"
METHODS: dict[str, dict[str, Any]] = {
    "acdc++": {"budget": "global"},
    "gmp": {"budget": "global"},
    "rigl": {"budget": "erk"},
    "set": {"budget": "erk"},
    "static": {"budget": "erk"},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"data": "digits", "model": "mlp@0.25", "train_size": 300, "epochs": 2, "stretches": (1, 2)}
    | {"sparsities": (0.9,), "methods": ("acdc++", "gmp", "rigl")},
    "small": {"data": "fashion-mnist", "model": "lenet-300-100", "train_size": 10_000, "epochs": 4}
    | {
        "stretches": (1, 2.5, 5),
        "sparsities": (0.9, 0.95, 0.98),
        "methods": ("acdc++", "gmp", "rigl", "set", "static"),
    },
    "full": {"data": "cifar10", "model": "resnet-20", "train_size": None, "epochs": 40}
    | {"stretches": (1, 2.5, 5, 10), "sparsities": (0.9, 0.95, 0.98), "methods": tuple(METHODS)},
}
CONTROLS = ("set", "static")
Figures = dict[str, Any]


def cells(size: str, seeds: int) -> list[Cell]:
    """A cell is everything at one sparsity with one seed (0: the dense network); seeds outermost."""
    sparsities = (0.0, *SETTINGS[size]["sparsities"])
    return [{"sparsity": sparsity, "seed": seed, "size": size} for seed in range(seeds) for sparsity in sparsities]


def run_cell(cell: Cell) -> Figures:
    """Every method at every length; the controls at the lowest sparsity only."""
    setting = SETTINGS[cell["size"]]
    methods = [m for m in setting["methods"] if m not in CONTROLS or cell["sparsity"] == setting["sparsities"][0]]
    if cell["sparsity"] == 0:
        methods = ["dense"]
    lengths = [(method, stretch) for stretch in setting["stretches"] for method in methods]
    return {"runs": [run(setting, cell, method, stretch) for method, stretch in lengths]}


def run(setting: Figures, cell: Cell, method_name: str, stretch: float) -> Figures:
    """One training run and what its outputs say."""
    import torch

    from nasc.analysis import by_depth, channel_zeros, cross_entropy, prediction_entropy, scores_of, zero_share
    from nasc.datasets import load_dataset
    from nasc.graph import trace
    from nasc.methods import Price, build
    from nasc.training import Recipe, evaluate, train

    data = load_dataset(data_spec(setting["data"]), train_size=setting["train_size"], seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    model = make_model(setting["model"], data)
    recipe = Recipe(
        epochs=setting["epochs"],
        learning_rate=0.1,
        weight_decay=1e-4,
        label_smoothing=0.0,  # entropies of smoothed and unsmoothed runs must not be mixed
        augment=setting["data"] == "cifar10",
        decay="linear",
        warmup=0.1,
        seed=cell["seed"],
    ).stretched(stretch)
    figures: Figures = {"method": method_name, "stretch": stretch, "training_cost": 1.0}
    if method_name == "dense":
        history = train(model, data, recipe, progress=False)
    else:
        network = trace(model, (data.train_x[:1],))
        steps = recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
        options = METHODS[method_name] | ({"stretch": stretch} if method_name == "acdc++" else {})
        price = Price(network)
        method = build(method_name, network, price, 0.0, steps, sparsity=cell["sparsity"], **options)
        history = train(method, data, recipe, progress=False)
        metrics = method.metrics()
        figures |= {"training_cost": metrics["training_cost"], "iou": metrics.get("iou")}
        figures["inference_macs"] = method.price_now() / price.dense
    test, fit = scores_of(model, data.test_x), scores_of(model, data.train_x)
    return figures | {
        "accuracy": evaluate(model, data.test_x, data.test_y).value,
        "train_loss": cross_entropy(fit, data.train_y),
        "test_loss": cross_entropy(test, data.test_y),
        "entropy": prediction_entropy(test),
        "train_accuracy": float((fit.argmax(1) == data.train_y).float().mean()),
        "zeros": zero_share(model),
        "channel_zeros": by_depth(channel_zeros(model)),
        "epochs": recipe.epochs,
        "train_s": round(sum(row.seconds for row in history.rows), 2),
    }


def make_model(name: str, data: Any) -> Any:
    """A model of the study, or one of nasc's own."""
    from torch import nn

    from nasc.models import load_model

    if name == "lenet-300-100":
        sizes = (28 * 28, 300, 100, data.num_classes)
        layers: list[nn.Module] = [nn.Flatten()]
        for index in range(3):
            layers += [nn.Linear(sizes[index], sizes[index + 1]), nn.ReLU()]
        return nn.Sequential(*layers[:-1])
    if name == "resnet-20":
        return resnet20(data.num_classes)
    return load_model(name, num_classes=data.num_classes, input_shape=data.input_shape)


def resnet20(classes: int) -> Any:
    """He et al. 2015, section 4.2: three stages of three basic blocks, 16, 32 and 64 channels wide."""
    from torch import nn

    from nasc.models.blocks import ConvNormAct, PooledClassifier, initialise
    from nasc.models.resnet import BasicBlock

    blocks: list[nn.Module] = [ConvNormAct(3, 16)]
    channels = 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            blocks.append(BasicBlock(channels, width, stride=2 if stage and not block else 1))
            channels = width
    model = nn.Sequential(*blocks, PooledClassifier(64, classes))
    initialise(model)
    return model


def data_spec(name: str) -> str:
    """Where a data set lies."""
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

    if name != "cifar10":
        return f"fashion-mnist:{DATA / 'fashion_mnist'}" if name == "fashion-mnist" else name
    folder = Path(tempfile.gettempdir()) / "cifar10"
    if not (folder / "test_batch.bin").is_file():
        subprocess.run([sys.executable, str(DATA / "cifar10_to_binary.py"), str(folder)], check=True)
    return f"cifar10:{folder}"


def all_runs(size: str) -> list[Figures]:
    """Every run of the study with its sparsity and seed."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    return [
        {**figures, "sparsity": row["cell"]["sparsity"], "seed": row["cell"]["seed"]}
        for row in rows
        for figures in row["runs"]
    ]


def report(size: str) -> None:
    """Accuracy and its difference to the dense network of the same length and seed; loss, entropy, cost of training."""
    runs = all_runs(size)
    dense = {(run["stretch"], run["seed"]): run["accuracy"] for run in runs if run["method"] == "dense"}
    heads = ("accuracy, %", "to dense, points", "train loss", "entropy", "training MACs")
    print(f"{'sparsity':9} {'method':8} {'length':7} " + " ".join(f"{head:20}" for head in heads))
    order = ("dense", *METHODS)
    groups: dict[tuple[float, int, float], list[Figures]] = {}
    for run in runs:
        groups.setdefault((run["sparsity"], order.index(run["method"]), run["stretch"]), []).append(run)
    for (sparsity, place, stretch), group in sorted(groups.items()):
        gaps = [100 * (r["accuracy"] - dense[stretch, r["seed"]]) for r in group if (stretch, r["seed"]) in dense]
        columns = [
            [100 * run["accuracy"] for run in group],
            gaps,
            [run["train_loss"] for run in group],
            [run["entropy"] for run in group],
            [stretch * run["training_cost"] for run in group],
        ]
        shown = " ".join(f"{mean_and_spread(values) if values else '-':20}" for values in columns)
        print(f"{sparsity:<9.0%} {order[place]:8} {stretch:<7g} {shown}")


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
