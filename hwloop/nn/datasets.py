"""Labelled examples to test a network on, from one .npz file, never through pickle."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from hwloop.errors import BadInputError, first_line
from hwloop.files.coresets import is_coreset, read_coreset
from hwloop.mapping.activations import Sample
from hwloop.typing import AnyArray, FloatArray, IndexArray

_EXPECTED = "images (or x), labels (or y), train_index and test_index; or x_train, y_train, x_test and y_test"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples to train and to test a classifier on.

    What is given is checked when the object is made, and turned into float32 and int64; the scale of the examples stays
    as it is.

    Raises
    ------
    BadInputError
        Naming the data set and the array, for anything that no network could be trained or tested on.
    """

    name: str
    """What messages and reports call it."""
    x_train: NDArray[np.float32]
    """(examples, ...) what the network takes, for training, calibration and ranges."""
    y_train: IndexArray
    """(examples,) their classes, from 0."""
    x_test: NDArray[np.float32]
    """(examples, ...) what the accuracy is measured on, in the same scale and shape."""
    y_test: IndexArray
    """(examples,) their classes, from 0."""
    weights: FloatArray | None = None
    """(examples,) how many examples each of x_train stands for, in a coreset; None: itself."""

    def __post_init__(self) -> None:
        """Check the arrays, and that they belong together."""
        for part in ("train", "test"):
            x = _examples(getattr(self, f"x_{part}"), f"{self.name}: x_{part}")
            y = _labels(getattr(self, f"y_{part}"), f"{self.name}: y_{part}")
            _check_lengths(self.name, (f"x_{part}", len(x)), (f"y_{part}", len(y)))
            object.__setattr__(self, f"x_{part}", x)
            object.__setattr__(self, f"y_{part}", y)
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise BadInputError(
                f"{self.name}: an example of x_train has the shape {self.x_train.shape[1:]}, one of x_test "
                f"{self.x_test.shape[1:]}; a network takes one of both"
            )

    @property
    def classes(self) -> int:
        """The number of classes: one more than the largest label."""
        return 1 + int(max(self.y_train.max(), self.y_test.max()))

    @property
    def test(self) -> tuple[NDArray[np.float32], IndexArray]:
        """Test examples and their classes."""
        return self.x_test, self.y_test

    def sample(self, count: int, seed: int = 0) -> Sample:
        """Draw so many training examples at most, with their weights, as `hwloop.deploy` takes them."""
        chosen = np.random.default_rng(seed).permutation(len(self.x_train))[:count]
        weights = None if self.weights is None else self.weights[chosen]
        return Sample(self.x_train[chosen], weights)  # type: ignore[arg-type]  # in the precision of networks

    def check_outputs(self, outputs: int) -> None:
        """Check that a network of so many outputs has one for every label.

        Raises
        ------
        BadInputError
            With the largest label, where it has not.
        """
        if self.classes > outputs:
            raise BadInputError(
                f"{self.name}: labels go up to {self.classes - 1}, but the network has {outputs} outputs, for labels 0 "
                f"to {outputs - 1}; take the data set that the network was trained for"
            )


def read_dataset(path: str | Path, memory: int = 2 << 30) -> Dataset:
    """Read the examples of a .npz file, in the scale in which they are stored.

    The file holds `images` (or `x`), `labels` (or `y`), and `train_index` and `test_index`, which are rows of both; or
    `x_train`, `y_train`, `x_test` and `y_test`. Other arrays in it are not read. A coreset of such a file is taken too.

    Parameters
    ----------
    path
        File that `numpy.savez` or `numpy.savez_compressed` wrote.
    memory
        Bytes that the arrays may take as they are stored; nothing is unpacked where the archive says more.

    Raises
    ------
    BadInputError
        Naming the file and the array, for anything that is missing, damaged, too large or does not fit together.
    """
    path = Path(path)
    if not path.exists():
        raise BadInputError(f"{path}: no such file")
    if is_coreset(path):
        return _coreset(path)
    if path.is_dir():
        raise BadInputError(f"{path} is a folder; expected a .npz file with {_EXPECTED}")
    with _readable(path), ZipFile(path) as archive:
        stored = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        wanted = _layout(path, stored)
        _check_size(path, sum(archive.getinfo(f"{name}.npy").file_size for name in wanted), memory)
        arrays = [_array(path, archive, name) for name in wanted]
    if "train_index" not in wanted:
        x_train, y_train, x_test, y_test = arrays
        return Dataset(str(path), x_train, y_train, x_test, y_test)
    images, labels = _examples(arrays[0], f"{path}: {wanted[0]}"), _labels(arrays[1], f"{path}: {wanted[1]}")
    _check_lengths(str(path), (wanted[0], len(images)), (wanted[1], len(labels)))
    train, test = (
        _rows(array, f"{path}: {name}", len(images)) for array, name in zip(arrays[2:], wanted[2:], strict=True)
    )
    both = np.intersect1d(train, test)
    if len(both):
        raise BadInputError(
            f"{path}: {len(both)} rows are in train_index and in test_index, the first {both[0]}; a network must be "
            f"tested on what it was not trained on"
        )
    return Dataset(str(path), images[train], labels[train], images[test], labels[test])


def _coreset(path: Path) -> Dataset:
    """Read the coreset of a data set: weighted training examples, and the test examples as they were."""
    stored = read_coreset(path)
    labelled = [part for part in stored.parts if part.labels is not None]
    if len(labelled) != len(stored.parts) or not {"x_test", "y_test"} <= set(stored.arrays):
        raise BadInputError(f"{path} is a coreset of activations, not of a data set; expected {_EXPECTED}")
    made = [(one.sample().vectors.reshape(-1, *one.shape), one.weights(), one.labels) for one in labelled]
    vectors, weights, labels = (np.concatenate(parts) for parts in zip(*made, strict=True))
    test = stored.arrays
    return Dataset(str(path), vectors, labels, test["x_test"], test["y_test"], weights)


def _layout(path: Path, stored: Sequence[str]) -> tuple[str, str, str, str]:
    """Find which of the arrays to read: (x, y, train, test), or training and test arrays each."""
    whole = ("x_train", "y_train", "x_test", "y_test")
    for one, other in (("images", "x"), ("labels", "y"), ("images", "x_train"), ("x", "x_train")):
        if one in stored and other in stored:
            raise BadInputError(f"{path} holds both '{one}' and '{other}'; leave out the one that is not meant")
    x, y = ("x" if "x" in stored else "images"), ("y" if "y" in stored else "labels")
    split = (x, y, "train_index", "test_index")
    wanted = whole if set(whole) & set(stored) else split
    missing = [name for name in wanted if name not in stored]
    if missing:
        held = ", ".join(stored[:20]) or "no arrays"
        raise BadInputError(f"{path}: {', '.join(missing)} missing; it holds {held}, expected {_EXPECTED}")
    return wanted


# ---- headers first, then the arrays -------------------------------------------------------------------------------


_DAMAGE = (
    ValueError, TypeError, SyntaxError, TokenError, OSError, EOFError, MemoryError, RuntimeError, BadZipFile, zlib.error
)  # fmt: skip
"""What zipfile and numpy raise for damaged archives and headers."""


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except BadInputError:
        raise
    except PermissionError:
        raise BadInputError(f"{path} cannot be read: permission denied") from None
    except _DAMAGE as error:
        raise BadInputError(
            f"{path} is not a readable .npz file ({first_line(error)}); save it again with numpy.savez"
        ) from None


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"an array of format {version[0]}.{version[1]}, expected plain numbers")
    shape, _, dtype = read(stream)
    return shape, dtype


def _check_size(path: Path, size: int, memory: int) -> None:
    if size > memory:
        raise BadInputError(
            f"{path}: its arrays take {size / 2**30:.3g} GiB, and {memory / 2**30:.3g} GiB is the most; store fewer "
            f"examples"
        )


def _array(path: Path, archive: ZipFile, name: str) -> AnyArray:
    """Read an array whose header says what the archive has for it."""
    with archive.open(f"{name}.npy") as stream:
        shape, dtype = _header(stream)
        held = archive.getinfo(f"{name}.npy").file_size - stream.tell()
    if dtype.hasobject:
        raise BadInputError(f"{path}: {name} holds Python objects, which hwloop never unpickles; store plain numbers")
    if min(shape, default=0) < 0 or dtype.itemsize * math.prod(shape) != held:
        raise ValueError(f"{name} says that it is {shape} of {dtype}, but has {held} bytes")
    with archive.open(f"{name}.npy") as stream:
        array: AnyArray = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read()  # to the end, where the checksum is compared
    return array


# ---- what a network can be tested on ------------------------------------------------------------------------------


def _examples(array: AnyArray, where: str) -> NDArray[np.float32]:
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise BadInputError(f"{where} holds {array.dtype} values; expected real numbers")
    if array.ndim < 2:
        raise BadInputError(f"{where} has the shape {array.shape}; expected (examples, ...)")
    if not array.size:
        raise BadInputError(f"{where} is empty (shape {array.shape})")
    with np.errstate(over="ignore"):  # what is too large for float32 is found below
        values = array.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        raise BadInputError(
            f"{where} has NaN or infinite values, or some too large for float32, in {bad.sum()} examples, the first in "
            f"row {int(bad.argmax())}; remove them"
        )
    return values


def _labels(array: AnyArray, where: str) -> IndexArray:
    labels = _integers(array, where, "labels")
    if labels.min() < 0:
        row = int((labels < 0).argmax())
        raise BadInputError(f"{where} has the label {labels[row]} in row {row}; labels count from 0")
    return labels


def _rows(array: AnyArray, where: str, count: int) -> IndexArray:
    rows = _integers(array, where, "row numbers")
    outside = (rows < 0) | (rows >= count)
    if outside.any():
        raise BadInputError(
            f"{where} names row {rows[outside.argmax()]}, but there are {count} examples, rows 0 to {count - 1}"
        )
    return rows


def _integers(array: AnyArray, where: str, what: str) -> IndexArray:
    array = np.asarray(array)
    if array.ndim != 1:
        raise BadInputError(f"{where} has the shape {array.shape}; expected {what} in one dimension")
    if not array.size:
        raise BadInputError(f"{where} is empty")
    if array.dtype.kind not in "iu":
        raise BadInputError(f"{where} holds {array.dtype} values; expected integer {what}, as array.astype(int) gives")
    if array.max() > np.iinfo(np.int64).max:
        raise BadInputError(f"{where} holds {array.max()}, too large for {what}")
    return array.astype(np.int64, copy=False)


def _check_lengths(name: str, x: tuple[str, int], y: tuple[str, int]) -> None:
    if x[1] != y[1]:
        raise BadInputError(f"{name}: {x[0]} has {x[1]} examples, {y[0]} {y[1]} labels; each example has one label")
