"""What needs no training: the expansion's error, ranks, clustered attention, covers, allocation, approximation of matrices.

    python benchmarks/pixelfly_theory.py --size small
    python benchmarks/pixelfly_theory.py --report

Sheet rows 4, 5, 15 (covers), 21, 22. The rule of thumb and the solver are compared on a cost model fitted on this machine.
"""

from typing import Any

from study import Cell, load_rows, parse_arguments, run_study

NAME = "pixelfly_theory"
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"n": 16, "side": 64, "block": 8, "epochs": 1, "batch": 32, "networks": 1},
    "small": {"n": 64, "side": 512, "block": 32, "epochs": 30, "batch": 256, "networks": 4},
    "full": {"n": 256, "side": 2048, "block": 32, "epochs": 200, "batch": 1024, "networks": 4},
}
NETWORKS = {
    "Mixer-S": [
        ("channel up", 2048, 512, 8, 196),
        ("channel down", 512, 2048, 8, 196),
        ("token up", 256, 196, 8, 512),
        ("token down", 196, 256, 8, 512),
    ],
    "ViT-S": [
        ("qkv", 1152, 384, 12, 196),
        ("out", 384, 384, 12, 196),
        ("up", 1536, 384, 12, 196),
        ("down", 384, 1536, 12, 196),
    ],
    "ViT-B": [
        ("qkv", 2304, 768, 12, 196),
        ("out", 768, 768, 12, 196),
        ("up", 3072, 768, 12, 196),
        ("down", 768, 3072, 12, 196),
    ],
    "GPT-2 small": [
        ("qkv", 2304, 768, 12, 1024),
        ("out", 768, 768, 12, 1024),
        ("up", 3072, 768, 12, 1024),
        ("down", 768, 3072, 12, 1024),
    ],
}


def cells(size: str, seeds: int) -> list[Cell]:
    """One cell a figure; those with a draw are repeated over seeds."""
    setting = SETTINGS[size]
    fixed = [{"figure": figure} | setting for figure in ("covers", "allocation", "cost model")]
    drawn = [
        {"figure": figure, "seed": seed} | setting
        for figure in ("expansion", "rank", "clusters", "approximation")
        for seed in range(seeds)
    ]
    return fixed + drawn


def run_cell(cell: Cell) -> dict[str, Any]:
    """The figure asked for."""
    figures = {
        "expansion": expansion,
        "rank": rank,
        "clusters": clusters,
        "covers": covers,
        "allocation": allocation,
        "cost model": cost_model,
        "approximation": approximation,
    }
    return {"result": figures[cell["figure"]](cell)}


def draw_factors(cell: Cell) -> Any:
    """Normal butterfly factors, smallest stride first."""
    import torch

    from nasc.block_sparse.butterfly import factor_support, strides

    generator = torch.Generator().manual_seed(cell["seed"])
    n = cell["n"]
    return [torch.randn(n, n, generator=generator, dtype=torch.float64) * factor_support(n, k) for k in strides(n)]


def expansion(cell: Cell) -> dict[str, float]:
    """|product - flat| / lambda^2: constant as lambda goes to zero (Theorem 4.3)."""
    from nasc.block_sparse.theory import flat_residual, residual_product

    factors = draw_factors(cell)
    return {
        f"{s:g}": float((residual_product(factors, s) - flat_residual(factors, s)).norm()) / s**2
        for s in (1.0, 0.3, 0.1, 0.03, 0.01, 0.001)
    }


def rank(cell: Cell) -> dict[str, int]:
    """Rank of the flat form by lambda (Theorem 4.4)."""
    import torch

    from nasc.block_sparse.theory import flat_residual

    factors = draw_factors(cell)
    return {f"{s:g}": int(torch.linalg.matrix_rank(flat_residual(factors, s))) for s in (10.0, 1.0, 0.1, 0.01)}


def clusters(cell: Cell) -> dict[str, float]:
    """Error of sparse, low-rank and both for clustered attention at equal numbers of weights (Theorem 4.5)."""
    import torch

    from nasc.block_sparse.theory import clustered_attention, split_error

    count, size = 8, max(2, cell["n"] // 8)
    n = count * size
    matrix = clustered_attention(count, size, 16, spread=0.5, seed=cell["seed"])
    diagonal = torch.eye(count).bool().repeat_interleave(size, 0).repeat_interleave(size, 1)
    budget = int(diagonal.sum()) + 2 * n * 2
    largest = torch.zeros(n * n, dtype=torch.bool)
    largest[matrix.flatten().topk(min(budget, n * n)).indices] = True
    return {
        "weights": budget,
        "sparse": split_error(matrix, largest.view(n, n), 0),
        "low rank": split_error(matrix, None, budget // (2 * n)),
        "both": split_error(matrix, diagonal, 2),
    }


def covers(cell: Cell) -> list[dict[str, float]]:
    """Nominal density against the share of hardware blocks touched, by pattern block (Table 7's columns)."""
    from nasc.block_sparse.covering import butterfly_cover, butterfly_density, random_cover

    side, block = 1024, 32
    rows = []
    for size in (1, 2, 4, 8, 16, 32):
        nominal = butterfly_density(side, size, side // size)
        rows.append(
            {
                "pattern_block": size,
                "nominal": nominal,
                "butterfly": butterfly_cover(side, size, side // size, block),
                "random": random_cover(nominal, size, block),
            }
        )
    return rows


def networks(cell: Cell) -> dict[str, Any]:
    """The first so many architectures of the paper as matrix types."""
    from nasc.block_sparse.budget import MatrixType

    return {name: [MatrixType(*row) for row in rows] for name, rows in list(NETWORKS.items())[: cell["networks"]]}


def allocation(cell: Cell) -> list[dict[str, Any]]:
    """Requested and realised density, stride and rank of four architectures."""
    from nasc.block_sparse.budget import allocate
    from nasc.block_sparse.budget import report as realised

    rows = []
    for name, types in networks(cell).items():
        for density in (0.1, 0.2, 0.3, 0.4):
            for row in realised(types, allocate(types, density, block=32), density):
                form = row.form
                rows.append(
                    {"network": name, "matrix": row.name, "requested": density, "realised": round(row.realised, 4)}
                    | {"stride": form.stride, "rank": form.rank, "note": form.note}
                )
    return rows


def cost_model(cell: Cell) -> dict[str, Any]:
    """Fit the cost model on this machine, test it on other products, and let the solver choose beside the rule."""
    from nasc.block_sparse.budget import allocate, realised_density
    from nasc.block_sparse.cost_model import Timing, fit_cost_model, solve, touched

    timings = time_products(cell)
    model = fit_cost_model([Timing(*timing) for timing in timings[::2]])
    errors = [abs(model.seconds(b, f) / s - 1) for b, f, s in timings[1::2]]
    chosen = []
    for name, types in networks(cell).items():
        for density in (0.2, 0.3, 0.4):
            rule, solved = allocate(types, density, block=32), solve(types, model, density, block=32)
            chosen.append(
                {
                    "network": name,
                    "budget": density,
                    "rule": {t.name: round(rule[t.name].density, 4) for t in types},
                    "solver": {t.name: round(solved[t.name].density, 4) for t in types},
                    "rule_density": realised_density(types, rule),
                    "solver_density": realised_density(types, solved),
                    "rule_s": sum(t.count * model.seconds(*touched(t, rule[t.name])) for t in types),
                    "solver_s": sum(t.count * model.seconds(*touched(t, solved[t.name])) for t in types),
                }
            )
    return {"constants": vars(model), "timings": timings, "held_out_errors": errors, "allocations": chosen}


def time_products(cell: Cell) -> list[tuple[int, int, float]]:
    """(blocks, operations, seconds) of forward passes: densities and batches, fastest of five."""
    import torch

    from nasc.block_sparse import BlockSparse, flat_butterfly
    from nasc.block_sparse.butterfly import available_strides
    from nasc.measurement import Stopwatch

    torch.set_num_threads(1)
    block, found = cell["block"], []
    for side in (cell["side"], 2 * cell["side"]):
        for stride in available_strides(side, side, block):
            layer = BlockSparse(flat_butterfly(side, side, block, stride))
            for batch in (cell["batch"] // 4, cell["batch"], 2 * cell["batch"]):
                x, best = torch.randn(batch, side), float("inf")
                with torch.no_grad():
                    for _ in range(5):
                        watch = Stopwatch()
                        layer(x)
                        best = min(best, watch.seconds)
                found.append((layer.pattern.blocks, 2 * layer.pattern.nnz * batch, best))
    return found


def approximation(cell: Cell) -> dict[str, Any]:
    """Frobenius error of fitting a trained matrix at equal budget: flat butterfly, low rank, both, random blocks."""
    import torch

    from nasc.block_sparse import flat_butterfly
    from nasc.block_sparse.budget import MatrixType, choose_form
    from nasc.block_sparse.rivals import random_blocks
    from nasc.block_sparse.theory import split_error

    weight = trained_matrix(cell).double()
    matrix = MatrixType("", *weight.shape)
    found: dict[str, Any] = {"shape": list(weight.shape)}
    for density in (0.1, 0.2, 0.4):
        for name, share in (("flat", 0.0), ("both", 0.25), ("low rank", 1.0)):
            form = choose_form(matrix, density * matrix.weights, block=8, low_rank_share=share)
            pattern = form.pattern(matrix)
            error = split_error(weight, pattern.elements() if pattern else None, form.rank)
            found[f"{name} {density}"] = {"error": error, "density": form.density}
        count = round(density * flat_butterfly(*weight.shape, 8, 1).mask.numel())
        blocks = random_blocks(*flat_butterfly(*weight.shape, 8, 1).mask.shape, count, cell["seed"])
        elements = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1)[: weight.shape[0], : weight.shape[1]]
        found[f"random {density}"] = {
            "error": split_error(weight, elements, 0),
            "density": float(elements.float().mean()),
        }
    torch.manual_seed(0)
    return found


def trained_matrix(cell: Cell) -> Any:
    """The hidden matrix of a perceptron trained on the embedded digits."""
    import torch
    from torch.nn import functional

    from nasc.datasets import load_dataset

    data = load_dataset("digits", seed=cell["seed"])
    torch.manual_seed(cell["seed"])
    net = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(64, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 10),
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    for _ in range(cell["epochs"]):
        for x, y in zip(data.train_x.split(64), data.train_y.split(64), strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net[3].weight.detach()


def report(size: str) -> None:
    """Every figure of the last run, as it is."""
    import json

    for row in load_rows(NAME, size):
        if "error" in row:
            print(row["cell"]["figure"], "failed:", row["error"].splitlines()[-1])
            continue
        result = dict(row["result"]) if isinstance(row["result"], dict) else {"rows": row["result"]}
        result.pop("timings", None)
        print(f"\n{row['cell']['figure']} (seed {row['cell'].get('seed', '-')})")
        for key, value in result.items():
            for line in value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]:
                print(f"  {key}: {json.dumps(line)}")


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
