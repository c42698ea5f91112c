"""Sparse transfer for language models: an encoder pruned upstream learns tasks by several recipes (arXiv 2308.02060).

Upstream: masked words on WikiText-2 (as in ``encoder.py``), under GMP or AC/DC up to the sparsity; all linear layers of all
blocks, embeddings and head dense. Downstream, with the masks fixed:

- ``dense``: the dense recipe, 3 epochs, linear decay; ``extended``: 8 epochs; ``sweep``: every length from 1 to 7, the best
  by validation accuracy;
- ``unfreezing``: head, biases and norms first, then a block an epoch from the last, the learning rate anew in each epoch;
- ablations: ``no-rewind``, ``first-last``, ``all-at-once``, ``head-only``.

Each recipe is tuned over its own grid (6 runs for unfreezing, as many for the others by learning rate and dropout; the sweep
takes 7 lengths of one setting), chosen by validation accuracy, and the mean of its two best runs is what counts.

    python benchmarks/sparse_transfer.py --size small
    python benchmarks/sparse_transfer.py --size small --report
"""

from pathlib import Path
from typing import Any

from encoder import matthews
from study import DATA, Cell, load_rows, mean_and_spread, parse_arguments, run_study

NAME = "sparse_transfer"
RECIPES = ("dense", "extended", "sweep", "unfreezing", "no-rewind", "first-last", "all-at-once", "head-only")
ORDERS = {"first-last": "first-last", "all-at-once": "all", "head-only": "none"}
GRID = [(rate, dropout) for rate in (1e-4, 2e-4, 3e-4) for dropout in (0.05, 0.1)]
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"model": "encoder-tiny@0.25", "upstream": 20, "train_size": 200, "tasks": ("rte",), "grid": GRID[:1]}
    | {"recipes": ("dense", "unfreezing", "head-only")},
    "small": {"model": "encoder-tiny@0.5", "upstream": 3000, "train_size": 4000, "tasks": ("sst2", "cola", "rte")}
    | {"grid": GRID, "recipes": RECIPES},
    "full": {"model": "encoder-tiny", "upstream": 60_000, "train_size": None, "tasks": ("sst2", "cola", "rte")}
    | {"grid": GRID, "recipes": RECIPES},
}
SPARSITY = 0.9
FACTOR = 10.0
"""Rates of the grid are for BERT-base; so many times higher for an encoder two orders smaller, the same for all."""


def cells(size: str, seeds: int) -> list[Cell]:
    """Seeds outermost; a cell is one recipe with its whole grid on one task."""
    setting = SETTINGS[size]
    return [
        {"task": task, "recipe": recipe, "seed": seed, "size": size, "upstream": method}
        for seed in range(seeds)
        for task in setting["tasks"]
        for recipe in setting["recipes"]
        for method in ("gmp",)
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Every run of the recipe's grid; the two best by validation accuracy are what is reported."""
    setting = SETTINGS[cell["size"]]
    lengths = {"dense": (3,), "extended": (8,), "sweep": tuple(range(1, 8))}.get(cell["recipe"], (None,))
    grid = setting["grid"][2:3] if cell["recipe"] == "sweep" and len(setting["grid"]) > 1 else setting["grid"]
    runs = [fine_tune(cell, setting, rate, dropout, epochs) for rate, dropout in grid for epochs in lengths]
    best = sorted(runs, key=lambda run: run["val_accuracy"], reverse=True)[:2]
    return {"runs": runs} | {
        key: sum(run[key] for run in best) / len(best) for key in ("accuracy", "matthews", "val_accuracy")
    }


def fine_tune(cell: Cell, setting: dict[str, Any], rate: float, dropout: float, epochs: int | None) -> dict[str, Any]:
    """One run on one task from the upstream weights."""
    import torch
    from torch import nn

    from nasc.datasets import load_dataset
    from nasc.graph import trace
    from nasc.methods import Price
    from nasc.methods.sparse_training import GradualUnfreezing
    from nasc.models import load_model
    from nasc.training import Recipe, RewoundRecipe, evaluate, train

    data = load_dataset(f"glue/{cell['task']}:{DATA / 'glue'}", train_size=setting["train_size"], seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    model = load_model(setting["model"], num_classes=data.num_classes, input_shape=data.input_shape)
    load_upstream(model, cell, setting)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    shared: dict[str, Any] = {
        "optimizer": "adamw",
        "learning_rate": FACTOR * rate,
        "weight_decay": 0.01,
        "batch_size": 32,
    }
    shared |= {"label_smoothing": 0.0, "augment": False, "clip_norm": 1.0, "seed": cell["seed"], "precision": "fp32"}
    method = None
    if epochs is None:
        network = trace(model, (data.train_x[:1],))
        steps = Recipe(**shared).steps_per_epoch(len(data.train_y))
        method = GradualUnfreezing(network, Price(network), steps, order=ORDERS.get(cell["recipe"], "last-first"))
        epochs = method.epochs
    linear = {"epochs": epochs, "decay": "linear", "warmup": 0.0}
    rewound = method is not None and cell["recipe"] != "no-rewind"
    recipe = RewoundRecipe(epochs=epochs, rewinds=epochs, **shared) if rewound else Recipe(**linear, **shared)
    masks = {name: value.detach() != 0 for name, value in model.blocks.named_parameters() if value.dim() == 2}
    named = {f"blocks.{name}": mask for name, mask in masks.items()}
    history = train(method or model, data, recipe, progress=False, masks=None if method else named)
    best = max(row.val_accuracy for row in history.rows)
    return {
        "rate": rate,
        "dropout": dropout,
        "epochs": epochs,
        "accuracy": evaluate(model, data.test_x, data.test_y).value,
        "matthews": matthews(model, data),
        "val_accuracy": history.val_accuracy,
        "best_val_accuracy": best,
        "curve": [[row.train_loss, row.val_accuracy] for row in history.rows],
        "zeros": float(
            sum(int((~mask).sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
        ),
    }


def load_upstream(model: Any, cell: Cell, setting: dict[str, Any]) -> None:
    """The upstream-sparse weights; made once a size, kept out of the repository. Head and further positions stay fresh."""
    import torch
    from safetensors.torch import load_file

    path = (
        Path("runs") / "study-sparse-transfer" / f"{cell['size']}-{cell['upstream']}-{setting['upstream']}.safetensors"
    )
    if not path.is_file():
        upstream(path, cell["upstream"], setting)
    state, own = load_file(path), model.state_dict()
    with torch.no_grad():
        for name, value in state.items():
            if name == "places":
                length = min(value.shape[1], own[name].shape[1])
                own[name][:, :length] = value[:, :length]
            elif not name.startswith("classifier"):
                own[name].copy_(value)


def upstream(path: Path, method_name: str, setting: dict[str, Any]) -> None:
    """Masked words under a pruning method: the blocks' linear layers end at the sparsity."""
    import torch
    from safetensors.torch import save_file
    from torch.nn import functional

    from nasc.datasets.text import MASK, VOCABULARY
    from nasc.datasets.wikitext2 import LENGTH, load_streams
    from nasc.graph import trace
    from nasc.methods import Price, build
    from nasc.models import load_model

    torch.manual_seed(0)
    words, _, _ = load_streams(DATA / "wikitext2")
    model = load_model(setting["model"], num_classes=2, input_shape=(LENGTH,))
    network, steps = trace(model, (words[None, :LENGTH],)), setting["upstream"]
    # The classifier takes no part upstream; whatever is masked of it is replaced by a fresh one downstream.
    method = build(method_name, network, Price(network), 0.0, steps, sparsity=SPARSITY, budget="uniform-all")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    method.follow(optimizer)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    model.train()
    for _ in range(steps):
        starts = torch.randint(len(words) - LENGTH, (32, 1))
        text = words[starts + torch.arange(LENGTH)]
        asked, kind = torch.rand(text.shape) < 0.15, torch.rand(text.shape)
        given = torch.where(asked & (kind < 0.8), MASK, text)
        given = torch.where(asked & (kind > 0.9), torch.randint(4, VOCABULARY, text.shape), given)
        loss = functional.cross_entropy(model.encode(given)[asked] @ model.words.weight.T, text[asked])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        method.step()
        schedule.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)


def report(size: str) -> None:
    """Accuracy and Matthews correlation, mean of the two best runs of each recipe's grid, over seeds."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    print(f"{'task':6} {'recipe':14} {'accuracy, %':22} {'Matthews, %':22} runs tuned")
    for task in sorted({row["cell"]["task"] for row in rows}):
        for recipe in RECIPES:
            mine = [row for row in rows if (row["cell"]["task"], row["cell"]["recipe"]) == (task, recipe)]
            if mine:
                print(
                    f"{task:6} {recipe:14} {mean_and_spread([100 * row['accuracy'] for row in mine]):22} "
                    f"{mean_and_spread([100 * row['matthews'] for row in mine]):22} {len(mine[0]['runs'])}"
                )


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
