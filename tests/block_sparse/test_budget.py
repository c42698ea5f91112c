import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasc.block_sparse.budget import (
    MatrixType,
    allocate,
    choose_form,
    choose_rank,
    choose_stride,
    realised_density,
    report,
    share_by_compute,
)
from nasc.block_sparse.butterfly import available_strides, flat_butterfly
from nasc.errors import UsageError

MIXER = [
    MatrixType("channel up", 2048, 512, 8, 196),
    MatrixType("channel down", 512, 2048, 8, 196),
    MatrixType("token up", 256, 196, 8, 512),
    MatrixType("token down", 196, 256, 8, 512),
]

sizes = st.integers(8, 300)


@given(sizes, sizes, st.sampled_from([4, 8, 16]), st.floats(0.02, 1.2), st.sampled_from([0.0, 0.25, 1 / 3, 1.0]))
def test_a_budget_is_never_exceeded_and_the_rank_is_a_multiple_of_the_block(out, columns, block, density, share):
    matrix = MatrixType("m", out, columns)
    budget = density * matrix.weights
    form = choose_form(matrix, budget, block=block, low_rank_share=share)
    assert form.rank % block == 0
    if form.dense:
        assert form.density == 1
        assert form.note
        return
    assert form.weights <= budget
    pattern = form.pattern(matrix)
    blocks = pattern.nnz if pattern is not None else 0
    assert form.weights == blocks + form.rank * (out + columns)
    if form.stride:
        strides = available_strides(out, columns, block)
        larger = [k for k in strides if k > form.stride]
        for k in larger:
            assert flat_butterfly(out, columns, block, k).nnz + form.rank * (out + columns) > budget
        assert pattern.density >= 1 / max(pattern.mask.shape)


def test_shares_sum_to_the_budget_and_are_in_proportion_to_compute():
    budget = 0.2 * sum(matrix.macs for matrix in MIXER)
    shares = share_by_compute(MIXER, budget)
    assert sum(shares.values()) == pytest.approx(budget)
    for matrix in MIXER:
        assert shares[matrix.name] / matrix.macs == pytest.approx(0.2)


def test_a_type_without_compute_gets_nothing():
    idle = MatrixType("idle", 64, 64, count=0)
    assert share_by_compute([idle, MIXER[0]], 100.0) == {"idle": 0.0, "channel up": 100.0}
    assert share_by_compute([idle], 100.0) == {"idle": 0.0}
    assert allocate([idle, MIXER[0]], 0.3, block=32)["idle"].dense


def test_the_sheets_feasibility_is_reproduced():
    """Square d needs 2b/d for rank b and 2b/d for stride 2 (buckets of 1.25 blocks make it a little more at d = 1280)."""
    for d, density in [(512, 0.25), (2048, 0.0625), (1280, 0.115)]:
        form = choose_form(MatrixType("m", d, d), density * d * d, block=32, low_rank_share=0.25)
        assert form.rank == 32
        assert form.stride >= 2
        assert form.density <= density
    tight = choose_form(MatrixType("m", 512, 512), 0.10 * 512**2, block=32, low_rank_share=0.25)
    assert (tight.rank, tight.stride) == (0, 1)
    assert "no low rank" in tight.note


def test_low_rank_takes_about_its_share():
    matrix = MatrixType("m", 2048, 2048)
    form = choose_form(matrix, 0.25 * matrix.weights, block=32, low_rank_share=0.25)
    assert form.rank * 4096 / (0.25 * matrix.weights) == pytest.approx(
        0.25, abs=32 * 4096 / (0.25 * matrix.weights) / 2
    )
    assert choose_form(matrix, 0.1 * matrix.weights, block=32, low_rank_share=1.0).stride == 0
    assert choose_form(matrix, 0.1 * matrix.weights, block=32, low_rank_share=0.0).rank == 0


def test_rank_and_stride_on_their_own():
    matrix = MatrixType("m", 64, 64)
    assert choose_rank(matrix, 4 * 8 * 128, 8, 0.25) == (8, "")
    assert choose_rank(matrix, 2 * 8 * 128, 8, 0.25)[0] == 8
    assert choose_rank(matrix, 2 * 8 * 128 - 1, 8, 0.25)[0] == 0
    assert choose_stride(matrix, 8 * 3 * 64, 8) == (4, 8 * 3 * 64)
    assert choose_stride(matrix, 8 * 64 - 1, 8) == (0, 0)


def test_layers_that_cannot_be_sparse_stay_dense_and_say_why():
    assert "narrower than a block" in choose_form(MatrixType("m", 4, 64), 100, block=8).note
    assert "hold no block diagonal" in choose_form(MatrixType("m", 64, 64), 100, block=8).note
    assert "holds the dense matrix" in choose_form(MatrixType("m", 64, 64), 5000, block=8).note


def test_the_report_has_requested_and_realised_density_of_every_type():
    forms = allocate(MIXER, 0.3, block=32)
    rows = report(MIXER, forms, 0.3)
    assert [row.name for row in rows] == [matrix.name for matrix in MIXER]
    assert all(0 < row.realised <= row.requested == 0.3 for row in rows if not row.form.dense)
    assert realised_density(MIXER, forms) <= 0.3
    assert realised_density(MIXER, allocate(MIXER, 1.0, block=32)) == 1.0


def test_no_budget_and_no_share_are_refused():
    with pytest.raises(UsageError, match="a density above 0; got 0"):
        allocate(MIXER, 0.0, block=32)
    with pytest.raises(UsageError, match=r"share between 0 and 1; got 1\.5"):
        choose_form(MIXER[0], 1e5, block=32, low_rank_share=1.5)
