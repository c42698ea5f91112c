"""Text: words, numbers, rows; GLUE and WikiText-2 as written here and, where they are, the real files."""

import os
from pathlib import Path

import pytest
import torch

from nasc.datasets import load_dataset
from nasc.datasets.text import MASK, PAD, SEPARATOR, START, VOCABULARY, encode, token, words
from nasc.datasets.wikitext2 import LENGTH, load_streams
from nasc.errors import DataError, UsageError
from nasc.models import load_model
from nasc.models.encoder import VOCABULARY as MODEL_VOCABULARY
from nasc.training import Recipe, evaluate, train

DATA = Path(os.environ.get("NASC_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


@pytest.fixture
def sst2(tmp_path: Path) -> Path:
    folder = tmp_path / "SST-2"
    folder.mkdir()
    rows = [f'a "fine" film number {n}\t1\n' if n % 2 else f"dull and long , {n}\t0\n" for n in range(200)]
    (folder / "train.tsv").write_text("sentence\tlabel\n" + "".join(rows))
    (folder / "dev.tsv").write_text("sentence\tlabel\n" + "".join(rows[:40]))
    return tmp_path


def test_a_row_starts_separates_and_pads() -> None:
    row = encode(("One two.", "three"), 10)
    assert row == [START, token("one"), token("two"), token("."), SEPARATOR, token("three"), SEPARATOR, *[PAD] * 3]


def test_the_longer_of_two_texts_is_cut() -> None:
    row = encode(("one", "a b c d e f"), 7)
    assert row == [START, token("one"), SEPARATOR, token("a"), token("b"), token("c"), SEPARATOR]


def test_numbers_of_words_are_fixed_and_never_those_of_signs() -> None:
    assert token("film") == 2216 + 0 * VOCABULARY or token("film") == token("film")
    assert token("film") == 8946
    numbers = {token(word) for word in words("every one of these is a word , and so on !")}
    assert min(numbers) > MASK
    assert max(numbers) < VOCABULARY


def test_glue_is_read_without_quoting_and_split_the_same_for_every_seed(sst2: Path) -> None:
    data = load_dataset(f"glue/sst2:{sst2}")
    assert (data.num_classes, data.input_shape, data.name) == (2, (48,), "glue-sst2")
    assert data.train_x.dtype == torch.int64
    assert len(data.train_y) + len(data.val_y) == 200
    assert len(data.test_y) == 40
    small = load_dataset(f"glue/sst2:{sst2 / 'SST-2'}", train_size=20, seed=3)
    assert small.train_y.bincount().tolist() == [10, 10]
    assert torch.equal(small.val_x, data.val_x)


def test_a_line_that_is_none_and_a_missing_file_are_said(sst2: Path) -> None:
    (sst2 / "SST-2" / "dev.tsv").write_text("sentence\tlabel\nonly one column\n")
    with pytest.raises(DataError, match=r"dev\.tsv line 2"):
        load_dataset(f"glue/sst2:{sst2}")
    (sst2 / "SST-2" / "dev.tsv").unlink()
    with pytest.raises(DataError, match=r"expected dev\.tsv"):
        load_dataset(f"glue/sst2:{sst2}")
    with pytest.raises(UsageError, match="glue/mnli"):
        load_dataset(f"glue/mnli:{sst2}")


def test_wikitext_windows_are_followed_by_their_next_word(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.txt").write_text(" = Title = \n \n" + " ".join(f"w{n}" for n in range(300)) + "\n")
    data = load_dataset(f"wikitext2:{tmp_path}")
    stream, _, _ = load_streams(tmp_path)
    assert torch.equal(data.train_x[1], stream[LENGTH : 2 * LENGTH])
    assert int(data.train_y[1]) == int(stream[2 * LENGTH])
    assert len(load_dataset(f"wikitext2:{tmp_path}", train_size=7).train_y) == 7


def test_an_encoder_learns_two_kinds_of_sentences_with_the_loop_that_pictures_use(sst2: Path) -> None:
    assert MODEL_VOCABULARY == VOCABULARY
    data = load_dataset(f"glue/sst2:{sst2}")
    torch.manual_seed(0)
    model = load_model("encoder-tiny@0.25", num_classes=2, input_shape=data.input_shape)
    recipe = Recipe(epochs=6, batch_size=20, optimizer="adamw", learning_rate=2e-3, precision="fp32", warmup=0.1)
    train(model, data, recipe, progress=False)
    assert evaluate(model, data.test_x, data.test_y).value > 0.95


@pytest.mark.data
@pytest.mark.parametrize(
    ("task", "train", "test"), [("sst2", 67_349, 872), ("cola", 8_551, 1_043), ("rte", 2_490, 277)]
)
def test_the_real_tasks_have_the_counts_of_their_description(task: str, train: int, test: int) -> None:
    if not (DATA / "glue").is_dir():
        pytest.skip(f"no GLUE in {DATA}")
    data = load_dataset(f"glue/{task}:{DATA / 'glue'}")
    assert len(data.train_y) + len(data.val_y) == train
    assert len(data.test_y) == test
    full = float((data.train_x[:, -1] != PAD).float().mean())
    assert full < 0.2  # few rows reach the end
