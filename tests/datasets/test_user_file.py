import pytest
import torch

from nasc.datasets import load_dataset
from nasc.errors import DataError

GOOD = """
import torch
from nasc.datasets import Augmentation

def toys():
    x = torch.arange(60 * 12).reshape(60, 3, 2, 2).to(torch.uint8)
    y = torch.arange(60) % 3
    parts = {"train": (x[:40].numpy(), y[:40].numpy()), "test": (x[40:], y[40:])}
    return {**parts, "augmentation": Augmentation(flip=True)}

def whole():
    from nasc.datasets import load_dataset
    return load_dataset("digits", train_size=50)

def wrong():
    return {"train": toys()["train"]}

def short():
    return {"train": (torch.zeros(4, 1, 2, 2), torch.zeros(3, dtype=torch.int64)), "test": toys()["test"]}

def broken():
    raise OSError("disk on fire")
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "data.py").write_text(GOOD)
    return tmp_path / "data.py"


def test_a_dictionary_of_pairs_becomes_a_data_set(file):
    data = load_dataset(f"{file}:toys")
    assert data.input_shape == (3, 2, 2)
    assert data.num_classes == 3
    assert data.augmentation.flip
    assert [len(y) for y in (data.train_y, data.val_y, data.test_y)] == [36, 4, 20]
    assert data.train_x.dtype == torch.float32


def test_a_finished_data_set_is_passed_on(file):
    assert len(load_dataset(f"{file}:whole").train_y) == 50


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (":missing", "has no function 'missing'"),
        (":wrong", r"return the keys train and test, got \['train'\]"),
        (":short", r"'train' has pictures \(4, 1, 2, 2\) and labels \(3,\)"),
        (":broken", "fails: OSError: disk on fire"),
    ],
)
def test_what_is_wrong_with_a_users_function_is_said(file, spec, message):
    with pytest.raises(DataError, match=message):
        load_dataset(f"{file}{spec}")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"expected a Python file at .*none\.py"):
        load_dataset(f"{tmp_path / 'none.py'}:toys")


def test_a_file_that_does_not_import_is_named_with_its_error(tmp_path):
    (tmp_path / "bad.py").write_text("1 / 0")
    with pytest.raises(DataError, match="fails when it is run: ZeroDivisionError"):
        load_dataset(f"{tmp_path / 'bad.py'}:toys")
