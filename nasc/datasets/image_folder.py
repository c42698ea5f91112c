"""``imagefolder:DIR``: pictures in one folder a class, read with pillow.

Two layouts: ``DIR/CLASS/*.png``, of which a fifth becomes the test part, and ``DIR/train/CLASS/*.png`` with
``DIR/val/CLASS`` or ``DIR/test/CLASS`` beside it. With both ``val`` and ``test``, each is what its name says; with one
of them, it is the test part and validation is held out of ``train``.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nasc.datasets._base import ImageData, RawImages, assemble
from nasc.datasets.augmentation import Augmentation
from nasc.datasets.folders import existing_folder
from nasc.datasets.splits import hold_out
from nasc.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

_SUFFIXES = {".png", ".jpg", ".jpeg"}
_HINT = "expected DIR/CLASS/*.png or DIR/train/CLASS/*.png with DIR/val/CLASS/*.png beside it (PNG or JPEG)"
_SIZE = 32
_LARGEST_BYTES = 4 * 2**30


def load_image_folder(folder: Path, *, train_size: int | None = None, seed: int = 0) -> ImageData:
    """Pictures in class folders, cropped to their middle square and resized, in colour.

    Args:
        folder: Of one of the two layouts above; ``DIR@64`` gives pictures of 64x64, ``DIR`` of 32x32.
        train_size: How many training pictures to keep, class-balanced.
        seed: Which of them.

    Raises:
        DataError: No class folders, fewer than two classes, an unreadable picture, or more pictures than memory holds.
        UsageError: pillow is not installed.
    """
    folder, size = split_size(folder)
    existing_folder(folder, "picture", _HINT)
    _require_pillow()
    train, validation, test = _read_split(folder, size) if (folder / "train").is_dir() else _read_plain(folder, size)
    return assemble(
        f"imagefolder-{folder.resolve().name}",
        train,
        test,
        validation=validation,
        num_classes=len(class_names(folder / "train" if (folder / "train").is_dir() else folder)),
        augmentation=Augmentation(flip=True, shift=size // 8),
        train_size=train_size,
        seed=seed,
    )


def split_size(folder: Path) -> tuple[Path, int]:
    """The folder and the side of its pictures that ``DIR`` or ``DIR@SIZE`` stands for.

    >>> split_size(Path("pets@64"))
    (PosixPath('pets'), 64)

    Args:
        folder: As it was given; a folder that is there by this very name is taken by it.
    """
    name, separator, size = folder.name.rpartition("@")
    if folder.exists() or not separator or not size.isdecimal() or int(size) < 1:
        return folder, _SIZE
    return folder.with_name(name), int(size)


def class_names(folder: Path) -> list[str]:
    """The names of the class folders in ``folder``, sorted: the label of a class is its place.

    Raises:
        DataError: There are fewer than two.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(names) < 2:
        raise DataError(f"expected at least two class folders in {folder}, found {len(names)}", _HINT)
    return names


def _read_split(folder: Path, size: int) -> tuple[RawImages, RawImages | None, RawImages]:
    """The training, validation and test part of a folder that is split already."""
    names = class_names(folder / "train")
    parts = {part: _read_classes(folder / part, names, size) for part in ("val", "test") if (folder / part).is_dir()}
    if not parts:
        raise DataError(
            f"expected {folder / 'val'} or {folder / 'test'} beside {folder / 'train'}, found neither", _HINT
        )
    train = _read_classes(folder / "train", names, size)
    return (train, parts["val"], parts["test"]) if len(parts) == 2 else (train, None, next(iter(parts.values())))


def _read_plain(folder: Path, size: int) -> tuple[RawImages, None, RawImages]:
    """The training and test part of a folder of classes: a fifth, class by class, is held out for the test."""
    images = _read_classes(folder, class_names(folder), size)
    rest, held = hold_out(images.y, len(images.y) // 5)
    return RawImages(images.x[rest], images.y[rest]), None, RawImages(images.x[held], images.y[held])


def _read_classes(folder: Path, names: list[str], size: int) -> RawImages:
    unexpected = set(class_names(folder)) ^ set(names)
    if unexpected:
        raise DataError(
            f"expected the same classes in every part of {folder.parent}, {sorted(unexpected)} differ", _HINT
        )
    paths = [(path, label) for label, name in enumerate(names) for path in _pictures(folder / name)]
    needed = len(paths) * 3 * size * size * 4
    if needed > _LARGEST_BYTES:
        raise DataError(
            f"expected at most {_LARGEST_BYTES} bytes of pictures, {len(paths)} of {size}x{size} take {needed}",
            "give a smaller size or a smaller folder",
        )
    x = torch.stack([_read_picture(path, size) for path, _ in paths])
    return RawImages(x, torch.tensor([label for _, label in paths]))


def _pictures(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise DataError(f"expected PNG or JPEG pictures in {folder}, found none", _HINT)
    return paths


def _read_picture(path: Path, size: int) -> Tensor:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels = np.array(_fit(picture.convert("RGB"), size))
    except (OSError, SyntaxError, ValueError) as failure:
        raise DataError(f"{path} is not a readable picture: {failure}", "remove or replace it") from failure
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _fit(picture: "Image", size: int) -> "Image":
    """The middle square of ``picture``, at ``size`` x ``size``."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.resize((size, size), box=(left, top, left + side, top + side))


def _require_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError as failure:
        raise UsageError("imagefolder needs the package pillow", "pip install 'nasc[images]'") from failure
