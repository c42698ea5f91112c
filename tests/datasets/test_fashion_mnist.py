import gzip
import struct

import numpy as np
import pytest

from nasc.datasets import load_dataset
from nasc.datasets.fashion_mnist import read_idx
from nasc.errors import DataError


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """Four small IDX files, the training ones gzipped."""
    random = np.random.default_rng(0)
    for part, count in (("train", 100), ("t10k", 30)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            if part == "train":
                (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(array), 1))
            else:
                (tmp_path / name).write_bytes(idx(array))
    return tmp_path


def test_idx_files_are_read_gzipped_or_not(folder):
    data = load_dataset(f"fashion-mnist:{folder}")
    assert data.input_shape == (1, 28, 28)
    assert [len(y) for y in (data.train_y, data.val_y, data.test_y)] == [90, 10, 30]
    raw = np.frombuffer((folder / "t10k-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    got = (data.test_x.flatten() * data.std[0] + data.mean[0]) * 255
    np.testing.assert_allclose(got.numpy(), raw, atol=1e-3)


def test_a_missing_file_is_named(folder):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"expected t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte\.gz"):
        load_dataset(f"fashion-mnist:{folder}")


def test_a_truncated_gzip_file_is_refused(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset(f"fashion-mnist:{folder}")


def test_a_truncated_plain_file_is_refused_with_both_lengths(folder):
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"expected 23520 values .*30x28x28\), got 23519"):
        load_dataset(f"fashion-mnist:{folder}")


def test_a_file_of_another_format_is_refused_with_its_first_bytes(tmp_path):
    (tmp_path / "png").write_bytes(b"\x89PNG" + bytes(100))
    with pytest.raises(DataError, match="it begins with 89504e47"):
        read_idx(tmp_path / "png", axes=3)


def test_a_file_that_is_no_gzip_is_refused(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"not gzip at all")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "a.gz", axes=1)


@pytest.mark.data
def test_the_real_files_have_their_published_statistics(data_folder):
    data = load_dataset(f"fashion-mnist:{data_folder / 'fashion_mnist'}", train_size=1000)
    assert abs(data.mean[0] - 0.2860) < 5e-4
    assert abs(data.std[0] - 0.3530) < 5e-4
    assert data.test_y.bincount().tolist() == [1000] * 10
    assert data.train_y.bincount().tolist() == [100] * 10
