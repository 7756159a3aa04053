"""Transfer curves of the converters: offset, gain and nonlinearity of every column's ADC, nonlinearity of every DAC.

No reference current is needed, only cells that conduct. With inputs of plus and minus full scale the DACs are used at
two points alone, so that column sums are exactly linear in 256 unknown cells, and what is not linear is the ADC's.
With uniform inputs, what is then still not linear is the DACs'.

What can be told apart: offsets and nonlinearities are absolute, in LSB. A column's gain appears only as a product with
the conductances of its cells, a row's level likewise; gains are stated relative to a reference that says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import minimize_scalar

from hwloop.calibration.probes import hadamard_block, hadamard_inputs, uniform_inputs
from hwloop.calibration.routines.adc import AdcFit, AdcFitting
from hwloop.calibration.routines.base import Budget, CoreTask, Routine
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.dac import DacFit, fit_dacs, ideal_dacs, mean_second_order
from hwloop.calibration.routines.results import ConverterResult, column_gains
from hwloop.calibration.steps import Step, Work
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.region import Region
from hwloop.errors import BadInputError, ChipError
from hwloop.typing import CodeArray, FloatArray

IDLE_VECTORS = 256
"""Idle inputs, in vectors, from which a core's mean idle outputs are known."""


@dataclass(frozen=True)
class ConverterCalibration(Routine, AdcFitting):
    """Measures the transfer curves on the cells as they are; see the module's text."""

    name: ClassVar[str] = "converters"
    parts: ClassVar[tuple[str, ...]] = ("adc", "dac")
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.MVM})
    requires: ClassVar[tuple[str, ...]] = ("devices", "trims")

    adc_vectors: int = 4096
    """Full-scale input vectors that show the ADCs' curves."""
    dac_vectors: int = 2048
    """Uniform input vectors that show the DACs' curves; 0 leaves the DACs out."""
    trims: int = 1
    """1 writes the converters' trims first, where the chip has them; 0 leaves them as they are."""
    range_sigmas: float = 3.0
    """Converter range over the standard deviation of the column sums: wide excursions show the nonlinearity, 0.3 %
    saturate."""
    most_clipped: float = 0.4
    """Share of outputs at the ends of the range beyond which the converters saturate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("adc_vectors", 512, 1e7)
        self._require("dac_vectors", 0, 1e7)
        self._require("trims", 0, 1)
        self._require("range_sigmas", 0.1, 100)
        self._require("most_clipped", 0, 1)

    def budget(self, region: Region) -> Budget:
        """Count MVMs alone. Raises BadInputError when there are too few vectors for the core's rows."""
        rows = region.place.rows
        self._check(rows)
        block = hadamard_block(rows)
        return Budget(mvms=block + self._adc_blocks(rows) * block + self.dac_vectors + IDLE_VECTORS)

    def steps(self, task: CoreTask) -> Work[Step, CoreCalibration]:
        """Measure the curves, and compute the gains from the devices that are known."""
        converters = yield from self.measure(task.region, task.rng)
        found = task.known.devices
        assert found is not None  # required
        return replace(task.known, converters=converters, gains=column_gains(found))

    def measure(self, region: Region, rng: np.random.Generator) -> Work[Step, ConverterResult]:
        """Measure the curves on what the cells hold.

        Parameters
        ----------
        region
            The whole core; it must not correct its outputs yet.
        rng
            The source of the inputs.

        Raises
        ------
        ChipError
            When no column's output moves (the cells do not conduct, or the core is dead), and when the converters
            saturate.
        """
        info, rows = region.backend.info, region.place.rows
        self._check(rows)
        yield Step(0, 4, "converter range")
        full_scale = self._choose_range(region, rng)
        yield Step(1, 4, "ADC curves")
        x = hadamard_inputs(rng, self._adc_blocks(rows), rows, info.input_max)
        adc = self._adcs(region, x, full_scale)
        yield Step(2, 4, "DAC curves")
        dac, vectors = ideal_dacs(rows), len(x)
        if self.dac_vectors:
            x = uniform_inputs(rng, self.dac_vectors, rows, info.input_max)
            dac, vectors = fit_dacs(x, region.mvm(x), adc, info, self.near_end), len(x)
        yield Step(3, 4, "idle outputs")
        idle = region.mvm(idle_inputs(region))
        # Second-order DACs shift all columns when every input is at plus or minus full scale, and none when idle.
        dac = dac.with_mean_second_order(*mean_second_order(adc, idle, info))
        return _result(adc, dac, idle, info, full_scale, vectors)

    def _adcs(self, region: Region, x: CodeArray, full_scale: float) -> AdcFit:
        """Fit the ADCs to outputs of full-scale inputs. Raises ChipError when too many of them saturate."""
        info = region.backend.info
        codes = region.mvm(x).astype(np.float64)
        clipped = float(np.mean(np.abs(codes) >= info.code_max))
        if clipped > self.most_clipped:
            raise ChipError(
                f"core {region.place.core}: the converters saturate: {clipped:.0%} of all outputs are at the ends of "
                f"their range of {full_scale:g} uS, and it cannot be set wider; the curves cannot be "
                "seen. Calibrate devices and programming-curve alone"
            )
        return self.fit_adcs(x / info.input_max, codes, info.code_max)

    def _choose_range(self, region: Region, rng: np.random.Generator) -> float:
        """Set the converter range to suit the column sums, as far as the chip can; return the range in use, uS."""
        info, core = region.backend.info, region.place.core
        adjustable = Capability.ADC_RANGE in info.capabilities
        if adjustable:
            region.backend.set_adc_range(core, info.adc_range[1])
        x = hadamard_inputs(rng, 1, region.place.rows, info.input_max)
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
            region.backend.set_adc_range(core, min(max(self.range_sigmas * widest, low), high))
        return region.backend.adc_range(core)

    def _adc_blocks(self, rows: int) -> int:
        return max(1, -(-self.adc_vectors // hadamard_block(rows)))

    def _check(self, rows: int) -> None:
        """Raise BadInputError when there are too few vectors for so many rows."""
        if self.adc_vectors < 1.5 * (rows + 4):
            raise BadInputError(f"setting adc_vectors={self.adc_vectors}: {rows} rows need {round(1.5 * (rows + 4))}")


def _result(
    adc: AdcFit, dac: DacFit, idle: NDArray[np.integer], info: ChipInfo, full_scale: float, vectors: int
) -> ConverterResult:
    """Gather what both fits and idle outputs (vectors, columns) tell; full_scale: of the converters, uS."""
    offset = adc.offset - dac.second_order / info.input_max @ adc.cells
    lift_sigma = dac.mean_second_order_sigma / info.input_max * np.abs(adc.cells.sum(0))
    responsive, to_siemens = ~adc.unresponsive, full_scale / info.code_max
    return ConverterResult(
        offset=offset,
        offset_sigma=np.hypot(adc.offset_sigma, lift_sigma),
        second_order=adc.second_order,
        second_order_sigma=adc.second_order_sigma,
        third_order=adc.third_order,
        third_order_sigma=adc.third_order_sigma,
        strength=adc.cells.sum(0) * to_siemens,
        strength_sigma=np.sqrt(len(adc.cells) / vectors) * adc.noise * to_siemens,
        cells=adc.cells * to_siemens,
        row_second_order=dac.second_order,
        row_second_order_sigma=dac.second_order_sigma,
        row_third_order=dac.third_order,
        row_third_order_sigma=dac.third_order_sigma,
        noise=adc.noise,
        adc_noise=_noise_before_rounding(idle[:, responsive], adc.bent(offset, info.code_max)[responsive]),
        unresponsive=adc.unresponsive,
        full_scale=full_scale,
    )


def idle_inputs(region: Region) -> CodeArray:
    """Return inputs that drive no row, (vectors, rows)."""
    return np.zeros((IDLE_VECTORS, region.place.rows), np.int32)


def _noise_before_rounding(codes: NDArray[np.integer], offset: FloatArray) -> float:
    """Estimate the Gaussian noise (standard deviation, LSB) that, added to offsets (columns,) and rounded, gives codes.

    Maximum likelihood over all columns together; the variance of codes alone says little below half an LSB.
    """
    if not codes.size:
        return float("nan")
    values = np.arange(codes.min(), codes.max() + 1)
    counts = np.stack([(codes == k).sum(0) for k in values])
    distance = values[:, None] - offset

    def misfit(log_sigma: float) -> float:
        sigma = np.exp(log_sigma)
        chance = special.ndtr((distance + 0.5) / sigma) - special.ndtr((distance - 0.5) / sigma)
        return -float((counts * np.log(np.maximum(chance, 1e-30))).sum())

    return float(np.exp(minimize_scalar(misfit, bounds=(np.log(1e-3), np.log(1e3)), method="bounded").x))
