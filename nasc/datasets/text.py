"""Text as numbers: words and signs, each given a number by its own letters, cut and padded to one length.

The number of a word is a checksum of its letters modulo the vocabulary, so that every data set shares one vocabulary
without a file of it and a model pretrained on one can be fine-tuned on another; two words now and then share a number
("hashing trick", Weinberger et al., arXiv 0902.2206).
"""

import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nasc.datasets._base import ImageData
from nasc.datasets.augmentation import Augmentation
from nasc.datasets.splits import balanced_subset, hold_out
from nasc.errors import DataError

VOCABULARY = 16_384
"""Token numbers are below this."""
PAD, START, SEPARATOR, MASK = range(4)
"""Numbers that are no word."""
_SPECIAL = 4
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[^\w\s]|_")
_LARGEST_VALIDATION = 2000


@dataclass(frozen=True, eq=False)
class TextData(ImageData):
    """A classification data set of token sequences: int64 ``(count, length)`` in the place of pictures.

    ``input_shape`` is ``(length,)``; there is no normalisation and no augmentation.
    """


@dataclass(frozen=True)
class Rows:
    """Texts as found: one or two of them a row, and a label each."""

    texts: tuple[tuple[str, ...], ...]
    labels: tuple[int, ...]


def words(text: str) -> list[str]:
    """Words and punctuation signs in lower case.

    >>> words("Our friends won't buy this.")
    ['our', 'friends', "won't", 'buy', 'this', '.']
    """
    return _WORD.findall(text.lower())


def token(word: str, vocabulary: int = VOCABULARY) -> int:
    """The number of a word, the same on every machine."""
    return _SPECIAL + zlib.crc32(word.encode()) % (vocabulary - _SPECIAL)


def encode(texts: Sequence[str], length: int) -> list[int]:
    """One row of tokens: start, the first text, a separator, the second one, ...; cut or padded to a length.

    Of two texts that are too long together the longer one is cut.
    """
    parts = [[token(word) for word in words(text)] for text in texts]
    while sum(len(part) + 1 for part in parts) + 1 > length:
        max(parts, key=len).pop()
    row = [START]
    for part in parts:
        row += [*part, SEPARATOR]
    return row + [PAD] * (length - len(row))


def assemble_text(
    name: str,
    train: Rows,
    test: Rows,
    *,
    num_classes: int,
    length: int,
    train_size: int | None = None,
    seed: int = 0,
) -> TextData:
    """Encode, hold a tenth of the training rows out for validation, and keep a class-balanced subset.

    Args:
        name: For records.
        train: Training rows.
        test: Test rows; never used for training or choices.
        num_classes: The number of classes.
        length: Tokens a row.
        train_size: How many training rows to keep, class-balanced; all when not given.
        seed: Which of them.

    Raises:
        DataError: A part is empty, or there are fewer rows than ``train_size``.
    """
    if not train.labels or not test.labels:
        raise DataError(f"{name}: expected rows in both parts, got {len(train.labels)} and {len(test.labels)}")
    x, y = _encode_rows(train, length)
    test_x, test_y = _encode_rows(test, length)
    rest, held = hold_out(y, min(len(y) // 10, _LARGEST_VALIDATION))
    if train_size is not None:
        rest = rest[balanced_subset(y[rest], train_size, seed, name=name)]
    return text_data(name, (x[rest], y[rest]), (x[held], y[held]), (test_x, test_y), num_classes)


def text_data(
    name: str,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    num_classes: int,
) -> TextData:
    """Put encoded parts together, each tokens int64 ``(count, length)`` with labels int64 ``(count,)``."""
    digest = hashlib.sha256()
    for tensor in (*train, *validation, *test):
        digest.update(tensor.contiguous().numpy().data)
    return TextData(
        name=name,
        train_x=train[0],
        train_y=train[1],
        val_x=validation[0],
        val_y=validation[1],
        test_x=test[0],
        test_y=test[1],
        num_classes=num_classes,
        input_shape=(train[0].shape[1],),
        mean=(),
        std=(),
        sha256=digest.hexdigest(),
        augmentation=Augmentation(),
    )


def _encode_rows(rows: Rows, length: int) -> tuple[Tensor, Tensor]:
    return torch.tensor([encode(texts, length) for texts in rows.texts]), torch.tensor(rows.labels)
