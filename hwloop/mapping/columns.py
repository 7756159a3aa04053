"""The digital affine function behind every column: from output codes to the units of X W."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.typing import AnyArray, FloatArray


@dataclass(frozen=True)
class ColumnCorrection:
    """output = gain * code + offset, per column: gain (columns,) in weight units per code, offset in weight units."""

    gain: FloatArray
    offset: FloatArray

    def apply(self, codes: AnyArray) -> FloatArray:
        """Correct codes (batch, columns) to outputs in the units of X W with inputs in [-1, 1]."""
        return codes * self.gain + self.offset
