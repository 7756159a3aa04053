"""A matrix as text is read as it was written, and anything else in such a file is refused by its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files.weights import load_weights

W = np.random.default_rng(2).standard_normal((3, 5))


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", ", "])
@pytest.mark.parametrize("name", ["w.csv", "w.TXT"])
def test_what_numpy_writes_comes_back(tmp_path: Path, separator: str, name: str) -> None:
    np.savetxt(tmp_path / name, W, delimiter=separator, header="uS, after programming")
    [matrix] = load_weights(tmp_path / name)
    assert matrix.name == "w"
    np.testing.assert_allclose(matrix.values.T, W, rtol=1e-12)  # outputs are lines, as torch has it


def test_one_row_one_column_and_the_mark_of_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "row.csv").write_bytes(b"\xef\xbb\xbf1,2,3\r\n")
    (tmp_path / "column.csv").write_bytes(b"1\n2\n\n3\n")
    assert load_weights(tmp_path / "row.csv")[0].values.T.tolist() == [[1.0, 2.0, 3.0]]
    assert load_weights(tmp_path / "column.csv")[0].values.T.tolist() == [[1.0], [2.0], [3.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "row 1, place 1: 'a' is no number; a matrix is rows of numbers alone"),
        (b"1,2\n3,\n", "row 2, place 2: '' is no number"),
        (b"0,5;1,5\n", "'0,5' is no number; a matrix is rows of numbers alone, with a point before decimals"),
        (b"1,2\n3,4,5\n", "row 2 has 3 numbers and the one before it 2"),
        (b"# nothing\n", "it holds no number"),
        (b"1,nan\n", "1 NaN or infinite values"),
        ("1,2\n".encode("utf-16"), "it is no UTF-8 text"),
        (b"", "not a readable .csv file .it is empty"),
    ],
)
def test_what_is_no_matrix_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w.csv").write_bytes(content)
    with pytest.raises(BadInputError, match=message) as refusal:
        load_weights(tmp_path / "w.csv")
    assert "\n" not in str(refusal.value)
    assert "w.csv" in str(refusal.value)
