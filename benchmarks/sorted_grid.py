"""The grid of members: one network, 10 widths x 16 depths (arXiv 2309.00255, Fig. 2 and 6; the method's sheet, rows 1 to 7).

The network is MobileNetV2-like: a stem, 17 inverted residual blocks, a head. One run each:

- ``dense``: plain training; its slices as they are, and with the classifier tuned;
- ``sorted``: the whole grid; zero-shot, with re-estimated statistics, and with the classifier tuned;
- ``width`` / ``depth``: one knob alone;
- ``best``: the sorted grid's best subset (width above 60 %, more than 13 blocks) trained alone.

Recovery is accuracy over that of the dense network.

    python benchmarks/sorted_grid.py --size small
    python benchmarks/sorted_grid.py --size small --report
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from study import RESULTS, Cell, load_rows, mean_and_spread, parse_arguments, run_study

if TYPE_CHECKING:
    from torch import nn

NAME = "sorted_grid"
PARTS = ("dense", "sorted", "width", "depth", "best")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "data": "digits",
        "width": 0.25,
        "train_size": None,
        "epochs": 3,
        "widths": [0.5, 1.0],
        "depths": [2, 9, 17],
    },
    "small": {
        "data": "cifar10",
        "width": 0.25,
        "train_size": 10_000,
        "epochs": 30,
        "widths": [0.28, 0.36, 0.44, 0.52, 0.6, 0.68, 0.76, 0.84, 0.92, 1.0],
        "depths": list(range(2, 18)),
    },
    "full": {
        "data": "cifar10",
        "width": 1.0,
        "train_size": None,
        "epochs": 600,
        "widths": [0.28, 0.36, 0.44, 0.52, 0.6, 0.68, 0.76, 0.84, 0.92, 1.0],
        "depths": list(range(2, 18)),
    },
}
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""(expansion, channels, blocks, stride) of MobileNetV2, two strides dropped for pictures of 32 pixels."""


def build(num_classes: int, channels_in: int, width: float) -> "nn.Module":
    """A MobileNetV2 for small pictures: 17 blocks in one list."""
    from torch import nn

    from nasc.models.blocks import ConvNormAct, PooledClassifier, initialise, scale_width

    class InvertedResidual(nn.Module):
        def __init__(self, before: int, after: int, expansion: int, stride: int) -> None:
            super().__init__()
            inner = before * expansion
            layers: list[nn.Module] = [] if expansion == 1 else [ConvNormAct(before, inner, 1, activation=nn.ReLU6)]
            layers.append(ConvNormAct(inner, inner, 3, stride=stride, groups=inner, activation=nn.ReLU6))
            layers.append(ConvNormAct(inner, after, 1, activation=nn.Identity))
            self.layers, self.residual = nn.Sequential(*layers), stride == 1 and before == after

        def forward(self, x: Any) -> Any:
            return x + self.layers(x) if self.residual else self.layers(x)

    class MobileNetV2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            before = scale_width(32, width)
            self.stem = ConvNormAct(channels_in, before, 3, activation=nn.ReLU6)
            blocks = []
            for expansion, channels, count, stride in STAGES:
                for block in range(count):
                    after = scale_width(channels, width)
                    blocks.append(InvertedResidual(before, after, expansion, 1 if block else stride))
                    before = after
            self.blocks = nn.ModuleList(blocks)
            hidden = scale_width(1280, width)
            self.last = ConvNormAct(before, hidden, 1, activation=nn.ReLU6)
            self.head = PooledClassifier(hidden, num_classes)
            initialise(self)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            for block in self.blocks:
                x = block(x)
            return self.head(self.last(x))

    return MobileNetV2()


def cells(size: str, seeds: int) -> list[Cell]:
    """Seeds outermost."""
    return [{"seed": seed, "part": part} | SETTINGS[size] for seed in range(seeds) for part in PARTS]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train one network or family and evaluate the grid."""
    import torch

    from nasc.cost import cost
    from nasc.datasets import load_dataset
    from nasc.graph import trace
    from nasc.methods import Price
    from nasc.methods.sorted_networks import SortedConfig, SortedNetwork, build_pool
    from nasc.training import Recipe, evaluate, train

    data = load_dataset(data_spec(cell["data"]), train_size=cell["train_size"], seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    network = trace(build(data.num_classes, data.input_shape[0], cell["width"]), (data.train_x[:1],))
    recipe = Recipe(epochs=cell["epochs"], seed=cell["seed"], learning_rate=0.1)
    price = Price(network, "macs")
    knobs = {
        "dense": {"widths": [1.0]},
        "sorted": {"widths": cell["widths"], "depths": cell["depths"]},
        "width": {"widths": cell["widths"]},
        "depth": {"widths": [1.0], "depths": cell["depths"]},
        "best": {
            "widths": [width for width in cell["widths"] if width > 0.6],
            "depths": [depth for depth in cell["depths"] if depth > 13],
        },
    }[cell["part"]]
    steps = recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
    method = SortedNetwork(network, price, price.dense, steps, **knobs, seed=cell["seed"])
    history = train(method, data, recipe, progress=False)
    grid = build_pool(network, SortedConfig(widths=cell["widths"], depths=cell["depths"]))
    rows = []
    for member in grid.members if cell["part"] in ("dense", "sorted") else method.pool.members:
        with method.family.as_member(member):
            shared = evaluate(method.family, data.test_x, data.test_y).value
        whole = member.exit is None
        rows.append(
            {
                "label": member.label,
                "values": dict(member.values),
                "shared": shared,
                "macs": int(cost(network, member.sizes, "macs")) if whole else None,
                **tuned(network, member, data, cell),
            }
        )
    return {"members": rows, "train_s": sum(row.seconds for row in history.rows), "steps": steps}


def tuned(network: Any, member: Any, data: Any, cell: Cell) -> dict[str, float]:
    """Accuracy with statistics made anew, and after five epochs of the classifier alone."""
    from nasc.stages.family import build_member
    from nasc.training import Recipe, evaluate, recalibrate_norms, train

    small = build_member(network, member.sizes, member.exit)
    recalibrate_norms(small, data.train_x, batches=10)
    found = {"recalibrated": evaluate(small, data.test_x, data.test_y).value}
    if cell["part"] in ("dense", "sorted") and on_corners(member, cell):
        for name, parameter in small.named_parameters():
            parameter.requires_grad_(name.startswith("head."))
        train(small, data, Recipe(epochs=5, seed=cell["seed"], learning_rate=0.05), progress=False)
        found["tuned"] = evaluate(small, data.test_x, data.test_y).value
    return found


def on_corners(member: Any, cell: Cell) -> bool:
    """A tenth of the grid is tuned: the smallest, middle and largest of each knob."""
    pick = {
        name: {values[0], values[len(values) // 2], values[-1]}
        for name, values in (("width", cell["widths"]), ("depth", cell["depths"]))
    }
    return all(member.values.get(name, 1) in chosen for name, chosen in pick.items() if name in member.values)


def data_spec(name: str) -> str:
    """Where a data set lies."""
    from accuracy import data_spec as known

    return name if name == "digits" else known(name)


def report(size: str) -> None:
    """Mean recovery of every part, and the heat map of the sorted grid as a page."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    dense = {row["cell"]["seed"]: row["members"][-1]["shared"] for row in rows if row["cell"]["part"] == "dense"}
    for part in PARTS:
        mine = [row for row in rows if row["cell"]["part"] == part and row["cell"]["seed"] in dense]
        for key in ("shared", "recalibrated", "tuned"):
            recovered = [
                [100 * m[key] / dense[row["cell"]["seed"]] for m in row["members"] if key in m] for row in mine
            ]
            if recovered and recovered[0]:
                means = [sum(values) / len(values) for values in recovered]
                best = [max(values) for values in recovered]
                print(f"{part:8} {key:14} recovery: mean {mean_and_spread(means):24} best {mean_and_spread(best)}")
    families = [row for row in rows if row["cell"]["part"] == "sorted"]
    if families:
        draw(families, dense, RESULTS / f"{NAME}-{size}.html")


def draw(rows: list[dict[str, Any]], dense: dict[int, float], path: Path) -> None:
    """Recovery by width and depth, means over seeds."""
    import plotly.graph_objects as go

    widths, depths = rows[0]["cell"]["widths"], rows[0]["cell"]["depths"]
    held: dict[tuple[float, float], list[float]] = {}
    for row in rows:
        for member in row["members"]:
            place = member["values"]["width"], member["values"]["depth"]
            held.setdefault(place, []).append(100 * member["recalibrated"] / dense[row["cell"]["seed"]])
    table = [
        [sum(held[width, depth]) / len(held[width, depth]) if (width, depth) in held else None for width in widths]
        for depth in depths
    ]
    figure = go.Figure(go.Heatmap(x=widths, y=depths, z=table, texttemplate="%{z:.0f}", colorbar={"title": "%"}))
    figure.update_layout(title="Recovery of the members, %", xaxis_title="width", yaxis_title="blocks")
    figure.write_html(path, include_plotlyjs=True)


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
