"""What calibration routines find out, with units, uncertainties, and a summary that JSON can hold.

Fields that were renamed keep their old names in files and in JSON (`stored` in their description).
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hwloop.calibration.routines.symmetry_result import SymmetryResult
from hwloop.chip.backend import Backend
from hwloop.chip.cell_calibration import Converters, Devices, nonlinearity
from hwloop.chip.info import ChipInfo
from hwloop.devices.drift import DriftModel
from hwloop.devices.model import assumed_model
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.devices.statistics import Knots
from hwloop.devices.time_law import TimeLaw
from hwloop.mapping.ranges import RangeResult
from hwloop.typing import BoolArray, FloatArray, IndexArray, Json
from hwloop.units import finite, value


class Fault(enum.IntEnum):
    """What is wrong with a device; the names are those of the calibration file."""

    GOOD = 0
    STUCK_SET = 1
    STUCK_RESET = 2
    WEAK = 3
    NOISY = 4
    DEAD_ROW = 5
    DEAD_COLUMN = 6


@dataclass(frozen=True)
class DeviceResult:
    """What SET and RESET did to each device, arrays (2, K, rows, columns).

    Conductances are as their column shows them, with its gain, and as they were at `age`: the drift to another age is
    not the same for a column that shows too little.
    """

    fault: NDArray[np.uint8] = value(
        "1", "0 good, 1 stuck SET, 2 stuck RESET, 3 weak, 4 noisy, 5 dead row, 6 dead column"
    )
    low: FloatArray = value("uS", "conductance after a RESET pulse, at the age")
    high: FloatArray = value("uS", "conductance after a SET pulse, at the age")
    pattern: FloatArray = value("uS", "conductance in the pattern that the routine leaves, at its end")
    typical_high: float = value("uS", "median of high over the devices that answer")
    age: float = value("s", "time between the pulses and low and high")

    def __repr__(self) -> str:
        return f"<DeviceResult: {self.count(Fault.GOOD)} of {self.fault.size} devices good>"

    def count(self, fault: Fault) -> int:
        """Count the devices with this fault."""
        return int((self.fault == fault).sum())

    def stuck_at(self, gain: FloatArray) -> FloatArray:
        """Return the conductance (uS) at which unusable devices stay, zero for usable ones; gain (columns,) is out."""
        return np.where(self.usable, 0.0, np.maximum(self.low, 0.0) / gain)

    @property
    def usable(self) -> BoolArray:
        """Devices that may be programmed: good, or merely weak."""
        usable: BoolArray = (self.fault == Fault.GOOD) | (self.fault == Fault.WEAK)
        return usable

    def to_json(self) -> dict[str, Json]:
        """Count the devices by fault, and say what a SET device conducts."""
        counts: dict[str, Json] = {fault.name.lower(): self.count(fault) for fault in Fault}
        return counts | {"typical_high_uS": self.typical_high}


@dataclass(frozen=True)
class ConverterResult:
    """Transfer curves of a core's converters. (columns,) or (rows,) arrays; sigma: standard uncertainty."""

    offset: FloatArray = value("LSB", "output code at zero input, of each column, ahead of the nonlinearity of its ADC")
    offset_sigma: FloatArray = value("LSB", "standard uncertainty of offset")
    second_order: FloatArray = value(
        "LSB", "second-order deviation of each column's ADC at the ends of its scale", stored="square"
    )
    second_order_sigma: FloatArray = value("LSB", "standard uncertainty of square", stored="square_sigma")
    third_order: FloatArray = value("LSB", "peak third-order deviation of each column's ADC", stored="cubic")
    third_order_sigma: FloatArray = value("LSB", "standard uncertainty of cubic", stored="cubic_sigma")
    strength: FloatArray = value("uS", "summed conductance of each column's cells, times the column's gain")
    strength_sigma: FloatArray = value("uS", "standard uncertainty of strength")
    cells: FloatArray = value("uS", "conductance of each cell (row, column), times its column's gain")
    row_second_order: FloatArray = value(
        "LSB", "second-order deviation of each row's DAC at the ends of its scale", stored="row_square"
    )
    row_second_order_sigma: FloatArray = value("LSB", "standard uncertainty of row_square", stored="row_square_sigma")
    row_third_order: FloatArray = value("LSB", "peak third-order deviation of each row's DAC", stored="row_cubic")
    row_third_order_sigma: FloatArray = value("LSB", "standard uncertainty of row_cubic", stored="row_cubic_sigma")
    noise: FloatArray = value("LSB", "standard deviation of each column's output about its curve, rounding included")
    adc_noise: float = value("LSB", "noise of the ADCs alone, standard deviation before rounding")
    unresponsive: BoolArray = value(
        "1", "columns whose sums moved too little, or through too few cells, to show their converters", stored="silent"
    )
    full_scale: float = value("uS", "converter range at which the curves were measured")

    def __repr__(self) -> str:
        shown = int((~self.unresponsive).sum())
        return f"<ConverterResult: curves of {shown} of {self.unresponsive.size} columns, at {self.full_scale:.4g} uS>"

    def idle_mean(self, code_max: int) -> tuple[FloatArray, FloatArray]:
        """Return the mean output code (columns,) of idle inputs by offsets and noise, and its standard uncertainty."""
        shown = self.offset + nonlinearity(self.offset / code_max, np.stack([self.second_order, self.third_order]))
        at, low, high = (
            mean_rounded(shown + k * self.offset_sigma, max(self.adc_noise, 1e-3)) for k in (0.0, -1.0, 1.0)
        )
        return at, (high - low) / 2

    def converters(self, info: ChipInfo, gain: FloatArray) -> Converters:
        """Return the curves with gains (columns,) from a reference; an unresponsive column is taken as ideal."""
        known = ~self.unresponsive
        return Converters(
            info.input_max,
            info.code_max,
            np.where(known, self.offset, 0.0),
            gain,
            np.where(known, np.stack([self.second_order, self.third_order]), 0.0),
            np.stack([self.row_second_order, self.row_third_order]),
        )

    def to_json(self) -> dict[str, Json]:
        """Give scalars as they are, and of arrays the root mean square and the median uncertainty of what is known."""
        known = ~self.unresponsive
        second, third = np.isfinite(self.row_second_order_sigma), np.isfinite(self.row_third_order_sigma)
        return {
            "columns": int(known.sum()),
            "silent_columns": int(self.unresponsive.sum()),
            "adc_noise_lsb": finite(self.adc_noise),
            "noise_lsb": median(self.noise[known]),
            "full_scale_uS": self.full_scale,
            "offset_lsb": _summary(self.offset[known], self.offset_sigma[known]),
            "square_lsb": _summary(self.second_order[known], self.second_order_sigma[known]),
            "cubic_lsb": _summary(self.third_order[known], self.third_order_sigma[known]),
            "row_square_lsb": _summary(self.row_second_order[second], self.row_second_order_sigma[second]),
            "row_cubic_lsb": _summary(self.row_third_order[third], self.row_third_order_sigma[third]),
        }


def mean_rounded(values: FloatArray, noise: float, reach: float = 5.0) -> FloatArray:
    """Return the mean of values (n,) with Gaussian noise (standard deviation, LSB) after rounding to whole numbers.

    Codes further than `reach` standard deviations from a value do not occur.
    """
    nearest = np.rint(values)
    around = np.floor(np.arange(-reach * noise - 1, reach * noise + 2) + 0.5)  # not to even: no code twice
    codes = nearest[:, None] + around
    distance = codes - values[:, None]
    chance = special.ndtr((distance + 0.5) / noise) - special.ndtr((distance - 0.5) / noise)
    return np.asarray((codes * chance).sum(1) / chance.sum(1), np.float64)


@dataclass(frozen=True)
class GainResult:
    """Gain of each column relative to the mean of all, (columns,).

    The reference is the mean conductance of the column's own SET devices: a gain is known as a product with it, and in
    itself only as far as the columns' devices are alike on average.
    """

    gain: FloatArray = value("1", "gain of each column over the mean of all columns, with its SET devices as reference")
    gain_sigma: FloatArray = value("1", "standard uncertainty of gain, the spread of the reference devices included")
    devices: IndexArray = value("1", "reference devices of each column")

    def __repr__(self) -> str:
        return f"<GainResult: {int(np.isfinite(self.gain_sigma).sum())} of {self.gain.size} columns known>"

    def to_json(self) -> dict[str, Json]:
        """Give the spread of the known gains, their median uncertainty, and what they refer to."""
        known = np.isfinite(self.gain_sigma)
        return {
            "spread": finite(float(np.std(self.gain[known]))) if known.any() else None,
            "sigma": median(self.gain_sigma[known]),
            "reference": "mean conductance of each column's SET devices",
        }


def column_gains(devices: DeviceResult) -> GainResult:
    """Compute gains from what SET pulses left on good devices.

    A column that has none, or a single one, gets the gain 1, of unknown uncertainty.
    """
    good = devices.fault == Fault.GOOD
    number = good.sum((0, 1, 2))
    mean = np.where(good, devices.high, 0.0).sum((0, 1, 2)) / np.maximum(number, 1)
    known = number > 1
    if not known.any():
        return GainResult(np.ones(len(number)), np.full(len(number), np.inf), number)
    deviation = np.where(good, devices.high - mean, 0.0)
    spread = np.sqrt((deviation**2).sum((0, 1, 2)) / np.maximum(number - 1, 1))
    typical = mean[known].mean()
    return GainResult(
        np.where(known, mean / typical, 1.0),
        np.where(known, spread / np.sqrt(np.maximum(number, 1)) / typical, np.inf),
        number,
    )


@dataclass(frozen=True)
class TrimResult:
    """Trims with which the converters were measured; without them in place, that measurement is not true."""

    offset: FloatArray = value("LSB", "offset in each column's trim register")
    gain: FloatArray = value("1", "relative gain in each column's trim register")

    def __repr__(self) -> str:
        return f"<TrimResult: offsets and gains of {self.offset.size} columns>"

    @classmethod
    def in_use(cls, backend: Backend, core: int) -> TrimResult:
        """Read those in the registers now. Raises MissingCapabilityError on a chip without."""
        return cls(*backend.trims(core))

    def to_json(self) -> dict[str, Json]:
        """Give the root mean square of offsets (LSB) and gains."""
        return {"offset_lsb_rms": rms(self.offset), "gain_rms": rms(self.gain)}


@dataclass(frozen=True)
class WireResult:
    """Resistances of the lines, with standard uncertainties, which are wide where they cannot be told."""

    resistance: float = value("ohm", "wire resistance per cell, along rows and along columns")
    resistance_sigma: float = value("ohm", "standard uncertainty of resistance")
    series: float = value("ohm", "resistance of each row's driver and of each column's sensing input")
    series_sigma: float = value("ohm", "standard uncertainty of series")
    attenuation_min: float = value("1", "attenuation of the farthest cell of the pattern that was measured")

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return {item.name: finite(getattr(self, item.name)) for item in fields(self)}


@dataclass(frozen=True)
class CurveResult:
    """The typical programming curve, and each device's place about it: arrays (2, K, rows, columns)."""

    g_min: float = value("uS", "conductance of a fully RESET device, at the reference age")
    g_max: float = value("uS", "conductance of a fully SET device, at the reference age")
    g_max_sigma: float = value("uS", "standard uncertainty of g_max")
    midpoint: float = value("uA", "amplitude at half height")
    midpoint_sigma: float = value("uA", "standard uncertainty of midpoint")
    steepness: float = value("uA", "logistic scale of the curve")
    steepness_sigma: float = value("uA", "standard uncertainty of steepness")
    melt: float = value("uA", "amplitude from which devices melt")
    width: float = value("ns", "width of the pulses")
    midpoint_spread: float = value("uA", "device-to-device standard deviation of the midpoint")
    height_spread: float = value("1", "device-to-device relative standard deviation of the height")
    jitter: float = value("uA", "pulse-to-pulse standard deviation of the effective amplitude")
    noise: float = value("uS", "pulse-to-pulse standard deviation where the curve is flat")
    shift: FloatArray = value("uA", "shift of each device's curve along the amplitude")
    shift_sigma: FloatArray = value("uA", "standard uncertainty of shift")
    height: FloatArray = value("1", "height of each device's curve over the typical one's")
    height_sigma: FloatArray = value("1", "standard uncertainty of height")
    relative_noise: float = value(
        "1", "pulse-to-pulse standard deviation of the conductance over the conductance", absent=0.0
    )

    def __repr__(self) -> str:
        return (
            f"<CurveResult: {self.g_max:.4g} to {self.g_min:.3g} uS about {self.midpoint:.4g} uA, "
            f"{self.shift.size} devices>"
        )

    @property
    def curve(self) -> ProgrammingCurve:
        """The typical curve with its spreads."""
        names = [field.name for field in fields(ProgrammingCurve)]
        return ProgrammingCurve(**{name: getattr(self, name) for name in names})

    def devices(
        self, info: ChipInfo, found: DeviceResult, gain: FloatArray, drift: DriftResult | None = None
    ) -> Devices:
        """Return what programming methods take: this curve and the faults found, with the chip's nominal statistics.

        Parameters
        ----------
        info
            The chip. Published statistics of other devices stand in where it knows nothing of its own.
        found
            Faults, and where unusable devices stay.
        gain
            (columns,) with which `found` was seen.
        drift
            The mean drift, where it was measured.
        """
        nominal = info.device_model
        model = replace(nominal, curve=self.curve) if nominal else assumed_model(self.curve, info.g_max)
        return Devices(
            replace(model, drift=drift.model(model.drift)) if drift else model,
            height=self.height,
            height_sigma=self.height_sigma,
            shift=self.shift,
            shift_sigma=self.shift_sigma,
            usable=found.usable,
            stuck_at=found.stuck_at(gain),
        )

    def to_json(self) -> dict[str, Json]:
        """Give the typical curve by its names, and the median uncertainties of shifts and heights."""
        told = {item.name: getattr(self, item.name) for item in fields(self)}
        scalars: dict[str, Json] = {name: finite(number) for name, number in told.items() if np.ndim(number) == 0}
        return scalars | {"shift_sigma": median(self.shift_sigma), "height_sigma": median(self.height_sigma)}


@dataclass(frozen=True)
class DriftResult:
    """The mean drift of the typical device, G(t) = G(t0) ((t + onset) / (t0 + onset))^-nu, nu a function of G(t0).

    Exponents are stated at four conductances; between them they follow a line in the logarithm of the conductance.
    """

    t0: float = value("s", "reference age")
    g_scale: float = value("uS", "conductance that counts as 1")
    onset: float = value("s", "age from which drift follows the power law; 0 where it does so from the start")
    onset_sigma: float = value("s", "standard uncertainty of onset")
    at_low: float = value("1", "low conductance at which an exponent is stated")
    at_middle: float = value("1", "middle conductance")
    at_upper: float = value("1", "upper conductance; the high one is 1")
    nu_low: float = value("1", "exponent at the low conductance")
    nu_low_sigma: float = value("1", "standard uncertainty of nu_low")
    nu_middle: float = value("1", "exponent at the middle conductance")
    nu_middle_sigma: float = value("1", "standard uncertainty of nu_middle")
    nu_upper: float = value("1", "exponent at the upper conductance")
    nu_upper_sigma: float = value("1", "standard uncertainty of nu_upper")
    nu_high: float = value("1", "exponent at the conductance that counts as 1")
    nu_high_sigma: float = value("1", "standard uncertainty of nu_high")
    first_look: float = value("s", "youngest age at which the devices were seen")
    last_look: float = value("s", "oldest age at which the devices were seen")

    def model(self, nominal: DriftModel) -> DriftModel:
        """Return a drift model with the mean that was measured, and the spread of `nominal`."""
        shares = (self.at_low, self.at_middle, self.at_upper, 1.0)
        at = tuple(math.log(share * self.g_scale / nominal.g_scale) for share in shares)
        mean = Knots(at, (self.nu_low, self.nu_middle, self.nu_upper, self.nu_high))
        return replace(nominal, t0=self.t0, mean=mean, law=TimeLaw(onset=self.onset / self.t0))

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return {item.name: finite(getattr(self, item.name)) for item in fields(self)}


@dataclass(frozen=True)
class FloorResult:
    """The expected floor of a weight matrix and its parts, relative to the ideal outputs like an MVM error."""

    error: float = value("1", "MVM error that perfect programming would leave at the age")
    error_sigma: float = value("1", "standard uncertainty of error")
    age: float = value("s", "age of the devices for which the floor is stated")
    fast_noise: float = value("1", "part of noise that differs from one input vector to the next")
    slow_noise: float = value("1", "part of 1/f noise slower than a batch of inputs, grown to the age")
    static: float = value("1", "part that averaging does not lower: nonlinearity, and rounding that no noise dithers")
    rounding: float = value("1", "part of the converters' rounding, contained in fast_noise or static")
    full_scale: float = value("uS", "converter range")

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return {item.name: finite(getattr(self, item.name)) for item in fields(self)}


PartResult: TypeAlias = (
    DeviceResult
    | ConverterResult
    | GainResult
    | TrimResult
    | WireResult
    | CurveResult
    | DriftResult
    | RangeResult
    | FloorResult
    | SymmetryResult
)
"""The result of any routine."""


# ---- files and summaries -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredField:
    """A value of a result as files describe it."""

    name: str
    stored: str
    """Its name in files."""
    unit: str
    meaning: str
    optional: bool
    """Whether files of earlier versions are without it."""


def stored_fields(kind: type[PartResult] | PartResult) -> Sequence[StoredField]:
    """List the values of a result, or of a kind of result, with their names in files."""
    return [
        StoredField(
            item.name,
            item.metadata.get("stored") or item.name,
            item.metadata["unit"],
            item.metadata["meaning"],
            item.default is not dataclasses.MISSING,
        )
        for item in dataclasses.fields(kind)
    ]


def rms(values: FloatArray) -> float | None:
    """Return the root mean square, None of no values."""
    return finite(float(np.sqrt(np.mean(values**2)))) if values.size else None


def median(values: FloatArray) -> float | None:
    """Return the median, None of no values."""
    return finite(float(np.median(values))) if values.size else None


def _summary(values: FloatArray, sigma: FloatArray) -> dict[str, Json]:
    return {"rms": rms(values), "sigma": median(sigma)}
