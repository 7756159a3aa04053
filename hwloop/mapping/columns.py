"""The digital affine function behind every column: from output codes to the units of X W."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.typing import AnyArray, FloatArray


@dataclass(frozen=True)
class ColumnCorrection:
    """A gain and an offset for every column: output = gain * code + offset."""

    gain: FloatArray
    """(columns,) weight units per code."""
    offset: FloatArray
    """(columns,) weight units."""

    def apply(self, codes: AnyArray) -> FloatArray:
        """Correct codes (batch, columns) to outputs in the units of X W with inputs in [-1, 1]."""
        return codes * self.gain + self.offset
