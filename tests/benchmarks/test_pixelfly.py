"""The Pixelfly studies at their tiny size: cells are unique, and every kind of cell runs and gives its figures."""

import json
from typing import Any

import pixelfly_models
import pixelfly_ntk
import pixelfly_speed
import pixelfly_theory
import pixelfly_training
import pytest
import study
import torch
from torch import nn

from nasc.block_sparse.budget import MatrixType

KINDS = ["pixelfly", "flat", "low rank", "random block", "random element", "magnitude", "big bird"]
KINDS += ["strided", "fixed", "local", "butterfly product", "butterfly+local", "strided+random block"]


@pytest.mark.parametrize("module", [pixelfly_ntk, pixelfly_theory, pixelfly_training])
def test_cells_are_unique(module: Any) -> None:
    cells = module.cells("small", 3)
    assert len({json.dumps(cell, sort_keys=True) for cell in cells}) == len(cells)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(64, 32), (48, 96)])
def test_every_form_has_about_the_weights_of_its_density(kind: str, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    dense = nn.Linear(shape[1], shape[0])
    layer = pixelfly_models.sparse_layer(dense, {"kind": kind, "density": 0.5, "block": 4}, seed=1)
    weights = pixelfly_models.weight_count(layer)
    assert weights <= 0.5 * dense.weight.numel() * 1.02
    assert weights >= 0.15 * dense.weight.numel()
    assert layer(torch.randn(3, shape[1])).shape == (3, shape[0])


def test_patterns_of_rivals_hit_the_number_of_blocks() -> None:
    matrix = MatrixType("", 64, 128)
    for kind in ("random block", "local", "big bird", "strided", "fixed", "local+random block"):
        assert int(pixelfly_models.block_mask(kind, matrix, 2048, 8, 0).sum()) == 32


@pytest.mark.parametrize("name", ["mixer", "vit", "gpt"])
def test_only_the_matrices_asked_for_become_sparse(name: str) -> None:
    model = pixelfly_models.build_model(name, 32, 1, vocabulary=20, length=8)
    before = {path: type(module) for path, module in model.named_modules()}
    where = "mlp" if name == "mixer" else "attention"
    chosen = pixelfly_models.matrices(model, where)
    assert chosen
    sparse = pixelfly_models.make_sparse(model, {"kind": "flat", "density": 0.5, "block": 4}, 0, where)
    for path, module in sparse.named_modules():
        if path in before:
            assert (type(module) is not before[path]) == (path in chosen)
    x = torch.randint(20, (2, 8)) if name == "gpt" else torch.randn(2, 3, 32, 32)
    assert sparse(x).shape == ((2, 8, 20) if name == "gpt" else (2, 10))


def test_every_rival_is_timed() -> None:
    for cell in pixelfly_speed.cells("tiny"):
        figures = pixelfly_speed.run_cell(cell)
        assert all(times["forward_s"] > 0 for times in figures["times"].values())
        assert all(0 < density <= 1 for density in figures["densities"].values())


@pytest.mark.parametrize("figure", ["expansion", "rank", "clusters", "covers", "allocation", "approximation"])
def test_the_figures_that_need_no_training_are_made(figure: str) -> None:
    cell = next(cell for cell in pixelfly_theory.cells("tiny", 1) if cell["figure"] == figure)
    assert json.dumps(pixelfly_theory.run_cell(cell))


def test_the_cost_model_is_fitted_and_rule_and_solver_stay_within_the_budget() -> None:
    cell = next(cell for cell in pixelfly_theory.cells("tiny", 1) if cell["figure"] == "cost model")
    result = pixelfly_theory.run_cell(cell)["result"]
    for row in result["allocations"]:
        assert row["solver_density"] <= row["budget"] + 1e-9
        if 1.0 not in row["rule"].values():  # a layer too narrow for the block is left dense, and counted so
            assert row["rule_density"] <= row["budget"] + 1e-9


@pytest.mark.data
@pytest.mark.skipif(not (study.DATA / "cifar10").is_dir(), reason="CIFAR-10 is not beside the checkout")
@pytest.mark.parametrize("kind", ["alpha", "transfer"])
def test_a_training_cell_gives_quality_losses_and_times(kind: str) -> None:
    cells = [cell for cell in pixelfly_training.cells("tiny", 1) if cell["study"] == kind and cell["model"] != "gpt"]
    figures = pixelfly_training.run_cell(cells[-1])
    assert 0 <= figures["quality"] <= 1
    assert figures["loss"] > 0
    assert figures["step_s"] >= figures["fastest_step_s"] > 0
    assert (kind == "transfer") == ("tuned_quality" in figures)


@pytest.mark.data
@pytest.mark.skipif(not (study.DATA / "cifar10").is_dir(), reason="CIFAR-10 is not beside the checkout")
def test_rigl_trains_on_the_same_task() -> None:
    cells = [cell for cell in pixelfly_training.cells("tiny", 1) if cell["form"]["kind"] == "rigl"]
    assert pixelfly_training.run_cell(cells[0])["weights"] > 0


@pytest.mark.data
@pytest.mark.skipif(not (study.DATA / "wikitext2").is_dir(), reason="WikiText-2 is not beside the checkout")
def test_a_language_model_gives_a_perplexity() -> None:
    cell = next(cell for cell in pixelfly_training.cells("tiny", 1) if cell["model"] == "gpt")
    assert 1 < pixelfly_training.run_cell(cell)["quality"] < 1e5


@pytest.mark.data
@pytest.mark.skipif(not (study.DATA / "cifar10").is_dir(), reason="CIFAR-10 is not beside the checkout")
def test_every_kernel_is_compared_with_the_dense_one() -> None:
    cell = pixelfly_ntk.cells("tiny", 1)[0] | {"kinds": ["pixelfly", "big bird and magnitude"]}
    distances = pixelfly_ntk.run_cell(cell)["distances"]
    assert set(distances) == {"pixelfly", "big bird and magnitude", "dense, another seed"}
    assert all(one["relative"] > 0 and -1 <= one["alignment"] <= 1 for one in distances.values())
