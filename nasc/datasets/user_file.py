"""``path/to/file.py:function``: a data set from a user's own function."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasc.datasets._base import ImageData, RawImages, assemble
from nasc.datasets.augmentation import Augmentation
from nasc.errors import DataError
from nasc.user_file import load_function

_HINT = (
    "return {'train': (x, y), 'test': (x, y)}, and 'val' if there is one: "
    "x (count, channels, height, width), whole numbers y (count,)"
)


def load_user_data(spec: str, *, train_size: int | None = None, seed: int = 0) -> ImageData:
    """What the user's function returns, as a data set.

    The function takes nothing and returns either an :class:`ImageData` or a dictionary of pairs of arrays or tensors:
    ``train`` and ``test``, and optionally ``val`` (held out of ``train`` otherwise) and ``augmentation`` (none
    otherwise). Pictures of unsigned bytes are divided by 255; the mean and spread of each channel are taken out.

    Args:
        spec: ``path/to/file.py:function``.
        train_size: How many training pictures to keep, class-balanced; ignored for an :class:`ImageData`.
        seed: Which of them.

    Raises:
        DataError: The file, the function or what it returns is not as described.
    """
    try:
        given = load_function(spec, error=DataError)()
    except DataError:
        raise
    except Exception as failure:
        raise DataError(
            f"{spec} fails: {type(failure).__name__}: {failure}", "it must run without arguments"
        ) from failure
    if isinstance(given, ImageData):
        return given
    if not isinstance(given, dict) or not {"train", "test"} <= given.keys() <= {"train", "val", "test", "augmentation"}:
        keys = sorted(map(str, given)) if isinstance(given, dict) else type(given).__name__
        raise DataError(f"expected {spec} to return the keys train and test, got {keys}", _HINT)
    parts = {name: _part(spec, name, given[name]) for name in ("train", "val", "test") if name in given}
    augmentation = given.get("augmentation", Augmentation())
    if not isinstance(augmentation, Augmentation):
        raise DataError(f"expected the augmentation of {spec} to be an Augmentation, got {type(augmentation).__name__}")
    return assemble(
        spec,
        parts["train"],
        parts["test"],
        validation=parts.get("val"),
        num_classes=int(max(int(part.y.max()) for part in parts.values())) + 1,
        augmentation=augmentation,
        scale=255.0 if parts["train"].x.dtype == torch.uint8 else 1.0,
        train_size=train_size,
        seed=seed,
    )


def _part(spec: str, name: str, pair: Any) -> RawImages:
    try:
        x, y = (_tensor(array) for array in pair)
    except (TypeError, ValueError) as failure:
        raise DataError(
            f"expected {spec} to return a pair of arrays for {name!r}, got {type(pair).__name__}", _HINT
        ) from failure
    if x.dim() != 4 or y.shape != x.shape[:1] or y.is_floating_point() or len(y) == 0:
        raise DataError(f"{spec}: {name!r} has pictures {tuple(x.shape)} and labels {tuple(y.shape)} {y.dtype}", _HINT)
    return RawImages(x if x.dtype == torch.uint8 else x.to(torch.float32), y.to(torch.int64))


def _tensor(array: Any) -> Tensor:
    return array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array))
