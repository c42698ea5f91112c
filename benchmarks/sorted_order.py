"""Does sorted training order the units? The toy of the paper's appendix C.7 (Table 9; the method's sheet, rows 20 and 24).

Two-dimensional blobs of four classes (centres (-2, 0), (0, 2), (2, 0), (0, -2), deviations 0.5, 1, 0.5, 1, 1000 points, seed
42) and a 2-10-4 network, 10 epochs of Adam (0.01), batches of 16. Prefixes, suffixes and alternating halves of the hidden
units are evaluated in the plain and in the sorted network.

    python benchmarks/sorted_order.py --size small --seeds 5
    python benchmarks/sorted_order.py --size small --report
"""

from typing import TYPE_CHECKING, Any

from study import Cell, load_rows, mean_and_spread, parse_arguments, run_study

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "sorted_order"
HIDDEN = 10
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"epochs": 2},
    "small": {"epochs": 10},
    "full": {"epochs": 10},
}
PUBLISHED = {"plain prefix": 82.22, "plain suffix": 86.67, "sorted prefix": 89.25, "sorted suffix": 59.38}
"""Means over patterns in per cent, as the paper's text gives them."""


def cells(size: str, seeds: int) -> list[Cell]:
    return [
        {"seed": seed, "training": training, **SETTINGS[size]}
        for seed in range(seeds)
        for training in ("plain", "sorted")
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train one network; accuracy of every prefix, suffix and alternating pattern of its hidden units."""
    import torch
    from torch import nn

    from nasc.graph import trace
    from nasc.methods.sorted_networks import Knob, Pool, PrefixModel, Sampler, match_dims

    x, y = blobs()
    torch.manual_seed(cell["seed"])
    model = nn.Sequential(nn.Linear(2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 4))
    network = trace(model, (x[:1],))
    cuts = tuple((unit + 1) / HIDDEN for unit in range(HIDDEN))
    pool = Pool(network, [Knob("width", cuts, match_dims(network))])
    family, sampler = PrefixModel(pool), Sampler(pool, seed=cell["seed"])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    step = 0
    for epoch in range(cell["epochs"]):
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(1000 * cell["seed"] + epoch))
        for indices in order.split(16):
            family.member = sampler.draw(step) if cell["training"] == "sorted" else pool.largest
            optimizer.zero_grad()
            nn.functional.cross_entropy(family(x[indices]), y[indices]).backward()
            optimizer.step()
            step += 1
    patterns = {
        "prefix": prefixes(),
        "suffix": suffixes(),
        "alternating": [[i % 2 == o for i in range(HIDDEN)] for o in (0, 1)],
    }
    return {
        name: [accuracy(model, torch.tensor(mask, dtype=torch.float32), x, y) for mask in masks]
        for name, masks in patterns.items()
    }


def prefixes() -> list[list[bool]]:
    return [[unit < kept for unit in range(HIDDEN)] for kept in range(1, HIDDEN + 1)]


def suffixes() -> list[list[bool]]:
    return [mask[::-1] for mask in prefixes()]


def blobs() -> "tuple[Tensor, Tensor]":
    """The points and their classes; float32 (1000, 2) and int64 (1000,)."""
    import torch
    from sklearn.datasets import make_blobs

    points, labels = make_blobs(
        n_samples=1000,
        centers=[[-2, 0], [0, 2], [2, 0], [0, -2]],
        cluster_std=[0.5, 1, 0.5, 1],
        random_state=42,
    )
    return torch.tensor(points, dtype=torch.float32), torch.tensor(labels)


def accuracy(model: "nn.Sequential", mask: "Tensor", x: "Tensor", y: "Tensor") -> float:
    """With hidden units masked, in per cent."""
    import torch

    with torch.no_grad():
        scores = model[2](torch.relu(model[0](x)) * mask)
    return 100 * float((scores.argmax(1) == y).float().mean())


def report(size: str) -> None:
    """Means over patterns, beside the paper's."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    for training in ("plain", "sorted"):
        mine = [row for row in rows if row["cell"]["training"] == training]
        for pattern in ("prefix", "suffix", "alternating"):
            if mine:
                means = [sum(row[pattern]) / len(row[pattern]) for row in mine]
                paper = PUBLISHED.get(f"{training} {pattern}", "-")
                print(f"{training:8} {pattern:12} mean {mean_and_spread(means):24} paper {paper}")
        if mine:
            for pattern in ("prefix", "suffix"):
                print(f"{training:8} {pattern} of five units: {mean_and_spread([row[pattern][4] for row in mine])}")


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
