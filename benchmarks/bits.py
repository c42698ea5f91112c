"""Learned bit widths per layer against the same width everywhere: a 3-layer CNN on CIFAR-10 (paper Fig. 5).

Every cell trains from the same start with the same recipe. ``uniform`` trains through a grid of so many bits in every
layer from the first step; ``learned`` is the surrogate with ``--blocks quant`` and a limit on the size, given as a share of
the size at 16 bits or as "so much above 2 bits everywhere"; ``paper`` is the fixed lambda with gates and projected descent.
Sizes count the biases and norms as float32; bit-operations are multiply-adds times bits.

    python benchmarks/bits.py --size small      # 10 minutes on one core a seed
    python benchmarks/bits.py --size small --report
"""

from typing import Any

from accuracy import data_spec
from study import Cell, load_rows, mean_and_spread, parse_arguments, run_study

NAME = "bits"
UNIFORM = (2, 4, 8, 16)
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"train_size": 500, "epochs": 2, "widths": (8, 16, 32)},
    "small": {"train_size": 5_000, "epochs": 12, "widths": (16, 32, 64)},
    "full": {"train_size": None, "epochs": 100, "widths": (64, 128, 256)},
}
SHARES = (0.20, 0.35, 0.45)
"""Sizes that are asked for, as shares of the size at 16 bits; 0.45 is the paper's 55 % smaller."""
ABOVE_TWO = 1.04
"""The paper's other point: 4 % more than 2 bits everywhere."""
STRENGTHS = (30.0, 300.0)


def cells(size: str, seeds: int) -> list[Cell]:
    """Seeds outermost."""
    setting = SETTINGS[size]
    common = {"train_size": setting["train_size"], "epochs": setting["epochs"], "widths": list(setting["widths"])}
    modes: list[dict[str, Any]] = [{"mode": "uniform", "bits": bits} for bits in UNIFORM]
    modes += [{"mode": "learned", "share": share} for share in SHARES] + [{"mode": "learned", "above": ABOVE_TWO}]
    modes += [{"mode": "paper", "strength": strength} for strength in STRENGTHS]
    return [{**mode, **common, "seed": seed} for seed in range(seeds) for mode in modes]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train one cell; its accuracy on the 10,000 test pictures, its size and its bits."""
    import torch

    from nasc.blocks import GridModel
    from nasc.datasets import load_dataset
    from nasc.graph import trace
    from nasc.materialise import materialise, small_masks, verify_trained
    from nasc.methods import Surrogate
    from nasc.methods._price import Price
    from nasc.training import Recipe, evaluate, train

    data = load_dataset(data_spec("cifar10"), train_size=cell["train_size"], seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    network = trace(three_layers(cell["widths"], data.num_classes), (data.train_x[:1],))
    recipe = Recipe(epochs=cell["epochs"], seed=cell["seed"], learning_rate=0.05, precision="fp32")
    weights = [name for name, axes in network.parameters.items() if name.endswith("weight") and len(axes) > 1]
    if cell["mode"] == "uniform":
        bits = dict.fromkeys(weights, cell["bits"])
        subject = GridModel(network.model, bits)
        history = train(subject, data, recipe, progress=False)
        small, difference = subject.bake(), 0.0
    else:
        steps = recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
        if cell["mode"] == "learned":
            limit = size_limit(network, weights, cell)
            method = Surrogate(network, price=Price(network, "bytes"), limit=limit, total_steps=steps, blocks="quant")
        else:
            options = {"strength": cell["strength"], "normalised": True, "learning_rate": 0.05, "controller": None}
            method = Surrogate(network, price=Price(network, "bytes"), total_steps=steps, blocks="quant", **options)
        searched = train(method, data, recipe, progress=False, on_frozen=lambda frozen: True)
        selection = method.select()
        bits = dict(selection.bits)
        small = materialise(method.network, selection)
        subject = GridModel(small, bits)
        masks = {f"inner.{name}": mask for name, mask in small_masks(method.network, selection).items()}
        tuned = train(subject, data, recipe, progress=False, start_step=searched.step, masks=masks)
        subject.bake()
        difference, history = verify_trained(method.network, selection, small), tuned
    return {
        "accuracy": evaluate(small, data.test_x, data.test_y).value,
        "bits": bits,
        "bytes": stored_bytes(network, bits),
        "bit_operations": bit_operations(network, bits),
        "train_s": sum(row.seconds for row in history.rows),
        "max_abs_difference": difference,
    }


def three_layers(widths: list[int], classes: int) -> Any:
    """Three convolutions with batch norms, a pooled linear classifier."""
    from torch import nn

    layers: list[nn.Module] = []
    channels = 3
    for index, width in enumerate(widths):
        stride = 1 if index == 0 else 2
        layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def stored_bytes(network: Any, bits: dict[str, int]) -> float:
    """Weights on their grids, everything else in float32."""
    parameters = dict(network.model.named_parameters())
    return sum(parameter.numel() * bits.get(name, 32) / 8 for name, parameter in parameters.items())


def bit_operations(network: Any, bits: dict[str, int]) -> float:
    """Multiply-adds times the bits of the weight."""
    return sum(float(kernel.macs()) * bits.get(kernel.weights.weight, 32) for kernel in network.kernels)


def size_limit(network: Any, weights: list[str], cell: Cell) -> float:
    """The size asked for, in bytes."""
    if "above" in cell:
        return cell["above"] * stored_bytes(network, dict.fromkeys(weights, 2))
    return cell["share"] * stored_bytes(network, dict.fromkeys(weights, 16))


def report(size: str) -> None:
    """Accuracy against size, mean and deviation over seeds."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        cell = row["cell"]
        key = next(
            f"{cell['mode']} {name} {cell[name]}" for name in ("bits", "share", "above", "strength") if name in cell
        )
        groups.setdefault(key, []).append(row)
    print(f"{'cell':24} {'accuracy, %':22} {'kB':16} {'Mbit-MAC':16} bits of the layers (first seed)")
    for key, mine in groups.items():
        print(
            f"{key:24} {mean_and_spread([100 * row['accuracy'] for row in mine]):22} "
            f"{mean_and_spread([row['bytes'] / 1000 for row in mine]):16} "
            f"{mean_and_spread([row['bit_operations'] / 1e6 for row in mine]):16} {list(mine[0]['bits'].values())}"
        )


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
