"""Data sets by name: tensors in memory, split into training, validation and test pictures. Nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path

from nasc.datasets._base import ImageData
from nasc.datasets.augmentation import Augmentation
from nasc.datasets.cifar10 import load_cifar10
from nasc.datasets.digits import load_digits
from nasc.datasets.fashion_mnist import load_fashion_mnist
from nasc.datasets.glue import TASKS
from nasc.datasets.glue import loader as glue_loader
from nasc.datasets.image_folder import load_image_folder
from nasc.datasets.text import TextData
from nasc.datasets.user_file import load_user_data
from nasc.datasets.wikitext2 import load_wikitext2
from nasc.errors import UsageError, unknown_name
from nasc.user_file import names_user_file

__all__ = ["Augmentation", "ImageData", "TextData", "list_datasets", "load_dataset"]

_EMBEDDED: dict[str, Callable[..., ImageData]] = {"digits": load_digits}
_IN_A_FOLDER: dict[str, Callable[..., ImageData]] = {
    "cifar10": load_cifar10,
    "fashion-mnist": load_fashion_mnist,
    "imagefolder": load_image_folder,
    **{f"glue/{task}": glue_loader(task) for task in TASKS},
    "wikitext2": load_wikitext2,
}


def list_datasets() -> list[str]:
    """The forms that :func:`load_dataset` takes, as a user types them."""
    return [*_EMBEDDED, *(f"{name}:DIR" for name in _IN_A_FOLDER), "path/to/file.py:function"]


def load_dataset(spec: str, *, train_size: int | None = None, seed: int = 0) -> ImageData:
    """Load a data set into memory.

    >>> data = load_dataset("digits")
    >>> data.input_shape, data.num_classes, len(data.test_y)
    ((1, 8, 8), 10, 360)

    Args:
        spec: ``digits``, ``fashion-mnist:DIR``, ``cifar10:DIR``, ``imagefolder:DIR`` (or ``DIR@SIZE``: pictures
            of that many pixels a side), ``glue/sst2:DIR`` (``cola``, ``rte``), ``wikitext2:DIR`` or
            ``path/to/file.py:function``.
        train_size: How many training pictures to keep, class-balanced; all when not given. Validation and test
            pictures do not depend on the seed.
        seed: Which training pictures are kept.

    Raises:
        UsageError: The name is unknown, or its folder is not given.
        DataError: The data are missing, truncated or of another format.
    """
    if names_user_file(spec):
        return load_user_data(spec, train_size=train_size, seed=seed)
    name, separator, folder = spec.partition(":")
    if name in _EMBEDDED and not separator:
        return _EMBEDDED[name](train_size=train_size, seed=seed)
    if name in _IN_A_FOLDER:
        if not folder:
            raise UsageError(f"the data set {name} needs the folder it is in", f"write {name}:DIR")
        return _IN_A_FOLDER[name](Path(folder).expanduser(), train_size=train_size, seed=seed)
    if name in _EMBEDDED:
        raise UsageError(f"the data set {name} is built in and takes no folder, got {folder!r}", f"write {name}")
    raise unknown_name("data set", spec, list_datasets())
