"""What a runtime makes of block patterns: two linear layers on a row of tokens, dense, and sparse in plain form.

Each cell exports the dense pair and the sparse ones to LiteRT and times them interleaved in the same processes. The plain
form has no zeros but slices and concatenates; whether that pays is what is measured. Nothing else may run on the machine.

    python benchmarks/pixelfly_export.py --size small
    python benchmarks/pixelfly_export.py --report
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from study import RESULTS, Cell, load_rows, parse_arguments, provenance, results_file

NAME = "pixelfly_export"
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"widths": (64,), "tokens": 16, "blocks": (16,), "densities": (0.4,)},
    "small": {"widths": (256, 1024), "tokens": 64, "blocks": (32,), "densities": (0.1, 0.25)},
    "full": {"widths": (256, 512, 1024, 2048), "tokens": 196, "blocks": (32, 64), "densities": (0.1, 0.25, 0.4)},
}


def cells(size: str) -> list[Cell]:
    """A cell a width and block: all densities beside the dense pair."""
    setting = SETTINGS[size]
    return [
        {"width": width, "tokens": setting["tokens"], "block": block, "densities": list(setting["densities"])}
        for width in setting["widths"]
        for block in setting["blocks"]
    ]


def build_pair(width: int, density: float, block: int) -> tuple[Any, float]:
    """A feed-forward pair (width to twice the width and back) at a density, in plain form; and its realised density."""
    from torch import nn

    from nasc.block_sparse import PixelflyLinear, to_plain
    from nasc.block_sparse.budget import MatrixType, choose_form

    layers: list[nn.Module] = []
    weights = 0
    for out, columns in ((2 * width, width), (width, 2 * width)):
        matrix = MatrixType("", out, columns)
        form = choose_form(matrix, density * matrix.weights, block=block)
        weights += form.weights
        if form.dense:
            layers.append(nn.Linear(columns, out))
        else:
            sparse = PixelflyLinear(form.pattern(matrix), form.rank, in_features=columns, out_features=out)
            layers.append(to_plain(sparse))
    return nn.Sequential(layers[0], nn.ReLU(), layers[1]), weights / (4 * width * width)


def run_cell(cell: Cell) -> dict[str, Any]:
    """Seconds of every file, with the interval of each."""
    import torch

    from nasc.devices import get_device
    from nasc.exporters import export
    from nasc.measurement import measure_anchored

    torch.manual_seed(0)
    x = torch.randn(1, cell["tokens"], cell["width"])
    pairs = {density: build_pair(cell["width"], density, cell["block"]) for density in (1.0, *cell["densities"])}
    with TemporaryDirectory() as folder:
        files = [export(pair, (x,), Path(folder) / f"{density}.tflite") for density, (pair, _) in pairs.items()]
        times = measure_anchored(files, get_device("cpu"))
    return {
        "times": {
            str(density): {"seconds": time.seconds, "interval": list(time.interval), "density": realised}
            for (density, (_, realised)), time in zip(pairs.items(), times, strict=True)
        }
    }


def report(size: str) -> None:
    """Speed-ups against the dense pair."""
    print(f"{'width':>5} {'block':>5} {'density':>8} {'us':>9}  dense/plain")
    for row in load_rows(NAME, size):
        dense = row["times"]["1.0"]["seconds"]
        for time in row["times"].values():
            print(
                f"{row['cell']['width']:5} {row['cell']['block']:5} {time['density']:8.3f} {1e6 * time['seconds']:9.1f}  "
                f"{dense / time['seconds']:5.2f}"
            )


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    for planned in cells(parsed.size) if not parsed.report else []:
        if parsed.only in json.dumps(planned):
            figures = run_cell(planned)
            RESULTS.mkdir(exist_ok=True)
            with results_file(NAME, parsed.size).open("a") as file:
                file.write(json.dumps({"cell": planned, **figures, "origin": provenance()}) + "\n")
    report(parsed.size)
