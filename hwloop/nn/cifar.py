"""The CIFAR-10 images, from a folder that the user has downloaded.

The binary version of the data set is read (https://www.cs.toronto.edu/~kriz/cifar.html): six files of records of one
label byte and 3 x 32 x 32 bytes, red, green and blue, row by row. The python version consists of pickles, which hwloop
never opens.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwloop.errors import BadInputError
from hwloop.nn.datasets import Dataset
from hwloop.typing import IndexArray

_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = ("test_batch.bin",)


def read_cifar10(folder: str | Path) -> Dataset:
    """Read the 50 000 training and 10 000 test images of CIFAR-10.

    Parameters
    ----------
    folder
        Folder ``cifar-10-batches-bin`` of the binary version, unpacked.

    Returns
    -------
    Dataset
        Images (examples, 3, 32, 32) from 0 to 1, and labels 0 to 9.

    Raises
    ------
    BadInputError
        For a folder without the six files, and files that are no CIFAR-10.
    """
    folder = Path(folder)
    missing = [name for name in (*_TRAIN, *_TEST) if not (folder / name).is_file()]
    if missing:
        pickled = (folder / "data_batch_1").exists()
        reason = "it is the python version, made of pickles" if pickled else "unpack the archive first"
        raise BadInputError(
            f"{folder}: no {', '.join(missing)}; expected the folder cifar-10-batches-bin of CIFAR-10's binary version "
            f"({reason})"
        )
    x_train, y_train = _read([folder / name for name in _TRAIN])
    x_test, y_test = _read([folder / name for name in _TEST])
    return Dataset(str(folder), x_train, y_train, x_test, y_test)


def _read(paths: list[Path]) -> tuple[NDArray[np.float32], IndexArray]:
    records = np.concatenate([_records(path) for path in paths])
    images = records[:, 1:].astype(np.float32)
    images /= np.iinfo(np.uint8).max
    return images.reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def _records(path: Path) -> NDArray[np.uint8]:
    length = 1 + 3 * 32 * 32
    try:
        size = path.stat().st_size
        if not size or size % length:
            raise BadInputError(f"{path} has {size} bytes, no whole number of records of {length}; download it again")
        records = np.fromfile(path, np.uint8).reshape(-1, length)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from None
    wrong = records[:, 0] > 9
    if wrong.any():
        row = int(wrong.argmax())
        raise BadInputError(
            f"{path}: record {row} has the label {records[row, 0]}, CIFAR-10 has 0 to 9; another data set?"
        )
    return records
