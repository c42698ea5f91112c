"""What masks over single weights add to a training step (issue: at most 1.15 times a dense one).

Dense and masked steps take turns in one process on one thread, each on its own copy of one network with the same
pictures, through the frame of ``step_cost.py``. The masked step is one inside a sparse phase, at 90 % of the weights.

    python benchmarks/sparse_step.py --size small            # nothing else may run on the machine
    python benchmarks/sparse_step.py --size small --report
"""

import json
import statistics
from typing import Any

from step_cost import compare, load_average, stepper
from study import RESULTS, Cell, load_rows, parse_arguments, provenance, results_file

NAME = "sparse_step"
LIMIT = 1.15
VARIANTS = ("plain", "unstructured", "block4", "channels")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"models": ("mlp",), "input_shape": (1, 8, 8), "batch": 32, "steps": 3, "blocks": 4},
    "small": {"models": ("resnet-tiny", "mlp"), "input_shape": (3, 32, 32), "batch": 128, "steps": 4, "blocks": 21},
    "full": {"models": ("resnet-tiny", "mlp"), "input_shape": (3, 32, 32), "batch": 128, "steps": 16, "blocks": 61},
}


def cells(size: str) -> list[Cell]:
    """A cell a network."""
    setting = SETTINGS[size]
    shared = {key: setting[key] for key in ("batch", "steps", "blocks")}
    return [{"model": model, "input_shape": list(setting["input_shape"])} | shared for model in setting["models"]]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Seconds a step of every variant, block by block, and their ratios to the plain one."""
    import torch

    from nasc.measurement import Stopwatch

    torch.set_num_threads(1)
    steppers = {name: make_stepper(cell, name) for name in VARIANTS}
    for step in steppers.values():
        step()
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(cell["blocks"]):
        for name, step in steppers.items():
            watch = Stopwatch()
            for _ in range(cell["steps"]):
                step()
            seconds[name].append(watch.seconds / cell["steps"])
    return {"seconds": seconds, "ratios": {name: compare(seconds, name) for name in VARIANTS[1:]}}


def make_stepper(cell: Cell, variant: str) -> Any:
    """One training step on a fresh copy of the network."""
    import torch

    from nasc.graph import trace
    from nasc.methods import Price, build
    from nasc.models import load_model

    channels, height, width = cell["input_shape"]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(cell["batch"], channels, height, width, generator=generator)
    y = torch.randint(10, (cell["batch"],), generator=generator)
    torch.manual_seed(0)
    model = load_model(cell["model"], num_classes=10, input_shape=(channels, height, width))
    if variant == "plain":
        return stepper(model, None, x, y)
    network = trace(model, (x[:1],))
    options = {"sparsity": 0.9, "pattern": variant, "start": 0.0}  # pruned before the first step
    return stepper(model, build("one-shot", network, Price(network), 0.0, 10_000, **options), x, y)


def report(size: str) -> None:
    """Ratios of every measurement; each call has its own rows, none is ever replaced."""
    print(f"a step under masks against a plain one (to reach: {LIMIT:.2f})")
    print(f"{'model':14} {'pattern':14} {'ratio':>6}  {'quartiles':15} {'plain ms':>9} {'load':>5}  date")
    for row in load_rows(NAME, size):
        plain = 1e3 * statistics.median(row["seconds"]["plain"])
        for name, figures in row["ratios"].items():
            between = f"{figures['low_quartile']:.3f} to {figures['high_quartile']:.3f}"
            print(
                f"{row['cell']['model']:14} {name:14} {figures['ratio']:6.3f}  {between:15} {plain:9.2f} "
                f"{row['load']:5.1f}  {row['origin']['date']}"
            )


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        RESULTS.mkdir(exist_ok=True)
        for each in cells(parsed.size):
            figures = {"cell": each, **run_cell(each), "load": load_average(), "origin": provenance()}
            with results_file(NAME, parsed.size).open("a") as file:
                file.write(json.dumps(figures) + "\n")
    report(parsed.size)
