"""Coresets on file: weighted vectors whose values take few bits, packed into the arrays of a .npz.

The .npz holds `hwloop-coreset`, JSON as bytes, which describes the parts, and for each part a packed array of codes,
one of weights and, where the vectors have labels, one of labels. A part is what one source gave of one tensor.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwloop.errors import BadInputError
from hwloop.files.reading import DAMAGE, whole
from hwloop.files.weights.arrays import read_npz
from hwloop.mapping.activations import CORESET, Sample
from hwloop.typing import AnyArray, FloatArray, IndexArray, Json


@dataclass(frozen=True)
class CoresetLayout:
    """What is counted, and what a file may declare."""

    version: int = 1
    """Of the layout."""
    constants: int = 288
    """Bits of a part beside its points: ends of the values and of the weights, the total, sizes of everything."""
    golden: float = 0.6180339887498949
    """Step of the dither over its period: the most irregular number (Weyl, Math. Ann. 77, 313, 1916)."""
    values: int = 2**28
    """Values of a part at most."""


LAYOUT = CoresetLayout()
"""The layout of all coresets."""


@dataclass(frozen=True)
class Grid:
    """Numbers that the codes of so many bits stand for: zero, both ends, and equal steps between the ends.

    Between the ends a dither of up to half a step is added before rounding and taken off afterwards, so that errors are
    uniform whatever the value is (Schuchman, IEEE Trans. Commun. Technol. 12, 162, 1964): a percentile of the decoded
    values has no stairs. The dither follows from the place of a value and is not stored.

    Parameters
    ----------
    low, high
        Smallest and largest of the values other than zero.
    bits
        Of a code, at least 2.
    """

    low: float
    high: float
    bits: int

    @property
    def steps(self) -> int:
        """Codes between the ends."""
        return int(2**self.bits - 3)

    def encode(self, values: FloatArray) -> IndexArray:
        """Give the codes (points, inputs) of values between the ends, or zero."""
        step = (self.high - self.low) / self.steps
        cell = np.floor((values - self.low) / (step or 1.0) + self._dither(values.shape))
        codes = 2 + np.clip(cell, 0, self.steps - 1).astype(np.int64)
        codes[values == self.low], codes[values == self.high], codes[values == 0] = 1, 2**self.bits - 1, 0
        return codes

    def decode(self, codes: AnyArray) -> FloatArray:
        """Give the values of codes (points, inputs)."""
        step = (self.high - self.low) / self.steps
        inside = self.low + (codes.astype(np.float64) - 1.5 - self._dither(codes.shape)) * step
        values = np.clip(inside, self.low, self.high)
        values[codes == 1], values[codes == 2**self.bits - 1], values[codes == 0] = self.low, self.high, 0.0
        return np.asarray(values)

    def _dither(self, shape: tuple[int, ...]) -> FloatArray:
        """Give numbers from -0.5 to 0.5 that fill the interval evenly along every row and from row to row."""
        place = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
        return np.asarray((place * LAYOUT.golden) % 1.0 - 0.5)


@dataclass(frozen=True, eq=False)
class CoresetPart:
    """What one source gave of one tensor.

    Parameters
    ----------
    name, source
        Of the tensor, and where it came from.
    grid
        What the codes stand for.
    codes
        (points, inputs).
    total
        Vectors that the part stands for.
    weight_ends, weight_bits, weight_codes
        Weights in equal ratios from one end to the other; no bits where all points weigh the same.
    shape
        Of one vector before it was flattened; empty where it was flat.
    labels, classes
        (points,) and how many there are; None and 0 without.
    """

    name: str
    source: str
    grid: Grid
    codes: IndexArray
    total: float
    weight_ends: tuple[float, float]
    weight_bits: int
    weight_codes: IndexArray
    shape: tuple[int, ...] = ()
    labels: IndexArray | None = None
    classes: int = 0

    @property
    def label_bits(self) -> int:
        """Bits of a label."""
        return 0 if self.labels is None else label_bits(self.classes)

    @property
    def bits(self) -> int:
        """Bits of all of it: values, weights, labels and constants."""
        each = self.codes.shape[1] * self.grid.bits + self.weight_bits + self.label_bits
        return int(len(self.codes) * each + LAYOUT.constants)

    def sample(self) -> Sample:
        """Decode vectors and weights."""
        return Sample(self.grid.decode(self.codes), self.weights())

    def weights(self) -> FloatArray:
        """Decode the weights, whose sum is `total`."""
        low, high = self.weight_ends
        share = self.weight_codes / max(2**self.weight_bits - 1, 1)
        found = low * (high / low) ** share
        return np.asarray(found * (self.total / found.sum()))


def label_bits(classes: int) -> int:
    """Give the bits of a label of so many classes."""
    return max(1, (classes - 1).bit_length())


def weight_codes(weights: FloatArray, bits: int) -> tuple[tuple[float, float], int, IndexArray]:
    """Round weights to equal ratios: their ends, the bits that it takes, and the codes."""
    low, high = float(weights.min()), float(weights.max())
    if high <= low * (1.0 + 1e-9):
        return (low, low), 0, np.zeros(len(weights), np.int64)
    scaled = np.log(weights / low) / math.log(high / low) * (2**bits - 1)
    return (low, high), bits, np.rint(scaled).astype(np.int64)


@dataclass(frozen=True, eq=False)
class StoredCoreset:
    """Parts of a coreset, with what was asked for.

    Parameters
    ----------
    parts
        In the order of tensors and sources.
    told
        Budget, bounds and settings, for people.
    arrays
        Whatever else goes along uncounted, such as the test images of a data set.
    """

    parts: tuple[CoresetPart, ...]
    told: Mapping[str, Json] = field(default_factory=dict)
    arrays: Mapping[str, AnyArray] = field(default_factory=dict)

    def samples(self) -> dict[str, Sample]:
        """Decode all parts; those of one tensor are put together, in an order that tells nothing."""
        found: dict[str, list[Sample]] = {}
        for part in self.parts:
            found.setdefault(part.name, []).append(part.sample())
        return {name: _together(parts) for name, parts in found.items()}

    def content(self) -> bytes:
        """Give the bytes of its file."""
        arrays: dict[str, AnyArray] = {}
        rows: list[Json] = []
        for number, part in enumerate(self.parts):
            rows.append(
                {
                    "name": part.name, "source": part.source, "low": part.grid.low, "high": part.grid.high,
                    "bits": part.grid.bits, "points": len(part.codes), "inputs": part.codes.shape[1],
                    "total": part.total, "weight_ends": list(part.weight_ends), "weight_bits": part.weight_bits,
                    "shape": list(part.shape), "classes": part.classes,
                }
            )  # fmt: skip
            arrays[f"codes-{number}"] = packed(part.codes, part.grid.bits)
            if part.weight_bits:
                arrays[f"weights-{number}"] = packed(part.weight_codes, part.weight_bits)
            if part.labels is not None:
                arrays[f"labels-{number}"] = packed(part.labels, part.label_bits)
        head = {"version": LAYOUT.version, "parts": rows, "told": dict(self.told)}
        arrays[CORESET] = np.frombuffer(json.dumps(head).encode(), np.uint8)
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays, **self.arrays)  # type: ignore[arg-type]
        return stream.getvalue()


def _together(parts: Sequence[Sample]) -> Sample:
    """Put samples together so that every stretch of them is like the whole."""
    if len(parts) == 1:
        return parts[0]
    place = np.concatenate([(np.arange(len(one)) + 0.5) / len(one) for one in parts])
    order = np.argsort(place, kind="stable")
    weights = np.concatenate([one.weights if one.weights is not None else np.ones(len(one)) for one in parts])
    return Sample(np.concatenate([one.vectors for one in parts])[order], weights[order])


def packed(codes: IndexArray, bits: int) -> AnyArray:
    """Pack whole numbers of so many bits each, the highest bit first, into bytes."""
    flat = codes.reshape(-1, 1)
    return np.packbits(((flat >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8))


def unpacked(content: AnyArray, bits: int, shape: tuple[int, ...]) -> IndexArray:
    """Undo `packed`. Raises ValueError for another number of bytes than it takes."""
    count = math.prod(shape)
    if content.dtype != np.uint8 or content.ndim != 1 or content.size != -(-count * bits // 8):
        raise ValueError(f"{count} numbers of {bits} bits do not take {content.size} bytes")
    found = np.unpackbits(content, count=count * bits).reshape(-1, bits).astype(np.int64)
    return np.asarray((found << np.arange(bits - 1, -1, -1)).sum(1).reshape(shape))


def is_coreset(path: str | Path) -> bool:
    """Tell whether a file is a coreset; whatever cannot be read is none."""
    try:
        return any(tensor.key == CORESET for tensor in read_npz(Path(path)))
    except (BadInputError, *DAMAGE):
        return False


def read_coreset(path: str | Path) -> StoredCoreset:
    """Read a coreset. Raises BadInputError for a file that is none, damaged, or of a later version."""
    tensors = {tensor.key: tensor for tensor in read_npz(Path(path))}
    if CORESET not in tensors:
        raise BadInputError(f"{path} is no coreset; hwloop coreset makes one")
    with whole(path, "coreset", "make it again"):
        arrays = {name: np.asarray(tensor.load()) for name, tensor in tensors.items()}
        head = json.loads(arrays.pop(CORESET).tobytes())
        if head["version"] != LAYOUT.version:
            raise BadInputError(
                f"{path} has the layout {head['version']} of coresets; this hwloop reads {LAYOUT.version}"
            )
        parts = tuple(_part(row, number, arrays) for number, row in enumerate(head["parts"]))
        if not parts:
            raise ValueError("it has no parts")
        return StoredCoreset(parts, head["told"], arrays)


def _part(row: Mapping[str, Json], number: int, arrays: dict[str, AnyArray]) -> CoresetPart:
    """Make a part of its row, and take its arrays. Raises ValueError for what does not fit together."""

    def numeral(name: str) -> float:
        value = row[name]
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name} is no number")
        return value

    def listed(name: str) -> list[float]:
        value = row[name]
        if not isinstance(value, list) or not all(isinstance(one, int | float) and math.isfinite(one) for one in value):
            raise ValueError(f"{name} is no list of numbers")
        return list(value)

    points, inputs, bits, weighing = (int(numeral(name)) for name in ("points", "inputs", "bits", "weight_bits"))
    classes, ends = int(numeral("classes")), listed("weight_ends")
    shape = tuple(int(one) for one in listed("shape"))
    grid = Grid(numeral("low"), numeral("high"), bits)
    sound = (
        0 < points * inputs <= LAYOUT.values and 2 <= bits <= 16 and 0 <= weighing <= 16 and len(ends) == 2
        and 0 < ends[0] <= ends[1] and grid.low <= grid.high and numeral("total") > 0
        and (not shape or math.prod(shape) == inputs) and 0 <= classes <= LAYOUT.values
    )  # fmt: skip
    if not sound:
        raise ValueError("its sizes do not fit together")
    codes = unpacked(arrays.pop(f"codes-{number}"), bits, (points, inputs))
    weights = unpacked(arrays.pop(f"weights-{number}"), weighing, (points,)) if weighing else np.zeros(points, np.int64)
    part = CoresetPart(
        str(row["name"]), str(row["source"]), grid, codes, numeral("total"), (ends[0], ends[1]), weighing, weights,
        shape, np.zeros(points, np.int64) if classes else None, classes,
    )  # fmt: skip
    if not classes:
        return part
    labels = unpacked(arrays.pop(f"labels-{number}"), part.label_bits, (points,))
    if labels.max() >= classes:
        raise ValueError("a label is beyond its classes")
    return CoresetPart(**{**vars(part), "labels": labels})
