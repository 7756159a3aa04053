"""Products with the noise of a chip, for training and for trying out what a network bears.

After Rasch et al., Nature Communications 14, 5282 (2023): the noise of programming, drift, reads and converters is
injected into the forward pass, anew for every batch, and gradients are those of the noisy product with rounding taken
as the identity. Everything is one array operation per matrix.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from hwloop.chip.info import ChipInfo, Parameter
from hwloop.devices.model import DeviceModel
from hwloop.errors import BadInputError
from hwloop.files.models import Model
from hwloop.nn.blocks import Affine, Blocks, per_weight
from hwloop.nn.cells import CellModel, Cells, drawn
from hwloop.nn.convert import Converted, MatrixOf, matrices_of
from hwloop.nn.nonidealities import (
    Drift,
    GainSpread,
    InputRange,
    InputRounding,
    Nonideality,
    OffsetSpread,
    OutputNoise,
    OutputRange,
    OutputRounding,
    ProgrammingNoise,
    Range,
    ReadNoise,
    StuckDevices,
    WireResistance,
)
from hwloop.nn.products import Product, Recording
from hwloop.nn.ranges import Converters, RangeSettings, best_full_scale, best_input_scale
from hwloop.registry import suggest

COMPENSATIONS = ("column", "global", "none")
"""What may make up for drift, as noise knows it."""


@dataclass(frozen=True, eq=False)
class ChipNoise:
    """What a chip does to the products of a network.

    Parameters
    ----------
    rows
        Most inputs of a tile: what is longer is cut, converted tile by tile and added up.
    cell
        What is known of a cell.
    parts
        Nonidealities in the order in which they act.
    ages
        Seconds after programming, ascending; an age is drawn evenly in log time between the first and the last.
    together
        Seconds during which the vectors of a forward pass go through the chip.
    adc_range
        Smallest and largest range of the output converters, uS.
    compensation
        What makes up for drift: 'column' finds one gain for each column at the age in question, 'global' one factor for
        each tile, and with 'none' the gains of the columns stay those of `fitted`.
    fitted
        Seconds after programming at which targets hold and the columns are calibrated.
    """

    rows: int
    cell: CellModel
    parts: tuple[Nonideality, ...]
    ages: tuple[float, ...]
    together: float = 1e-3
    adc_range: tuple[float, float] = (0.0, math.inf)
    compensation: str = COMPENSATIONS[0]
    fitted: float = 20.0

    def __post_init__(self) -> None:
        if self.compensation not in COMPENSATIONS:
            raise BadInputError(
                f"compensation '{self.compensation}' of noise: {suggest(self.compensation, COMPENSATIONS)}"
            )
        if not self.ages or not all(a < b for a, b in zip(self.ages, self.ages[1:], strict=False)):
            raise BadInputError(f"ages {', '.join(f'{age:g}' for age in self.ages) or '(none)'} do not rise")
        if not (self.ages[0] > 0 and math.isfinite(self.ages[-1])):
            raise BadInputError(f"ages must lie after programming, in seconds; {self.ages[0]:g} does not")

    @classmethod
    def of(
        cls,
        info: ChipInfo,
        ages: Sequence[float] = (),
        model: Model | DeviceModel | None = None,
        parameters: Sequence[Parameter] = (),
        *,
        corrected: bool = False,
    ) -> ChipNoise:
        """Describe a chip by what it says of itself.

        Parameters
        ----------
        info
            Its identity and geometry.
        ages
            Seconds after programming; none: the reference age.
        model
            Fitted or nominal model of its devices, which comes before what the chip says.
        parameters
            What more is known of it (`Backend.parameters`): noise and spread of its converters, stuck devices, wires,
            and the strength of drift and noise where that is not nominal.
        corrected
            Take in, besides, what programming and the calibration of columns take away.
        """
        known = {row.name: float(row.value) for row in parameters if isinstance(row.value, int | float)}
        scale = {name: known.get(name, 1.0) for name in ("programming_noise", "drift", "read_noise")}
        for name in ("drift", "read_noise"):  # where they are switched off the model itself says so
            scale[name] = scale[name] or 1.0
        top = info.code_max
        parts = (
            InputRounding(float(info.input_bits)),
            InputRange(1.0),
            ProgrammingNoise(scale["programming_noise"]),
            StuckDevices(known.get("stuck_rate", 0.0)),
            Drift(scale["drift"]),
            ReadNoise(scale["read_noise"]),
            WireResistance(known.get("wire_resistance", 0.0)),
            GainSpread(known.get("adc_gain_spread", 0.0)),
            OffsetSpread(known.get("adc_offset_spread", 0.0), top),
            OutputNoise(known.get("adc_noise", 0.0), top),
            OutputRounding(float(info.output_bits)),
            OutputRange(1.0),
        )
        kept = tuple(part for part in parts if corrected or not part.corrected)
        cell, fitted = CellModel.of(info, model), info.reference_age
        adc_range = Converters.of(info).adc_range
        return cls(info.rows, cell, kept, tuple(ages) or (fitted,), adc_range=adc_range, fitted=fitted)

    def only(self, *parts: Nonideality) -> ChipNoise:
        """Return a chip with these nonidealities and no other."""
        return replace(self, parts=parts)

    def ramped(self, share: float) -> ChipNoise:
        """Return a chip with a share of all noise; converters stay as they are."""
        return replace(self, parts=tuple(part.ramped(share) for part in self.parts))

    def raised(self, factor: float) -> ChipNoise:
        """Return a chip of which everything that it has is `factor` times as strong; ranges stay as they are chosen."""
        there = (part for part in self.parts if part.amount)
        return replace(self, parts=tuple(part if isinstance(part, Range) else part.raised(factor) for part in there))

    def age(self, share: float) -> float:
        """Return the age a share of the way from the first to the last, in log time; seconds."""
        return float(self.ages[0] * (self.ages[-1] / self.ages[0]) ** share)

    @property
    def converters(self) -> Converters:
        """What ranges are chosen for; where nothing rounds, very many steps."""
        return Converters(self._steps(InputRounding), self._steps(OutputRounding), self.adc_range)

    def _steps(self, kind: type[InputRounding | OutputRounding]) -> int:
        return next((part.top for part in self.parts if isinstance(part, kind)), 2**23)


@dataclass(frozen=True)
class _Draw:
    """One draw of a matrix's noise.

    Parameters
    ----------
    correction
        What is done to the outputs of columns.
    slope
        (blocks, 1, columns) conductance over weight, as the cells are now: uS.
    rest
        (blocks, rows, columns) conductances less `slope` times the weights, uS.
    variance
        (blocks, rows, columns) from vector to vector, uS^2; None for none.
    cells
        The cells.
    """

    correction: Affine
    slope: torch.Tensor
    rest: torch.Tensor
    variance: torch.Tensor | None
    cells: Cells


class NoisyProduct(Product):
    """Multiplies as a chip with noise would.

    Weights are scaled per column to the cells' full conductance, as they are when they are programmed. Gains and
    offsets of columns are fitted to sample inputs, as they are on a chip: with the compensation 'column' what drift
    does to all inputs alike is made up for, and what differs from input to input stays. The noise of the cells is
    drawn once and holds until `redraw`; that of reads and converters is new in every call.
    """

    def __init__(self, noise: ChipNoise, seed: int) -> None:
        """Begin with ranges of 1 and at the first age; `seed` is that of the noise."""
        self.noise, self.age, self._seed = noise, noise.ages[0], seed
        self.input_range = nn.Parameter(torch.zeros(()))
        """Logarithm of the input that is driven fully."""
        self.output_range = nn.Parameter(torch.zeros(1))
        """(tiles,) logarithm of the column sum at the end of the converters, uS at full-scale input."""
        self.sample: torch.Tensor | None = None
        """(vectors, groups * inputs) to which columns are fitted; None: to inputs independent of each other."""
        self._random: torch.Generator | None = None
        self._draw: _Draw | None = None

    def redraw(self, age: float | None = None, noise: ChipNoise | None = None, seed: int | None = None) -> None:
        """Let the cells be programmed anew before the next call.

        Parameters
        ----------
        age
            Seconds after programming from now on.
        noise
            Of another chip.
        seed
            Begin the random numbers again.
        """
        self._draw = None
        self.age = self.age if age is None else age
        self.noise = noise or self.noise
        if seed is not None:
            self._seed, self._random = seed, None

    @property
    def random_state(self) -> torch.Tensor:
        """State of the random numbers, (bytes,); none, (0,), before the first of them is drawn."""
        return torch.empty(0, dtype=torch.uint8) if self._random is None else self._random.get_state()

    @random_state.setter
    def random_state(self, state: torch.Tensor) -> None:
        self._draw, self._random = None, None
        if len(state):
            self._random = torch.Generator(self.input_range.device)
            self._random.set_state(state)

    def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Multiply with noise; gradients go to inputs, weights and ranges."""
        blocks = Blocks.of(matrix.shape, self.noise.rows)
        if self._draw is None:
            with torch.no_grad():
                self._draw = self._drawn(blocks.cut(matrix.detach()), self._sample_of(blocks))
        draw, input_range = self._draw, self.input_range.exp()
        u = blocks.cut_inputs(x / input_range)
        for part in self.noise.parts:
            u = part.inputs(u)
        sums = u @ (blocks.cut(matrix) * draw.slope + draw.rest)
        if draw.variance is not None:
            sigma = (u.detach().square() @ draw.variance).sqrt()
            sums = sums + sigma * drawn(tuple(sums.shape), sums, draw.cells.random)
        full_scale = self.output_range.exp().repeat(blocks.groups)[:, None, None]
        s = sums / full_scale
        for part in self.noise.parts:
            s = part.outputs(s, draw.cells)
        return blocks.join(draw.correction(s * full_scale)) * input_range

    def fit_ranges(self, x: torch.Tensor, matrix: torch.Tensor, settings: RangeSettings | None = None) -> None:
        """Choose ranges for a sample of inputs (vectors, groups * inputs), as they are chosen on a chip."""
        blocks, converters = Blocks.of(matrix.shape, self.noise.rows), self.noise.converters
        how = settings or RangeSettings()
        with torch.no_grad():
            weights = blocks.cut(matrix)
            target = (weights * per_weight(weights, self.noise.cell.largest)).double().numpy(force=True)
            activations = blocks.cut_inputs(x).double().numpy(force=True)
            scale = best_input_scale(target, converters, activations, how)
            sums = (np.clip(activations / scale, -1.0, 1.0) @ target).reshape(blocks.groups, blocks.tiles, len(x), -1)
            of_tiles = sums.swapaxes(0, 1).reshape(blocks.tiles, -1, blocks.outputs)
            ends = [best_full_scale(one, converters, how) if one.any() else 1.0 for one in of_tiles]
            chosen = torch.tensor([scale, *ends], dtype=torch.float32, device=matrix.device).log()
            self.input_range, self.output_range = nn.Parameter(chosen[0].clone()), nn.Parameter(chosen[1:].clone())
            self.hold_range()
        self.keep(x)

    def keep(self, x: torch.Tensor) -> None:
        """Fit columns to these inputs (vectors, groups * inputs) from the next draw on."""
        self.sample, self._draw = x, None

    def hold_range(self) -> None:
        """Bring a learnt output range back to what the converters can do."""
        low, high = self.noise.adc_range
        with torch.no_grad():
            self.output_range.clamp_(math.log(low) if low else -math.inf, math.log(high))

    def _sample_of(self, blocks: Blocks) -> torch.Tensor | None:
        """Give the sample as (blocks, vectors, rows), 1 = full range, as it is driven."""
        if self.sample is None:
            return None
        return blocks.cut_inputs(self.sample / self.input_range.exp()).clamp(-1.0, 1.0)

    def _drawn(self, weights: torch.Tensor, sample: torch.Tensor | None) -> _Draw:
        """Program the weights (blocks, rows, columns), let them age, and correct the columns."""
        if self._random is None:
            self._random = torch.Generator(weights.device).manual_seed(self._seed)
        scale = per_weight(weights, self.noise.cell.largest)
        target = weights * scale
        before = self._random.get_state()
        then = self._cells(target, self.noise.fitted)[0] if self.noise.compensation != "column" else None
        if then is not None:
            self._random.set_state(before)  # the same cells, at two ages
        cells, variance = self._cells(target, self.age)
        correction = Affine.of(cells.now, weights, scale, sample)
        slope = 1.0 / correction.gain
        if then is not None:
            correction = Affine.of(then.now, weights, scale, sample)
            if self.noise.compensation == "global":
                correction = correction.with_factor(cells.now, weights, sample)
        return _Draw(correction, slope, cells.now - weights * slope, variance, cells)

    def _cells(self, target: torch.Tensor, age: float) -> tuple[Cells, torch.Tensor | None]:
        """Program targets (blocks, rows, columns), and give the cells at an age, with their variance."""
        assert self._random is not None
        converters = drawn((2, len(target), 1, target.shape[2]), target, self._random)
        noise = self.noise
        cells = Cells(noise.cell, target, target, age, noise.fitted, noise.together, converters, self._random)
        variances = []
        for part in self.noise.parts:
            variances.append(part.variance(cells))
            cells = cells.moved(part.cells(cells))
        there = [one for one in variances if one is not None]
        return cells, torch.stack(there).sum(0) if there else None


class NoisyNetwork:
    """A converted network whose products have the noise of a chip."""

    def __init__(self, converted: Converted, noise: ChipNoise, seed: int = 0) -> None:
        """Give every matrix a product; those that share their cells share it. `seed` is that of the noise."""
        self.network, self.noise, self.seed = converted.network, noise, seed
        self.products: dict[str, NoisyProduct] = {}
        """By the name of their matrix."""
        self._sharing: dict[str, tuple[MatrixOf, ...]] = {}
        for number, sharing in enumerate(matrices_of(converted)):
            name = sharing[0].name
            self.products[name] = NoisyProduct(noise, _seed(seed, number))
            self._sharing[name] = sharing
        self.use()

    def use(self, names: Collection[str] | None = None) -> None:
        """Let the products of these matrices be noisy, all of them by default, and the others exact."""
        for name, product in self.products.items():
            for one in self._sharing[name]:
                if names is None or name in names:
                    one.layer.products[one.own_name] = product
                else:
                    one.layer.products.pop(one.own_name, None)

    def digital(self) -> nn.Module:
        """Copy the network with exact products, to learn from: it does not train, and needs no gradients."""
        self.use(())
        made = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.use()
        return made

    def redraw(self, age: float, noise: ChipNoise | None = None, seed: int | None = None) -> None:
        """Program all matrices anew before the next forward pass; see `NoisyProduct.redraw`."""
        for number, product in enumerate(self.products.values()):
            product.redraw(age, noise, None if seed is None else _seed(seed, number))

    def random_states(self) -> dict[str, torch.Tensor]:
        """Return the states of all random numbers, by the name of the matrix."""
        return {name: product.random_state for name, product in self.products.items()}

    def set_random_states(self, states: Mapping[str, torch.Tensor]) -> None:
        """Put back what `random_states` gave."""
        for name, product in self.products.items():
            product.random_state = states[name]

    def fit_ranges(self, x: torch.Tensor, vectors: int = 512) -> None:
        """Choose all ranges for what the layers are given when the network computes these inputs exactly.

        Parameters
        ----------
        x
            Inputs of the network.
        vectors
            Input vectors of each matrix that are looked at.
        """
        for name, sample in self._recorded(x, vectors).items():
            self.products[name].fit_ranges(sample, self._sharing[name][0].values())

    def fit_columns(self, x: torch.Tensor, vectors: int = 256) -> None:
        """Let columns be fitted to what the layers are given now; parameters as of `fit_ranges`."""
        for name, sample in self._recorded(x, vectors).items():
            self.products[name].keep(sample)

    def _recorded(self, x: torch.Tensor, vectors: int) -> dict[str, torch.Tensor]:
        """Run inputs through the exact network, and sample what each matrix is given (vectors, groups * inputs)."""
        turns = itertools.count()
        recording = {name: Recording(vectors, self.seed, turns) for name in self.products}
        for name, sharing in self._sharing.items():
            for one in sharing:
                one.layer.products[one.own_name] = recording[name]
        training = self.network.training
        with torch.no_grad():
            self.network.eval()(x)
        self.network.train(training)
        self.use()
        found = {name: one.sample for name, one in recording.items()}
        like = {name: sharing[0].values() for name, sharing in self._sharing.items()}
        return {name: sample.to(like[name]) for name, sample in found.items() if sample is not None}

    def hold_ranges(self) -> None:
        """Bring learnt ranges back to what the converters can do."""
        for product in self.products.values():
            product.hold_range()

    def ranges(self) -> list[nn.Parameter]:
        """List what there is to learn beside the network's own parameters: the logarithms of all ranges."""
        return [part for product in self.products.values() for part in (product.input_range, product.output_range)]

    def input_ranges(self) -> dict[str, float]:
        """Give the input that is driven fully, by the name of the matrix."""
        return {
            one.name: float(product.input_range.detach().exp())
            for name, product in self.products.items()
            for one in self._sharing[name]
        }

    def placed(self) -> list[MatrixOf]:
        """List every matrix once, those that share their cells by the first of them."""
        return [sharing[0] for sharing in self._sharing.values()]


def _seed(seed: int, number: int) -> int:
    """Mix a seed and the number of a matrix into a seed of its own."""
    return int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed * 1_000_003 + number)))
