"""Layouts against the thing itself: numpy arrays that are permuted and reshaped."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasc.graph.lowering.layout import boundary_layout, permuted, reshaped, same_order, stored_shape

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Two shapes of as many entries, and a layout of the first."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=5))

    def grouped() -> tuple[int, ...]:
        cuts = sorted(draw(st.sets(st.integers(0, len(factors)))) | {0, len(factors)})
        return tuple(math.prod(factors[a:b]) for a, b in itertools.pairwise(cuts))

    shape = grouped()
    return shape, grouped(), tuple(draw(st.permutations(range(len(shape)))))


@given(reshapes())
def test_a_reshape_after_the_move_it_asks_for_gives_pytorchs_entries(
    case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> None:
    shape, target, layout = case
    tensor = np.arange(math.prod(shape)).reshape(shape)
    needed, after = reshaped(shape, target, layout)
    stored = tensor.transpose(needed).reshape(stored_shape(target, after))
    np.testing.assert_array_equal(stored, tensor.reshape(target).transpose(after))


@given(reshapes())
def test_nothing_moves_where_the_order_already_fits(
    case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> None:
    shape, target, _ = case
    natural = tuple(range(len(shape)))
    needed, _ = reshaped(shape, target, natural)
    assert same_order(shape, needed, natural)


@given(SHAPES, st.data())
def test_a_permutation_only_renames_axes(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = range(len(shape))
    layout, order = tuple(data.draw(st.permutations(axes))), tuple(data.draw(st.permutations(axes)))
    tensor = np.arange(math.prod(shape)).reshape(shape)
    stored = tensor.transpose(layout)
    np.testing.assert_array_equal(stored, tensor.transpose(order).transpose(permuted(layout, order)))


@pytest.mark.parametrize(
    ("shape", "target", "layout", "needed", "after"),
    [
        ((1, 8, 1, 1), (1, 8), (0, 2, 3, 1), (0, 2, 3, 1), (0, 1)),  # after global pooling: free
        ((1, 8), (1, 8, 1, 1), (0, 1), (0, 1), (0, 2, 3, 1)),
        ((1, 8, 2, 2), (1, 32), (0, 2, 3, 1), (0, 1, 2, 3), (0, 1)),  # VGG's flatten: the channels go first
        ((1, 2, 4, 3, 3), (1, 8, 3, 3), (0, 3, 4, 2, 1), (0, 3, 4, 1, 2), (0, 2, 3, 1)),  # a channel shuffle ends
        ((1, 8, 3, 3), (1, 8, 9), (0, 2, 3, 1), (0, 2, 3, 1), (0, 2, 1)),  # patches become tokens: free
    ],
)
def test_known_reshapes(shape, target, layout, needed, after) -> None:  # type: ignore[no-untyped-def]
    assert reshaped(shape, target, layout) == (needed, after)


def test_images_have_channels_last_at_the_boundary_and_the_rest_lies_as_in_pytorch() -> None:
    assert boundary_layout(4) == (0, 2, 3, 1)
    assert boundary_layout(2) == (0, 1)
