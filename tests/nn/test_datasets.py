"""Labelled examples from .npz files: what is read, and everything that is refused, in one line that says why."""

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.nn.datasets import Dataset, read_dataset

DATA = Path(__file__).parents[2] / "data"
RNG = np.random.default_rng(0)
SPLIT = {
    "images": RNG.integers(0, 17, (10, 4)).astype(np.uint8),
    "labels": np.arange(10, dtype=np.uint8) % 3,
    "train_index": np.array([0, 2, 4, 6, 8, 9]),
    "test_index": np.array([7, 1, 3]),
}
PARTS = {
    "x_train": RNG.standard_normal((5, 1, 2, 2)),
    "y_train": np.array([0, 1, 2, 0, 1]),
    "x_test": RNG.standard_normal((2, 1, 2, 2)),
    "y_test": np.array([2, 0]),
}


def stored(folder, arrays, **changed):
    path = folder / "d.npz"
    np.savez_compressed(path, **{name: value for name, value in (arrays | changed).items() if value is not None})
    return path


def refused(path, *words):
    with pytest.raises(BadInputError) as caught:
        read_dataset(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert all(word in message for word in words), message


# ---- what is read -------------------------------------------------------------------------------------------------


def test_rows_of_an_index_are_taken_in_its_order_and_scale(tmp_path):
    data = read_dataset(stored(tmp_path, SPLIT))
    assert data.x_test.tolist() == SPLIT["images"][[7, 1, 3]].tolist()
    assert data.y_test.tolist() == [1, 1, 0]
    assert (data.x_train.shape, data.x_train.dtype, data.y_train.dtype) == ((6, 4), np.float32, np.int64)
    assert data.classes == 3


def test_x_and_y_are_other_names_of_images_and_labels(tmp_path):
    path = stored(tmp_path, SPLIT, images=None, labels=None, x=SPLIT["images"], y=SPLIT["labels"])
    assert np.array_equal(read_dataset(path).x_train, SPLIT["images"][SPLIT["train_index"]])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_parts_are_taken_as_they_are(tmp_path, save):
    save(tmp_path / "d.npz", writer=np.array(["A", "B"]), **PARTS)
    data = read_dataset(str(tmp_path / "d.npz"))
    assert data.name == str(tmp_path / "d.npz")
    for name, values in PARTS.items():
        assert np.array_equal(getattr(data, name), values.astype(getattr(data, name).dtype))


def test_the_digits_are_read_as_they_are_stored():
    data = read_dataset(DATA / "digits.npz")
    assert (data.x_train.shape, data.x_test.shape, data.classes) == ((1297, 64), (500, 64), 10)
    assert (data.x_train.min(), data.x_train.max()) == (0, 16)


def test_a_network_needs_an_output_for_every_label(tmp_path):
    data = read_dataset(stored(tmp_path, SPLIT))
    data.check_outputs(3)
    data.check_outputs(10)
    with pytest.raises(BadInputError, match="labels go up to 2, but the network has 2 outputs, for labels 0 to 1"):
        data.check_outputs(2)


def test_arrays_given_in_python_are_checked_alike():
    with pytest.raises(BadInputError, match="mine: x_train has 5 examples, y_train 2 labels"):
        Dataset("mine", PARTS["x_train"], PARTS["y_test"], PARTS["x_test"], PARTS["y_test"])


# ---- what is refused ----------------------------------------------------------------------------------------------

NAN = SPLIT["images"].astype(float)
NAN[[5, 7], 1] = np.nan, np.inf


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": None}, ["labels missing; it holds images, train_index, test_index, expected images (or x)"]),
        ({"train_index": None, "test_index": None}, ["train_index, test_index missing"]),
        ({"x": SPLIT["images"]}, ["holds both 'images' and 'x'"]),
        ({"x_train": SPLIT["images"]}, ["holds both 'images' and 'x_train'"]),
        ({"labels": SPLIT["labels"][:9]}, ["images has 10 examples, labels 9 labels"]),
        ({"labels": SPLIT["labels"] / 1}, ["labels holds float64 values", "expected integer labels"]),
        ({"labels": SPLIT["labels"] == 1}, ["labels holds bool values"]),
        ({"labels": np.eye(10, dtype=int)}, ["labels has the shape (10, 10)", "one dimension"]),
        ({"labels": 2 - np.arange(10)}, ["labels has the label -1 in row 3; labels count from 0"]),
        ({"labels": np.full(10, 2**63, np.uint64)}, ["labels holds 9223372036854775808, too large"]),
        ({"labels": np.array([], int)}, ["labels is empty"]),
        ({"labels": np.array(["one"] * 10)}, ["labels holds <U3 values"]),
        ({"images": NAN}, ["images has NaN or infinite values", "in 2 examples, the first in row 5"]),
        ({"images": np.full((10, 4), 1e300)}, ["too large for float32, in 10 examples, the first in row 0"]),
        ({"images": SPLIT["images"] * 1j}, ["images holds complex128 values; expected real numbers"]),
        ({"images": np.ones(10)}, ["images has the shape (10,); expected (examples, ...)"]),
        ({"images": np.ones((0, 4))}, ["images is empty (shape (0, 4))"]),
        ({"images": SPLIT["images"].astype(object)}, ["images holds Python objects, which hwloop never unpickles"]),
        ({"train_index": np.array([0, 10])}, ["train_index names row 10, but there are 10 examples, rows 0 to 9"]),
        ({"test_index": np.array([-1])}, ["test_index names row -1"]),
        ({"test_index": np.array([1, 4, 8])}, ["2 rows are in train_index and in test_index, the first 4"]),
        ({"test_index": np.zeros(10, bool)}, ["test_index holds bool values; expected integer row numbers"]),
        ({"test_index": np.array([], int)}, ["test_index is empty"]),
    ],
)
def test_what_does_not_fit_together_is_named(tmp_path, changed, words):
    refused(stored(tmp_path, SPLIT, **changed), *words)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"y_test": None}, ["y_test missing; it holds x_train, y_train, x_test"]),
        ({"x_test": np.ones((2, 1, 3, 3))}, ["x_train has the shape (1, 2, 2), one of x_test (1, 3, 3)"]),
        ({"y_test": np.array([2])}, ["x_test has 2 examples, y_test 1 labels"]),
        ({"x_test": np.full((2, 1, 2, 2), np.nan)}, ["x_test has NaN"]),
    ],
)
def test_parts_that_do_not_fit_together_are_named(tmp_path, changed, words):
    refused(stored(tmp_path, PARTS, **changed), *words)


def test_files_that_are_no_archive_are_named(tmp_path):
    refused(tmp_path / "none.npz", "no such file")
    refused(tmp_path, "is a folder; expected a .npz file")
    (tmp_path / "text.npz").write_text("label,pixel\n")
    refused(tmp_path / "text.npz", "is not a readable .npz file")
    np.savez(tmp_path / "empty.npz")
    refused(tmp_path / "empty.npz", "it holds no arrays")


def test_nothing_larger_than_the_memory_is_unpacked(tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, **(SPLIT | {"images": np.zeros((10, 1 << 16))}))
    assert path.stat().st_size < 1 << 15
    with pytest.raises(BadInputError, match=r"its arrays take 0.00488 GiB, and 0.000977 GiB is the most"):
        read_dataset(path, memory=1 << 20)


@pytest.mark.parametrize(
    "shape", ["(1 << 40, 4)", "(1099511627776, 4)", "(-10, -4)", "(10, 4, 0)", "'(10, 4)'", "((((", "10L, ["]
)
def test_a_header_that_promises_more_than_there_is_allocates_nothing(tmp_path, shape):
    path = stored(tmp_path, SPLIT, images=None)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00\x76\x00" + header + SPLIT["images"].tobytes())
    refused(path, "is not a readable .npz file")


def test_damage_anywhere_is_refused_or_changes_nothing(tmp_path):
    """A byte is turned at each place in turn: the archive's checksums find what its structure does not."""
    buffer = io.BytesIO()
    np.savez(buffer, **PARTS)
    whole, path = buffer.getvalue(), tmp_path / "d.npz"
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :])
        with contextlib.suppress(BadInputError):
            data = read_dataset(path)
            assert all(np.allclose(getattr(data, name), values) for name, values in PARTS.items())
    path.write_bytes(whole[:-30])
    refused(path, "is not a readable .npz file")
