"""What a step of a family costs against a plain one (the method's sheet, row 14; to reach: 1.05, and half of LCS).

Steps run in turns in one process on one thread, each variant on its own copy of one network, on the same random pictures:
``plain``; ``whole`` (the whole member through the program, no slicing to gain from); ``sorted`` (a member drawn each step);
``lcs-point`` (four members a step, hence per member update a quarter of it counts).

    python benchmarks/sorted_step_cost.py --size small            # nothing else may run on the machine
    python benchmarks/sorted_step_cost.py --size small --report
"""

import copy
import json
import statistics
from collections.abc import Callable
from typing import Any

from study import RESULTS, Cell, load_rows, parse_arguments, provenance, results_file

NAME = "sorted_step_cost"
VARIANTS = ("plain", "whole", "sorted", "lcs-point")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"models": ("mlp",), "input_shape": (1, 8, 8), "batch": 32, "steps": 4, "blocks": 5},
    "small": {
        "models": ("resnet-tiny", "mobilenetv3-tiny"),
        "input_shape": (3, 32, 32),
        "batch": 128,
        "steps": 4,
        "blocks": 7,
    },
    "full": {
        "models": ("resnet-tiny", "mobilenetv3-tiny"),
        "input_shape": (3, 32, 32),
        "batch": 128,
        "steps": 16,
        "blocks": 61,
    },
}


def cells(size: str) -> list[Cell]:
    """A cell a network."""
    setting = SETTINGS[size]
    shared = {key: setting[key] for key in ("batch", "steps", "blocks")}
    return [{"model": model, "input_shape": list(setting["input_shape"])} | shared for model in setting["models"]]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Seconds a step, block by block."""
    import torch

    from nasc.measurement import Stopwatch

    torch.set_num_threads(1)
    steppers = build_steppers(cell)
    for step in steppers.values():
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(cell["blocks"]):
        for name, step in steppers.items():
            watch = Stopwatch()
            for _ in range(cell["steps"]):
                step()
            seconds[name].append(watch.seconds / cell["steps"])
    return {"seconds": seconds}


def build_steppers(cell: Cell) -> dict[str, Callable[[], None]]:
    """What does one step of each variant."""
    import torch
    from torch import nn

    from nasc.graph import trace
    from nasc.methods import Price
    from nasc.methods.sorted_networks import PRESETS, SortedNetwork
    from nasc.models import load_model
    from nasc.training import Recipe, build_optimizer

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(cell["batch"], *cell["input_shape"], generator=generator)
    y = torch.randint(0, 10, (cell["batch"],), generator=generator)
    torch.manual_seed(0)
    model = load_model(cell["model"], num_classes=10, input_shape=tuple(cell["input_shape"]))
    criterion = nn.CrossEntropyLoss()

    def plain() -> Callable[[], None]:
        own = copy.deepcopy(model).train()
        optimizer = build_optimizer(Recipe(), own.parameters())

        def step() -> None:
            optimizer.zero_grad()
            criterion(own(x), y).backward()
            optimizer.step()

        return step

    def family(whole: bool, options: Any) -> Callable[[], None]:
        network = trace(copy.deepcopy(model).train(), (x[:1],))
        price = Price(network, "macs")
        method = SortedNetwork(network, price, price.dense, 1_000_000, **options)
        optimizer = build_optimizer(Recipe(), method.model.parameters())

        def step() -> None:
            optimizer.zero_grad()
            if whole:  # through the program, as any other member
                loss = criterion(method.family.run(method.pool.largest, x), y)
            else:
                loss, _ = method.objective(criterion, x, y)
            loss.backward()
            optimizer.step()
            method.step()

        return step

    return {
        "plain": plain(),
        "whole": family(True, {}),
        "sorted": family(False, {}),
        "lcs-point": family(False, PRESETS["lcs-point"]),
    }


def report(size: str) -> None:
    """Medians and ratios of blocks."""
    for row in load_rows(NAME, size):
        seconds = row["seconds"]
        print(row["cell"]["model"])
        for name in VARIANTS:
            ratios = [a / b for a, b in zip(seconds[name], seconds["plain"], strict=True)]
            quartiles = statistics.quantiles(ratios, n=4)
            print(
                f"  {name:10} {1e3 * statistics.median(seconds[name]):7.1f} ms, "
                f"of plain {statistics.median(ratios):.3f} (quartiles {quartiles[0]:.3f} to {quartiles[2]:.3f})"
            )
        member = [4 * a / b for a, b in zip(seconds["sorted"], seconds["lcs-point"], strict=True)]
        print(f"  sorted per member update, of LCS: {statistics.median(member):.3f}")


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    done = {json.dumps(row["cell"], sort_keys=True) for row in load_rows(NAME, parsed.size)}
    for todo in cells(parsed.size):
        if parsed.report or json.dumps(todo, sort_keys=True) in done:
            continue
        RESULTS.mkdir(exist_ok=True)
        row = {"cell": todo, **run_cell(todo), "origin": provenance()}
        with results_file(NAME, parsed.size).open("a") as file:
            file.write(json.dumps(row) + "\n")
    report(parsed.size)
