"""Weights as text: one matrix, a line a row, as numpy.savetxt and spreadsheets write it, or conductances of layers."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from hwloop.errors import printable, said
from hwloop.files.weights.conductances import read_conductances
from hwloop.files.weights.content import unreadable
from hwloop.mapping.tensors import Tensor
from hwloop.typing import FloatArray

SEPARATORS = (";", "\t", ",")
"""What stands between numbers; where none of them does, spaces do."""


def read_text(path: Path) -> list[Tensor]:
    """Read the matrix of a file of numbers, or conductances; lines of numbers that begin with # are comments.

    Raises
    ------
    BadInputError
        For a file of more than 256 MiB, and for anything that is not rows of equally many numbers, by its line.
    """
    largest = 2**28
    if path.stat().st_size > largest:
        raise unreadable(path, f"it has more than {largest >> 20} MiB of text; save the matrix as .npy")
    if layers := read_conductances(path):
        return layers
    values = _matrix(path)
    return [Tensor(path.stem, values.shape, str(values.dtype), lambda: values)]


def _matrix(path: Path) -> FloatArray:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            first = next((line for line in stream if line.strip() and not line.lstrip().startswith("#")), "")
        separator = next((one for one in SEPARATORS if one in first), None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a file without numbers, which is refused below
            values = np.loadtxt(path, delimiter=separator, ndmin=2, encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise unreadable(path, "it is no UTF-8 text") from None
    except ValueError as error:
        raise unreadable(path, _told(str(error))) from None
    except OSError as error:
        raise unreadable(path, said(error)) from None
    if not values.size:
        raise unreadable(path, "it holds no number")
    return values


def _told(error: str) -> str:
    """Say in the words of a text file what numpy says of an array."""
    if found := re.match(r"could not convert string (.*) to float64 at row (\d+), column (\d+)", error, re.DOTALL):
        return (
            f"row {int(found[2]) + 1}, place {found[3]}: {printable(found[1])} is no number; "
            "a matrix is rows of numbers alone, with a point before decimals"
        )
    if found := re.match(r"the number of columns changed from (\d+) to (\d+) at row (\d+)", error):
        return f"row {found[3]} has {found[2]} numbers and the one before it {found[1]}"
    return printable(error)
