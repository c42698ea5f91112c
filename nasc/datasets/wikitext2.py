"""``wikitext2:DIR``: WikiText-2 (Merity et al., arXiv 1609.07843) as windows of words and the word that follows.

:func:`load_streams` gives the three parts as one long row of tokens each, for language models with losses of their own.
"""

from pathlib import Path

import torch
from torch import Tensor

from nasc.datasets.folders import existing_folder
from nasc.datasets.text import SEPARATOR, VOCABULARY, TextData, text_data, token
from nasc.errors import DataError

LENGTH = 64
_PARTS = ("train", "valid", "test")
_HINT = "the folder must hold train.txt, valid.txt and test.txt, one paragraph a line"


def load_wikitext2(folder: Path, *, train_size: int | None = None, seed: int = 0) -> TextData:
    """Windows of 64 words, each labelled with the number of the next word.

    Args:
        folder: Holds the three files.
        train_size: How many training windows, drawn at random; as many as fit side by side when not given.
        seed: Which of them.

    Raises:
        DataError: A file is missing or too short.
    """
    train, valid, test = load_streams(folder)
    generator = torch.Generator().manual_seed(seed)
    starts = torch.arange(0, len(train) - LENGTH, LENGTH)
    if train_size is not None:
        if not 1 <= train_size <= len(train) - LENGTH:
            raise DataError(f"expected a training size between 1 and {len(train) - LENGTH}, got {train_size}")
        starts = torch.randperm(len(train) - LENGTH, generator=generator)[:train_size].sort().values
    held, tested = (torch.arange(0, len(part) - LENGTH, LENGTH) for part in (valid, test))
    parts = (_windows(train, starts), _windows(valid, held), _windows(test, tested))
    return text_data("wikitext2", *parts, VOCABULARY)


def load_streams(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Training, validation and test words as int64 tokens, the end of a line as a separator.

    Raises:
        DataError: A file is missing or holds fewer words than one window.
    """
    existing_folder(folder, "WikiText-2", _HINT)
    streams = []
    for part in _PARTS:
        path = folder / f"{part}.txt"
        if not path.is_file():
            raise DataError(f"expected {path.name} in {folder}, found none", _HINT)
        stream: list[int] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            stream += [*map(token, line.lower().split()), SEPARATOR]
        if len(stream) <= LENGTH:
            raise DataError(f"expected more than {LENGTH} words in {path}, got {len(stream)}", _HINT)
        streams.append(torch.tensor(stream))
    train, valid, test = streams
    return train, valid, test


def _windows(stream: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    return stream[starts[:, None] + torch.arange(LENGTH)], stream[starts + LENGTH]
