"""DACs on the rows and ADCs on the columns of one core."""

from __future__ import annotations

import math

import numpy as np
import torch

from hwloop.sim_backend.periphery import Periphery
from hwloop.typing import FloatArray

_CUBIC_PEAK = 2.0 / (3.0 * math.sqrt(3.0))
"""Largest magnitude of u^3 - u on [-1, 1]; dividing by it makes the non-linearity parameters peak values."""


ALL_COLUMNS = slice(None)
"""Columns of a core where no others are left out."""


class InputConverters:
    """Signed integers to row drives in [-1, 1], with a third-order non-linearity common to all rows."""

    def __init__(self, parameters: Periphery) -> None:
        """Take resolution and non-linearity from the chip's parameters."""
        self.top = float(2 ** (parameters.dac_bits - 1) - 1)
        self._nonlinearity = parameters.dac_nonlinearity / self.top

    def drive(self, x: torch.Tensor) -> torch.Tensor:
        """Return row drives (batch, rows), 1 = full scale for whole numbers of the same shape."""
        u = x.to(torch.float32) * (1.0 / self.top)
        if self._nonlinearity:
            # u + n (u^3 - u) / peak
            size = self._nonlinearity / _CUBIC_PEAK
            u.mul_((u * u).mul_(size).add_(1.0 - size))
        return u


class ColumnConverters:
    """Column sums in uS to signed codes: per-column gain, offset and non-linearity, noise, rounding, saturation.

    `gain` (columns,) and `offset` (columns,), LSB, are those in effect, trims included.
    """

    def __init__(self, parameters: Periphery, generator: torch.Generator, columns: int | None = None) -> None:
        """Draw the columns' gains, offsets (LSB) and non-linearities (LSB) from the specimen's generator."""
        n, device = parameters.columns if columns is None else columns, generator.device
        draws = torch.empty((3, n), device=device).normal_(generator=generator)
        self._own_gain = 1.0 + parameters.adc_gain_spread * draws[0]
        self._own_offset = parameters.adc_offset_spread * draws[1]
        self.gain, self.offset = self._own_gain, self._own_offset
        self.trims: tuple[FloatArray, FloatArray] = np.zeros(n), np.zeros(n)
        # The nonlinearity belongs to the circuit, so all columns share its sign; a fifth of it varies.
        self.nonlinearity = parameters.adc_nonlinearity * (1.0 + 0.2 * draws[2])
        self.is_nonlinear = parameters.adc_nonlinearity > 0
        self.noise = parameters.adc_noise
        self.top = float(2 ** (parameters.adc_bits - 1) - 1)

    def trim(self, offset: FloatArray, gain: FloatArray) -> None:
        """Put trims (columns,) into the registers: offsets in LSB, and gains relative to the circuits' own.

        Those that are there already change nothing, as on a chip: what has happened to the circuits since, stays.
        """
        if np.array_equal(self.trims, (offset, gain)):
            return
        self.trims = offset, gain
        self.offset = self._own_offset + torch.tensor(offset).to(self._own_offset)
        self.gain = self._own_gain * (1.0 + torch.tensor(gain).to(self._own_gain))

    def noise_variance(self, full_scale: float, coarseness: float = 1.0, columns: slice = ALL_COLUMNS) -> torch.Tensor:
        """Return the variance (columns,) of the converters' own noise, referred to the column sums in uS^2."""
        return (coarseness * self.noise * full_scale / (self.top * self.gain[columns])) ** 2

    def convert(
        self, sums: torch.Tensor, full_scale: float, coarseness: float = 1.0, columns: slice = ALL_COLUMNS
    ) -> torch.Tensor:
        """Return integer codes (batch, columns) of column sums (uS) that have their noise; overwrites `sums`.

        They are rounded to steps of `coarseness` codes, and reach the same ends whatever the step.
        """
        gain = self.gain[columns] * (self.top / full_scale)
        codes = torch.addcmul(self.offset[columns], sums, gain, out=sums)
        if self.is_nonlinear:
            inside = codes.clamp(-self.top, self.top)
            # In units of the scale's end: n (u^3 - u) / peak
            size = self.nonlinearity[columns] / (_CUBIC_PEAK * self.top**3)
            cubic = (inside * inside).sub_(self.top**2).mul_(size)
            codes.addcmul_(cubic, inside)
        if coarseness != 1.0:
            codes.mul_(1.0 / coarseness).round_().mul_(coarseness)
        return codes.round_().clamp_(-self.top, self.top)

    def read_device(
        self, conductance: torch.Tensor, columns: torch.Tensor, full_scale: float, averages: int, noise: torch.Generator
    ) -> torch.Tensor:
        """Return the mean of `averages` conversions of single devices (n, averages) in uS, on the columns (n,).

        The converter subtracts a reading with the row off (correlated double sampling), so its offset cancels; gain,
        noise and the step of the converter remain.
        """
        step = full_scale / self.top
        codes = conductance * (self.gain[columns] / step).unsqueeze(1)
        if self.noise:
            codes = codes + self.noise * torch.empty_like(codes).normal_(generator=noise)
        return codes.round_().clamp_(-self.top, self.top).mean(1) * step
