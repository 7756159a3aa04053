"""Figures of calibrations: faults of devices, offsets and gains of columns, and their history over certificates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.results import CurveResult, Fault
from hwloop.errors import BadInputError
from hwloop.plot.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, axes_of, grid
from hwloop.plot.tiles import category_map
from hwloop.typing import FloatArray

FAULT_COLOURS = ("#e8e8e8", VERMILION, BLUE, SKY, ORANGE, PURPLE, GREEN)
"""Of the members of `Fault`, in their order."""


def device_faults(core: CoreCalibration, ax: Axes | None = None) -> Axes:
    """Draw what is wrong with each cell's devices; a cell shows its worst. Raises BadInputError where not measured."""
    if core.devices is None:
        raise BadInputError("the devices of this core were not examined; hwloop calibrate devices does")
    fault = core.devices.fault
    worst = fault.reshape(-1, *fault.shape[2:]).max(0)
    labels = [f"{one.name.lower().replace('_', ' ')}: {core.devices.count(one):,}" for one in Fault]
    axes = category_map(worst, labels, FAULT_COLOURS, ax)
    axes.set_title("Faults of devices; a cell shows the worst of its own")
    return axes


def adc_offsets(core: CoreCalibration, ax: Axes | None = None) -> Axes:
    """Draw the ADC offset of each column with its 95 % interval. Raises BadInputError where it was not measured."""
    if core.converters is None:
        raise BadInputError("the converters of this core were not calibrated; hwloop calibrate adc does")
    found = core.converters
    return _by_column(found.offset, found.offset_sigma, "offset, LSB", "Offsets of the columns' ADCs", ax)


def column_gains(core: CoreCalibration, ax: Axes | None = None) -> Axes:
    """Draw the gain of each column with its 95 % interval. Raises BadInputError where it was not measured."""
    if core.gains is None:
        raise BadInputError("the gains of this core were not calibrated; hwloop calibrate all does")
    return _by_column(core.gains.gain, core.gains.gain_sigma, "gain over the mean", "Gains of the columns", ax)


def _by_column(values: FloatArray, sigma: FloatArray, label: str, title: str, ax: Axes | None) -> Axes:
    axes = axes_of(ax)
    columns = np.arange(values.size)
    axes.errorbar(
        columns,
        values,
        1.96 * sigma,
        fmt=".",
        ms=4,
        color=BLUE,
        ecolor=SKY,
        elinewidth=0.8,
        label="with its 95 % interval",
    )
    axes.axhline(float(np.nanmean(values)), color=BLACK, lw=0.8, ls="--", label=f"mean {np.nanmean(values):.3g}")
    axes.set(xlabel="column", ylabel=label, title=f"{title}, spread {np.nanstd(values):.3g}")
    grid(axes)
    axes.legend()
    return axes


def device_shifts(core: CoreCalibration, ax: Axes | None = None) -> Axes:
    """Draw how the devices' programming curves are shifted. Raises BadInputError where they were not measured."""
    curve = _curve(core)
    axes = axes_of(ax)
    known = np.isfinite(curve.shift) if core.devices is None else np.isfinite(curve.shift) & core.devices.usable
    shifts = curve.shift[known]
    axes.hist(shifts, bins="auto", color=BLUE)
    axes.set(xlabel="shift of the programming curve, uA", ylabel="devices")
    axes.set_title(f"Shifts of devices: spread {curve.midpoint_spread:.2f} uA about {curve.midpoint:.1f} uA")
    grid(axes)
    return axes


def mean_programming_curve(core: CoreCalibration, ax: Axes | None = None) -> Axes:
    """Draw conductance against pulse amplitude, of the typical device and of those one spread beside it.

    Raises BadInputError where the programming curve was not measured.
    """
    curve = _curve(core)
    axes = axes_of(ax)
    reach = 8 * curve.steepness + 2 * curve.midpoint_spread
    amplitude = np.linspace(max(0.0, curve.midpoint - reach), curve.midpoint + reach, 400)

    def conductance(shift: float) -> FloatArray:
        height = curve.g_max - curve.g_min
        part = 1.0 / (1.0 + np.exp((amplitude - curve.midpoint - shift) / curve.steepness))
        return np.asarray(curve.g_min + height * part, np.float64)

    spread = curve.midpoint_spread
    axes.plot(amplitude, conductance(0.0), color=VERMILION, label="typical device")
    axes.fill_between(
        amplitude, conductance(-spread), conductance(spread), color=VERMILION, alpha=0.15, label="within one spread"
    )
    axes.axvline(curve.melt, color=GREY, ls=":", label=f"melts from {curve.melt:.0f} uA")
    axes.set(xlabel="amplitude of the RESET pulse, uA", ylabel="conductance, uS", title="Programming curve")
    grid(axes)
    axes.legend()
    return axes


def _curve(core: CoreCalibration) -> CurveResult:
    if core.programming_curve is None:
        raise BadInputError("this core's programming curve was not measured; hwloop calibrate programming-curve does")
    return core.programming_curve


def _followed(core: CoreCalibration) -> dict[str, float]:
    """Give the figures of a core that are followed over its calibrations, by name and unit."""
    found = {}
    if core.devices is not None:
        found["bad devices"] = float((core.devices.fault != Fault.GOOD).sum())
    if core.converters is not None:
        found["ADC offset, LSB rms"] = float(np.sqrt(np.nanmean(core.converters.offset**2)))
    if core.gains is not None:
        found["spread of gains, %"] = 100 * float(np.nanstd(core.gains.gain))
    if core.floor is not None:
        found["floor of the MVM error, %"] = 100 * core.floor.error
    return found


def history(calibrations: Sequence[Calibration], ax: Axes | None = None) -> Axes:
    """Draw how figures of a chip have changed over its calibrations, each over its first value.

    Raises BadInputError for calibrations of different chips.
    """
    axes = axes_of(ax)
    ordered = sorted(calibrations, key=lambda one: one.created)
    if len({one.chip for one in ordered}) > 1:
        raise BadInputError("these calibrations are of different chips; a history is that of one")
    dates = np.array([one.created.replace(tzinfo=None) for one in ordered], "datetime64[s]")
    followed = [[_followed(core) for core in one.cores.values()] for one in ordered]
    names = list(dict.fromkeys(name for cores in followed for core in cores for name in core))
    for name, colour in zip(names, (BLUE, VERMILION, GREEN, PURPLE), strict=False):
        known = [[core[name] for core in cores if name in core] for cores in followed]
        values = np.array([np.mean(one) if one else np.nan for one in known])
        first = values[np.isfinite(values)][0]
        over = values / first if first else values
        axes.plot(dates, over, "o-", color=colour, label=f"{name}: first {first:.3g}")
    axes.set(ylabel="over the first value", title="History of the chip")
    grid(axes)
    axes.legend()
    return axes
