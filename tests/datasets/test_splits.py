import pytest
import torch

from nasc.datasets.splits import balanced_subset, hold_out
from nasc.errors import DataError

LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[torch.randperm(100, generator=torch.Generator().manual_seed(1))]


def test_hold_out_splits_every_index_into_exactly_one_part():
    rest, held = hold_out(LABELS, 21)
    assert sorted([*rest.tolist(), *held.tolist()]) == list(range(100))


def test_hold_out_takes_classes_in_equal_shares():
    _, held = hold_out(LABELS, 21)
    assert LABELS[held].bincount().tolist() == [7, 7, 7]


def test_a_smaller_hold_out_is_part_of_a_larger_one():
    assert set(hold_out(LABELS, 10)[1].tolist()) < set(hold_out(LABELS, 30)[1].tolist())


@pytest.mark.parametrize("count", [1, 10, 33, 60])
def test_a_subset_has_class_counts_that_differ_by_one_at_most(count):
    counts = LABELS[balanced_subset(LABELS, count, seed=3)].bincount(minlength=3)
    assert counts.sum() == count
    assert counts.max() - counts.min() <= 1


def test_a_subset_larger_than_the_smallest_class_takes_the_rest_elsewhere():
    assert LABELS[balanced_subset(LABELS, 100, seed=0)].bincount().tolist() == [50, 30, 20]


def test_a_subset_depends_on_its_seed_and_on_nothing_else():
    first = balanced_subset(LABELS, 20, seed=0)
    torch.manual_seed(99)
    assert torch.equal(first, balanced_subset(LABELS, 20, seed=0))
    assert not torch.equal(first, balanced_subset(LABELS, 20, seed=1))


@pytest.mark.parametrize("count", [0, 101])
def test_a_subset_of_an_impossible_size_is_refused(count):
    with pytest.raises(DataError, match=f"between 1 and 100 for toys, got {count}"):
        balanced_subset(LABELS, count, seed=0, name="toys")
