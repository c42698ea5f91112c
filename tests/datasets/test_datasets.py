import pytest
import torch

from nasc.datasets import list_datasets, load_dataset
from nasc.errors import DataError, UsageError


def pictures(x):
    return {picture.numpy().tobytes() for picture in x}


def test_digits_are_normalised_and_split_three_ways():
    data = load_dataset("digits")
    assert data.input_shape == (1, 8, 8)
    assert [len(y) for y in (data.train_y, data.val_y, data.test_y)] == [1294, 143, 360]
    assert abs(float(data.train_x.mean())) < 1e-5
    assert abs(float(data.train_x.std()) - 1) < 1e-5
    assert data.test_y.bincount().tolist() == [36] * 10


def test_no_picture_is_in_two_parts():
    data = load_dataset("digits")
    train, val, test = pictures(data.train_x), pictures(data.val_x), pictures(data.test_x)
    assert len(train) + len(val) + len(test) == 1797
    assert not train & val
    assert not train & test
    assert not val & test


def test_seed_and_size_choose_training_pictures_alone():
    one, two = load_dataset("digits", train_size=100, seed=0), load_dataset("digits", train_size=100, seed=1)
    assert one.train_y.bincount().tolist() == [10] * 10
    assert not torch.equal(one.train_x, two.train_x)
    assert torch.equal(one.test_x, two.test_x)
    assert torch.equal(one.val_x, two.val_x)
    assert one.sha256 == two.sha256 == load_dataset("digits").sha256


def test_a_subset_never_trains_on_the_validation_pictures_of_a_larger_run():
    assert not pictures(load_dataset("digits", train_size=100).train_x) & pictures(load_dataset("digits").val_x)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(UsageError, match="unknown data set 'digit'") as caught:
        load_dataset("digit")
    assert "did you mean digits?" in caught.value.hint
    assert all(name in caught.value.hint for name in list_datasets())


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist", "imagefolder"])
def test_a_data_set_in_a_folder_says_so_when_the_folder_is_not_given(name):
    with pytest.raises(UsageError, match=f"the data set {name} needs the folder") as caught:
        load_dataset(name)
    assert caught.value.hint == f"write {name}:DIR"


def test_an_embedded_data_set_takes_no_folder():
    with pytest.raises(UsageError, match="built in and takes no folder, got 'here'"):
        load_dataset("digits:here")


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist", "imagefolder"])
def test_a_missing_folder_is_named(name, tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        load_dataset(f"{name}:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist", "imagefolder"])
def test_a_file_in_place_of_a_folder_is_named(name, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file"):
        load_dataset(f"{name}:{tmp_path / 'file'}")
