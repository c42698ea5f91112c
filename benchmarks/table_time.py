"""How long does a latency table take, from nothing? MobileNetV3 at 224 pixels, in a fresh folder of tables.

Nothing else may run on the machine.

    python benchmarks/table_time.py --size small
    python benchmarks/table_time.py --report
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from study import Cell, load_rows, parse_arguments, run_study

NAME = "table_time"
LIMIT_S = 600.0
SETTINGS = {
    "tiny": (("digits-cnn", (1, 8, 8), 10),),
    "small": (
        ("torchvision:mobilenet_v3_small", (3, 224, 224), 1000),
        ("torchvision:mobilenet_v3_large", (3, 224, 224), 1000),
    ),
}
SETTINGS["full"] = SETTINGS["small"]


def cells(size: str) -> list[Cell]:
    """One cell a model."""
    return [{"model": model, "shape": list(shape), "classes": classes} for model, shape, classes in SETTINGS[size]]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Profile into an empty folder."""
    from nasc.devices import get_device
    from nasc.graph import trace
    from nasc.models import example_input, load_model
    from nasc.table import profile

    shape = tuple(cell["shape"])
    model = load_model(cell["model"], num_classes=cell["classes"], input_shape=shape)
    network = trace(model, (example_input(shape),))
    with TemporaryDirectory() as folder:
        result = profile(get_device("cpu"), [network], folder=Path(folder), progress=False)
    held_out = result.table.provenance.held_out
    return {
        "profile_s": result.elapsed_s,
        "rows": result.rows,
        "complete": result.complete,
        "held_out": None if held_out is None else vars(held_out).copy(),
        "warnings": list(result.table.provenance.warnings),
    }


def report(size: str) -> None:
    """Seconds and rows a model."""
    for row in load_rows(NAME, size):
        if "error" in row:
            continue
        verdict = "within" if row["profile_s"] <= LIMIT_S else "above"
        held_out = row["held_out"]
        error = f", held-out kernels: median error {held_out['median_error']:.1%}" if held_out else ""
        print(
            f"{row['cell']['model']:34} {row['profile_s']:6.0f} s ({verdict} {LIMIT_S:.0f} s), {row['rows']} rows{error}"
        )


if __name__ == "__main__":
    arguments = parse_arguments(__doc__ or "")
    arguments.jobs = 1
    run_study(NAME, cells(arguments.size), run_cell, arguments)
    report(arguments.size)
