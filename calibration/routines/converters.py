"""Transfer curves of the converters: offset, gain and bend of every column's ADC, bend of every row's DAC.

No reference current is needed, only cells that conduct. With inputs of plus and minus full scale the DACs are used at
two points alone, so that column sums are exactly linear in 256 unknown cells, and what is not linear is the ADC's.
With uniform inputs, what is then still not linear is the DACs'.

What can be told apart: offsets and bends are absolute, in LSB. A column's gain appears only as a product with the
conductances of its cells, a row's level likewise; gains are stated relative to a reference that says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from hwloop.calibration.probes import hadamard_block, hadamard_inputs, uniform_inputs
from hwloop.calibration.programming import Settings
from hwloop.calibration.routines.devices import DeviceResult, Fault
from hwloop.calibration.routines.routine import Budget, Routine, Tick, pool, value
from hwloop.contract import Capability, ChipInfo, FloatArray
from hwloop.errors import BadInputError, ChipError
from hwloop.knowledge import Converters, bend, cubic, square
from hwloop.region import Region

RANGE_SIGMAS = 3.0
"""Converter range over the standard deviation of the column sums: wide excursions show the bend, 0.3 % saturate."""
NEAR_END = 0.97
"""Outputs expected beyond this share of the converter's range are left out, whatever they were."""
MOST_CLIPPED = 0.4
"""Share of outputs at the ends of the range beyond which the converters saturate."""
MOST_BINS = 4096
"""Bins of expected outputs within which residuals are taken as alike."""
SCOUT_BLOCKS = 1
ZERO_VECTORS = 256
LEAST_CELLS = 10.0
"""Effective number of cells behind a column, below which its sums take too few values to show a curve."""
ROUNDS = 60
SETTLED = 0.005
"""Fits of the forward curve, at most: each evaluates the bend where the last one saw the column sums, and expects
saturated outputs where the last one put them, until no bend changes by as much as this, LSB."""
REACH_SIGMAS = 5.0
"""Codes further than this many standard deviations from an output do not occur."""
LEAST_SIGNAL = 5.0
"""Standard deviation of the output codes, LSB, below which a column shows nothing of its converter's curve."""


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

    def run(self, region: Region, rng: np.random.Generator, tick: Tick) -> ConverterResult:
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
        adc = _fit_columns(x / info.input_max, codes, info.code_max)
        to_siemens = full_scale / info.code_max
        tick("DAC curves")
        dac = _ideal_rows(rows)
        if s.dac_vectors:
            x = uniform_inputs(rng, s.dac_vectors, rows, info.input_max)
            dac = _fit_rows(x, region.mvm(x), adc, info)
        tick("idle outputs")
        idle = region.mvm(idle_inputs(region))
        # Second-order DACs shift all columns when every input is at plus or minus full scale, and none when idle.
        dac = dac.with_mean_square(*_lift(adc, idle, info))
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


# ---- columns -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Columns:
    """Fit of all ADCs: cells (rows, columns) in codes at full-scale input, the rest (columns,) in LSB."""

    cells: FloatArray
    offset: FloatArray
    offset_sigma: FloatArray
    square: FloatArray
    square_sigma: FloatArray
    cubic: FloatArray
    cubic_sigma: FloatArray
    noise: FloatArray
    silent: NDArray[np.bool_]

    def bent(self, ideal: FloatArray, code_max: int) -> FloatArray:
        """Codes (columns,) that the ADCs make of ideal ones, noise and rounding left out."""
        return ideal + bend(ideal / code_max, np.stack([self.square, self.cubic]))

    def straight(self, codes: FloatArray, code_max: int) -> FloatArray:
        """Codes (batch, columns) with the bend taken out."""
        curve = np.stack([self.square, self.cubic])
        ideal = Converters(1, code_max, np.zeros(len(self.offset)), np.ones(len(self.offset)), curve, np.zeros((2, 1)))
        return ideal.ideal_codes(codes)


def _fit_columns(drive: FloatArray, codes: FloatArray, code_max: int) -> _Columns:
    """Least squares of codes (batch, columns) on drive (batch, rows), an offset, and the bend of the column itself.

    All columns share their inputs, so the cells are projected out of everything once; what is left is a problem of
    two unknowns per column. Outputs that are expected near the end of the range are replaced by their expectation.
    """
    batch, rows = drive.shape
    design = np.column_stack([drive, np.ones(batch)])
    basis, triangle = np.linalg.qr(design)

    curve = np.zeros((2, codes.shape[1]))
    straight_in = basis.T @ codes  # what of the codes, their bend taken out, is linear in the inputs
    for _ in range(ROUNDS):
        linear = basis @ straight_in
        u = np.clip(linear / code_max, -1.0, 1.0)
        expected = linear + bend(u, curve[:, None])
        usable = np.abs(expected) < NEAR_END * code_max
        filled = np.where(usable, codes, expected)
        shapes = np.stack([square(u), cubic(u)])
        shapes_in, filled_in = basis.T @ shapes, basis.T @ filled
        normal = np.einsum("asc,bsc->cab", shapes, shapes) - np.einsum("asc,bsc->cab", shapes_in, shapes_in)
        # A column that hardly moves shows no bend; it gets none.
        normal += np.eye(2) * 1e-9 * (1.0 + normal[:, 0, 0])[:, None, None]
        right = np.einsum("asc,sc->ca", shapes, filled) - np.einsum("asc,sc->ca", shapes_in, filled_in)
        before, curve = curve, np.linalg.solve(normal, right[..., None])[..., 0].T
        straight_in = filled_in - (curve[:, None] * shapes_in).sum(0)
        if np.abs(curve - before).max() < SETTLED:
            break
    residual = (filled - bend(u, curve[:, None]) - basis @ straight_in) * usable
    seen = np.maximum(usable.sum(0), 1)
    freedom = np.maximum(seen - rows - 3, 1)
    noise = np.sqrt((residual**2).sum(0) / freedom)
    solution = np.linalg.solve(triangle, straight_in)
    power = solution[:-1] ** 2
    behind = power.sum(0) ** 2 / np.maximum((power**2).sum(0), 1e-300)
    silent = (np.std(codes, axis=0) < LEAST_SIGNAL) | (behind < LEAST_CELLS)
    loud = ~silent
    told = _Told.by(linear - solution[-1], shapes, shapes - basis @ shapes_in, usable)
    sigma = noise * np.sqrt(np.stack([told.inverse[:, 0, 0], told.inverse[:, 1, 1]]))
    if loud.any():
        error = residual * np.sqrt(seen / freedom)
        sigma[:, loud], sigma_of_mean = _uncertainties(
            told.inverse[loud], told.apart[:, :, loud], error[:, loud], expected[:, loud]
        )
        for k in range(2):
            pooled = pool(curve[k, loud], sigma[k, loud], sigma_of_mean[k])
            curve[k, loud], sigma[k, loud] = pooled.estimate, pooled.sigma
    curve[:, silent] = 0.0
    # Cells and offset move with the bend that was finally believed.
    for _ in range(ROUNDS):
        linear = basis @ straight_in
        deviation = bend(np.clip(linear / code_max, -1.0, 1.0), curve[:, None])
        before_in, straight_in = straight_in, basis.T @ (np.where(usable, codes - deviation, linear))
        if np.abs(straight_in - before_in).max() < SETTLED:
            break
    solution = np.linalg.solve(triangle, straight_in)
    offset_variance = noise**2 * told.offset + (told.offset_by_bend**2 * sigma**2).sum(0)
    return _Columns(
        cells=solution[:-1],
        offset=solution[-1],
        offset_sigma=np.sqrt(offset_variance),
        square=curve[0],
        square_sigma=sigma[0],
        cubic=curve[1],
        cubic_sigma=sigma[1],
        noise=noise,
        silent=silent,
    )


@dataclass(frozen=True)
class _Told:
    """What usable outputs tell of offset and bend of each column, for noise of one LSB.

    Which outputs are lost depends on the column's own sum. Without them its slope, its offset and its bend are told
    apart less well; all else that is linear in the inputs stays as independent of them as it was.
    """

    inverse: FloatArray
    """Covariance of both bends, (columns, 2, 2)."""
    apart: FloatArray
    """(2, batch, columns) what of the bends' shapes is neither constant nor linear among usable outputs."""
    offset: FloatArray
    """Variance of the offset if the bend were known, (columns,)."""
    offset_by_bend: FloatArray
    """How much the offset falls when a bend rises, (2, columns)."""

    @classmethod
    def by(cls, linear: FloatArray, shapes: FloatArray, apart: FloatArray, usable: NDArray[np.bool_]) -> _Told:
        """From the linear part (batch, columns) of outputs less offset, and the bends' shapes (2, batch, columns).

        apart: what of the shapes is not linear in the inputs, (2, batch, columns), over all outputs
        """
        line = np.stack([np.ones_like(linear), linear / max(float(np.abs(linear).max()), 1e-300)])
        straight = shapes - apart
        elsewhere = straight - _on(line, straight, np.ones_like(usable))[0]
        here = shapes - elsewhere
        fitted, coefficients = _on(line, here, usable)
        own: FloatArray = (here - fitted) * usable
        normal = np.einsum("asc,bsc->cab", own, own)
        normal += np.eye(2) * 1e-9 * (1.0 + normal[:, 0, 0])[:, None, None]
        line_normal = _normal(line, usable)
        of_offset = np.linalg.inv(line_normal)[:, 0, 0].astype(np.float64)
        return cls(np.linalg.inv(normal), own, of_offset, coefficients[:, 0].T)


def _normal(line: FloatArray, usable: NDArray[np.bool_]) -> FloatArray:
    """Normal matrices (columns, 2, 2) of two regressors (2, batch, columns); never quite singular."""
    normal: FloatArray = np.einsum("asc,bsc,sc->cab", line, line, usable, optimize=True)
    return normal + np.eye(2) * 1e-9 * (1.0 + normal[:, :1, :1])


def _on(line: FloatArray, values: FloatArray, usable: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Least squares of values (2, batch, columns) on regressors (2, batch, columns) over usable outputs.

    Returns their fitted part, everywhere, and the coefficients (columns, regressors, 2).
    """
    right = np.einsum("asc,bsc,sc->cab", line, values, usable, optimize=True)
    coefficients = np.linalg.solve(_normal(line, usable), right)
    return np.einsum("asc,cab->bsc", line, coefficients, optimize=True), coefficients


def _uncertainties(
    inverse: FloatArray, apart: FloatArray, residual: FloatArray, expected: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Standard uncertainties, LSB, of both coefficients, (2, columns), and of their means over columns, (2,).

    inverse             of the normal matrices, (columns, 2, 2)
    apart               what of the shapes is not linear in the inputs, (2, batch, columns)
    residual, expected  (batch, columns) LSB; residuals scaled up by what the fit has taken out of them

    Rounding errors are as good as independent where sums take many values or noise dithers them. Where they are not,
    equal sums have equal errors, in all columns: so residuals (batch, columns) are first added up within each LSB of
    the expected outputs (batch, columns), and only the totals taken as independent (a cluster-robust variance: Liang
    and Zeger, Biometrika 73, 13, 1986).
    """
    columns = residual.shape[1]
    influence = np.einsum("cab,bsc->asc", inverse, apart) * residual
    alone = (influence**2).sum(1)
    top = float(np.abs(expected).max())
    place = np.rint((expected + top) / max(1.0, 2.0 * top / MOST_BINS)).astype(np.int64)
    bins = int(place.max()) + 1
    slot = (place * columns + np.arange(columns)).ravel()
    totals = np.stack([np.bincount(slot, part.ravel(), bins * columns) for part in influence]).reshape(2, bins, columns)
    # One factor for all columns: that of a single one would be uncertain itself.
    inflation = np.maximum((totals**2).sum((1, 2)) / alone.sum(1), 1.0)
    of_mean = np.maximum((totals.mean(2) ** 2).sum(1), alone.sum(1) / columns**2)
    return np.sqrt(alone * inflation[:, None]), np.sqrt(of_mean)


# ---- rows ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """Fit of all DACs, (rows,) in LSB."""

    square: FloatArray
    square_sigma: FloatArray
    cubic: FloatArray
    cubic_sigma: FloatArray
    mean_square_sigma: float = np.inf
    """Standard uncertainty of the mean of `square`."""

    def with_mean_square(self, mean: float, sigma: float) -> _Rows:
        """With the mean of the second-order deviation as another measurement gave it, and the rows about it as here."""
        own = np.sqrt(np.maximum(self.square_sigma**2 - self.square_sigma.min() ** 2, 0.0)) if self.measured else 0.0
        return replace(
            self,
            square=self.square + mean - self.square.mean(),
            square_sigma=np.hypot(own, sigma) + np.zeros_like(self.square),
            mean_square_sigma=sigma,
        )

    @property
    def measured(self) -> bool:
        """Whether the rows were looked at one by one."""
        return bool(np.isfinite(self.cubic_sigma).all())


def _lift(adc: _Columns, idle: NDArray[np.integer], info: ChipInfo) -> tuple[float, float]:
    """Mean second-order deviation of the DACs (LSB) and its standard uncertainty.

    It lifts each column's offset, as fitted at full-scale inputs, above its idle output, in proportion to the column's
    summed cells. Rounding errors of the idle outputs differ from column to column and average out, except between
    columns whose offsets have the same fraction of an LSB.
    """
    loud = ~adc.silent
    if not loud.any():
        return 0.0, float("inf")
    reach = adc.cells[:, loud].sum(0) / info.input_max
    lift = (adc.offset - adc.straight(idle.mean(0, keepdims=True), info.code_max)[0])[loud]
    power = float((reach**2).sum())
    mean = float((reach * lift).sum()) / power
    scatter = float(((lift - mean * reach) ** 2).sum()) / max(loud.sum() - 1, 1)
    # Mean rounding errors under noise: the first term of their Fourier series in the fraction, whose phase counts.
    noise2 = max(float(idle[:, loud].var(0).mean()) - 1.0 / 12.0, 0.0)
    rounding2 = math.exp(-4.0 * math.pi**2 * noise2) / (2.0 * math.pi**2)
    alike = float(np.abs(reach @ np.exp(2j * np.pi * adc.offset[loud])) ** 2) / power
    return mean, math.sqrt((scatter + max(alike - 1.0, 0.0) * rounding2) / power)


def _ideal_rows(rows: int) -> _Rows:
    unknown = np.full(rows, np.inf)
    return _Rows(np.zeros(rows), unknown, np.zeros(rows), unknown)


def _fit_rows(x: NDArray[np.integer], codes: NDArray[np.integer], adc: _Columns, info: ChipInfo) -> _Rows:
    """Least squares of what is not linear in uniform inputs x (batch, rows) on the bend of every row.

    The unknowns of row i enter column j times cell (i, j), which is known. With the linear part and an offset
    projected out, the normal matrix is the product, element by element, of the inputs' and the cells' Gram matrices.
    """
    batch, rows = x.shape
    usable = np.abs(codes) < NEAR_END * info.code_max
    outputs = np.where(usable, adc.straight(codes.astype(np.float64), info.code_max), np.nan)
    columns = ~adc.silent & usable.all(0)
    u = x / info.input_max
    design = np.column_stack([u, np.ones(batch)])
    if not columns.any() or batch < 2 * (rows + 1):
        return _ideal_rows(rows)
    basis, _ = np.linalg.qr(design)
    features = np.concatenate([square(u), cubic(u)], axis=1) / info.input_max
    features -= basis @ (basis.T @ features)
    target = outputs[:, columns]
    target = target - basis @ (basis.T @ target)
    cells = adc.cells[:, columns]
    twice = np.concatenate([cells, cells])
    normal = (features.T @ features) * (twice @ twice.T)
    right = ((features.T @ target) * twice).sum(1)
    inverse = np.linalg.inv(normal + np.eye(2 * rows) * 1e-12 * np.trace(normal) / (2 * rows))
    found = inverse @ right
    residual = target - features @ (found[:, None] * twice)
    sigma = np.sqrt(np.diag(inverse) * _variance_across(residual, rows + 1, len(found)))
    second, third = pool(found[:rows], sigma[:rows]), pool(found[rows:], sigma[rows:])
    return _Rows(second.estimate, second.sigma, third.estimate, third.sigma)


def _variance_across(residual: FloatArray, own: int, shared: int) -> float:
    """Variance of residuals (batch, columns) of which so many behave as one another's copies, times that number.

    Columns without noise whose cells are alike round alike: they are so many copies of one column, not so many columns.

    own, shared  parameters that were fitted to each column, and to all of them together
    """
    batch, columns = residual.shape
    covariance: FloatArray = residual.T @ residual / batch
    power = float(np.trace(covariance))
    # Correlations that are seen by chance, 1 / batch on average, are none.
    copies = max(columns * float((covariance**2).sum()) / max(power**2, 1e-300) - columns / batch, 1.0)
    freedom = max(batch - own - shared * copies / columns, 1.0)
    return float(copies * power / columns * batch / freedom)


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
