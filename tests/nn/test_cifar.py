"""CIFAR-10 from the user's own folder, on small files of the same layout."""

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.nn.cifar import read_cifar10

NAMES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


@pytest.fixture
def folder(tmp_path):
    """Three records a file: a label, then the bytes of red, green and blue."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        records = rng.integers(0, 256, (3, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        records.tofile(tmp_path / name)
    return tmp_path


def test_colours_come_before_rows_and_rows_before_columns(folder):
    record = np.zeros(3073, np.uint8)
    record[0], record[1 + 1024 * 2 + 32 * 5 + 7] = 4, 255  # blue, row 5, column 7
    record.tofile(folder / "test_batch.bin")
    data = read_cifar10(folder)
    assert data.y_test.tolist() == [4]
    assert np.argwhere(data.x_test).tolist() == [[0, 2, 5, 7]]
    assert data.x_test.max() == 1


def test_the_five_batches_follow_each_other(folder):
    data = read_cifar10(str(folder))
    stored = np.concatenate([np.fromfile(folder / name, np.uint8).reshape(3, 3073) for name in NAMES[:5]])
    assert (data.x_train.shape, data.x_train.dtype, data.x_test.shape) == ((15, 3, 32, 32), np.float32, (3, 3, 32, 32))
    assert np.array_equal(data.y_train, stored[:, 0])
    np.testing.assert_allclose(255 * data.x_train.reshape(15, -1), stored[:, 1:], rtol=1e-6)


def test_missing_batches_are_listed(folder):
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(BadInputError, match=r"no data_batch_3.bin; expected the folder cifar-10-batches-bin"):
        read_cifar10(folder)


def test_the_python_version_is_not_opened(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02.")
    with pytest.raises(BadInputError, match="it is the python version, made of pickles"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"\x01" * 3072, "has 3072 bytes, no whole number of records of 3073"),
        (b"", "has 0 bytes"),
        (b"\x01" * 3073 + b"\x0a" * 3073, "record 1 has the label 10, CIFAR-10 has 0 to 9"),
    ],
)
def test_what_is_no_cifar10_is_named(folder, damaged, message):
    (folder / "data_batch_2.bin").write_bytes(damaged)
    with pytest.raises(BadInputError, match=rf"data_batch_2.bin.*{message}"):
        read_cifar10(folder)
