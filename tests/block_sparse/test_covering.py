import math

import pytest
import torch

from nasc.block_sparse.covering import butterfly_cover, butterfly_density, covered, random_cover
from nasc.block_sparse.pattern import cover_elements
from nasc.block_sparse.rivals import random_blocks


@pytest.mark.parametrize(("size", "expected"), [(1, 1.0), (4, 0.999), (8, 0.81), (16, 0.34), (32, 0.10)])
def test_random_patterns_cover_what_the_sheet_says(size, expected):
    assert random_cover(0.1, size, 32) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("size", [4, 8, 16])
def test_the_random_formula_is_the_mean_over_draws(size):
    side, block = 256, 16
    shares = []
    for seed in range(20):
        blocks = random_blocks(side // size, side // size, round(0.1 * (side // size) ** 2), seed)
        elements = blocks.repeat_interleave(size, 0).repeat_interleave(size, 1)
        shares.append(cover_elements(elements, block).density)
    assert sum(shares) / 20 == pytest.approx(random_cover(0.1, size, block), abs=0.03)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 32])
def test_the_butterfly_formula_is_exact(size):
    side, block = 256, 32
    for power in range(int(math.log2(side // size)) + 1):
        stride = 2**power
        if stride * size < block:
            continue
        pattern = covered(side, size, stride, block)
        assert pattern.density == pytest.approx(butterfly_cover(side, size, stride, block))


def test_all_full_stride_butterflies_of_one_side_cover_the_same():
    nominal = [butterfly_density(1024, s, 1024 // s) for s in (1, 2, 4, 8, 16, 32)]
    assert nominal == pytest.approx([0.0107, 0.0195, 0.035, 0.0625, 0.109, 0.1875], abs=5e-4)
    assert {butterfly_cover(1024, s, 1024 // s, 32) for s in (1, 2, 4, 8, 16, 32)} == {0.1875}
    random = [random_cover(p, s, 32) for p, s in zip(nominal, (1, 2, 4, 8, 16, 32), strict=True)]
    assert random == pytest.approx([1.0, 0.997, 0.90, 0.63, 0.38, 0.19], abs=0.015)


def test_a_cover_is_counted_in_whole_blocks():
    assert covered(64, 8, 8, 16).mask.shape == (4, 4)
    assert torch.equal(covered(64, 16, 4, 16).mask, torch.ones(4, 4).bool() & ~torch.eye(4).flip(0).bool())
