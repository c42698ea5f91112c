"""Why l1/l2 and not l1, and why clip: the paper's toy (arXiv 2306.05785, Fig. 2; the method's sheet, rows 9 to 13).

A d-128-10 perceptron on flattened pictures is trained by cross entropy; then a mask on its d inputs is trained with it:

    loss + lambda * Reg(a),    (W, a) <- (W, a) - eta * gradient,    a <- max(0, a)

with Reg = R(a)/d (``l1/l2``) or |a|_1/d (``l1``), both one at the start, so that lambda is in units of a loss. The norm
after the first linear is batch norm, layer norm or none. ``projection off`` leaves out the clip: entries then only come
near zero, so a threshold says what is removed, and the weights are trained for one more epoch.

Every epoch logs both regularisers, the true multiply-adds (recounted from non-zero entries), mean and variance of |a|, the
Frobenius norm of the first weight, exact zeros and validation accuracy.

    python benchmarks/toy.py --size small
    python benchmarks/toy.py --size small --report
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figure import Panel, Series, write_figure
from study import DATA, RESULTS, Cell, load_rows, mean_and_spread, parse_arguments, run_study

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nasc.datasets import ImageData

NAME = "toy"
HIDDEN = 128
BATCH = 128
LEARNING_RATE = 0.05
MOMENTUM = 0.9
THRESHOLDS = (0.001, 0.01, 0.1)
"""Of the largest entry: what counts as removed where nothing is clipped."""

NORMS = ("batch", "none", "layer")
REGULARISERS = ("l1/l2", "l1")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "data": "digits",
        "train_size": 512,
        "dense_epochs": 2,
        "epochs": 3,
        "strengths": {"l1/l2": (0.0, 60.0), "l1": (0.0, 1.0)},
    },
    "small": {
        "data": "fashion-mnist",
        "train_size": 8000,
        "dense_epochs": 5,
        "epochs": 10,
        "strengths": {"l1/l2": (0.0, 10.0, 20.0, 40.0, 60.0, 200.0), "l1": (0.0, 0.3, 1.0, 3.0, 6.0, 10.0)},
    },
    "full": {
        "data": "fashion-mnist",
        "train_size": None,
        "dense_epochs": 20,
        "epochs": 40,
        "strengths": {
            "l1/l2": (0.0, 1.0, 5.0, 20.0, 60.0, 100.0, 200.0, 600.0),
            "l1": (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        },
    },
}

Log = dict[str, float]


def cells(size: str, seeds: int) -> list[Cell]:
    """Seeds outermost; all lambdas of a cell start from the same dense weights. The clip is switched off with batch norm."""
    setting = SETTINGS[size]
    shared = {key: setting[key] for key in ("data", "train_size", "dense_epochs", "epochs")}
    variants = [(norm, True) for norm in NORMS] + [("batch", False)]
    return [
        {"seed": seed, "norm": norm, "projection": projection, "regulariser": regulariser}
        | {"strengths": list(setting["strengths"][regulariser])}
        | shared
        for seed in range(seeds)
        for norm, projection in variants
        for regulariser in REGULARISERS
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """One dense training, then one mask training for every lambda from those weights."""
    import copy

    import torch

    data = load_data(cell)
    torch.manual_seed(cell["seed"])
    dense = build_toy(data.input_shape, data.num_classes, cell["norm"])
    ones = torch.ones(dense[0].in_features)
    optimizer = make_optimizer(dense, ones)
    for epoch in range(cell["dense_epochs"]):
        train_epoch(dense, ones, data, optimizer, epoch, cell["seed"])
    return {
        "inputs": ones.numel(),
        "dense_accuracy": accuracy(dense, ones, data.test_x, data.test_y),
        "runs": [train_mask(copy.deepcopy(dense), data, cell, strength) for strength in cell["strengths"]],
    }


def load_data(cell: Cell) -> "ImageData":
    """The cell's data set, as the packages load it."""
    from nasc.datasets import load_dataset

    spec = "digits" if cell["data"] == "digits" else f"fashion-mnist:{DATA / 'fashion_mnist'}"
    return load_dataset(spec, train_size=cell["train_size"], seed=cell["seed"])


def build_toy(input_shape: Iterable[int], num_classes: int, norm: str) -> "nn.Sequential":
    """Linear, norm, ReLU, linear on flattened pictures of ``input_shape``."""
    from math import prod

    from torch import nn

    norms = {"batch": nn.BatchNorm1d, "none": lambda _: nn.Identity(), "layer": nn.LayerNorm}
    return nn.Sequential(
        nn.Linear(prod(input_shape), HIDDEN), norms[norm](HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_classes)
    )


def regulariser(name: str, *, projection: bool) -> "Callable[[Tensor], Tensor]":
    """Reg(a) of shape () for a mask of shape (d,): R(a)/d or |a|_1/d; the sums are of |a_j| where nothing is clipped."""
    from nasc.methods.surrogate.norms import surrogate_size, surrogate_size_absolute

    if name == "l1":
        return lambda mask: mask.abs().mean() if not projection else mask.mean()
    size = surrogate_size if projection else surrogate_size_absolute
    return lambda mask: size(mask) / mask.numel()


def train_mask(toy: "nn.Sequential", data: "ImageData", cell: Cell, strength: float) -> dict[str, Any]:
    """Train weights and mask together; the log of every epoch, and the end of it.

    Args:
        toy: The dense network, changed in place.
        data: The data set.
        cell: Norm, regulariser, projection, epochs, seed.
        strength: Lambda; zero leaves the mask at one.
    """
    import torch

    mask = torch.ones(toy[0].in_features, requires_grad=strength > 0)
    reg = regulariser(cell["regulariser"], projection=cell["projection"])
    optimizer = make_optimizer(toy, mask)
    logs = [measure(toy, mask, data)]
    for epoch in range(cell["dense_epochs"], cell["dense_epochs"] + cell["epochs"]):
        train_epoch(
            toy,
            mask,
            data,
            optimizer,
            epoch,
            cell["seed"],
            penalty=lambda mask: strength * reg(mask),
            projection=cell["projection"],
        )
        logs.append(measure(toy, mask, data))
    result = {
        "strength": strength,
        "logs": logs,
        "kept": int((mask != 0).sum()),
        "accuracy": accuracy(toy, mask, data.test_x, data.test_y),
    }
    if not cell["projection"]:
        result["thresholds"] = [apply_threshold(toy, mask, data, cell, relative) for relative in THRESHOLDS]
    return result


def train_epoch(
    toy: "nn.Sequential",
    mask: "Tensor",
    data: "ImageData",
    optimizer: "torch.optim.Optimizer",
    epoch: int,
    seed: int,
    *,
    penalty: "Callable[[Tensor], Tensor] | None" = None,
    projection: bool = True,
) -> None:
    """One pass over the training pictures, in an order that depends on seed and epoch alone.

    Args:
        toy: Changed in place.
        mask: On the inputs, shape (d,); changed in place where it takes a gradient, fixed where it does not.
        data: The data set.
        optimizer: Of the weights, and of a mask that takes a gradient.
        epoch: From 0.
        seed: Of the run.
        penalty: Gives what is added to the loss, from a mask that takes a gradient.
        projection: Clip the mask at zero after every step, and keep at least its largest entry.
    """
    import torch
    from torch.nn.functional import cross_entropy

    order = torch.randperm(len(data.train_y), generator=torch.Generator().manual_seed(1000 * seed + epoch))
    whole = len(order) - len(order) % BATCH
    toy.train()
    for indices in order[:whole].split(BATCH):
        loss = cross_entropy(scores(toy, mask, data.train_x[indices]), data.train_y[indices])
        if mask.requires_grad and penalty is not None:
            loss = loss + penalty(mask)
        before = mask.detach().clone()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if projection and mask.requires_grad:
            clip(mask, before)


def make_optimizer(toy: "nn.Sequential", mask: "Tensor") -> "torch.optim.Optimizer":
    """One SGD for weights and mask, as in the paper: the same step size, no weight decay."""
    import torch

    trained = [*toy.parameters(), *([mask] if mask.requires_grad else [])]
    return torch.optim.SGD(trained, lr=LEARNING_RATE, momentum=MOMENTUM)


def clip(mask: "Tensor", before: "Tensor") -> None:
    """``a <- max(0, a)``; where that would leave nothing, the entry that was largest stays (R is 0/0 at zero)."""
    import torch

    with torch.no_grad():
        mask.clamp_(min=0)
        if not bool(mask.any()):
            mask[before.argmax()] = before.max()


def scores(toy: "nn.Sequential", mask: "Tensor", x: "Tensor") -> "Tensor":
    """Class scores of pictures; the mask multiplies the reader's weight, ``W diag(a)``."""
    from torch.nn.functional import linear

    first, *rest = toy
    hidden = linear(x.flatten(1), first.weight * mask, first.bias)
    for layer in rest:
        hidden = layer(hidden)
    return hidden


def accuracy(toy: "nn.Sequential", mask: "Tensor", x: "Tensor", y: "Tensor") -> float:
    """Share of correct answers in evaluation mode."""
    import torch

    toy.eval()
    with torch.no_grad():
        return float((scores(toy, mask, x).argmax(1) == y).float().mean())


def measure(toy: "nn.Sequential", mask: "Tensor", data: "ImageData") -> Log:
    """What the paper's toy logs, for a network and its mask as they stand."""
    from nasc.methods.surrogate.norms import surrogate_size_absolute

    size = mask.detach().abs()
    alive = int((size != 0).sum())
    figures = {
        "l1": float(size.sum()),
        "r": float(surrogate_size_absolute(mask.detach())),
        "mean": float(size.mean()),
        "variance": float(size.var(correction=0)),
        "frobenius": float(toy[0].weight.detach().norm()),
        "accuracy": accuracy(toy, mask, data.val_x, data.val_y),
    }
    rounded = {name: float(f"{value:.5g}") for name, value in figures.items()}
    return rounded | {"zeros": mask.numel() - alive, "macs": alive * HIDDEN + HIDDEN * data.num_classes}


def apply_threshold(
    toy: "nn.Sequential", mask: "Tensor", data: "ImageData", cell: Cell, relative: float
) -> dict[str, float]:
    """Remove every entry at or below a share of the largest, then train the weights for one more epoch."""
    import copy

    import torch

    toy, size = copy.deepcopy(toy), mask.detach().abs()
    cut = torch.where(size > relative * size.max(), mask.detach(), torch.zeros_like(size))
    before = accuracy(toy, cut, data.test_x, data.test_y)
    train_epoch(toy, cut, data, make_optimizer(toy, cut), cell["dense_epochs"] + cell["epochs"], cell["seed"])
    after = accuracy(toy, cut, data.test_x, data.test_y)
    return {"relative": relative, "kept": int((cut != 0).sum()), "accuracy": before, "accuracy_retrained": after}


# -- reading the results ---------------------------------------------------------------------------------------------


def runs_of(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    """Every run of the rows whose cell has these values, with its seed and the cell's number of inputs."""
    return [
        run | {"seed": row["cell"]["seed"], "inputs": row["inputs"]}
        for row in rows
        if all(row["cell"][key] == value for key, value in wanted.items())
        for run in row["runs"]
    ]


def correlations(runs: list[dict[str, Any]], norm: str) -> tuple[float | None, float | None]:
    """Pearson and Spearman correlation of a regulariser with the true multiply-adds, over all epochs of all runs.

    Args:
        runs: With lambda above zero; a dense run never moves.
        norm: ``"l1"`` or ``"r"``, the logged quantity.

    Returns:
        None for both where one of the two never changed.
    """
    from scipy.stats import pearsonr, spearmanr

    logs = [log for run in runs if run["strength"] > 0 for log in run["logs"]]
    values, macs = [log[norm] for log in logs], [log["macs"] for log in logs]
    if len(set(values)) < 2 or len(set(macs)) < 2:
        return None, None
    return float(pearsonr(values, macs).statistic), float(spearmanr(values, macs).statistic)


def report(size: str) -> None:
    """Print the tables, and draw the figure beside the results."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    if not rows:
        print(f"no results of size {size} yet")
        return
    print_ends(rows)
    print_alignment(rows)
    print_projection(rows)
    draw(rows, RESULTS / f"{NAME}-{size}.svg")


def print_ends(rows: list[dict[str, Any]]) -> None:
    """Rows 9, 11, 13: where every run ended, mean ± deviation over seeds."""
    print("Mask on the inputs, clipped at zero: the end of every run (accuracy on the test part)")
    header = ("norm", "reg", "lambda", "inputs left", "accuracy, %", "mean |a|", "variance of a", "|W|_F")
    print("{:6} {:6} {:>7} {:20} {:18} {:22} {:24} {:18}".format(*header))
    for norm in NORMS:
        for name in REGULARISERS:
            for strength, runs in by_strength(runs_of(rows, norm=norm, regulariser=name, projection=True)).items():
                ends = [run["logs"][-1] for run in runs]
                print(
                    f"{norm:6} {name:6} {strength:7g} {mean_and_spread([run['kept'] for run in runs]):20} "
                    f"{mean_and_spread([100 * run['accuracy'] for run in runs]):18} "
                    f"{mean_and_spread([end['mean'] for end in ends]):22} "
                    f"{mean_and_spread([end['variance'] for end in ends]):24} "
                    f"{mean_and_spread([end['frobenius'] for end in ends])}"
                )


def print_alignment(rows: list[dict[str, Any]]) -> None:
    """Row 10: does the number that is trained follow the true cost?"""
    print("\nCorrelation with the true multiply-adds, over all epochs, lambdas > 0 and seeds (Pearson, Spearman)")
    for norm in NORMS:
        for name, logged in (("l1/l2", "r"), ("l1", "l1")):
            pair = correlations(runs_of(rows, norm=norm, regulariser=name, projection=True), logged)
            text = "no entry reached zero" if pair[0] is None else f"{pair[0]:.3f}, {pair[1]:.3f}"
            print(f"{norm:6} trained with and measured by {name:6} {text}")


def print_projection(rows: list[dict[str, Any]]) -> None:
    """Row 12: exact zeros with and without the clip, and what a threshold then costs."""
    print("\nProjection, batch norm: exact zeros with it and without, then thresholds (share of the largest entry)")
    for name in REGULARISERS:
        clipped = by_strength(runs_of(rows, norm="batch", regulariser=name, projection=True))
        free = by_strength(runs_of(rows, norm="batch", regulariser=name, projection=False))
        for strength in [strength for strength in clipped if strength in free and strength > 0]:
            zeros = [mean_and_spread([r["inputs"] - r["kept"] for r in runs[strength]]) for runs in (clipped, free)]
            print(f"{name:6} {strength:7g} zeros with {zeros[0]:18} without {zeros[1]:12}")
            for index, relative in enumerate(THRESHOLDS):
                cuts = [run["thresholds"][index] for run in free[strength]]
                print(
                    f"{'':15} above {relative:5g}: left {mean_and_spread([cut['kept'] for cut in cuts]):18} "
                    f"accuracy, % {mean_and_spread([100 * cut['accuracy'] for cut in cuts]):16} "
                    f"retrained {mean_and_spread([100 * cut['accuracy_retrained'] for cut in cuts])}"
                )


def by_strength(runs: list[dict[str, Any]]) -> Mapping[float, list[dict[str, Any]]]:
    """Runs grouped by lambda, rising."""
    strengths = sorted({run["strength"] for run in runs})
    return {strength: [run for run in runs if run["strength"] == strength] for strength in strengths}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Fig. 2: a regulariser against the true cost for every norm, then accuracy against the inputs that are left."""
    panels = [
        alignment_panel(runs_of(rows, norm=norm, regulariser=name, projection=True), norm, name)
        for norm in NORMS
        for name in REGULARISERS
    ]
    panels += [accuracy_panel(rows, norm) for norm in NORMS]
    write_figure(path, panels, columns=2)
    print(f"\nfigure: {path}")


def alignment_panel(runs: list[dict[str, Any]], norm: str, name: str) -> Panel:
    """One dot an epoch: the trained regulariser, per entry, against the true multiply-adds."""
    logged = "r" if name == "l1/l2" else "l1"
    series = []
    for index, (strength, group) in enumerate(by_strength(runs).items()):
        logs = [(run["inputs"], log) for run in group for log in run["logs"]]
        x, y = [log[logged] / inputs for inputs, log in logs], [log["macs"] / 1000 for _, log in logs]
        series.append(Series(f"lambda {strength:g}", x, y, colour=index))
    label = "R(a)/d" if name == "l1/l2" else "|a|_1/d"
    return Panel(f"{name}, norm: {norm}", label, "true cost, 1000 MACs", series)


def accuracy_panel(rows: list[dict[str, Any]], norm: str) -> Panel:
    """Accuracy against inputs left, mean over seeds of every lambda."""
    series = []
    for index, name in enumerate(REGULARISERS):
        groups = by_strength(runs_of(rows, norm=norm, regulariser=name, projection=True)).values()
        points = sorted(
            (mean(run["kept"] for run in runs), 100 * mean(run["accuracy"] for run in runs)) for runs in groups
        )
        series.append(Series(name, [p[0] for p in points], [p[1] for p in points], mark="line", colour=index))
    return Panel(f"accuracy, norm: {norm}", "inputs left", "test accuracy, %", series)


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean of at least one number."""
    listed = list(values)
    return sum(listed) / len(listed)


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
