"""``fashion-mnist:DIR``: four IDX files, gzipped or not (Xiao, Rasul and Vollgraf, arXiv 1708.07747).

IDX as its authors describe it: two zero bytes, a type byte (8 = unsigned byte), the number of axes, each axis as a
big-endian 32-bit count, then the values. Any data set of the same four files (MNIST, KMNIST) reads the same way.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nasc.datasets._base import ImageData, RawImages, assemble
from nasc.datasets.augmentation import Augmentation
from nasc.datasets.folders import existing_folder
from nasc.errors import DataError

_UNSIGNED_BYTE = 8
_HINT = "the folder must hold {train,t10k}-{images-idx3,labels-idx1}-ubyte, each with or without .gz"


def load_fashion_mnist(folder: Path, *, train_size: int | None = None, seed: int = 0) -> ImageData:
    """The 60,000 training and 10,000 test pictures of 1x28x28.

    Args:
        folder: Holds the four files.
        train_size: How many training pictures to keep; all but the validation part when not given.
        seed: Which of them.

    Raises:
        DataError: A file is missing, truncated, or not an IDX file of unsigned bytes.
    """
    existing_folder(folder, "Fashion-MNIST", _HINT)
    return assemble(
        "fashion-mnist",
        _read_part(folder, "train"),
        _read_part(folder, "t10k"),
        num_classes=10,
        augmentation=Augmentation(flip=True, shift=2),
        train_size=train_size,
        seed=seed,
    )


def _read_part(folder: Path, part: str) -> RawImages:
    images = read_idx(_find(folder, f"{part}-images-idx3-ubyte"), axes=3)
    labels = read_idx(_find(folder, f"{part}-labels-idx1-ubyte"), axes=1)
    return RawImages(images.unsqueeze(1), labels.to(torch.int64))


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"expected {name} or {name}.gz in {folder}, found neither", _HINT)


def read_idx(path: Path, *, axes: int) -> Tensor:
    """Read an IDX file of unsigned bytes.

    Args:
        path: The file; gzipped when its name ends in ``.gz``.
        axes: How many axes it must have.

    Returns:
        uint8 tensor of the shape the file states.

    Raises:
        DataError: The file cannot be read, or its header or length is not what it must be.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as failure:
        raise DataError(f"{path} cannot be read: {failure}", "it is truncated or damaged: fetch it again") from failure
    header = 4 + 4 * axes
    if len(content) < header or content[:4] != bytes([0, 0, _UNSIGNED_BYTE, axes]):
        raise DataError(
            f"expected {path} to be an IDX file of unsigned bytes with {axes} axes, it begins with {content[:4].hex()}",
            _HINT,
        )
    shape = struct.unpack(f">{axes}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise DataError(
            f"expected {math.prod(shape)} values in {path} (its header says {'x'.join(map(str, shape))}), "
            f"got {len(content) - header}",
            "it is truncated or damaged: fetch it again",
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())
