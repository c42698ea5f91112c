"""``digits``: 1,797 handwritten digits of 8x8 grey pixels, inside scikit-learn.

The data are the test part of E. Alpaydin and C. Kaynak's "Optical Recognition of Handwritten Digits" (UCI, 1998).
"""

import torch

from nasc.datasets._base import ImageData, RawImages, assemble
from nasc.datasets.augmentation import Augmentation
from nasc.datasets.splits import hold_out

_TEST_COUNT = 360
_BRIGHTEST = 16.0


def load_digits(*, train_size: int | None = None, seed: int = 0) -> ImageData:
    """The embedded digits; a fifth of them, class-balanced and always the same, is the test part.

    Args:
        train_size: How many training pictures to keep; all when not given.
        seed: Which of them.
    """
    from sklearn.datasets import load_digits as load

    bunch = load()
    x = torch.from_numpy(bunch.images.astype("float32")).unsqueeze(1)
    y = torch.from_numpy(bunch.target.astype("int64"))
    rest, test = hold_out(y, _TEST_COUNT)
    return assemble(
        "digits",
        RawImages(x[rest], y[rest]),
        RawImages(x[test], y[test]),
        num_classes=10,
        augmentation=Augmentation(shift=1),
        scale=_BRIGHTEST,
        train_size=train_size,
        seed=seed,
    )
