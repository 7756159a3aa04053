"""Cells of a chip as noise-aware training sees them: conductances of a whole matrix, and what is known of a cell."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from hwloop.chip.info import ChipInfo
from hwloop.devices.drift import PUBLISHED_DRIFT, DriftModel
from hwloop.devices.model import DeviceModel
from hwloop.devices.read_noise import PUBLISHED_READ_NOISE, ReadNoiseModel
from hwloop.devices.statistics import Polynomial
from hwloop.files.fitted_devices import drift_model, programming_curve, read_noise_model
from hwloop.files.models import Model
from hwloop.mapping.split_table import device_errors, split_table
from hwloop.typing import FloatArray

PUBLISHED_RESIDUAL = Polynomial(coefficients=(0.26348, 1.9650, -1.1731))
"""Standard deviation in uS that program-and-verify leaves on a device of 25 uS, by g = G / 25 uS: Joshi et al., Nature
Communications 11, 2473 (2020)."""


@dataclass(frozen=True, eq=False)
class CellModel:
    """What is known of a unit cell.

    Parameters
    ----------
    g_max
        Largest target of a device, uS.
    shares
        (K, n) part of a cell's conductance that lies on each device, over conductances that rise evenly from zero to
        the cell's largest.
    programming
        (n,) standard deviation of what programming leaves, uS, over the same conductances.
    drift, read_noise
        Statistics of a device.
    """

    g_max: float
    shares: FloatArray
    programming: FloatArray
    drift: DriftModel
    read_noise: ReadNoiseModel

    @property
    def devices(self) -> int:
        """Devices of each polarity."""
        return len(self.shares)

    @property
    def largest(self) -> float:
        """Largest target of a cell, uS."""
        return self.devices * self.g_max

    @classmethod
    def of(
        cls, info: ChipInfo, model: Model | DeviceModel | None = None, points: int = 512, trimmed: float = 1.6
    ) -> CellModel:
        """Put together what is known of the cells of a chip.

        What programming leaves is what was measured, where the model has a fit of programming noise; else the noise of
        the pulse that trims a cell, as the split of targets has it (`hwloop.mapping.split_table`); and on a chip whose
        devices are unknown the published residual of program-and-verify, scaled to its range.

        Parameters
        ----------
        info
            The chip.
        model
            Fitted or nominal model of its devices, which comes before what the chip says of itself.
        points
            Conductances in the tables.
        trimmed
            What programming leaves over the noise of the pulse that trims a cell. GDP on sim:hermes-core, 256 x 64
            weights clipped at three sigma, comes to an MVM error of 0.0747 where exact targets give 0.0639: 0.0387 more
            in squares, where this noise alone makes 0.0242.
        """
        device = model if isinstance(model, DeviceModel) else info.device_model
        fitted = model if isinstance(model, Model) else None
        drift = device.drift if device else replace(PUBLISHED_DRIFT, g_scale=info.g_max)
        noise = device.read_noise if device else replace(PUBLISHED_READ_NOISE, g_scale=info.g_max)
        if fitted is not None:
            drift = drift_model(fitted) or drift
            noise = read_noise_model(fitted, noise.t_read) or noise
        count = info.devices_per_polarity
        cell = np.linspace(0.0, count * info.g_max, points)
        if device is None:
            devices = np.stack([np.clip(cell - k * info.g_max, 0.0, info.g_max) for k in range(count)])
            left = _of_devices(devices, PUBLISHED_RESIDUAL, PUBLISHED_DRIFT.g_scale, info.g_max)
        else:
            curve = programming_curve(fitted, device.curve.melt) if fitted is not None else None
            known = DeviceModel(curve or device.curve, drift, noise)
            errors = device_errors(known, info.g_max, (info.reference_age,))
            devices = split_table(errors, count).shares(cell)
            left = trimmed * np.sqrt(np.interp(devices, errors.conductance, errors.trim).min(0))
        fit = fitted.fits.get("programming") if fitted is not None else None
        if fit is not None:
            sigma, scale = fit.statistic("sigma"), fit.settings["g_scale"]
            left = np.sqrt(np.square(np.maximum(sigma(devices / scale), 0.0)).sum(0))
        total = np.where(cell > 0, cell, 1.0)
        return cls(info.g_max, np.where(cell > 0, devices / total, 1.0 / count), left, drift, noise)


def _of_devices(devices: FloatArray, sigma: Polynomial, published: float, g_max: float) -> FloatArray:
    """Add up what is left on the devices (K, n) of a cell, from a polynomial for devices that reach `published` uS."""
    each = np.maximum(sigma(devices / g_max), 0.0) * g_max / published
    total: FloatArray = np.sqrt(np.square(each).sum(0))
    return total


@dataclass(frozen=True)
class Cells:
    """The cells that hold one matrix, at one moment.

    Parameters
    ----------
    model
        What is known of a cell.
    target
        (blocks, rows, columns) signed conductances that were asked for, uS.
    now
        The same as they are, uS.
    age
        Seconds after programming.
    fitted
        Seconds after programming at which targets hold.
    together
        Seconds during which the vectors of a forward pass go through: read noise that is slower is the same for all.
    converters
        (2, blocks, 1, columns) standard normal numbers of the columns' converters: of their gains and offsets.
    random
        Source of random numbers.
    """

    model: CellModel
    target: torch.Tensor
    now: torch.Tensor
    age: float
    fitted: float
    together: float
    converters: torch.Tensor
    random: torch.Generator

    def moved(self, now: torch.Tensor) -> Cells:
        """Return them with other conductances (blocks, rows, columns), uS."""
        return replace(self, now=now)

    def tabulated(self, values: FloatArray, conductance: torch.Tensor) -> torch.Tensor:
        """Interpolate a table of the model (..., n) at conductances of either sign (any shape), uS."""
        table = torch.as_tensor(values, dtype=conductance.dtype, device=conductance.device)
        place = (conductance.abs() * ((table.shape[-1] - 1) / self.model.largest)).clamp(max=table.shape[-1] - 1)
        below = place.floor().clamp(max=table.shape[-1] - 2).long()
        return torch.lerp(table[..., below], table[..., below + 1], place - below)

    def on_devices(self) -> torch.Tensor:
        """Give the conductances (K, blocks, rows, columns) of the devices that make up the cells now, uS."""
        return self.tabulated(self.model.shares, self.now) * self.now.abs()

    def normal(self, *shape: int) -> torch.Tensor:
        """Draw standard normal numbers, as many as there are cells for each number of `shape`."""
        return drawn((*shape, *self.now.shape), self.now, self.random)

    def loss(self, age: float, nu: torch.Tensor) -> torch.Tensor:
        """Compute ln G(t0) - ln G(age) of devices with drift coefficients nu; the age is in seconds."""
        law = self.model.drift.law
        log_age = law.exponent(math.log(age / self.model.drift.t0))
        return law.exponent(log_age) * nu + law.common(log_age)

    def at_reference(self, devices: torch.Tensor, rounds: int = 8) -> torch.Tensor:
        """Find what devices conduct at the reference age of the drift that are expected to be so when targets hold, uS.

        The inverse of the mean drift by fixed point, as it changes slowly with conductance.
        """
        drift, found = self.model.drift, devices
        if self.fitted == drift.t0:
            return found
        for _ in range(rounds):
            found = devices * torch.exp(self.loss(self.fitted, drift.mean(found / drift.g_scale)))
        return found


def drawn(shape: tuple[int, ...], like: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Draw standard normal numbers of a shape, of the type and on the device of a tensor."""
    return torch.empty(shape, dtype=like.dtype, device=like.device).normal_(generator=random)
