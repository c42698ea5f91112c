"""Working variables: refinement keeps sizes, tied axes have the same leaves, what does not fit is frozen."""

from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.graph.unify import (
    Factors,
    Variable,
    concatenation,
    find,
    freeze,
    is_fixed,
    leaves,
    merge_fixed,
    normal,
    number,
    reduce_over,
    regroup,
    size,
    split_sum,
    unify,
)


def leaf(length: int) -> Factors:
    return [Variable(length)]


def sizes(axis: Factors) -> list[int]:
    return [variable.size for variable in leaves(axis)]


def same(left: Factors, right: Factors) -> bool:
    return [find(v) for v in leaves(left)] == [find(v) for v in leaves(right)]


def test_a_reshape_refines_a_leaf_into_a_product() -> None:
    channels = leaf(12)
    parts = regroup(channels, [3, 4])
    assert parts is not None
    assert [sizes(part) for part in parts] == [[3], [4]]
    assert sizes(channels) == [3, 4]


def test_a_reshape_joins_factors() -> None:
    heads, width = leaf(4), leaf(6)
    parts = regroup([*heads, *width], [24])
    assert parts == [[*heads, *width]]


def test_a_boundary_inside_a_factor_that_does_not_divide_is_refused() -> None:
    assert regroup([*leaf(4), *leaf(6)], [3, 8]) is None


def test_a_cut_refines_a_leaf_into_a_sum_and_joining_gives_it_back() -> None:
    channels = leaf(10)
    halves = split_sum(channels, 4)
    assert halves is not None
    assert (sizes(halves[0]), sizes(halves[1])) == ([4], [6])
    joined = concatenation(halves)
    assert unify(joined, channels)
    assert same(joined, channels)
    assert all(v.frozen is None for v in leaves(channels))


def test_cuts_at_different_places_refine_each_other() -> None:
    left, right = leaf(10), leaf(10)
    split_sum(left, 4)
    split_sum(right, 7)
    assert unify(left, right)
    assert sizes(left) == [4, 3, 3]
    assert same(left, right)


def test_a_cut_inside_the_inner_factor_is_refused() -> None:
    assert split_sum([*leaf(4), *leaf(6)], 9) is None
    halves = split_sum([*leaf(4), *leaf(6)], 12)
    assert halves is not None
    assert (sizes(halves[0]), sizes(halves[1])) == ([2, 6], [2, 6])


def test_a_concatenation_of_two_equal_groups_reads_as_a_product() -> None:
    joined = concatenation([leaf(6), leaf(6)])
    parts = regroup(joined, [2, 6])
    assert parts is not None
    assert size(parts[0]) == 2
    assert sizes(parts[1]) == [6]


def test_products_that_do_not_refine_each_other_are_frozen() -> None:
    left, right = leaf(12), leaf(12)
    regroup(left, [3, 4])
    regroup(right, [2, 6])
    assert not unify(left, right, "does not fit")
    assert {v.frozen for v in [*leaves(left), *leaves(right)]} == {"does not fit"}


def test_different_sizes_are_frozen() -> None:
    left, right = leaf(5), leaf(6)
    assert not unify(left, right, "does not fit")
    assert is_fixed(left)
    assert is_fixed(right)


def test_fixed_numbers_have_no_identity() -> None:
    positions = number(14, "counts positions")
    assert regroup(merge_fixed(positions), [2, 7]) is not None
    assert regroup(merge_fixed(positions), [7, 2]) is not None
    assert len(positions) == len(normal(positions)) == 1


def test_what_is_tied_to_a_frozen_axis_is_frozen_for_its_reason() -> None:
    stream, other = leaf(8), [*leaf(2), *leaf(4)]
    freeze(stream, "reaches the output")
    assert unify(stream, other)
    assert [v.frozen for v in leaves(other)] == ["reaches the output"] * 2


def test_a_frozen_factor_freezes_the_sum_it_meets_and_nothing_else() -> None:
    joined, width = concatenation([leaf(4), leaf(6)]), leaf(3)
    assert unify([*joined, *width], [*number(10, "counts positions"), *leaf(3)])
    assert [v.frozen for v in leaves(joined)] == ["counts positions"] * 2
    assert not is_fixed(width)


def test_what_a_norm_runs_over_stays_known_when_it_meets_a_sum() -> None:
    joined, normed = concatenation([leaf(4), leaf(6)]), leaf(10)
    reduce_over(normed, "a norm runs over it")
    assert unify(joined, normed)
    assert [v.reduced for v in leaves(joined)] == ["a norm runs over it"] * 2


def test_the_first_reason_stays() -> None:
    axis = leaf(8)
    freeze(axis, "first")
    freeze(axis, "second")
    reduce_over(axis, "one")
    reduce_over(axis, "two")
    (only,) = leaves(axis)
    assert (only.frozen, only.reduced) == ("first", "one")


def test_the_batch_is_never_split_and_passes_to_what_it_meets() -> None:
    batch = [Variable(11, frozen="batch", batch=True)]
    assert regroup([*batch, *number(6, "n")], [11, 2, 3]) is not None
    assert regroup(batch, [1, 11]) == [[], batch]
    plain = number(22, "n")
    assert unify(plain, [*batch, *number(2, "n")])
    assert [v.batch for v in leaves(plain)] == [True, False]


def test_parts_inherit_what_is_known_of_the_whole() -> None:
    axis = leaf(12)
    reduce_over(axis, "a norm runs over it")
    freeze(axis, "frozen")
    regroup(axis, [3, 4])
    assert [(v.frozen, v.reduced) for v in leaves(axis)] == [("frozen", "a norm runs over it")] * 2


@st.composite
def refined_axis(draw: st.DrawFn, total: int) -> Factors:
    """An axis of a given size, refined at random into products and sums."""
    axis: Factors = [Variable(total)]
    for _ in range(draw(st.integers(0, 4))):
        inner = draw(st.sampled_from(list(leaves(axis)) or axis))
        if inner.size < 2:
            continue
        if draw(st.booleans()):
            divisors = [n for n in range(2, inner.size) if inner.size % n == 0]
            if divisors:
                outer = draw(st.sampled_from(divisors))
                regroup([inner], [outer, inner.size // outer])
        else:
            split_sum([inner], draw(st.integers(1, inner.size - 1)))
    return axis


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([6, 12, 16, 24, 36]))
def test_tied_axes_keep_their_size_and_have_the_same_leaves_or_are_frozen(data: st.DataObject, total: int) -> None:
    left, right = data.draw(refined_axis(total)), data.draw(refined_axis(total))
    tied = unify(left, right)
    assert size(normal(left)) == size(normal(right)) == total
    for axis in (left, right):
        assert_sums_add_up(axis)
    unfrozen = [v.frozen is None for v in [*leaves(left), *leaves(right)]]
    if tied and all(unfrozen):
        assert same(left, right)
    free_left = [find(v) for v in leaves(left) if v.frozen is None]
    free_right = [find(v) for v in leaves(right) if v.frozen is None]
    assert free_left == free_right


def assert_sums_add_up(axis: Factors) -> None:
    for variable in normal(axis):
        if variable.summands is not None:
            assert sum(size(normal(part)) for part in variable.summands) == variable.size
            for part in variable.summands:
                assert_sums_add_up(part)
