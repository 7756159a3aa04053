"""What a chip does to a product, one nonideality a class: each can act alone, and together they are the chip.

A product goes through four stages: inputs are driven, cells hold conductances, their sums vary from read to read, and
outputs are converted. A nonideality acts at one or two of them and leaves the others as they are. Its `amount` says how
strong it is, and `raised` makes it stronger.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch

from hwloop.devices.wires import attenuation
from hwloop.errors import BadInputError
from hwloop.nn.cells import Cells, drawn


@dataclass(frozen=True)
class Nonideality(abc.ABC):
    """One way in which a chip is not ideal; subclasses override the stages at which it acts.

    Parameters
    ----------
    amount
        How strong it is, in `unit`.
    """

    amount: float
    name: ClassVar[str]
    unit: ClassVar[str] = "times nominal"
    first: ClassVar[float] = 1.0
    """Amount at which a search for what a network bears begins, where the chip has none of it."""
    corrected: ClassVar[bool] = False
    """Programming and the calibration of columns take it away: nothing to train for."""
    random: ClassVar[bool] = True
    """It differs from chip to chip, or from read to read; what does not is the same in every draw of the noise."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount >= 0):
            raise BadInputError(f"{self.name}: {self.amount:g} {self.unit} is no amount; give a number from 0 up")

    def inputs(self, u: torch.Tensor) -> torch.Tensor:
        """Return what is driven of inputs (blocks, vectors, rows), 1 = full range."""
        return u

    def cells(self, cells: Cells) -> torch.Tensor:
        """Return the conductances (blocks, rows, columns) that become of the present ones, uS."""
        return cells.now

    def variance(self, cells: Cells) -> torch.Tensor | None:
        """Return the variance (blocks, rows, columns) of the conductances from vector to vector, uS^2; None: none."""
        return None

    def outputs(self, s: torch.Tensor, cells: Cells) -> torch.Tensor:
        """Return what is read of column sums (blocks, vectors, columns), 1 = full range."""
        return s

    def raised(self, factor: float) -> Self:
        """Return it `factor` times as strong; from `first` on, where there is none of it."""
        return replace(self, amount=(self.amount or self.first) * factor)

    def ramped(self, share: float) -> Self:
        """Return it with a share of its strength, where it is noise; what is no noise stays."""
        return replace(self, amount=self.amount * share)

    @property
    def at_its_end(self) -> bool:
        """Tell whether it cannot be raised any further."""
        return False


# ---- converters --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rounding(Nonideality):
    """A converter's steps; `amount` is its bits, sign included, and need not be whole."""

    unit = "bits"
    random = False
    fewest: ClassVar[float] = 2.0
    """Bits of a converter that knows -1, 0 and 1."""

    @property
    def top(self) -> int:
        """Number of steps from zero to full range."""
        return max(1, round(2 ** (self.amount - 1) - 1))

    def raised(self, factor: float) -> Self:
        """Return it with steps `factor` times as large."""
        return replace(self, amount=max(self.amount - math.log2(factor), self.fewest))

    def ramped(self, share: float) -> Self:
        """Return it as it is."""
        return self

    @property
    def at_its_end(self) -> bool:
        """Tell whether it has no step left to lose."""
        return self.top == 1


class InputRounding(Rounding):
    """Steps of the DACs."""

    name = "input bits"

    def inputs(self, u: torch.Tensor) -> torch.Tensor:
        """Round to steps."""
        return rounded(u * self.top) / self.top


class OutputRounding(Rounding):
    """Steps of the ADCs."""

    name = "output bits"

    def outputs(self, s: torch.Tensor, cells: Cells) -> torch.Tensor:
        """Round to steps."""
        return rounded(s * self.top) / self.top


@dataclass(frozen=True)
class Range(Nonideality):
    """The end of a converter; `amount` is where, over the range that was chosen or learnt for it."""

    unit = "of the range"
    random = False

    def raised(self, factor: float) -> Self:
        """Return it `factor` times as narrow."""
        return replace(self, amount=self.amount / factor)

    def ramped(self, share: float) -> Self:
        """Return it as it is."""
        return self


class InputRange(Range):
    """Inputs beyond the range of the DACs are driven at its end."""

    name = "input range"

    def inputs(self, u: torch.Tensor) -> torch.Tensor:
        """Clip."""
        return u.clamp(-self.amount, self.amount)


class OutputRange(Range):
    """Outputs beyond the range of the ADCs are read as its end."""

    name = "output range"

    def outputs(self, s: torch.Tensor, cells: Cells) -> torch.Tensor:
        """Clip."""
        return s.clamp(-self.amount, self.amount)


@dataclass(frozen=True)
class OutputNoise(Nonideality):
    """Noise of the ADCs, anew for every output; `top` is the number of steps up to full range."""

    top: int = 127
    name = "output noise"
    unit = "LSB"

    def outputs(self, s: torch.Tensor, cells: Cells) -> torch.Tensor:
        """Add it."""
        return s + drawn(tuple(s.shape), s, cells.random) * (self.amount / self.top)


class GainSpread(Nonideality):
    """Gains of the columns' ADCs differ."""

    name = "output gain spread"
    unit = "relative"
    first = 0.01
    corrected = True

    def outputs(self, s: torch.Tensor, cells: Cells) -> torch.Tensor:
        """Multiply each column by its gain."""
        return s * (1.0 + self.amount * cells.converters[0])


@dataclass(frozen=True)
class OffsetSpread(Nonideality):
    """Offsets of the columns' ADCs differ; `top` is the number of steps up to full range."""

    top: int = 127
    name = "output offset spread"
    unit = "LSB"
    corrected = True

    def outputs(self, s: torch.Tensor, cells: Cells) -> torch.Tensor:
        """Add each column's offset."""
        return s + cells.converters[1] * (self.amount / self.top)


# ---- cells -------------------------------------------------------------------------------------------------------


class ProgrammingNoise(Nonideality):
    """Every cell is off its target by what programming leaves."""

    name = "programming noise"

    def cells(self, cells: Cells) -> torch.Tensor:
        """Add the error of each cell."""
        sigma = cells.tabulated(cells.model.programming, cells.target)
        return cells.now + self.amount * sigma * cells.normal()


class StuckDevices(Nonideality):
    """Some devices are stuck, half of them SET and half RESET; the others of their cells make up for it if they can."""

    name = "stuck devices"
    unit = "share of devices"
    first = 1e-4

    def cells(self, cells: Cells) -> torch.Tensor:
        """Keep every cell within what its healthy devices can reach."""
        if not self.amount:
            return cells.now
        model = cells.model
        shape = (2, model.devices, *cells.now.shape)
        chance = torch.rand(shape, dtype=cells.now.dtype, device=cells.now.device, generator=cells.random)
        always = (chance < self.amount / 2).sum(1) * model.g_max
        most = always + (chance >= self.amount).sum(1) * model.g_max
        return torch.minimum(torch.maximum(cells.now, always[0] - most[1]), most[0] - always[1])

    def raised(self, factor: float) -> Self:
        """Return it with `factor` times as many, all of them at most."""
        return replace(self, amount=min((self.amount or self.first) * factor, 1.0))

    @property
    def at_its_end(self) -> bool:
        """Tell whether all are stuck."""
        return self.amount >= 1.0


class Drift(Nonideality):
    """Every device drifts by a coefficient of its own, from the age at which its target holds to the present one."""

    name = "drift"

    def cells(self, cells: Cells) -> torch.Tensor:
        """Let the devices of each cell age."""
        law, devices = cells.model.drift, cells.on_devices()
        g = cells.at_reference(devices) / law.g_scale
        mean = law.mean(g)
        nu = mean + law.spread(g) * cells.normal(cells.model.devices)
        loss = cells.loss(cells.age, nu) - cells.loss(cells.fitted, mean)
        return torch.sign(cells.now) * (devices * torch.exp(-self.amount * loss)).sum(0)


class ReadNoise(Nonideality):
    """1/f noise of the devices: its slow part is an error of the cells, the fast one is anew for every vector."""

    name = "read noise"

    def cells(self, cells: Cells) -> torch.Tensor:
        """Add what does not change during a forward pass."""
        slow = self._log_times(cells, cells.age) - self._log_times(cells, cells.together)
        return cells.now + self._sigma(cells) * math.sqrt(max(slow, 0.0)) * cells.normal()

    def variance(self, cells: Cells) -> torch.Tensor:
        """Give what changes from vector to vector."""
        return self._sigma(cells) ** 2 * self._log_times(cells, min(cells.together, cells.age))

    def _sigma(self, cells: Cells) -> torch.Tensor:
        """Compute Q G of every cell, uS."""
        noise, devices = cells.model.read_noise, cells.on_devices()
        return self.amount * (devices * noise.q(devices / noise.g_scale)).square().sum(0).sqrt()

    @staticmethod
    def _log_times(cells: Cells, seconds: float) -> float:
        """Compute the variance over Q^2 that processes up to a time have, as `ReadNoiseModel` does."""
        t_read = cells.model.read_noise.t_read
        return max(math.log((seconds + t_read) / (2 * t_read)), 0.0)


class WireResistance(Nonideality):
    """Wires along rows and columns have resistance, and nothing corrects for it but the gains of columns."""

    name = "wire resistance"
    unit = "ohm per cell"
    first = 0.1
    corrected = True
    random = False

    def cells(self, cells: Cells) -> torch.Tensor:
        """Let each cell count as much as wires leave of it."""
        if not self.amount:
            return cells.now
        polarities = torch.stack([cells.now.clamp(min=0.0), (-cells.now).clamp(min=0.0)], dim=1).double()
        factors = torch.stack([attenuation(block, self.amount) for block in polarities])
        effective = polarities * factors
        return (effective[:, 0] - effective[:, 1]).to(cells.now.dtype)


def rounded(x: torch.Tensor) -> torch.Tensor:
    """Round to whole numbers; the gradient is that of the identity (straight-through)."""
    return x + (x.round() - x).detach()
