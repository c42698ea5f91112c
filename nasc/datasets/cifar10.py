"""``cifar10:DIR``: the standard binary version of CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features", 2009).

Five files ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin`` of 10,000 records each: one label byte,
then 1,024 red, 1,024 green and 1,024 blue bytes, row by row.
"""

from pathlib import Path

import numpy as np
import torch

from nasc.datasets._base import ImageData, RawImages, assemble
from nasc.datasets.augmentation import Augmentation
from nasc.datasets.folders import existing_folder
from nasc.errors import DataError

_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32
_INSIDE = "cifar-10-batches-bin"
_HINT = "the folder must hold the binary version: data_batch_1.bin ... data_batch_5.bin and test_batch.bin"


def load_cifar10(folder: Path, *, train_size: int | None = None, seed: int = 0) -> ImageData:
    """The 50,000 training and 10,000 test pictures of 3x32x32.

    Args:
        folder: Holds the six files, or the folder ``cifar-10-batches-bin`` with them as the archive unpacks.
        train_size: How many training pictures to keep; all but the validation part when not given.
        seed: Which of them.

    Raises:
        DataError: A file is missing, truncated, or of another format.
    """
    existing_folder(folder, "CIFAR-10", _HINT)
    if (folder / _INSIDE).is_dir():
        folder = folder / _INSIDE
    batches = [read_batch(folder / f"data_batch_{number}.bin") for number in range(1, 6)]
    train = RawImages(torch.cat([batch.x for batch in batches]), torch.cat([batch.y for batch in batches]))
    return assemble(
        "cifar10",
        train,
        read_batch(folder / "test_batch.bin"),
        num_classes=10,
        augmentation=Augmentation(flip=True, shift=4),
        train_size=train_size,
        seed=seed,
    )


def read_batch(path: Path) -> RawImages:
    """Read one file of 3,073-byte records.

    Args:
        path: The file.

    Returns:
        uint8 pictures ``(count, 3, 32, 32)`` and int64 labels ``(count,)``.

    Raises:
        DataError: The file is missing, empty, truncated, or holds labels that no CIFAR-10 record has.
    """
    if not path.is_file():
        pickled = path.with_suffix("").is_file()
        found = f"found {path.stem}, which is the Python (pickled) version" if pickled else "found none"
        raise DataError(f"expected {path.name} in {path.parent}, {found}", _HINT)
    content = np.fromfile(path, np.uint8)
    if content.size == 0 or content.size % _RECORD_BYTES:
        raise DataError(
            f"expected {path} to hold records of {_RECORD_BYTES} bytes, got {content.size} bytes "
            f"({content.size % _RECORD_BYTES} over)",
            "it is truncated or of another format: fetch it again",
        )
    records = torch.from_numpy(content.reshape(-1, _RECORD_BYTES))
    labels = records[:, 0].to(torch.int64)
    if int(labels.max()) > 9:
        raise DataError(f"expected labels 0 to 9 in {path}, got {int(labels.max())}", _HINT)
    return RawImages(records[:, 1:].reshape(-1, *_SHAPE), labels)
