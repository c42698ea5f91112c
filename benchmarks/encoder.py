"""Smaller encoders: a BERT-like model pretrained on WikiText-2 by masked words, then compressed while it is fine-tuned.

Tasks of GLUE: SST-2, CoLA, RTE; targets in multiply-adds. Every method starts from the same pretrained weights and has
the same recipe. ``surrogate`` prunes widths; ``ffn`` is the paper's recipe, low rank + sparse (U diag(b) V + S o A) on
the feed-forward matrices alone; the rivals are magnitude and Taylor pruning, ZipLM-style reconstruction, HALP's
knapsack, and a narrower encoder distilled from the dense one.

    python benchmarks/encoder.py --size small
    python benchmarks/encoder.py --size small --report
"""

from pathlib import Path
from typing import Any

from study import DATA, Cell, load_rows, mean_and_spread, parse_arguments, run_study

NAME = "encoder"
TASKS = ("sst2", "cola", "rte")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"pretrain": 30, "train_size": 500, "epochs": 2, "tasks": ("sst2",), "model": "encoder-tiny@0.25"},
    "small": {"pretrain": 600, "train_size": 8_000, "epochs": 5, "tasks": ("sst2",), "model": "encoder-tiny@0.5"},
    "full": {
        "pretrain": 40_000,
        "train_size": None,
        "epochs": 10,
        "tasks": ("sst2", "cola", "rte"),
        "model": "encoder-tiny",
    },
}
METHODS = ("dense", "surrogate", "ffn", "magnitude-global", "taylor", "ziplm", "halp", "distilled")
TARGET = 0.5


def cells(size: str, seeds: int) -> list[Cell]:
    """Seeds outermost."""
    setting = SETTINGS[size]
    return [
        {"task": task, "method": method, "seed": seed, "target": TARGET, "size": size, "model": setting["model"]}
        | {"train_size": setting["train_size"], "epochs": setting["epochs"], "pretrain": setting["pretrain"]}
        for seed in range(seeds)
        for task in setting["tasks"]
        for method in METHODS
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Fine-tune one method on one task."""
    import torch

    from nasc.cost import cost
    from nasc.datasets import load_dataset
    from nasc.graph import Selection, trace
    from nasc.materialise import materialise, small_masks, verify_trained
    from nasc.methods import build, readjust
    from nasc.methods._price import Price
    from nasc.models import load_model
    from nasc.training import Recipe, Teacher, evaluate, train

    data = load_dataset(f"glue/{cell['task']}:{DATA / 'glue'}", train_size=cell["train_size"], seed=cell["seed"])
    recipe = Recipe(
        epochs=cell["epochs"], seed=cell["seed"], optimizer="adamw", learning_rate=5e-4, weight_decay=0.01,
        label_smoothing=0.0, batch_size=32, warmup=0.1, clip_norm=1.0, precision="fp32",
    )  # fmt: skip
    torch.manual_seed(cell["seed"])
    model = load_model(cell["model"], num_classes=data.num_classes, input_shape=data.input_shape)
    load_pretrained(model, cell)
    network = trace(model, (data.train_x[:1],))
    dense_macs = float(cost(network, {}, "macs"))
    steps = recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
    selection, difference, share = Selection(), 0.0, 1.0
    if cell["method"] == "dense":
        small, macs = model, dense_macs
        train(small, data, recipe, progress=False)
    elif cell["method"] == "distilled":
        train(model, data, recipe, progress=False)
        narrow = f"{cell['model'].partition('@')[0]}@{0.7 * float(cell['model'].partition('@')[2] or 1):g}"
        torch.manual_seed(cell["seed"])
        small = load_model(narrow, num_classes=data.num_classes, input_shape=data.input_shape)
        train(small, data, recipe, progress=False, teacher=Teacher(model, weight=0.7))
        macs = float(cost(trace(small, (data.train_x[:1],)), {}, "macs"))
    else:
        price, limit = Price(network, "macs"), cell["target"] * dense_macs
        name = "surrogate" if cell["method"] == "ffn" else cell["method"]
        options = {"blocks": "lowrank,sparse", "layers": r"\.(up|down)$"} if cell["method"] == "ffn" else {}
        method = build(name, network, price, limit, steps, **options)
        searched = train(method, data, recipe, progress=False, on_frozen=lambda frozen: True)
        selection = readjust(method.price, method.select(), method.scores(), limit)
        small = materialise(method.network, selection)
        masks = small_masks(method.network, selection)
        train(small, data, recipe, progress=False, start_step=searched.step, masks=masks)
        difference, share = verify_trained(method.network, selection, small), searched.step / steps
        macs = float(method.price.total(selection.sizes))
    accuracy = evaluate(small, data.test_x, data.test_y)
    return {
        "accuracy": accuracy.value,
        "matthews": matthews(small, data),
        "macs": macs,
        "dense_macs": dense_macs,
        "search_share": share,
        "max_abs_difference": difference,
        "widths": selection.sizes,
    }


def matthews(model: Any, data: Any) -> float:
    """Matthews correlation on the test part (CoLA's metric)."""
    import torch
    from sklearn.metrics import matthews_corrcoef

    model.eval()
    with torch.no_grad():
        found = torch.cat([model(x).argmax(1) for x in data.test_x.split(256)])
    return float(matthews_corrcoef(data.test_y.numpy(), found.numpy()))


def load_pretrained(model: Any, cell: Cell) -> None:
    """Put the weights of the masked-word model in; made once a size, kept out of the repository.

    Positions beyond the ones that were pretrained keep their fresh weights, and so does the classifier.
    """
    import torch
    from safetensors.torch import load_file

    path = Path("runs") / "study-encoder" / f"{cell['size']}-{cell['pretrain']}.safetensors"
    if not path.is_file():
        pretrain(path, cell)
    state, own = load_file(path), model.state_dict()
    with torch.no_grad():
        for name, value in state.items():
            if name == "places":
                length = min(value.shape[1], own[name].shape[1])
                own[name][:, :length] = value[:, :length]
            elif not name.startswith("classifier"):
                own[name].copy_(value)


def pretrain(path: Path, cell: Cell) -> None:
    """Masked words on WikiText-2: 15 % of the positions are asked for, 80 % of them masked, 10 % replaced (BERT)."""
    import torch
    from safetensors.torch import save_file
    from torch.nn import functional

    from nasc.datasets.text import MASK, VOCABULARY
    from nasc.datasets.wikitext2 import LENGTH, load_streams
    from nasc.models import load_model

    torch.manual_seed(0)
    train, _, _ = load_streams(DATA / "wikitext2")
    model = load_model(cell["model"], num_classes=2, input_shape=(LENGTH,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    steps = cell["pretrain"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        starts = torch.randint(len(train) - LENGTH, (32, 1))
        words = train[starts + torch.arange(LENGTH)]
        asked = torch.rand(words.shape) < 0.15
        kind = torch.rand(words.shape)
        given = torch.where(asked & (kind < 0.8), MASK, words)
        given = torch.where(asked & (kind > 0.9), torch.randint(4, VOCABULARY, words.shape), given)
        states = model.encode(given)[asked]
        loss = functional.cross_entropy(states @ model.words.weight.T, words[asked])  # tied output matrix
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)


def report(size: str) -> None:
    """Accuracy (and Matthews correlation) by method, with the share of the multiply-adds that is left."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    for task in sorted({row["cell"]["task"] for row in rows}):
        print(f"\n{task}: {'method':18} {'accuracy, %':22} {'Matthews, %':22} MACs left")
        for method in METHODS:
            mine = [row for row in rows if (row["cell"]["task"], row["cell"]["method"]) == (task, method)]
            if mine:
                print(
                    f"      {method:18} {mean_and_spread([100 * row['accuracy'] for row in mine]):22} "
                    f"{mean_and_spread([100 * row['matthews'] for row in mine]):22} "
                    f"{mean_and_spread([row['macs'] / row['dense_macs'] for row in mine])}"
                )


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
