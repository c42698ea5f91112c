"""One prepared family against separate compressions, on several devices and targets: surrogate, then sorted (ours).

``family``: a short surrogate run on the first device orders the units and finds the ratios of the dims; sorted training
follows, its draws weighted towards the fronts of all devices; then every device and target takes a member, zero-shot with
re-estimated statistics. ``sorted``: the same without the preparation. ``separate``: one surrogate compression for every
device and target, each with the epochs of the whole family. Devices are closed forms with different periods, so that
prices are exact and the study needs no quiet machine.

    python benchmarks/sorted_surrogate.py --size small
    python benchmarks/sorted_surrogate.py --size small --report
"""

from typing import TYPE_CHECKING, Any

from study import Cell, load_rows, mean_and_spread, parse_arguments, run_study

if TYPE_CHECKING:
    from nasc.graph import Network

NAME = "sorted_surrogate"
TARGETS = (0.8, 0.65, 0.5, 0.35, 0.2)
DEVICES = {"fine": 1, "steps-of-8": 8, "steps-of-16": 16}
"""Period of the staircase of each closed-form device."""
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"data": "digits", "model": "digits-cnn@0.25", "train_size": None, "epochs": 5},
    "small": {"data": "fashion-mnist", "model": "resnet-tiny@0.5", "train_size": 6000, "epochs": 15},
    "full": {"data": "cifar10", "model": "resnet-tiny", "train_size": None, "epochs": 200},
}


def cells(size: str, seeds: int) -> list[Cell]:
    """Seeds outermost; separate compressions one a cell, so that an interrupted study loses little."""
    separate = [{"way": "separate", "device": device, "target": target} for device in DEVICES for target in TARGETS]
    ways: list[Cell] = [{"way": "sorted"}, {"way": "family"}, *separate]
    return [{"seed": seed, **way, **SETTINGS[size]} for seed in range(seeds) for way in ways]


class ClosedForm:
    """Seconds of matrix kernels with a staircase in the outputs; a launch for each kernel."""

    def __init__(self, period: int) -> None:
        self.period = period

    def seconds(self, signature: Any, sizes: Any) -> Any:
        """Time of one kernel."""
        from math import ceil

        if signature.kind not in ("conv", "linear"):
            return 2e-7
        attributes = dict(signature.attributes)
        positions = attributes.get("height", 1) * attributes.get("width", 1)
        taps = attributes.get("kernel_h", 1) * attributes.get("kernel_w", 1)
        steps = ceil(float(sizes["c_out"]) / self.period - 1e-9) * self.period
        return 1e-6 + 1e-10 * positions * taps * sizes["c_in"] * steps

    def slope(self, signature: Any, sizes: Any) -> dict[str, float]:
        """Seconds per entry, across a step."""
        found = {}
        for name in sizes:
            width = self.period if name == "c_out" else 1
            more = self.seconds(signature, {**sizes, name: sizes[name] + width})
            found[name] = float(more - self.seconds(signature, sizes)) / width
        return found

    def covers(self, signature: Any, sizes: Any) -> bool:
        """Every kernel has a time."""
        return True


def run_cell(cell: Cell) -> dict[str, Any]:
    import torch

    from nasc.datasets import load_dataset
    from nasc.graph import trace
    from nasc.methods import Price
    from nasc.models import load_model
    from nasc.training import Recipe

    data = load_dataset(data_spec(cell["data"]), train_size=cell["train_size"], seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    model = load_model(cell["model"], num_classes=data.num_classes, input_shape=data.input_shape)
    network = trace(model, (data.train_x[:1],))
    prices = {name: Price(network, "seconds", ClosedForm(period)) for name, period in DEVICES.items()}
    recipe = Recipe(epochs=cell["epochs"], seed=cell["seed"], learning_rate=0.1)
    if cell["way"] == "separate":
        return compress_alone(network, prices[cell["device"]], cell, data, recipe)
    return train_family(network, prices, cell, data, recipe)


def compress_alone(network: "Network", price: Any, cell: Cell, data: Any, recipe: Any) -> dict[str, Any]:
    """One surrogate compression to one target."""
    from nasc.materialise import materialise
    from nasc.methods import build, readjust
    from nasc.training import evaluate, train

    limit, steps = cell["target"] * price.dense, recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
    method = build("surrogate", network, price, limit, steps)
    searched = train(method, data, recipe, progress=False, on_frozen=lambda frozen: True)
    selection = readjust(price, method.select(), method.scores(), limit)
    small = materialise(network, selection)
    tuned = train(small, data, recipe, progress=False, start_step=searched.step)
    seconds = sum(row.seconds for row in (*searched.rows, *tuned.rows))
    return {"accuracy": evaluate(small, data.test_x, data.test_y).value, "train_s": seconds, "steps": steps}


def train_family(network: "Network", prices: dict[str, Any], cell: Cell, data: Any, recipe: Any) -> dict[str, Any]:
    """Prepare (or not), train the family, and take a member for every device and target."""
    from dataclasses import replace

    from nasc.methods.sorted_networks import SortedConfig, SortedNetwork, build_pool
    from nasc.stages.family import evaluate_members
    from nasc.stages.preparation import prepare_family
    from nasc.training import train

    first = prices["steps-of-8"]
    options: dict[str, Any] = {"widths": [0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]}
    spent = 0
    if cell["way"] == "family":
        short = replace(recipe, epochs=max(2, recipe.epochs // 3))
        prepared = prepare_family(network, first, 0.4 * first.dense, data, short, width=0.6)
        options["exponents"] = prepared.exponents
        spent = prepared.steps
        pool = build_pool(network, SortedConfig(**options))
        options["fronts"] = [[price.total(member.sizes) for member in pool.members] for price in prices.values()]
    steps = recipe.steps_per_epoch(len(data.train_y)) * recipe.epochs
    method = SortedNetwork(network, first, first.dense, steps, **options, seed=cell["seed"])
    history = train(method, data, recipe, progress=False)
    validation = evaluate_members(method, data, range(len(method.pool)))
    chosen: dict[str, dict[str, float]] = {}
    needed = set()
    for device, price in prices.items():
        for target in TARGETS:
            fitting = [m for m in method.pool.members if price.total(m.sizes) <= target * price.dense]
            if fitting:
                best = max(fitting, key=lambda m: validation[m.index].value)
                chosen.setdefault(device, {})[str(target)] = best.index
                needed.add(best.index)
    test = tested(method, data, needed)
    return {
        "accuracy": {device: {t: test[i] for t, i in picks.items()} for device, picks in chosen.items()},
        "whole": tested(method, data, [method.pool.largest.index])[method.pool.largest.index],
        "train_s": sum(row.seconds for row in history.rows),
        "steps": steps + spent,
    }


def tested(method: Any, data: Any, indices: Any) -> dict[int, float]:
    """Test accuracy of members."""
    from dataclasses import replace

    from nasc.stages.family import evaluate_members

    on_test = replace(data, val_x=data.test_x, val_y=data.test_y)
    return {index: found.value for index, found in evaluate_members(method, on_test, indices).items()}


def data_spec(name: str) -> str:
    """Where a data set lies."""
    from accuracy import data_spec as known

    return name if name == "digits" else known(name)


def report(size: str) -> None:
    """Gap of the families to separate compressions, per device and target, and the compute."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    alone = {
        (row["cell"]["seed"], row["cell"]["device"], str(row["cell"]["target"])): row
        for row in rows
        if row["cell"]["way"] == "separate"
    }
    for way in ("sorted", "family"):
        gaps, shares = [], []
        for row in (row for row in rows if row["cell"]["way"] == way):
            seed = row["cell"]["seed"]
            pairs = [
                (100 * (alone[seed, device, target]["accuracy"] - accuracy), device, target)
                for device, picks in row["accuracy"].items()
                for target, accuracy in picks.items()
                if (seed, device, target) in alone
            ]
            if pairs:
                gaps.append(sum(gap for gap, *_ in pairs) / len(pairs))
                shares.append(row["steps"] / sum(alone[seed, device, target]["steps"] for _, device, target in pairs))
                print(way, f"seed {seed}:", " ".join(f"{device}@{target}:{gap:+.1f}" for gap, device, target in pairs))
        if gaps:
            print(
                f"{way}: mean gap {mean_and_spread(gaps)} points, compute {mean_and_spread(shares)} of the separate runs"
            )


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
