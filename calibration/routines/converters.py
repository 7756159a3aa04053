"""Transfer curves of the converters: offset, gain and bend of every column's ADC, bend of every row's DAC.

No reference current is needed, only cells that conduct. With inputs of plus and minus full scale the DACs are used at
two points alone, so that column sums are exactly linear in 256 unknown cells, and what is not linear is the ADC's.
With uniform inputs, what is then still not linear is the DACs'.

What can be told apart: offsets and bends are absolute, in LSB. A column's gain appears only as a product with the
conductances of its cells, a row's level likewise; gains are stated relative to a reference that says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from hwloop.calibration.probes import hadamard_block, hadamard_inputs, uniform_inputs
from hwloop.calibration.routines.adc import fit_adcs
from hwloop.calibration.routines.base import Budget, Routine, Tick, quiet
from hwloop.calibration.routines.dac import fit_dacs, ideal_dacs, mean_second_order
from hwloop.calibration.routines.devices import DeviceResult, Fault
from hwloop.calibration.settings import Settings
from hwloop.chip.cell_calibration import Converters, bend
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.region import Region
from hwloop.errors import BadInputError, ChipError
from hwloop.typing import FloatArray
from hwloop.units import value

RANGE_SIGMAS = 3.0
"""Converter range over the standard deviation of the column sums: wide excursions show the bend, 0.3 % saturate."""
MOST_CLIPPED = 0.4
"""Share of outputs at the ends of the range beyond which the converters saturate."""
SCOUT_BLOCKS = 1
ZERO_VECTORS = 256
REACH_SIGMAS = 5.0
"""Codes further than this many standard deviations from an output do not occur."""


@dataclass(frozen=True)
class ConverterSettings(Settings):
    """Settings of the converter calibration."""

    adc_vectors: int = 4096
    """Full-scale input vectors that show the ADCs' curves."""
    dac_vectors: int = 2048
    """Uniform input vectors that show the DACs' curves; 0 leaves the DACs out."""
    trims: int = 1
    """1 writes the converters' trims first, where the chip has them; 0 leaves them as they are."""

    def __post_init__(self) -> None:
        self._require("adc_vectors", 512, 1e7)
        self._require("dac_vectors", 0, 1e7)
        self._require("trims", 0, 1)

    def check(self, rows: int) -> None:
        """Raise BadInputError when there are too few vectors for so many rows."""
        if self.adc_vectors < 1.5 * (rows + 4):
            raise BadInputError(f"setting adc_vectors={self.adc_vectors}: {rows} rows need {round(1.5 * (rows + 4))}")


@dataclass(frozen=True)
class ConverterResult:
    """Transfer curves of a core's converters. (columns,) or (rows,) arrays; sigma: standard uncertainty."""

    offset: FloatArray = value("LSB", "output code at zero input, of each column, before its ADC bends it")
    offset_sigma: FloatArray = value("LSB", "standard uncertainty of offset")
    square: FloatArray = value("LSB", "second-order deviation of each column's ADC at the ends of its scale")
    square_sigma: FloatArray = value("LSB", "standard uncertainty of square")
    cubic: FloatArray = value("LSB", "peak third-order deviation of each column's ADC")
    cubic_sigma: FloatArray = value("LSB", "standard uncertainty of cubic")
    strength: FloatArray = value("uS", "summed conductance of each column's cells, times the column's gain")
    strength_sigma: FloatArray = value("uS", "standard uncertainty of strength")
    cells: FloatArray = value("uS", "conductance of each cell (row, column), times its column's gain")
    row_square: FloatArray = value("LSB", "second-order deviation of each row's DAC at the ends of its scale")
    row_square_sigma: FloatArray = value("LSB", "standard uncertainty of row_square")
    row_cubic: FloatArray = value("LSB", "peak third-order deviation of each row's DAC")
    row_cubic_sigma: FloatArray = value("LSB", "standard uncertainty of row_cubic")
    noise: FloatArray = value("LSB", "standard deviation of each column's output about its curve, rounding included")
    adc_noise: float = value("LSB", "noise of the ADCs alone, standard deviation before rounding")
    silent: NDArray[np.bool_] = value(
        "1", "columns whose sums moved too little, or through too few cells, to show their converters"
    )
    full_scale: float = value("uS", "converter range at which the curves were measured")

    def idle_mean(self, code_max: int) -> tuple[FloatArray, FloatArray]:
        """Mean output code (columns,) that offsets and noise make of idle inputs, and its standard uncertainty."""
        shown = self.offset + bend(self.offset / code_max, np.stack([self.square, self.cubic]))
        at, low, high = (
            _mean_rounded(shown + k * self.offset_sigma, max(self.adc_noise, 1e-3)) for k in (0.0, -1.0, 1.0)
        )
        return at, (high - low) / 2

    def converters(self, info: ChipInfo, gain: FloatArray) -> Converters:
        """The curves with gains (columns,) from a reference; a silent column is taken as ideal."""
        known = ~self.silent
        return Converters(
            info.input_max,
            info.code_max,
            np.where(known, self.offset, 0.0),
            gain,
            np.where(known, np.stack([self.square, self.cubic]), 0.0),
            np.stack([self.row_square, self.row_cubic]),
        )


@dataclass(frozen=True)
class GainResult:
    """Gain of each column relative to the mean of all, (columns,).

    The reference is the mean conductance of the column's own SET devices: a gain is known as a product with it, and in
    itself only as far as the columns' devices are alike on average.
    """

    gain: FloatArray = value("1", "gain of each column over the mean of all columns, with its SET devices as reference")
    gain_sigma: FloatArray = value("1", "standard uncertainty of gain, the spread of the reference devices included")
    devices: NDArray[np.int64] = value("1", "reference devices of each column")


def column_gains(devices: DeviceResult) -> GainResult:
    """Gains from what SET pulses left on good devices; a column with none gets the gain 1, of unknown uncertainty."""
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


class ConverterCalibration(Routine):
    """Measures the transfer curves on the cells as they are; see the module's text."""

    name = "converters"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.MVM})

    def __init__(self, settings: ConverterSettings | None = None) -> None:
        """Defaults suit a 256 x 256 core."""
        self.settings = settings or ConverterSettings()

    def budget(self, region: Region) -> Budget:
        """MVMs alone."""
        self.settings.check(region.place.rows)
        block = hadamard_block(region.place.rows)
        adc = _blocks(self.settings.adc_vectors, block) * block
        return Budget(mvms=SCOUT_BLOCKS * block + adc + self.settings.dac_vectors + ZERO_VECTORS)

    def run(self, region: Region, rng: np.random.Generator, tick: Tick = quiet) -> ConverterResult:
        """Measure. `region` must not correct its outputs yet.

        Raises ChipError when no column's output moves (the cells do not conduct, or the core is dead), and when the
        converters saturate.
        """
        s, info = self.settings, region.backend.info
        rows = region.place.rows
        block = hadamard_block(rows)
        s.check(rows)
        tick("converter range")
        full_scale = self._choose_range(region, rng)
        tick("ADC curves")
        x = hadamard_inputs(rng, _blocks(s.adc_vectors, block), rows, info.input_max)
        codes = region.mvm(x).astype(np.float64)
        clipped = float(np.mean(np.abs(codes) >= info.code_max))
        if clipped > MOST_CLIPPED:
            raise ChipError(
                f"core {region.place.core}: the converters saturate: {clipped:.0%} of all outputs are at the ends of "
                f"their range of {full_scale:g} uS, and it cannot be set wider; the curves cannot be "
                "seen. Calibrate devices and programming-curve alone"
            )
        adc = fit_adcs(x / info.input_max, codes, info.code_max)
        to_siemens = full_scale / info.code_max
        tick("DAC curves")
        dac = ideal_dacs(rows)
        if s.dac_vectors:
            x = uniform_inputs(rng, s.dac_vectors, rows, info.input_max)
            dac = fit_dacs(x, region.mvm(x), adc, info)
        tick("idle outputs")
        idle = region.mvm(idle_inputs(region))
        # Second-order DACs shift all columns when every input is at plus or minus full scale, and none when idle.
        dac = dac.with_mean_square(*mean_second_order(adc, idle, info))
        lift = dac.square / info.input_max @ adc.cells
        lift_sigma = dac.mean_square_sigma / info.input_max * np.abs(adc.cells.sum(0))
        offset = adc.offset - lift
        return ConverterResult(
            offset=offset,
            offset_sigma=np.hypot(adc.offset_sigma, lift_sigma),
            square=adc.square,
            square_sigma=adc.square_sigma,
            cubic=adc.cubic,
            cubic_sigma=adc.cubic_sigma,
            strength=adc.cells.sum(0) * to_siemens,
            strength_sigma=np.sqrt(rows / len(x)) * adc.noise * to_siemens,
            cells=adc.cells * to_siemens,
            row_square=dac.square,
            row_square_sigma=dac.square_sigma,
            row_cubic=dac.cubic,
            row_cubic_sigma=dac.cubic_sigma,
            noise=adc.noise,
            adc_noise=_noise_before_rounding(idle[:, ~adc.silent], adc.bent(offset, info.code_max)[~adc.silent]),
            silent=adc.silent,
            full_scale=full_scale,
        )

    def _choose_range(self, region: Region, rng: np.random.Generator) -> float:
        """Set the converter range to suit the column sums, as far as the chip can; returns the range in use, uS."""
        info, core = region.backend.info, region.place.core
        adjustable = Capability.ADC_RANGE in info.capabilities
        if adjustable:
            region.backend.set_adc_range(core, info.adc_range[1])
        x = hadamard_inputs(rng, SCOUT_BLOCKS, region.place.rows, info.input_max)
        codes = region.mvm(x)
        spread = codes.std(0)
        if not np.any(spread > 0):
            raise ChipError(
                f"core {core}: no column's output changes with its inputs; the core is dead, not powered, or its cells "
                "do not conduct: run hwloop calibrate devices first"
            )
        if adjustable:
            widest = float(np.percentile(spread, 90)) * region.step
            low, high = info.adc_range
            region.backend.set_adc_range(core, min(max(RANGE_SIGMAS * widest, low), high))
        return region.backend.adc_range(core)


def _blocks(vectors: int, block: int) -> int:
    return max(1, -(-vectors // block))


def idle_inputs(region: Region) -> NDArray[np.int32]:
    """Inputs that drive no row, (vectors, rows)."""
    return np.zeros((ZERO_VECTORS, region.place.rows), np.int32)


def _mean_rounded(values: FloatArray, noise: float) -> FloatArray:
    """Mean of values (n,) with Gaussian noise (standard deviation, LSB) after rounding to whole numbers."""
    nearest = np.rint(values)
    reach = np.arange(-REACH_SIGMAS * noise - 1, REACH_SIGMAS * noise + 2).round()
    codes = nearest[:, None] + reach
    distance = codes - values[:, None]
    chance = norm.cdf((distance + 0.5) / noise) - norm.cdf((distance - 0.5) / noise)
    return np.asarray((codes * chance).sum(1) / chance.sum(1), np.float64)


def _noise_before_rounding(codes: NDArray[np.integer], offset: FloatArray) -> float:
    """Standard deviation (LSB) of Gaussian noise that, added to offsets (columns,) and rounded, gives codes.

    Maximum likelihood over all columns together; the variance of codes alone says little below half an LSB.
    """
    if not codes.size:
        return float("nan")
    values = np.arange(codes.min(), codes.max() + 1)
    counts = np.stack([(codes == k).sum(0) for k in values])
    distance = values[:, None] - offset

    def misfit(log_sigma: float) -> float:
        sigma = np.exp(log_sigma)
        chance = norm.cdf((distance + 0.5) / sigma) - norm.cdf((distance - 0.5) / sigma)
        return -float((counts * np.log(np.maximum(chance, 1e-30))).sum())

    return float(np.exp(minimize_scalar(misfit, bounds=(np.log(1e-3), np.log(1e3)), method="bounded").x))
