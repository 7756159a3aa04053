"""Products with the noise of a chip, for training and for trying out what a network bears.

After Rasch et al., Nature Communications 14, 5282 (2023): the noise of programming, drift, reads and converters is
injected into the forward pass, anew for every batch, and gradients are those of the noisy product with rounding taken
as the identity. Everything is one array operation per matrix.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from hwloop.chip.info import ChipInfo, Parameter
from hwloop.devices.model import DeviceModel
from hwloop.errors import BadInputError
from hwloop.files.models import Model
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
    """

    rows: int
    cell: CellModel
    parts: tuple[Nonideality, ...]
    ages: tuple[float, ...]
    together: float = 1e-3

    def __post_init__(self) -> None:
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
        return cls(info.rows, CellModel.of(info, model), kept, tuple(ages) or (info.reference_age,))

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

    def levels(self, kind: type[InputRounding | OutputRounding]) -> int:
        """Return the number of steps up to full range of the converters of a kind; very many where none rounds."""
        return next((part.top for part in self.parts if isinstance(part, kind)), 2**23)


@dataclass(frozen=True)
class Blocks:
    """How a matrix (groups, inputs, outputs) is cut into blocks that a column adds up in one go."""

    groups: int
    inputs: int
    outputs: int
    tiles: int
    rows: int

    @classmethod
    def of(cls, shape: Sequence[int], rows: int) -> Blocks:
        """Cut a matrix of a shape into tiles of at most `rows` inputs."""
        groups, inputs, outputs = shape
        tiles = max(1, math.ceil(inputs / rows))
        return cls(groups, inputs, outputs, tiles, inputs if tiles == 1 else rows)

    @property
    def _missing(self) -> int:
        return self.tiles * self.rows - self.inputs

    def cut(self, matrix: torch.Tensor) -> torch.Tensor:
        """Cut (groups, inputs, outputs) into (blocks, rows, outputs); rows that are missing hold zeros."""
        whole = functional.pad(matrix, (0, 0, 0, self._missing)) if self._missing else matrix
        return whole.reshape(self.groups * self.tiles, self.rows, self.outputs)

    def cut_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Cut (vectors, groups * inputs) into (blocks, vectors, rows)."""
        by_group = x.reshape(len(x), self.groups, self.inputs)
        whole = functional.pad(by_group, (0, self._missing)) if self._missing else by_group
        return whole.reshape(len(x), -1, self.rows).transpose(0, 1)

    def join(self, y: torch.Tensor) -> torch.Tensor:
        """Add up tiles of (blocks, vectors, outputs): (vectors, groups * outputs)."""
        added = y.reshape(self.groups, self.tiles, -1, self.outputs).sum(1)
        return added.transpose(0, 1).reshape(-1, self.groups * self.outputs)


@dataclass(frozen=True)
class _Draw:
    """One draw of a matrix's noise.

    Parameters
    ----------
    slope
        (blocks, 1, columns) conductance over weight, as the outputs are scaled: uS.
    rest
        (blocks, rows, columns) conductances less `slope` times the weights, uS.
    variance
        (blocks, rows, columns) from vector to vector, uS^2; None for none.
    cells
        The cells.
    """

    slope: torch.Tensor
    rest: torch.Tensor
    variance: torch.Tensor | None
    cells: Cells


class NoisyProduct(Product):
    """Multiplies as a chip with noise would.

    Weights are scaled per column to the cells' full conductance, as they are when they are programmed, and the outputs
    of each column are scaled so that its error is least, as the digital correction does: a common loss by drift is
    made up for, and what differs from cell to cell stays. The noise of the cells is drawn once and holds until
    `redraw`; that of reads and converters is new in every call.
    """

    def __init__(self, noise: ChipNoise, seed: int) -> None:
        """Begin with ranges of 1 and at the first age; `seed` is that of the noise."""
        self.noise, self.age, self._seed = noise, noise.ages[0], seed
        self.input_range = nn.Parameter(torch.zeros(()))
        """Logarithm of the input that is driven fully."""
        self.output_range = nn.Parameter(torch.zeros(1))
        """(tiles,) logarithm of the column sum at the end of the converters, uS at full-scale input."""
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

    def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Multiply with noise; gradients go to inputs, weights and ranges."""
        blocks = Blocks.of(matrix.shape, self.noise.rows)
        if self._draw is None:
            with torch.no_grad():
                self._draw = self._drawn(blocks.cut(matrix.detach()))
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
        return blocks.join(s * (full_scale / draw.slope)) * input_range

    def fit_ranges(self, x: torch.Tensor, matrix: torch.Tensor) -> None:
        """Choose the ranges that clip and round a sample of inputs (vectors, groups * inputs) with the least error."""
        blocks, noise = Blocks.of(matrix.shape, self.noise.rows), self.noise
        with torch.no_grad():
            weights = blocks.cut(matrix)
            chosen = least_error(x.reshape(1, -1), noise.levels(InputRounding))[0]
            u = blocks.cut_inputs((x / chosen).clamp(-1.0, 1.0))
            sums = (u @ (weights * per_weight(weights, noise.cell.largest))).reshape(blocks.groups, blocks.tiles, -1)
            full_scale = least_error(sums.transpose(0, 1).flatten(1), noise.levels(OutputRounding))
            self.input_range = nn.Parameter(chosen.log())
            self.output_range = nn.Parameter(full_scale.log())
        self._draw = None

    def _drawn(self, weights: torch.Tensor) -> _Draw:
        """Program the weights (blocks, rows, columns), let them age, and find the scale of each column."""
        if self._random is None:
            self._random = torch.Generator(weights.device).manual_seed(self._seed)
        scale = per_weight(weights, self.noise.cell.largest)
        target = weights * scale
        converters = drawn((2, len(weights), 1, weights.shape[2]), weights, self._random)
        cells = Cells(self.noise.cell, target, target, self.age, self.noise.together, converters, self._random)
        variances = []
        for part in self.noise.parts:
            variances.append(part.variance(cells))
            cells = cells.moved(part.cells(cells))
        there = [one for one in variances if one is not None]
        power = cells.now.square().sum(1, keepdim=True)
        shared = (cells.now * target).sum(1, keepdim=True)
        gain = torch.where((power > 0) & (shared > 0), shared / power.clamp(min=torch.finfo(power.dtype).tiny), 1.0)
        slope = scale / gain
        return _Draw(slope, cells.now - weights * slope, torch.stack(there).sum(0) if there else None, cells)


def per_weight(weights: torch.Tensor, largest: float) -> torch.Tensor:
    """Give the conductance of a unit weight (blocks, 1, columns), uS: the largest of a column takes `largest` uS."""
    most = weights.abs().amax(1, keepdim=True)
    return torch.where(most > 0, largest / most.clamp(min=torch.finfo(most.dtype).tiny), 1.0)


def least_error(values: torch.Tensor, levels: int, candidates: int = 32, narrowest: float = 0.1) -> torch.Tensor:
    """Find the range of a converter that clips and rounds values with the least mean squared error.

    Parameters
    ----------
    values
        (converters, values).
    levels
        Steps from zero to the end of the range.
    candidates, narrowest
        How many ranges are tried, and the narrowest of them over the largest value.

    Returns
    -------
    Tensor
        (converters,), 1 where all values are zero.
    """
    most = values.abs().amax(1)
    largest = torch.where(most > 0, most, 1.0)
    tried = [float(share) for share in torch.logspace(math.log10(narrowest), 0.0, candidates)]
    errors = []
    for share in tried:
        end = (largest * share)[:, None]
        read = (values / end * levels).round().clamp(-levels, levels) * (end / levels)
        errors.append((read - values).square().mean(1))
    best = torch.stack(errors).argmin(0)
    chosen = largest * torch.tensor(tried, dtype=values.dtype, device=values.device)[best]
    return torch.where(most > 0, chosen, largest)


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

    def redraw(self, age: float, noise: ChipNoise | None = None, seed: int | None = None) -> None:
        """Program all matrices anew before the next forward pass; see `NoisyProduct.redraw`."""
        for number, product in enumerate(self.products.values()):
            product.redraw(age, noise, None if seed is None else _seed(seed, number))

    def fit_ranges(self, x: torch.Tensor, vectors: int = 512) -> None:
        """Choose all ranges for what the layers are given when the network computes these inputs exactly.

        Parameters
        ----------
        x
            Inputs of the network.
        vectors
            Input vectors of each matrix that are looked at.
        """
        turns = itertools.count()
        recording = {name: Recording(vectors, self.seed, turns) for name in self.products}
        for name, sharing in self._sharing.items():
            for one in sharing:
                one.layer.products[one.own_name] = recording[name]
        training = self.network.training
        with torch.no_grad():
            self.network.eval()(x)
        self.network.train(training)
        for name, product in self.products.items():
            matrix, sample = self._sharing[name][0].values(), recording[name].sample
            if sample is not None:
                product.fit_ranges(sample.to(matrix), matrix)
        self.use()

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
