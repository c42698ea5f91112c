"""One number, one mask, one list of indices per dim give those of every axis."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasc.graph.dims import Axis, Dim, Sum

DIMS = [Dim(f"d{i}", size) for i, size in enumerate((1, 2, 3, 4, 5))]
terms = st.recursive(
    st.sampled_from(DIMS),
    lambda inner: st.lists(
        st.lists(inner, min_size=0, max_size=2).map(lambda t: Axis(tuple(t))), min_size=1, max_size=3
    ).map(lambda parts: Sum(tuple(parts))),
    max_leaves=5,
)
axes = st.lists(terms, max_size=3).map(lambda found: Axis(tuple(found)))
masks = st.tuples(*[st.lists(st.booleans(), min_size=dim.size, max_size=dim.size) for dim in DIMS]).map(
    lambda found: {dim.name: torch.tensor(mask, dtype=torch.float64) for dim, mask in zip(DIMS, found, strict=True)}
)


@given(axes, masks)
def test_kept_indices_are_where_the_expanded_mask_is_one(axis: Axis, vectors: dict[str, torch.Tensor]) -> None:
    kept = {name: vector.nonzero().flatten() for name, vector in vectors.items()}
    expanded = axis.expand(vectors)
    assert expanded.shape == (axis.size(),)
    assert torch.equal(axis.kept(kept), expanded.nonzero().flatten())


@given(axes, masks)
def test_the_size_of_an_axis_counts_its_kept_entries(axis: Axis, vectors: dict[str, torch.Tensor]) -> None:
    counts = {name: int(vector.sum()) for name, vector in vectors.items()}
    kept = {name: vector.nonzero().flatten() for name, vector in vectors.items()}
    assert axis.size(counts) == axis.kept(kept).numel()


@given(axes)
def test_sizes_as_tensors_give_what_sizes_as_ints_give(axis: Axis) -> None:
    tensors = {dim.name: torch.tensor(float(dim.size), dtype=torch.float64) for dim in DIMS}
    assert float(axis.size(tensors)) == axis.size()


def test_the_size_of_a_product_has_the_product_rule_as_gradient() -> None:
    a, b, c = DIMS[2], DIMS[3], DIMS[4]
    axis = Axis((a, Sum((Axis((b,)), Axis((c,))))))
    sizes = {dim.name: torch.tensor(float(dim.size), requires_grad=True) for dim in (a, b, c)}
    total = axis.size(sizes)
    assert isinstance(total, torch.Tensor)
    total.backward()  # type: ignore[no-untyped-call]
    assert float(total.detach()) == 3 * (4 + 5)
    assert [float(sizes[dim.name].grad) for dim in (a, b, c)] == [9.0, 3.0, 3.0]  # type: ignore[arg-type]


def test_a_flattened_axis_repeats_each_channel_for_every_position() -> None:
    axis = Axis((DIMS[1], DIMS[2]))
    mask = axis.expand({"d1": torch.tensor([1.0, 0.5])})
    assert mask.tolist() == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]


def test_a_dim_that_is_not_named_is_kept_whole() -> None:
    axis = Axis((DIMS[1], DIMS[2]))
    assert axis.kept({}).tolist() == list(range(6))
    assert axis.size({"d1": 1}) == 3


def test_an_empty_axis_has_one_entry() -> None:
    assert Axis().size() == 1
    assert Axis().expand({}).tolist() == [1.0]
    assert str(Axis()) == "1"


def test_an_axis_reads_as_products_and_sums() -> None:
    axis = Axis((Sum((Axis((DIMS[1],)), Axis((DIMS[2],)))), DIMS[3]))
    assert str(axis) == "(d1=2 + d2=3) x d3=4"


@pytest.mark.parametrize(("frozen", "reduced", "size"), [("why", None, 4), (None, "why", 4), (None, None, 1)])
def test_a_dim_is_maskable_only_if_free_unreduced_and_wider_than_one(
    frozen: str | None, reduced: str | None, size: int
) -> None:
    assert not Dim("d", size, frozen=frozen, reduced=reduced).maskable
    assert Dim("d", 4).maskable
