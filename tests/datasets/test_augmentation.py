import torch

from nasc.datasets import Augmentation


def every_variant(picture, *, shift, flip):
    """All shifted and mirrored forms of one picture, the slow way."""
    _, height, width = picture.shape
    padded = torch.zeros(picture.shape[0], height + 2 * shift, width + 2 * shift)
    padded[:, shift : shift + height, shift : shift + width] = picture
    for top in range(2 * shift + 1):
        for left in range(2 * shift + 1):
            crop = padded[:, top : top + height, left : left + width]
            yield crop
            if flip:
                yield crop.flip(2)


def test_every_augmented_picture_is_a_shifted_and_perhaps_mirrored_one():
    x = torch.randn(40, 2, 5, 6)
    out = Augmentation(flip=True, shift=1)(x, torch.Generator().manual_seed(0))
    for before, after in zip(x, out, strict=True):
        assert any(torch.equal(after, variant) for variant in every_variant(before, shift=1, flip=True))


def test_all_variants_come_up_equally_often():
    picture = torch.arange(1.0, 17.0).view(1, 1, 4, 4)
    out = Augmentation(flip=True, shift=1)(picture.expand(9000, 1, 4, 4), torch.Generator().manual_seed(0))
    counts = [int((out == variant).all((1, 2, 3)).sum()) for variant in every_variant(picture[0], shift=1, flip=True)]
    assert sum(counts) == 9000
    assert max(abs(count - 500) for count in counts) < 5 * 500**0.5


def test_without_a_policy_the_batch_is_the_batch():
    x = torch.randn(3, 1, 4, 4)
    assert Augmentation()(x) is x


def test_the_input_is_left_as_it_was():
    x = torch.randn(8, 3, 8, 8)
    before = x.clone()
    Augmentation(flip=True, shift=2, cutout=3)(x)
    assert torch.equal(x, before)


def test_the_same_generator_gives_the_same_pictures():
    x, policy = torch.randn(8, 3, 8, 8), Augmentation(flip=True, shift=2, cutout=4)
    one, two = (policy(x, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)


def test_cutout_blanks_one_square_that_may_reach_over_the_edge():
    out = Augmentation(cutout=4)(torch.ones(500, 2, 10, 10), torch.Generator().manual_seed(0))
    blank = (out == 0).all(1)
    assert torch.equal(blank, (out == 0).any(1))
    rows, columns = blank.any(2).sum(1), blank.any(1).sum(1)
    assert torch.equal(blank.sum((1, 2)), rows * columns)
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4}
