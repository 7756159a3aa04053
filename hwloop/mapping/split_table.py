"""Choose how the devices of a polarity share a target, so that the expected squared error is least.

After Mackin et al., Nature Communications 13, 3765 (2022), who optimise the conductances of a weight's devices for a
time horizon. Here the error of a cell has three parts, all known from a model of its devices: read noise at the target
age, drift that differs from device to device, and what programming leaves. Programming ends with pulses that trim the
cell, and leaves a share of the noise of the pulse that trims; the device that trims must have room to move. The best
sharing is tabulated over targets, as a path on which no device ever falls while the target rises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwloop.devices.drift import Aging
from hwloop.devices.model import DeviceModel
from hwloop.errors import BadInputError
from hwloop.typing import FloatArray, IndexArray


@dataclass(frozen=True)
class SplitModel:
    """What a table of splits takes into account beside the device model."""

    points: int = 256
    """Conductances per device, evenly from zero to the largest target, between which the table interpolates."""
    trim_share: float = 1.0
    """Share of a trimming pulse's variance that is left at the end: the filter keeps the better results only, but what
    it measures is noisy too."""
    last_look: float = 0.5
    """Age at which programming saw a device last, in units of the target age: drift from then on is not corrected."""

    def __post_init__(self) -> None:
        for name, low, high in (("points", 2, 10_000), ("trim_share", 0.0, 100.0), ("last_look", 1e-6, 1.0)):
            if not low <= getattr(self, name) <= high:
                raise BadInputError(f"split {name}={getattr(self, name):g} is outside {low:g} to {high:g}")


STANDARD = SplitModel()
"""The model behind `--split auto`."""


@dataclass(frozen=True)
class DeviceErrors:
    """Variances of one device in uS^2 over its conductance.

    Parameters
    ----------
    conductance
        (n,) at the target age, evenly from zero to the largest target, uS.
    noise
        (n,) read noise and uncorrected drift.
    trim
        (n,) what is left of a cell's programming error where this device trims it.
    """

    conductance: FloatArray
    noise: FloatArray
    trim: FloatArray


@dataclass(frozen=True)
class SplitTable:
    """Device conductances over cell conductances of one polarity, between which `shares` interpolates.

    Parameters
    ----------
    target
        (n,) ascending from zero, uS.
    devices
        (K, n) uS, none falling anywhere; they add up to `target`.
    variance
        (n,) least expected squared error of a cell, uS^2.
    """

    target: FloatArray
    devices: FloatArray
    variance: FloatArray

    def shares(self, target: FloatArray) -> FloatArray:
        """Return the conductances (K, ...) in uS of the devices for targets (...) in uS, none below zero."""
        return np.stack([np.interp(target, self.target, device) for device in self.devices])

    def expected_variance(self, target: FloatArray) -> FloatArray:
        """Return the expected squared error (...) in uS^2 of cells with targets (...) in uS of either sign."""
        return np.asarray(np.interp(np.abs(target), self.target, self.variance), np.float64)


def device_errors(
    model: DeviceModel, g_max: float, ages: Sequence[float], settings: SplitModel = STANDARD
) -> DeviceErrors:
    """Compute the variances of a device at the given ages, averaged over them.

    Parameters
    ----------
    model
        Of the devices: nominal, calibrated or fitted.
    g_max
        Largest target of a device, uS.
    ages
        Seconds after programming at which the weights are used; the first one is the target age.
    settings
        How fine, and what programming leaves.
    """
    age, aging = ages[0], Aging(model.drift)
    conductance = np.linspace(0.0, g_max, settings.points + 1)
    reference = aging.at_reference(conductance, age)
    noise = np.zeros_like(conductance)
    for then in ages:
        later = reference * aging.factor(reference, then)
        read = later * model.read_noise.relative_sigma(reference, then)
        drift = later * aging.log_spread(reference, settings.last_look * age, settings.last_look * age + then)
        noise += (read**2 + drift**2) / len(ages)
    on_curve = np.maximum(reference, model.curve.g_min)
    pulse = np.asarray(model.curve.pulse_sigma(on_curve) * aging.factor(reference, age), np.float64)
    # Upwards a device has room up to g_max; downwards, the empty devices of the other polarity trim where it has none.
    no_room = beyond(g_max - conductance, float(pulse.max()))
    return DeviceErrors(conductance, noise, settings.trim_share * pulse**2 + no_room)


def table_of(errors: DeviceErrors, devices: FloatArray) -> SplitTable:
    """Tabulate a given sharing with the error that it lets expect.

    Parameters
    ----------
    errors
        Of a device.
    devices
        (K, n) conductances in uS over ascending targets.
    """
    grid = errors.conductance
    noise = np.stack([np.interp(device, grid, errors.noise) for device in devices]).sum(0)
    trim = np.stack([np.interp(device, grid, errors.trim) for device in devices]).min(0)
    return SplitTable(devices.sum(0), devices, noise + trim)


def split_table(errors: DeviceErrors, devices: int) -> SplitTable:
    """Tabulate the sharing of least expected squared error among `devices` devices of a polarity.

    Devices join one by one: the first, then the pair that it makes with the second, and so on. Each time, of all paths
    from (0, 0) to (largest, largest) on the grid of both conductances that go up in one or the other at every step, the
    one with the least sum of errors is found by dynamic programming. Every step raises the target by as much, so the
    sum is a mean over targets, and tables are continuous and monotone by construction.
    """
    members, noise, trim = errors.conductance[None], errors.noise, errors.trim
    for _ in range(devices - 1):
        cost = noise[:, None] + errors.noise + np.minimum(trim[:, None], errors.trim)
        first, last = best_path(cost)
        members = np.concatenate([members[:, first], errors.conductance[None, last]])
        noise, trim = noise[first] + errors.noise[last], np.minimum(trim[first], errors.trim[last])
    return SplitTable(members.sum(0), members, noise + trim)


def beyond(room: FloatArray, sigma: float) -> FloatArray:
    """Compute the mean square of what a normal error of deviation `sigma` exceeds `room` (...) by, on one side."""
    from scipy.special import ndtr  # only to be loaded by who makes a table, not by who reads a file

    if sigma == 0:
        return np.zeros_like(room)
    a = room / sigma
    squared: FloatArray = sigma**2 * ((1.0 + a**2) * ndtr(-a) - a * np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi))
    return squared


def best_path(cost: FloatArray) -> tuple[IndexArray, IndexArray]:
    """Find the path of least summed cost from the first to the last corner that raises one index at every step.

    Parameters
    ----------
    cost
        (n, m) of every place.

    Returns
    -------
    tuple
        (n + m - 1,) indices of both axes on the path.
    """
    n, m = cost.shape
    least = np.full(
        m + 1, np.inf
    )  # of reaching (step - j, j), by j + 1: the border before the first is never on a path
    least[1] = cost[0, 0]
    came_by_last = np.zeros((n + m - 1, m), bool)
    j = np.arange(m)
    for step in range(1, n + m - 1):
        came_by_last[step] = least[:-1] < least[1:]
        inside = (step - j >= 0) & (step - j < n)
        here = np.where(inside, cost[np.clip(step - j, 0, n - 1), j], np.inf)
        least[1:] = np.minimum(least[:-1], least[1:]) + here
    path = np.empty(n + m - 1, np.intp)
    path[-1] = m - 1
    for step in range(n + m - 2, 0, -1):
        path[step - 1] = path[step] - came_by_last[step, path[step]]
    return np.arange(n + m - 1) - path, path
