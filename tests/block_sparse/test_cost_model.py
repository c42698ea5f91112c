import math
from itertools import product

import pytest

from nasc.block_sparse.budget import Form, MatrixType, allocate, choose_form
from nasc.block_sparse.cost_model import (
    CostModel,
    Timing,
    available_forms,
    density_for_time,
    fit_cost_model,
    solve,
    touched,
)
from nasc.errors import TargetError, UsageError

MODEL = CostModel(memory_s=3e-7, flop_s=2e-11, call_s=5e-6)
TYPES = [MatrixType("up", 128, 64, 2, 16), MatrixType("down", 64, 128, 2, 16), MatrixType("qkv", 64, 64, 3, 16)]


def test_planted_constants_are_recovered():
    points = [(10, 10**6), (200, 10**6), (10, 10**8), (77, 3 * 10**7), (1000, 10**5)]
    fitted = fit_cost_model([Timing(blocks, flops, MODEL.seconds(blocks, flops)) for blocks, flops in points])
    assert (fitted.memory_s, fitted.flop_s, fitted.call_s) == pytest.approx((3e-7, 2e-11, 5e-6), rel=1e-6)
    without = CostModel(3e-7, 2e-11)
    fitted = fit_cost_model([Timing(b, f, without.seconds(b, f)) for b, f in points], constant=False)
    assert (fitted.memory_s, fitted.flop_s, fitted.call_s) == pytest.approx((3e-7, 2e-11, 0.0), rel=1e-6)


def test_constants_are_never_negative_and_too_few_timings_are_refused():
    fitted = fit_cost_model([Timing(1, 100, 1.0), Timing(2, 50, 0.5), Timing(3, 10, 0.1)])
    assert min(fitted.memory_s, fitted.flop_s, fitted.call_s) >= 0
    with pytest.raises(UsageError, match="at least 3 timed products; got 1"):
        fit_cost_model([Timing(1, 1, 1.0)])


def test_time_grows_with_stride_and_rank():
    matrix = MatrixType("m", 128, 128, positions=10)
    forms = {(form.stride, form.rank): form for form in available_forms(matrix, 16)}
    times = {key: MODEL.form_seconds(matrix, form) for key, form in forms.items()}
    for (stride, rank), seconds in times.items():
        if (2 * stride, rank) in times:
            assert times[2 * stride, rank] > seconds
        if (stride, rank + 16) in times:
            assert times[stride, rank + 16] > seconds


def test_touched_blocks_are_those_of_blocks_and_factors():
    matrix = MatrixType("m", 128, 64, positions=10)
    form = choose_form(matrix, 0.6 * matrix.weights, block=16)
    pattern = form.pattern(matrix)
    blocks, flops = touched(matrix, form)
    assert blocks == pattern.blocks + form.rank // 16 * (8 + 4)
    assert flops == 2 * form.weights * 10
    dense = Form(16, 0, 0, matrix.weights, matrix.weights)
    assert touched(matrix, dense) == (32, 2 * 128 * 64 * 10)


def test_the_solver_finds_what_brute_force_finds():
    density, block = 0.5, 16
    total = sum(matrix.macs for matrix in TYPES)
    feasible = []
    for forms in product(*(list(available_forms(matrix, block)) for matrix in TYPES)):
        if sum(m.macs * f.density for m, f in zip(TYPES, forms, strict=True)) <= density * total:
            utility = sum(m.macs / total * math.log(f.density) for m, f in zip(TYPES, forms, strict=True))
            feasible.append((utility, sum(MODEL.form_seconds(m, f) for m, f in zip(TYPES, forms, strict=True))))
    top = max(utility for utility, _ in feasible)
    best = min(seconds for utility, seconds in feasible if utility >= top + math.log(0.99))
    forms = solve(TYPES, MODEL, density, block=block)
    assert sum(m.macs * forms[m.name].density for m in TYPES) <= density * total
    assert sum(MODEL.form_seconds(m, forms[m.name]) for m in TYPES) == pytest.approx(best, rel=0.01)


def test_solver_and_rule_agree_on_equal_densities():
    """Appendix I says that both agree: equal matrices get equal forms, and densities stay near the budget."""
    forms = solve(TYPES, MODEL, 0.5, block=16)
    rule = allocate(TYPES, 0.5, block=16)
    for matrix in TYPES:
        assert forms[matrix.name].density == pytest.approx(0.5, abs=0.13)
        assert rule[matrix.name].density == pytest.approx(0.5, abs=0.13)


def test_a_budget_below_everything_is_refused():
    with pytest.raises(TargetError, match=r"fits a density of 0\.01"):
        solve(TYPES, MODEL, 0.01, block=16)


def test_a_budget_in_seconds_becomes_the_largest_density_that_fits():
    candidates = {density: allocate(TYPES, density, block=16) for density in (0.2, 0.4, 0.6, 0.8)}
    times = {d: sum(MODEL.form_seconds(m, forms[m.name]) for m in TYPES) for d, forms in candidates.items()}
    assert density_for_time(TYPES, MODEL, times[0.4], candidates) >= 0.4
    assert density_for_time(TYPES, MODEL, max(times.values()), candidates) == 0.8
    with pytest.raises(TargetError, match="the fastest takes"):
        density_for_time(TYPES, MODEL, min(times.values()) / 2, candidates)
