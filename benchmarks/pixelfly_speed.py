"""Block-sparse products against dense, torch's own BSR and the butterfly product: forward and backward on one thread.

Every cell times its rivals in turns (A B C A B C ...) in one process; a figure is the fastest of its repeats, a speed-up the
ratio of two such. To reach: at least twice as fast as dense from d = 2048 on at density 10 %, batch 64 to 1024, ahead of BSR
everywhere, and the flat block butterfly at least twice as fast as the block butterfly product.

    python benchmarks/pixelfly_speed.py --size small                 # nothing else may run on the machine
    python benchmarks/pixelfly_speed.py --size small --only '"batch": 64'
    python benchmarks/pixelfly_speed.py --report
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

from study import RESULTS, Cell, load_rows, parse_arguments, provenance, results_file

NAME = "pixelfly_speed"
BLOCK = 32
DENSITY = 0.10
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"sides": (512,), "batches": (16,), "repeats": 2},
    "small": {"sides": (1024, 2048, 4096), "batches": (64, 256, 1024), "repeats": 5},
    "full": {"sides": (512, 1024, 2048, 4096, 8192), "batches": (16, 64, 256, 1024, 4096), "repeats": 15},
}


def cells(size: str) -> list[Cell]:
    """At density 10 %, blocks alone, with low rank, and shifted by half a block; at full stride, flat against product."""
    setting = SETTINGS[size]
    shared = {"block": BLOCK, "repeats": setting["repeats"]}
    kinds = [
        {"side": side, "batch": batch, "kind": kind}
        for side in setting["sides"]
        for batch in setting["batches"]
        for kind in ("density", "pixelfly", "product", "shifted")
    ]
    return [kind | shared for kind in kinds]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Seconds of every rival: fastest forward, and fastest forward and backward."""
    import torch

    from nasc.measurement import Stopwatch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers, densities = build_rivals(cell)
    x = torch.randn(cell["batch"], cell["side"], requires_grad=True)
    upstream = torch.randn(cell["batch"], cell["side"])
    times: dict[str, dict[str, float]] = {name: {} for name in layers}
    for repeat in range(cell["repeats"] + 1):
        for name, (layer, backward) in layers.items():
            watch = Stopwatch()
            y = layer(x)
            forward = watch.seconds
            if backward:
                y.backward(upstream)
            both = watch.seconds
            x.grad = None
            if repeat:  # the first call warms up
                keep(times[name], "forward_s", forward)
                if backward:
                    keep(times[name], "both_s", both)
    return {"densities": densities, "times": times}


def keep(best: dict[str, float], key: str, seconds: float) -> None:
    """The fastest so far."""
    best[key] = min(seconds, best.get(key, seconds))


def build_rivals(cell: Cell) -> tuple[dict[str, tuple[Callable[[Any], Any], bool]], dict[str, float]]:
    """Name -> (layer, whether it has a backward pass), and the density of each."""
    import torch
    from torch import nn

    from nasc.block_sparse import BlockButterfly, BlockSparse, PixelflyLinear, cover_elements, flat_butterfly
    from nasc.block_sparse.budget import MatrixType, choose_form
    from nasc.block_sparse.butterfly import available_strides

    side, block = cell["side"], cell["block"]
    if cell["kind"] == "pixelfly":  # blocks and low rank together, up to the density
        matrix = MatrixType("", side, side)
        form = choose_form(matrix, DENSITY * matrix.weights, block=block, low_rank_share=0.25)
        mixed = PixelflyLinear(form.pattern(matrix), form.rank, bias=False)
        dense = nn.Linear(side, side, bias=False)
        return {"dense": (dense, True), "pixelfly": (mixed, True)}, {"pixelfly": mixed.density, "dense": 1.0}
    if cell["kind"] == "product":
        flat = BlockSparse(flat_butterfly(side, side, block, side // block))
        chain = BlockButterfly(side, side, block, bias=False)
        dense = nn.Linear(side, side, bias=False)
        densities = {"flat": flat.pattern.density, "product": chain.weights / side**2, "dense": 1.0}
        return {"flat": (flat, True), "product": (chain, True), "dense": (dense, True)}, densities
    fitting = [
        k for k in available_strides(side, side, block) if flat_butterfly(side, side, block, k).density <= DENSITY
    ]
    pattern = flat_butterfly(side, side, block, max(fitting, default=1))
    if cell["kind"] == "shifted":  # the same weights, half a block off the grid: the blocks they touch
        shifted = torch.roll(pattern.elements(), (block // 2, block // 2), (0, 1))
        layer = BlockSparse(cover_elements(shifted, block))
        aligned = BlockSparse(pattern)
        densities = {"aligned": pattern.density, "shifted": layer.pattern.density}
        return {"aligned": (aligned, True), "shifted": (layer, True)}, densities
    sparse = BlockSparse(pattern)
    bsr = as_bsr(sparse)
    layers: dict[str, tuple[Callable[[Any], Any], bool]] = {
        "dense": (nn.Linear(side, side, bias=False), True),
        "sparse": (sparse, True),
        # torch's product needs the matrix on the left, so it is given its input already transposed: at its best
        "bsr": (lambda x: torch.mm(bsr, x.detach().T), False),
    }
    return layers, {"sparse": pattern.density}


def as_bsr(layer: Any) -> Any:
    """The layer's W in torch's own block format."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the format is in beta
        return layer.dense().detach().to_sparse_bsr((layer.pattern.block, layer.pattern.block))


def append_row(cell: Cell, figures: dict[str, Any], size: str) -> None:
    """Keep a result; times are taken anew on every call and none is replaced."""
    RESULTS.mkdir(exist_ok=True)
    with results_file(NAME, size).open("a") as file:
        file.write(json.dumps({"cell": cell, **figures, "origin": provenance()}) + "\n")


def report(size: str) -> None:
    """Speed-ups of the last row of every cell."""
    last = {json.dumps(row["cell"], sort_keys=True): row for row in load_rows(NAME, size)}
    print(f"{'side':>5} {'batch':>5} {'kind':8} {'density':>8}  speed-up (forward + backward unless said)")
    for row in sorted(last.values(), key=lambda row: (row["cell"]["kind"], row["cell"]["side"], row["cell"]["batch"])):
        cell, times = row["cell"], row["times"]
        if cell["kind"] == "density":
            line = (
                f"dense/sparse {times['dense']['both_s'] / times['sparse']['both_s']:5.2f}   forward: dense/sparse "
                f"{times['dense']['forward_s'] / times['sparse']['forward_s']:5.2f}, bsr/sparse "
                f"{times['bsr']['forward_s'] / times['sparse']['forward_s']:5.2f}"
            )
            density = row["densities"]["sparse"]
        elif cell["kind"] == "pixelfly":
            line = f"dense/pixelfly {times['dense']['both_s'] / times['pixelfly']['both_s']:5.2f}"
            density = row["densities"]["pixelfly"]
        elif cell["kind"] == "product":
            line = (
                f"product/flat {times['product']['both_s'] / times['flat']['both_s']:5.2f}   dense/flat "
                f"{times['dense']['both_s'] / times['flat']['both_s']:5.2f}"
            )
            density = row["densities"]["flat"]
        else:
            line = f"shifted/aligned {times['shifted']['both_s'] / times['aligned']['both_s']:5.2f}"
            density = row["densities"]["aligned"]
        print(f"{cell['side']:5} {cell['batch']:5} {cell['kind']:8} {density:8.4f}  {line}")


def main(arguments: argparse.Namespace) -> None:
    """Time what is asked for and print the table."""
    for planned in cells(arguments.size) if not arguments.report else []:
        if arguments.only in json.dumps(planned):
            append_row(planned, run_cell(planned), arguments.size)
    report(arguments.size)


if __name__ == "__main__":
    main(parse_arguments(__doc__ or ""))
