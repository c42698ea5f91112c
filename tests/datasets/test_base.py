import pytest
import torch

from nasc.datasets import Augmentation
from nasc.datasets._base import RawImages, assemble
from nasc.errors import DataError


def numbered(count, classes=10):
    """Pictures that hold their own number."""
    return RawImages(torch.arange(float(count)).view(-1, 1, 1, 1), torch.arange(count) % classes)


def build(train, test, **options):
    return assemble("toys", train, test, num_classes=10, augmentation=Augmentation(), scale=1.0, **options)


def numbers(data, part):
    return set((getattr(data, part) * data.std[0] + data.mean[0]).round().flatten().tolist())


def test_small_runs_are_validated_on_fewer_pictures_but_never_train_on_those_of_large_runs():
    full = build(numbered(20000), numbered(10))
    small = build(numbered(20000), numbered(10), train_size=6000)
    assert (len(full.val_y), len(small.val_y)) == (2000, 1200)
    assert numbers(small, "val_x") < numbers(full, "val_x")
    for seed in range(3):
        some = build(numbered(20000), numbered(10), train_size=6000, seed=seed)
        assert not numbers(some, "train_x") & numbers(full, "val_x")


def test_pictures_are_normalised_by_their_training_part():
    data = build(numbered(100), numbered(50))
    assert data.mean[0] == pytest.approx(numbers_mean := sum(numbers(data, "train_x")) / 90)
    assert float(data.train_x.mean()) == pytest.approx(0, abs=1e-5)
    assert float(data.test_x[0]) == pytest.approx(-numbers_mean / data.std[0], rel=1e-4)


def test_a_constant_channel_is_not_divided_by_zero():
    flat = RawImages(torch.full((20, 1, 2, 2), 3.0), torch.arange(20) % 10)
    assert not build(flat, flat).train_x.any()


def test_the_digest_covers_every_picture_and_label():
    digests = {build(numbered(50), numbered(count)).sha256 for count in (10, 20)}
    changed = RawImages(numbered(50).x, numbered(50).y.roll(1))
    digests.add(build(changed, numbered(10)).sha256)
    assert len(digests) == 3


def test_a_validation_part_of_its_own_is_taken_as_it_is():
    data = build(numbered(50), numbered(10), validation=numbered(30))
    assert (len(data.train_y), len(data.val_y)) == (50, 30)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (RawImages(torch.zeros(5, 3, 1, 1), torch.zeros(5, dtype=torch.int64)), "pictures of one shape"),
        (RawImages(torch.zeros(5, 1, 1, 1), torch.zeros(4, dtype=torch.int64)), "got 4 labels for 5"),
        (RawImages(torch.zeros(5, 1, 1, 1), torch.full((5,), 10)), "expected labels 0 to 9, got 10 to 10"),
    ],
)
def test_parts_that_do_not_fit_are_refused(test, message):
    with pytest.raises(DataError, match=message):
        build(numbered(50), test)
