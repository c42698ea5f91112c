"""Encoders: every depth of one, and a base inside a large (Tables 3 and 8 of arXiv 2309.00255; the sheet's rows 15 to 17).

``encoder-tiny`` on SST-2 and CoLA. ``plain`` trains the whole; ``depths`` sorts all depths; ``nested`` holds two members,
the large one and a base of three quarters of every dim (hidden size, heads' dims, feed-forward) and all blocks but one;
``base`` trains that base alone. All depths of plain and sorted networks are evaluated, as they are and with the classifier
tuned.

    python benchmarks/sorted_encoder.py --size small
    python benchmarks/sorted_encoder.py --size small --report
"""

from typing import Any

from study import DATA, Cell, load_rows, mean_and_spread, parse_arguments, run_study

NAME = "sorted_encoder"
WAYS = ("plain", "depths", "nested", "base")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"train_size": 400, "epochs": 1},
    "small": {"train_size": 4000, "epochs": 4},
    "full": {"train_size": None, "epochs": 10},
}
TASKS = ("sst2", "cola")


def cells(size: str, seeds: int) -> list[Cell]:
    """Seeds outermost."""
    return [{"seed": s, "task": t, "way": way} | SETTINGS[size] for s in range(seeds) for t in TASKS for way in WAYS]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train once; accuracy of every depth and of the base."""
    import torch

    from nasc.datasets import load_dataset
    from nasc.graph import trace
    from nasc.graph.blocks import find_exits
    from nasc.methods import Price
    from nasc.methods.sorted_networks import (
        DEPTH,
        Knob,
        Objective,
        Pool,
        PrefixModel,
        SortedNetwork,
        match_dims,
    )
    from nasc.models import load_model
    from nasc.training import Recipe, train

    data = load_dataset(f"glue/{cell['task']}:{DATA / 'glue'}", train_size=cell["train_size"], seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    model = load_model("encoder-tiny", num_classes=data.num_classes, input_shape=data.input_shape)
    network = trace(model, (data.train_x[:1],))
    exits, dims = find_exits(network), match_dims(network, reduced=True)
    last = exits[-1].blocks
    both = Pool(
        network,
        [Knob("width", (0.75, 1.0), dims), Knob(DEPTH, (last - 1, last))],
        exits,
        allowed=lambda member: len(set(member.cuts)) == 1,
    )
    base, large = both.members
    epochs = cell["epochs"] * (2 if cell["way"] == "nested" else last if cell["way"] == "depths" else 1)
    recipe = Recipe(epochs=epochs, seed=cell["seed"], optimizer="adamw", learning_rate=5e-4, batch_size=64)
    steps = recipe.steps_per_epoch(len(data.train_y)) * epochs
    price = Price(network, "macs")
    method = SortedNetwork(network, price, price.dense, steps, widths=[1.0], depths="all", seed=cell["seed"])
    if cell["way"] != "depths":
        method.pool, method.family = both, PrefixModel(both)
        method.model = method.family
        members = {"plain": [large], "base": [base], "nested": [base, large]}[cell["way"]]
        method._objective = Objective(lambda step: (members[step % len(members)],))
        method._drawn = (members[0],)
    history = train(method, data, recipe, progress=False)
    family = PrefixModel(both)
    depths = Pool(network, [Knob(DEPTH, tuple(exit_.blocks for exit_ in exits))], exits)
    found = {f"depth {member.values[DEPTH]:g}": member for member in depths.members} | {"base": base}
    return {
        "zero_shot": {name: score(family, member, data) for name, member in found.items()},
        "tuned": {name: tuned(network, member, data, cell) for name, member in found.items()},
        "steps": history.step,
        "updates": steps,
    }


def score(family: Any, member: Any, data: Any) -> float:
    """Accuracy on the test part."""
    from nasc.training import evaluate

    with family.as_member(member):
        return evaluate(family, data.test_x, data.test_y).value


def tuned(network: Any, member: Any, data: Any, cell: Cell) -> float:
    """Accuracy after two epochs of the classifier alone: the early-exit head of a frozen network."""
    from nasc.stages.family import build_member
    from nasc.training import Recipe, evaluate, train

    small = build_member(network, member.sizes, member.exit)
    for name, parameter in small.named_parameters():
        parameter.requires_grad_(name.startswith("classifier"))
    train(small, data, Recipe(epochs=2, seed=cell["seed"], optimizer="adamw", learning_rate=1e-3), progress=False)
    return evaluate(small, data.test_x, data.test_y).value


def report(size: str) -> None:
    """Accuracy of every depth and of the base, by way."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    for task in TASKS:
        for way in WAYS:
            mine = [row for row in rows if (row["cell"]["task"], row["cell"]["way"]) == (task, way)]
            for key in ("zero_shot", "tuned") if mine else ():
                figures = {name: mean_and_spread([100 * row[key][name] for row in mine]) for name in mine[0][key]}
                print(f"{task} {way:8} {key:10}", "  ".join(f"{name}: {text}" for name, text in figures.items()))


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
