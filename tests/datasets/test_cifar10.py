import numpy as np
import pytest
import torch

from nasc.datasets import load_dataset
from nasc.datasets.cifar10 import read_batch
from nasc.errors import DataError

NAMES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


@pytest.fixture
def folder(tmp_path):
    """Six small files of random records, labels 0 to 9 in turn."""
    random = np.random.default_rng(0)
    for name in NAMES:
        records = random.integers(0, 256, (40, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(40) % 10
        records.tofile(tmp_path / name)
    return tmp_path


def test_the_binary_version_is_read_record_by_record(folder):
    data = load_dataset(f"cifar10:{folder}")
    assert data.input_shape == (3, 32, 32)
    assert [len(y) for y in (data.train_y, data.val_y, data.test_y)] == [180, 20, 40]
    record = np.fromfile(folder / "test_batch.bin", np.uint8)[:3073]
    pixel = record[1 + 1024 * 2 + 32 * 5 + 7] / 255  # blue, row 5, column 7
    got = data.test_x[0, 2, 5, 7] * data.std[2] + data.mean[2]
    assert abs(float(got) - pixel) < 1e-6
    assert data.test_y[0] == record[0]


def test_the_folder_the_archive_unpacks_to_is_found(folder, tmp_path_factory):
    outer = tmp_path_factory.mktemp("outer")
    (outer / "cifar-10-batches-bin").symlink_to(folder)
    assert load_dataset(f"cifar10:{outer}").sha256 == load_dataset(f"cifar10:{folder}").sha256


def test_a_missing_batch_is_named(folder):
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"expected data_batch_3\.bin in .*, found none"):
        load_dataset(f"cifar10:{folder}")


def test_the_python_version_is_recognised_and_not_opened(folder):
    (folder / "data_batch_1.bin").rename(folder / "data_batch_1")
    with pytest.raises(DataError, match="which is the Python"):
        load_dataset(f"cifar10:{folder}")


def test_a_truncated_batch_is_refused_with_its_length(folder):
    path = folder / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"records of 3073 bytes, got 122820 bytes \(2973 over\)"):
        load_dataset(f"cifar10:{folder}")


def test_an_empty_batch_is_refused(folder):
    (folder / "test_batch.bin").write_bytes(b"")
    with pytest.raises(DataError, match="got 0 bytes"):
        load_dataset(f"cifar10:{folder}")


def test_labels_of_another_data_set_are_refused(folder):
    records = np.fromfile(folder / "test_batch.bin", np.uint8).reshape(-1, 3073)
    records[3, 0] = 77
    records.tofile(folder / "test_batch.bin")
    with pytest.raises(DataError, match=r"labels 0 to 9 in .*, got 77"):
        read_batch(folder / "test_batch.bin")


@pytest.mark.data
def test_a_stored_batch_reads_as_its_documented_hash(data_folder, tmp_path):
    import hashlib

    stored = np.load(data_folder / "cifar10" / "test_batch.npz")
    planes = stored["d"].cumsum(2, dtype="u1").cumsum(3, dtype="u1")
    planes[0] += planes[1]
    planes[2] += planes[1]
    x = planes.transpose(1, 0, 2, 3)
    np.concatenate([stored["y"][:, None], x.reshape(len(x), -1)], axis=1).tofile(tmp_path / "test_batch.bin")
    batch = read_batch(tmp_path / "test_batch.bin")
    digest = hashlib.sha256(batch.x.contiguous().numpy().tobytes()).hexdigest()
    assert digest == "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56"
    assert torch.equal(batch.y.bincount(), torch.full((10,), 1000))
