"""Products on a chip: input vectors go through converters and crossbars, outputs are corrected and added digitally."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hwloop.calibration.drift.compensation import Compensation
from hwloop.calibration.drift.programmed_tile import ProgrammedTile
from hwloop.calibration.evaluation import relative_error
from hwloop.chip.claims import Claim
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.mapping.activations import Sample, sample_of
from hwloop.mapping.columns import ColumnCorrection
from hwloop.nn.products import Exact, Product
from hwloop.nn.ranges import RangeSettings, choose, vector_scales
from hwloop.typing import AnyArray, CodeArray, FloatArray

Float32Array: TypeAlias = "NDArray[np.float32]"


@dataclass
class LayerTile:
    """A programmed tile in its place in a network: which inputs it takes, which outputs it adds to, in what ranges.

    Parameters
    ----------
    programmed
        The tile with the cells that hold it, its converter range for this network, and its column correction there.
    inputs, outputs
        Slices of the layer's vectors.
    input_scale
        Input that drives a converter fully; NaN where no sample told it: every vector then has a scale of its own.
    fit_error
        Relative error of the outputs for sample inputs that the columns were not fitted to; NaN where unknown.
    gain_spread
        Relative standard deviation of its gains for activations about those of programming.
    compensation
        What is applied to the outputs after the column correction; None for nothing.
    """

    programmed: ProgrammedTile
    inputs: slice
    outputs: slice
    input_scale: float = math.nan
    fit_error: float = math.nan
    gain_spread: float = 0.1
    compensation: Compensation | None = None

    @property
    def region(self) -> Region:
        """Cells of the tile."""
        return self.programmed.region

    def codes(self, x: AnyArray, scale: FloatArray | float) -> CodeArray:
        """Give the input codes (vectors, rows) of inputs: `scale` drives a converter fully, what is beyond is clipped.

        Parameters
        ----------
        x
            (vectors, rows) in the network's units.
        scale
            One for all, or (vectors, 1).
        """
        top = self.region.backend.info.input_max
        factor = top / np.asarray(scale)
        if factor.size == 1 and factor.item() < np.finfo(np.float32).max:
            factor = factor.astype(x.dtype)  # in the precision of the inputs, which are many
        whole = np.multiply(x, factor)
        np.rint(whole, out=whole)
        return np.clip(whole, -top, top, out=whole).astype(np.int32)

    def multiply(self, x: AnyArray, settings: RangeSettings) -> FloatArray:
        """Multiply inputs (vectors, rows) by the tile: (vectors, columns) in the order of the layer's outputs."""
        own = settings.dynamic or math.isnan(self.input_scale)
        scale = vector_scales(x) if own else np.array([[self.input_scale]])
        if settings.bound_management:
            scale = np.broadcast_to(scale, (len(x), 1)).copy()  # a vector may be repeated at a scale of its own
        codes = self.region.mvm(self.codes(x, scale))
        for _ in range(settings.bound_management):
            again = self._saturated(codes)
            if not len(again):
                break
            scale[again] *= 2.0
            codes[again] = self.region.mvm(self.codes(x[again], scale[again]))
        y = self.programmed.origin.correction.apply(codes)
        if self.compensation is not None:
            y = y * self.compensation.gain + self.compensation.offset
        return self.programmed.tile.in_output_order(y) * scale

    def fit(self, activations: FloatArray | Sample, settings: RangeSettings, input_scale: float | None = None) -> None:
        """Choose the ranges of the tile for a network's activations and fit its columns to them.

        Probes are drawn from these activations from then on, so that a later compensation sees what the network sees.

        Parameters
        ----------
        activations
            (vectors, rows) inputs of the tile in the network's units, which may be weighted.
        settings
            How ranges are chosen.
        input_scale
            Input that drives a converter fully, where it was learnt in training; None to choose it.
        """
        known, backend, sample = self.programmed, self.region.backend, sample_of(activations)
        adc_range = backend.adc_range(known.tile.place.core)
        chosen = choose(known.tile.target, backend.info, adc_range, sample, settings, input_scale)
        if chosen is None:
            return
        self.input_scale = chosen.input_scale
        scale = vector_scales(sample.vectors) if settings.dynamic else chosen.input_scale
        inputs, shares = self.codes(sample.vectors, scale), None if sample.weights is None else sample.shares
        before, ratio = known.origin.correction, chosen.full_scale / self.region.full_scale
        self.at_range(chosen.full_scale, ColumnCorrection(before.gain * ratio, before.offset * ratio), inputs, shares)
        if len(sample) >= settings.fewest:
            self.refit((sample.vectors / scale) @ known.tile.weights)

    def at_range(
        self,
        full_scale: float,
        correction: ColumnCorrection,
        sample: CodeArray | None,
        shares: FloatArray | None = None,
    ) -> None:
        """Use another converter range, in uS, with the column correction for it, and a sample of inputs to probe by.

        The vectors of the sample may have weights `shares` (vectors,), whose mean is 1.
        """
        known, backend = self.programmed, self.region.backend
        adjustable = Capability.ADC_RANGE in backend.info.capabilities
        own = full_scale if adjustable else None
        region = Region(backend, known.tile.place, own, self.region.calibration, alone=True)
        origin = replace(known.origin, correction=correction)
        self.programmed = replace(known, region=region, origin=origin, sample=sample, shares=shares)

    def refit(self, reference: FloatArray | None = None) -> None:
        """Fit the columns anew to the sample of activations, as the chip is now.

        `fit_error` becomes that of one half of the sample when the columns are fitted to the other.

        Parameters
        ----------
        reference
            (vectors, columns) what the outputs should be, in weight units; None: what the rounded inputs give.
        """
        known = self.programmed
        if known.sample is None:
            return
        if reference is None:
            reference = (known.sample / known.region.backend.info.input_max) @ known.tile.weights
        outputs, half = known.region.mvm(known.sample), len(known.sample) // 2
        shares = np.ones(len(outputs)) if known.shares is None else known.shares
        before, span = known.origin.correction, known.region.span
        tried = fit_to_sample(outputs[:half], reference[:half], before, span, self.gain_spread, shares[:half])
        root = np.sqrt(shares[half:])[:, None]
        self.fit_error = relative_error(root * tried.apply(outputs[half:]), root * reference[half:])
        fitted = fit_to_sample(outputs, reference, before, span, self.gain_spread, shares)
        origin = replace(known.origin, correction=fitted)
        self.programmed = replace(known, origin=origin)

    def _saturated(self, codes: AnyArray) -> AnyArray:
        """Find the vectors one of whose outputs is at the end of its converter."""
        low, high = self.region.span
        return np.flatnonzero(np.any((codes <= low) | (codes >= high), axis=1))


@dataclass
class OnChip(Product):
    """Multiplies on a chip.

    Gradients, where they are asked for, are those of the digital matrix (straight-through): a network can be trained on
    outputs that the chip really gave.

    Parameters
    ----------
    replicas
        Tiles that together hold the matrix, once for each copy of it.
    outputs
        Number of outputs.
    settings
        Ranges.
    use
        What several replicas are for: 'average' adds up their outputs, 'share' gives each its part of the vectors, and
        'random' shares them out at random.
    random
        Source of that.
    claim
        Knows whether the cells still hold the matrix; None where nobody watches.
    """

    replicas: Sequence[Sequence[LayerTile]]
    outputs: int
    settings: RangeSettings
    use: str = "average"
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    claim: Claim | None = None

    @property
    def tiles(self) -> list[LayerTile]:
        """All tiles."""
        return [tile for replica in self.replicas for tile in replica]

    def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Send the vectors through the chip. Raises BadInputError for inputs that are not finite, or lost cells."""
        if self.claim is not None:
            self.claim.check()
        values = x.detach().to("cpu", torch.float32).numpy()
        if not np.all(np.isfinite(values)):
            raise BadInputError("an analog layer was given inputs that are NaN or infinite; no converter can take them")
        result = torch.from_numpy(self._shared(values)).to(x.device, x.dtype)
        if torch.is_grad_enabled() and (x.requires_grad or matrix.requires_grad):
            ideal = EXACT(x, matrix)
            return result + ideal - ideal.detach()
        return result

    def _shared(self, x: Float32Array) -> Float32Array:
        """Let the replicas do their parts."""
        if len(self.replicas) == 1:
            return self._multiplied(x, self.replicas[0])
        y = np.zeros((len(x), self.outputs), np.float32)
        if self.use == "average":
            for replica in self.replicas:
                y += self._multiplied(x, replica)
            return y / np.float32(len(self.replicas))
        which = np.arange(len(x)) % len(self.replicas)
        if self.use == "random":
            self.random.shuffle(which)
        for number, replica in enumerate(self.replicas):
            mine = which == number
            y[mine] = self._multiplied(x[mine], replica)
        return y

    def _multiplied(self, x: Float32Array, tiles: Sequence[LayerTile]) -> Float32Array:
        y = np.zeros((len(x), self.outputs), np.float32)
        if len(x):
            for tile in tiles:
                y[:, tile.outputs] += tile.multiply(x[:, tile.inputs], self.settings)
        return y


EXACT = Exact()


def fit_to_sample(
    codes: AnyArray,
    reference: FloatArray,
    before: ColumnCorrection,
    span: tuple[ArrayLike, ArrayLike],
    spread: float,
    shares: FloatArray,
) -> ColumnCorrection:
    """Fit gains and offsets of columns by least squares, as far from those of programming as the sample tells.

    Activations are often zero, so that no robust fit may take the others for outliers; saturated codes alone are left
    out. A gain is shrunk towards that of programming by the ratio of the variance of its fit to that of its prior, so
    that a column which the sample hardly drives keeps what it had.

    Parameters
    ----------
    codes, reference
        (vectors, columns) output codes, and what they should be, in weight units.
    before
        Columns as calibrated after programming.
    span
        Codes at or beyond these come from a saturated converter.
    spread
        Standard deviation of a column's gain about that of programming, relative.
    shares
        (vectors,) weights of the vectors, whose mean is 1.
    """
    usable = ((codes > span[0]) & (codes < span[1])) * shares[:, None]
    count = np.maximum(usable.sum(0), 1.0)
    mean_x, mean_y = (usable * codes).sum(0) / count, (usable * reference).sum(0) / count
    dx, dy = codes - mean_x, reference - mean_y
    power = (usable * np.square(dx)).sum(0)
    fitted = (usable * dx * dy).sum(0) / np.where(power > 0, power, 1.0)
    noise = (usable * np.square(dy - fitted * dx)).sum(0) / np.maximum(count - 2.0, 1.0)
    noise = noise * float(np.square(shares).mean())  # weighted vectors tell less than so many equal ones (Kish 1965)
    prior = np.square(spread * before.gain)
    # Variances are noise / power and prior; written so that neither may be zero.
    share = prior * power / np.maximum(prior * power + noise, 1e-300)
    gain = before.gain + share * (fitted - before.gain)
    return ColumnCorrection(gain, np.where(usable.any(0), mean_y - gain * mean_x, before.offset))
