"""What every data set gives: tensors in memory, split three ways, with the augmentation fit for them."""

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nasc.datasets.augmentation import Augmentation
from nasc.datasets.splits import balanced_subset, hold_out
from nasc.errors import DataError

_LARGEST_VALIDATION = 5000


@dataclass(frozen=True, eq=False)
class ImageData:
    """A classification data set in memory.

    Pictures are ``float32 (count, channels, height, width)``, normalised by ``mean`` and ``std`` per channel; labels
    are ``int64 (count,)``. Validation pictures are held out of the training part; test pictures are the data set's own.
    """

    name: str
    train_x: Tensor = field(repr=False)
    train_y: Tensor = field(repr=False)
    val_x: Tensor = field(repr=False)
    val_y: Tensor = field(repr=False)
    test_x: Tensor = field(repr=False)
    test_y: Tensor = field(repr=False)
    num_classes: int
    input_shape: tuple[int, ...]
    """(channels, height, width); (length,) of rows of tokens."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str
    """Of every picture and label as given, before the split and before normalisation."""
    augmentation: Augmentation


@dataclass(frozen=True, eq=False)
class RawImages:
    """Pictures as found, ``uint8`` or ``float32 (count, channels, height, width)``, with labels ``int64 (count,)``."""

    x: Tensor
    y: Tensor


def assemble(
    name: str,
    train: RawImages,
    test: RawImages,
    *,
    num_classes: int,
    augmentation: Augmentation,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    validation: RawImages | None = None,
    scale: float = 255.0,
    train_size: int | None = None,
    seed: int = 0,
) -> ImageData:
    """Split, subset and normalise what a reader found.

    The validation part is held out of the training part class by class and does not depend on the seed. A smaller
    ``train_size`` is validated on fewer pictures, all of them held out for every size, so that no run trains on the
    validation pictures of another.

    Args:
        name: The name of the data set, for records.
        train: The training pictures.
        test: The test pictures; never used for training or for choices.
        num_classes: The number of classes.
        augmentation: What may be done to a training picture.
        mean: Per channel, after division by ``scale``; taken from the training part when not given.
        std: Per channel, as ``mean``.
        validation: The data set's own validation part; held out of ``train`` when there is none.
        scale: What a picture is divided by before it is normalised.
        train_size: How many training pictures to keep, class-balanced; all when not given.
        seed: Which of them.

    Raises:
        DataError: The pictures do not fit each other, or there are fewer than ``train_size``.
    """
    parts = [part for part in (train, validation, test) if part is not None]
    _check(name, parts, num_classes)
    digest = _digest(parts)
    if validation is None:
        rest, _ = hold_out(train.y, _validation_size(len(train.y), None))
        _, held = hold_out(train.y, _validation_size(len(train.y), train_size))
        train, validation = RawImages(train.x[rest], train.y[rest]), RawImages(train.x[held], train.y[held])
    mean, std = (mean, std) if mean is not None and std is not None else _statistics(train.x, scale)
    if train_size is not None:
        kept = balanced_subset(train.y, train_size, seed, name=name)
        train = RawImages(train.x[kept], train.y[kept])
    train_x, val_x, test_x = (_normalise(part.x, mean, std, scale) for part in (train, validation, test))
    channels, height, width = train_x.shape[1:]
    return ImageData(
        name=name,
        train_x=train_x,
        train_y=train.y,
        val_x=val_x,
        val_y=validation.y,
        test_x=test_x,
        test_y=test.y,
        num_classes=num_classes,
        input_shape=(channels, height, width),
        mean=mean,
        std=std,
        sha256=digest,
        augmentation=augmentation,
    )


def _validation_size(available: int, train_size: int | None) -> int:
    """A tenth of what is there, at most 5,000; beside a small subset at most a fifth of it, or 1,000."""
    size = min(available // 10, _LARGEST_VALIDATION)
    return size if train_size is None else min(size, max(1000, train_size // 5))


def _check(name: str, parts: list[RawImages], num_classes: int) -> None:
    shapes = {tuple(part.x.shape[1:]) for part in parts}
    if len(shapes) != 1 or any(part.x.dim() != 4 for part in parts):
        raise DataError(f"{name}: expected pictures of one shape (channels, height, width), got {sorted(shapes)}")
    for part in parts:
        if len(part.x) != len(part.y) or len(part.y) == 0:
            raise DataError(f"{name}: expected one label a picture, got {len(part.y)} labels for {len(part.x)}")
        low, high = int(part.y.min()), int(part.y.max())
        if low < 0 or high >= num_classes:
            raise DataError(f"{name}: expected labels 0 to {num_classes - 1}, got {low} to {high}")


def _digest(parts: list[RawImages]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for tensor in (part.x, part.y):
            digest.update(str((tuple(tensor.shape), tensor.dtype)).encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _statistics(x: Tensor, scale: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel of ``x / scale``; a constant channel gets the deviation one."""
    pairs = [torch.std_mean(channel.to(torch.float32)) for channel in x.unbind(1)]
    return tuple(float(mean) / scale for _, mean in pairs), tuple(float(std) / scale or 1.0 for std, _ in pairs)


def _normalise(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...], scale: float) -> Tensor:
    out = x.to(torch.float32)
    if out is x:
        out = x.clone()
    shift = torch.tensor(mean).view(1, -1, 1, 1)
    spread = torch.tensor(std).view(1, -1, 1, 1)
    return out.div_(scale).sub_(shift).div_(spread)
