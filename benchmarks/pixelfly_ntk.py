"""Empirical NTK at initialisation: distance of sparse networks to the dense one at equal density (the sheet's row 9).

python benchmarks/pixelfly_ntk.py --size small --seeds 5
python benchmarks/pixelfly_ntk.py --report
"""

from typing import Any

from study import Cell, load_rows, mean_and_spread, parse_arguments, run_study

NAME = "pixelfly_ntk"
KINDS = (
    "pixelfly",
    "flat",
    "low rank",
    "big bird",
    "butterfly product",
    "random block",
    "random element",
    "magnitude",
    "big bird and magnitude",
)
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"models": ("mixer",), "width": 16, "depth": 1, "images": 4, "densities": (0.3,), "block": 4},
    "small": {"models": ("mixer", "vit"), "width": 128, "depth": 2, "images": 32, "densities": (0.1, 0.2), "block": 8},
    "full": {"models": ("vit",), "width": 384, "depth": 12, "images": 64, "densities": (0.1, 0.2), "block": 32},
}


def cells(size: str, seeds: int) -> list[Cell]:
    """A cell a model, density and seed: the dense kernel is made once."""
    setting = SETTINGS[size]
    shared = {key: setting[key] for key in ("width", "depth", "images", "block")}
    return [
        {"model": model, "density": density, "seed": seed, "kinds": list(KINDS)} | shared
        for model in setting["models"]
        for density in setting["densities"]
        for seed in range(seeds)
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Distances of every kind, and the weights each has."""
    import torch
    from pixelfly_models import build_model, weight_count

    from nasc.block_sparse.neural_tangent import compare_kernels, tangent_kernel

    x = load_images(cell["images"], cell["seed"])

    def fresh(seed: int) -> Any:
        torch.manual_seed(seed)
        return build_model(cell["model"], cell["width"], cell["depth"])

    dense = fresh(cell["seed"])
    kernel = tangent_kernel(dense, x)
    found: dict[str, Any] = {}
    for kind in cell["kinds"]:
        model = sparse(fresh(cell["seed"]), kind, cell)
        distance = compare_kernels(tangent_kernel(model, x), kernel)
        found[kind] = {**vars(distance), "weights": weight_count(model)}
    other = compare_kernels(tangent_kernel(fresh(cell["seed"] + 100), x), kernel)
    found["dense, another seed"] = {**vars(other), "weights": weight_count(dense)}
    return {"distances": found}


def sparse(model: Any, kind: str, cell: Cell) -> Any:
    """The model in a form; the paper's baseline takes BigBird in attention and magnitude at initialisation in the MLPs."""
    from pixelfly_models import make_sparse

    form = {"density": cell["density"], "block": cell["block"]}
    if kind == "big bird and magnitude":
        model = make_sparse(model, form | {"kind": "big bird"}, cell["seed"], "attention")
        return make_sparse(model, form | {"kind": "magnitude"}, cell["seed"], "mlp")
    matched = kind in ("pixelfly", "low rank")  # so that distances tell the shape, not the scale of the start
    return make_sparse(model, form | {"kind": kind, "matched": matched}, cell["seed"])


def load_images(count: int, seed: int) -> Any:
    """CIFAR-10 pictures, shape (count, 3, 32, 32)."""
    from accuracy import data_spec

    from nasc.datasets import load_dataset

    data = load_dataset(data_spec("cifar10"), train_size=max(count, 100), seed=seed)
    return data.train_x[:count]


def report(size: str) -> None:
    """Mean and spread over seeds."""
    rows = load_rows(NAME, size)
    groups = sorted({(row["cell"]["model"], row["cell"]["density"]) for row in rows if "error" not in row})
    for model, density in groups:
        mine = [r for r in rows if "error" not in r and (r["cell"]["model"], r["cell"]["density"]) == (model, density)]
        print(f"\n{model}, density {density}: distance to the dense kernel")
        print(f"{'kind':24} {'relative':22} {'trace-normalised':22} {'alignment':20} weights")
        for kind in mine[0]["distances"]:
            found = [row["distances"][kind] for row in mine]
            columns = [mean_and_spread([f[key] for f in found]) for key in ("relative", "normalised", "alignment")]
            print(f"{kind:24} {columns[0]:22} {columns[1]:22} {columns[2]:20} {found[0]['weights']}")


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
