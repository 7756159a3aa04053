"""Conductances as text: what aihwkit's `fusion_export` writes for a chip, and tables of pairs of devices."""

from __future__ import annotations

import csv
import math
import re
import warnings
from pathlib import Path

import numpy as np

from hwloop.errors import WeightsNote, printable
from hwloop.files.weights.content import unreadable
from hwloop.mapping.tensors import Tensor
from hwloop.typing import FloatArray

HEADER = ("id", "class", "num_weights", "height", "width", "names")
"""What the lines say that stand before those with conductances in a file of aihwkit, a field a layer."""
ROWS, COLUMNS = ("row", "output", "i"), ("column", "col", "input", "j")
"""What a table of pairs calls the place of a weight; outputs are rows, as torch stores a matrix."""


def read_conductances(path: Path) -> list[Tensor]:
    """Read the layers of a file of conductances; none where it is another kind of text.

    Raises
    ------
    BadInputError
        For a file of conductances that is cut off or damaged, and for a layer on several tiles.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            head = [next(csv.reader([line]), []) for _, line in zip(range(2), stream, strict=False)]
        if len(head) > 1 and head[1] and all(re.fullmatch(r"Analog\w+", one) for one in head[1]):
            return _of_aihwkit(path)
        titles = [re.sub(r"([ _]us|[ _]?[\[(]us[\])])$", "", one.strip().lower()) for one in head[0]] if head else []
        if {"g_plus", "g_minus"} <= set(titles):
            return _of_pairs(path, titles)
    except (UnicodeDecodeError, csv.Error):
        pass  # no such file; who reads numbers says what is wrong with it
    return []


def _of_aihwkit(path: Path) -> list[Tensor]:
    """Read what aihwkit exports: normalised weights as signed conductances, or those of pairs one after the other."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        lines = [line.rstrip("\r\n").split(",") for line in stream]
    names = lines[5] if len(lines) > len(HEADER) else []
    if not names or any(len(line) != len(names) for line in lines[:5]) or len(lines) < 6 + len(names):
        raise unreadable(path, "it is cut off: it has not the conductances of every layer; export it again")
    one_tile = 512  # rows and columns of a layer that surely lies on one: aihwkit's default
    made = []
    for k, name in enumerate(names):
        try:
            shape = (int(lines[3][k]), int(lines[4][k]))
            values = np.array(lines[6 + k], np.float64)
        except ValueError as error:
            raise unreadable(path, f"layer '{printable(name)}': {printable(str(error))}; export it again") from None
        devices, rest = divmod(values.size, max(math.prod(shape), 1))
        if rest or devices not in (1, 2) or min(shape) < 1 or max(shape) > one_tile:
            why = f"{values.size} conductances for {shape[0]} x {shape[1]} weights: maybe a bias or several tiles"
            raise unreadable(path, f"layer '{printable(name)}' has {why}; save model.state_dict() without objects")
        parts = values.reshape(devices, *shape)
        made.append(_tensor(f"{name}.weight", parts[0] if devices == 1 else parts[0] - parts[1]))
    _note(path)
    return made


def _of_pairs(path: Path, titles: list[str]) -> list[Tensor]:
    """Read a table with a line for each weight: its place, and the conductances of its two devices."""
    row, column = (next((name for name in names if name in titles), None) for names in (ROWS, COLUMNS))
    if row is None or column is None:
        raise unreadable(path, "a table of g_plus and g_minus also needs the columns row and column")
    wanted = [titles.index(name) for name in (row, column, "g_plus", "g_minus")]
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=1, usecols=wanted, ndmin=2, encoding="utf-8-sig")
    except ValueError as error:
        raise unreadable(path, printable(str(error))) from None
    places = table[:, :2]
    if not table.size or not np.isfinite(places).all() or (places != np.rint(places)).any():
        raise unreadable(path, "its rows and columns are no whole numbers")
    place = (places - places.min(0)).astype(np.int64)
    height, width = (int(one) + 1 for one in place.max(0))
    if height * width != len(table) or len(np.unique(place @ [width, 1])) != len(table):
        raise unreadable(path, f"its {len(table)} lines do not fill a matrix of {height} x {width} once each")
    values = np.empty((height, width))
    values[place[:, 0], place[:, 1]] = table[:, 2] - table[:, 3]
    _note(path)
    return [_tensor(path.stem, values)]


def _tensor(name: str, values: FloatArray) -> Tensor:
    return Tensor(name, values.shape, str(values.dtype), lambda: values)


def _note(path: Path) -> None:
    warnings.warn(
        f"{printable(str(path))}: conductances, which stand for weights without the scales of their outputs",
        WeightsNote,
        stacklevel=2,
    )
