"""The paper's smaller tables and figures, one command each (arXiv 2308.02060; numbers of its tables and figures).

    python benchmarks/sparse_tables.py --table budgets --size small
    python benchmarks/sparse_tables.py --table budgets --size small --report

Tables: ``budgets`` (Fig. 5, Table 1), ``patterns`` (block-4, 2:4), ``depthwise`` (Table 2), ``channels`` (Table 3),
``weight-decay`` (Fig. 8, Table 4), ``open`` (sparse decompression), ``phases`` (length of AC/DC's phases, momentum),
``rising`` (very high sparsity), ``twin`` (the dense twin), ``sharpness`` (Fig. 9), ``connectivity`` (Fig. 10), ``transfer``
(App. F), ``corruptions`` (App. G), ``labels`` (many labels, Fig. 2).
"""

import argparse
from collections.abc import Callable
from typing import Any

from sparse_length import Figures, data_spec, make_model
from study import Cell, load_rows, mean_and_spread, parse_arguments, run_study

SETTINGS: dict[str, Figures] = {
    "tiny": {
        "data": "digits",
        "model": "digits-cnn@0.125",
        "depthwise": "mobilenetv3-tiny@0.25",
        "train_size": 300,
        "epochs": 2,
    },
    "small": {
        "data": "fashion-mnist",
        "model": "resnet-tiny@0.5",
        "depthwise": "mobilenetv3-tiny@0.5",
        "train_size": 10_000,
    }
    | {"epochs": 10},
    "full": {
        "data": "cifar10",
        "model": "resnet-20",
        "depthwise": "mobilenetv3-tiny",
        "train_size": None,
        "epochs": 100,
    },
}
METHODS = ("acdc", "gmp", "rigl")


def variants(table: str) -> list[Figures]:
    """What a table compares."""
    match table:
        case "budgets":
            named = ("uniform", "uniform-all", "global", "global-ends", "erk", "last-80")
            return [{"method": "acdc", "sparsity": 0.9, "budget": budget} for budget in named]
        case "patterns":
            free = [
                {"method": "acdc", "sparsity": 0.9, "pattern": name} for name in ("unstructured", "block4", "block4x4")
            ]
            half = {"method": "acdc", "sparsity": 0.5, "pattern": "unstructured"}
            return [*free, half, {"method": "acdc", "sparsity": None, "pattern": "2:4"}]
        case "depthwise":
            kept = [{"depthwise": False, "budget": "global-ends"}, {"depthwise": False, "budget": "global"}]
            chosen = [*kept, {"depthwise": True, "budget": "global"}]
            return [{"method": "acdc", "sparsity": s, **options} for s in (0.75, 0.9) for options in chosen]
        case "channels" | "corruptions" | "transfer" | "sharpness":
            sparse = [{"method": name, "sparsity": s} for s in (0.9, 0.98) for name in METHODS]
            return [{**each, "stretch": stretch} for stretch in (1, 2.5) for each in ({"method": "dense"}, *sparse)]
        case "weight-decay":
            return [{"method": "acdc", "sparsity": 0.95, "weight_decay": decay} for decay in (1e-6, 1e-5, 1e-4, 1e-3)]
        case "open":
            return [{"method": "acdc", "sparsity": 0.95, "open_sparsity": share} for share in (0.0, 0.5, 0.7, 0.8, 0.9)]
        case "phases":
            lengths = [{"phase": length} for length in (0.025, 0.05, 0.1, 0.2, 0.6)]
            resets = [*lengths, {"phase": 0.05, "reset_momentum": False}]
            return [{"method": "acdc", "sparsity": 0.9, **options} for options in resets] + [
                {"method": "gmp", "sparsity": 0.9}
            ]
        case "rising":
            return [
                {"method": "acdc", "sparsity": s, "rising": rising} for s in (0.98, 0.995) for rising in (False, True)
            ]
        case "twin":
            return [{"method": "dense"}, {"method": "acdc", "sparsity": 0.9, "keep_twin": True}]
        case "connectivity":
            return [{"method": "dense"}, *({"method": name, "sparsity": 0.9} for name in METHODS)]
        case _:
            return [
                {"method": "dense"},
                *({"method": "acdc", "sparsity": s, "rising": True} for s in (0.9, 0.95, 0.99, 0.995)),
            ]


TABLES = (
    "budgets",
    "patterns",
    "depthwise",
    "channels",
    "weight-decay",
    "open",
    "phases",
    "rising",
    "twin",
    "sharpness",
    "connectivity",
    "transfer",
    "corruptions",
    "labels",
)
NOT_OPTIONS = ("method", "stretch", "weight_decay", "table", "seed", "size")


def cells(table: str, size: str, seeds: int) -> list[Cell]:
    """Seeds outermost."""
    return [
        {**variant, "table": table, "seed": seed, "size": size} for seed in range(seeds) for variant in variants(table)
    ]


def run_cell(cell: Cell) -> Figures:
    """Train one variant, then what the table looks at."""
    import torch

    from nasc.analysis import cross_entropy, scores_of
    from nasc.datasets import load_dataset
    from nasc.training import Recipe, evaluate

    setting = SETTINGS[cell["size"]]
    data = load_dataset(data_spec(setting["data"]), train_size=setting["train_size"], seed=cell["seed"])
    if cell["table"] == "transfer":
        data = some_classes(data, low=0)
    if cell["table"] == "labels":
        return many_labels(cell, setting, data)
    torch.manual_seed(cell["seed"])
    model = make_model(setting["depthwise" if cell["table"] == "depthwise" else "model"], data)
    recipe = Recipe(
        epochs=setting["epochs"],
        learning_rate=0.1,
        weight_decay=cell.get("weight_decay", 1e-4),
        label_smoothing=0.0,
        augment=False,
        decay="linear",
        warmup=0.1,
        seed=cell["seed"],
    ).stretched(cell.get("stretch", 1))
    copies: list[Any] = []
    keep = cell["table"] == "connectivity"
    method, metrics = train_variant(cell, model, data, recipe, copies if keep else None)
    found = {
        "accuracy": evaluate(model, data.test_x, data.test_y).value,
        "train_loss": cross_entropy(scores_of(model, data.train_x[:10_000]), data.train_y[:10_000]),
        **metrics,
    }
    return found | LOOKS.get(cell["table"], nothing)(model, data, method, copies, cell)


def train_variant(cell: Cell, model: Any, data: Any, recipe: Any, copies: list[Any] | None) -> tuple[Any, Figures]:
    """Train, and keep the states of about ten epochs where they are asked for."""
    from nasc.graph import trace
    from nasc.methods import Price, build
    from nasc.training import train

    every = max(1, recipe.epochs // 10)

    def keep(row: Any) -> None:
        if copies is not None and row.epoch % every == 0:
            copies.append({name: value.detach().clone() for name, value in model.state_dict().items()})

    if cell["method"] == "dense":
        train(model, data, recipe, progress=False, on_epoch=keep)
        return None, {}
    network = trace(model, (data.train_x[:1],))
    options = {key: value for key, value in cell.items() if key not in NOT_OPTIONS and value is not None}
    if cell["method"] == "acdc":
        options |= {"stretch": cell.get("stretch", 1)}
    price = Price(network)
    steps = recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
    method = build(cell["method"], network, price, 0.0, steps, **options)
    history = train(method, data, recipe, progress=False, on_epoch=keep)
    zeros = [row.metrics["decompression_zeros"] for row in history.rows if "decompression_zeros" in row.metrics]
    metrics = method.metrics()
    return method, {
        "inference_macs": method.price_now() / price.dense,
        "training_cost": metrics["training_cost"],
        "zeros": metrics["zeros"],
        "decompression_zeros": list(dict.fromkeys(zeros)),
    }


Look = Callable[[Any, Any, Any, list[Any], Cell], Figures]


def nothing(model: Any, data: Any, method: Any, copies: list[Any], cell: Cell) -> Figures:
    """Accuracy and cost are all there is to see."""
    return {}


def look_at_channels(model: Any, data: Any, method: Any, copies: list[Any], cell: Cell) -> Figures:
    """Zero channels by depth, and why zero filters stay zero."""
    from nasc.analysis import by_depth, captured_filters, channel_zeros

    return {"channels": by_depth(channel_zeros(model)), "captured": vars(captured_filters(model))}


def look_at_sharpness(model: Any, data: Any, method: Any, copies: list[Any], cell: Cell) -> Figures:
    """Top eigenvalues on 2,000 training pictures."""
    from nasc.analysis import sharpness, weight_masks

    x, y = data.train_x[:2000], data.train_y[:2000]
    masks = weight_masks(model)
    return {"sharpness": sharpness(model, x, y).value, "sharpness_support": sharpness(model, x, y, masks=masks).value}


def look_between(model: Any, data: Any, method: Any, copies: list[Any], cell: Cell) -> Figures:
    """Barriers between neighbouring states of the run, norms' statistics made anew at every point."""
    from itertools import pairwise

    from nasc.analysis import cross_entropy, scores_of, walk
    from nasc.training import recalibrate_norms

    def loss_on(x: Any, y: Any) -> Any:
        def loss(state: Any) -> float:
            model.load_state_dict(state)
            recalibrate_norms(model, data.train_x[:2000])
            return cross_entropy(scores_of(model, x), y)

        return loss

    sides = {"train": (data.train_x[:2000], data.train_y[:2000]), "test": (data.test_x[:2000], data.test_y[:2000])}
    return {
        f"barriers_{side}": [walk(a, b, loss_on(*pictures)).barrier for a, b in pairwise(copies)]
        for side, pictures in sides.items()
    }


def look_at_transfer(model: Any, data: Any, method: Any, copies: list[Any], cell: Cell) -> Figures:
    """Five classes learned; the other five by a linear probe and by full fine-tuning."""
    from nasc.analysis import transfer
    from nasc.datasets import load_dataset

    setting = SETTINGS[cell["size"]]
    whole = load_dataset(data_spec(setting["data"]), train_size=setting["train_size"], seed=cell["seed"])
    found = transfer(model, some_classes(whole, low=5), epochs=max(1, setting["epochs"] // 2), seed=cell["seed"])
    return {"linear": found.linear, "full": found.full}


def look_at_corruptions(model: Any, data: Any, method: Any, copies: list[Any], cell: Cell) -> Figures:
    """Accuracy on eight corruptions at three severities, 2,000 test pictures."""
    from nasc.analysis import CORRUPTIONS, accuracy, corrupt, scores_of

    x, y = data.test_x[:2000], data.test_y[:2000]
    found = {
        name: sum(accuracy(scores_of(model, corrupt(x, name, level)), y) for level in (1, 2, 3)) / 3
        for name in CORRUPTIONS
    }
    return {"corruptions": found, "robust_accuracy": sum(found.values()) / len(found)}


def look_at_twin(model: Any, data: Any, method: Any, copies: list[Any], cell: Cell) -> Figures:
    """The network at the end of the last dense phase, as it was and after a little dense training."""
    from nasc.methods.sparse_training import twin_model
    from nasc.training import Recipe, evaluate, train

    if method is None:
        return {}
    twin = twin_model(method.schedule, make_model(SETTINGS[cell["size"]]["model"], data))
    bare = evaluate(twin, data.test_x, data.test_y).value
    short = Recipe(
        epochs=2, learning_rate=0.02, label_smoothing=0.0, augment=False, weight_decay=1e-4, seed=cell["seed"]
    )
    train(twin, data, short, progress=False)
    return {"twin": bare, "twin_tuned": evaluate(twin, data.test_x, data.test_y).value}


LOOKS: dict[str, Look] = {
    "channels": look_at_channels,
    "weight-decay": look_at_channels,
    "sharpness": look_at_sharpness,
    "connectivity": look_between,
    "transfer": look_at_transfer,
    "corruptions": look_at_corruptions,
    "twin": look_at_twin,
}


def some_classes(data: Any, low: int) -> Any:
    """Five classes of a data set, numbered from 0."""
    from dataclasses import replace

    parts: Figures = {}
    for part in ("train", "val", "test"):
        x, y = getattr(data, f"{part}_x"), getattr(data, f"{part}_y")
        chosen = (y >= low) & (y < low + 5)
        parts |= {f"{part}_x": x[chosen], f"{part}_y": y[chosen] - low}
    return replace(data, num_classes=5, **parts)


ATTRIBUTES = (
    (0, 2, 4, 6, 8),
    (0, 1, 2, 3, 4),
    (2, 3, 5, 7),
    (0, 6, 8, 9),
    (1, 3, 5, 9),
    (1, 4, 7),
    (3, 6, 9),
    (2, 5, 8),
)
"""Eight yes-or-no questions about ten classes, each by the classes that say yes."""


def many_labels(cell: Cell, setting: Figures, data: Any) -> Figures:
    """Eight labels a picture, binary cross entropy; loss and uncertainty of the trained network."""
    import torch
    from torch import nn

    from nasc.analysis import scores_of, uncertainty
    from nasc.graph import trace
    from nasc.methods import Price, build

    table = torch.tensor([[float(c in yes) for yes in ATTRIBUTES] for c in range(10)])
    torch.manual_seed(cell["seed"])
    model = nn.Sequential(make_model(setting["model"], data), nn.ReLU(), nn.Linear(10, len(ATTRIBUTES)))
    epochs, batch = setting["epochs"], 128
    per_epoch = max(1, len(data.train_y) // batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    method = None
    if cell["method"] != "dense":
        network = trace(model, (data.train_x[:1],))
        options = {"sparsity": cell["sparsity"], "rising": cell["rising"]}
        method = build(cell["method"], network, Price(network), 0.0, per_epoch * epochs, **options)
        method.follow(optimizer)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, per_epoch * epochs)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(data.train_y))
        for place in range(per_epoch):
            chosen = order[place * batch : (place + 1) * batch]
            scores = model(data.train_x[chosen])
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(scores, table[data.train_y[chosen]]).backward()
            optimizer.step()
            if method is not None:
                method.step()
            schedule.step()
    fit, test = scores_of(model, data.train_x[:10_000]), scores_of(model, data.test_x)
    right = ((test > 0).float() == table[data.test_y]).float().mean()
    loss = nn.functional.binary_cross_entropy_with_logits(fit, table[data.train_y[:10_000]])
    return {"accuracy": float(right), "train_loss": float(loss), "uncertainty": uncertainty(test)}


def report(table: str, size: str) -> None:
    """Every figure that is a number, mean and spread over seeds, a line a variant."""
    rows = [row for row in load_rows(f"sparse_{table}", size) if "error" not in row]
    groups: dict[str, list[Figures]] = {}
    for row in rows:
        shown = {k: v for k, v in row["cell"].items() if k not in ("seed", "size", "table") and v is not None}
        groups.setdefault(" ".join(f"{key}={value}" for key, value in shown.items()), []).append(row)
    for name, group in groups.items():
        print(name)
        for key in group[0]:
            values = [row[key] for row in group]
            if isinstance(values[0], float) and key != "elapsed_s":
                print(f"    {key:20} {mean_and_spread(values)}")
            elif isinstance(values[0], dict) and key not in ("cell", "origin"):
                print(f"    {key:20} " + ", ".join(f"{k} {mean_and_spread([v[k] for v in values])}" for k in values[0]))
            elif isinstance(values[0], list) and values[0]:
                print(f"    {key:20} " + ", ".join(f"{value:.3g}" for value in values[0]))


if __name__ == "__main__":
    extra = argparse.ArgumentParser(add_help=False)
    extra.add_argument("--table", choices=TABLES, help="one of them; all by default")
    own, rest = extra.parse_known_args()
    parsed = parse_arguments(__doc__ or "", rest)
    for one in [own.table] if own.table else TABLES:
        if not parsed.report:
            run_study(f"sparse_{one}", cells(one, parsed.size, parsed.seeds), run_cell, parsed)
        report(one, parsed.size)
