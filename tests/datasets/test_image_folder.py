import numpy as np
import pytest

from nasc.datasets import load_dataset
from nasc.errors import DataError

Image = pytest.importorskip("PIL.Image")


def write_classes(folder, colours, count, size=(40, 50), suffix=".png"):
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((*size, 3), colour, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}{suffix}")


COLOURS = {"blue": (0, 0, 200), "green": (0, 150, 0), "red": (250, 0, 0)}


def test_classes_are_numbered_by_name_and_pictures_are_resized(tmp_path):
    write_classes(tmp_path, COLOURS, 10)
    data = load_dataset(f"imagefolder:{tmp_path}")
    assert data.input_shape == (3, 32, 32)
    assert data.num_classes == 3
    assert [len(y) for y in (data.train_y, data.val_y, data.test_y)] == [22, 2, 6]
    red = data.test_x[data.test_y == 2][0]
    pixel = [float(red[channel, 9, 9]) * data.std[channel] + data.mean[channel] for channel in range(3)]
    np.testing.assert_allclose(pixel, np.array(COLOURS["red"]) / 255, atol=1e-5)


def test_the_size_of_the_pictures_follows_the_folder(tmp_path):
    write_classes(tmp_path / "pets", COLOURS, 5)
    assert load_dataset(f"imagefolder:{tmp_path / 'pets'}@12").input_shape == (3, 12, 12)


def test_a_folder_whose_name_has_the_sign_in_it_is_found(tmp_path):
    write_classes(tmp_path / "pets@7", COLOURS, 5)
    assert load_dataset(f"imagefolder:{tmp_path / 'pets@7'}").input_shape == (3, 32, 32)


def test_split_folders_are_taken_as_their_names_say(tmp_path):
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        write_classes(tmp_path / part, COLOURS, count, suffix=".jpg")
    data = load_dataset(f"imagefolder:{tmp_path}")
    assert [len(y) for y in (data.train_y, data.val_y, data.test_y)] == [15, 6, 9]


def test_one_part_beside_train_is_the_test_part(tmp_path):
    for part, count in (("train", 10), ("val", 2)):
        write_classes(tmp_path / part, COLOURS, count)
    data = load_dataset(f"imagefolder:{tmp_path}")
    assert [len(y) for y in (data.train_y, data.val_y, data.test_y)] == [27, 3, 6]


def test_a_class_that_is_in_one_part_only_is_named(tmp_path):
    write_classes(tmp_path / "train", COLOURS, 4)
    write_classes(tmp_path / "val", {"blue": (0, 0, 200), "green": (0, 150, 0)}, 2)
    with pytest.raises(DataError, match=r"\['red'\] differ"):
        load_dataset(f"imagefolder:{tmp_path}")


def test_train_alone_is_refused(tmp_path):
    write_classes(tmp_path / "train", COLOURS, 2)
    with pytest.raises(DataError, match="found neither"):
        load_dataset(f"imagefolder:{tmp_path}")


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"at least two class folders in .*, found 0"):
        load_dataset(f"imagefolder:{tmp_path}")


def test_an_empty_class_is_named(tmp_path):
    write_classes(tmp_path, COLOURS, 2)
    (tmp_path / "yellow").mkdir()
    with pytest.raises(DataError, match=r"pictures in .*yellow, found none"):
        load_dataset(f"imagefolder:{tmp_path}")


def test_a_damaged_picture_is_named(tmp_path):
    write_classes(tmp_path, COLOURS, 3)
    (tmp_path / "red" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"red/1\.png is not a readable picture"):
        load_dataset(f"imagefolder:{tmp_path}")
