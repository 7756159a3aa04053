"""What one inference of a deployed network costs: time and energy on the chip, and the digital work beside it.

It is an estimate from the figures that the chip tells of an MVM (`ChipInfo.read_modes`), and says what it assumes.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hwloop.chip import checks
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability, ReadMode
from hwloop.nn.digital_work import DigitalWork
from hwloop.nn.on_chip import LayerTile, OnChip
from hwloop.nn.placement import PlacedMatrix
from hwloop.nn.products import Exact
from hwloop.typing import Json


@dataclass(frozen=True)
class MatrixCost:
    """What one matrix of a network costs in an inference.

    Parameters
    ----------
    name
        Of the matrix.
    vectors
        Input vectors that the network multiplies by it.
    mvms
        MVMs of single cores that this takes, with all tiles and copies.
    cores
        Cores that hold it.
    latency_seconds, energy_joules
        None where the chip does not tell what an MVM costs.
    """

    name: str
    vectors: int
    mvms: int
    cores: int
    latency_seconds: float | None
    energy_joules: float | None

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return {
            "name": self.name,
            "vectors": self.vectors,
            "mvms": self.mvms,
            "cores": self.cores,
            "latency_seconds": self.latency_seconds,
            "energy_joules": self.energy_joules,
        }


@dataclass(frozen=True)
class Cost:
    """What one inference costs.

    Parameters
    ----------
    chip
        Name of the chip.
    matrices
        Of each matrix, in the order of the mapping report.
    latency_seconds
        From the input to the output, of what the chip does; None where it does not tell what an MVM takes.
    interval_seconds
        From one input to the next when every core works on another one: the time of the busiest core.
    energy_joules
        Of what the chip does; None where it does not tell.
    digital_operations
        What is computed beside the chip, by kind.
    assumptions
        What the figures take for granted, a sentence each.
    unknown
        Why a figure is None, a sentence each.
    """

    chip: str
    matrices: tuple[MatrixCost, ...]
    latency_seconds: float | None
    interval_seconds: float | None
    energy_joules: float | None
    digital_operations: Mapping[str, int] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def mvms(self) -> int:
        """MVMs of single cores."""
        return sum(matrix.mvms for matrix in self.matrices)

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return {
            "latency_seconds": self.latency_seconds,
            "interval_seconds": self.interval_seconds,
            "energy_joules": self.energy_joules,
            "mvms": self.mvms,
            "digital_operations": dict(self.digital_operations),
            "matrices": [matrix.to_json() for matrix in self.matrices],
            "assumptions": list(self.assumptions),
            "unknown": list(self.unknown),
        }

    def __repr__(self) -> str:
        work = sum(self.digital_operations.values())
        time, energy = shown(self.latency_seconds, "s"), shown(self.energy_joules, "J")
        return f"<Cost of one inference: {time}, {energy}, {self.mvms} MVMs, {work} digital operations>"

    def __str__(self) -> str:
        width = 80
        lines = [
            f"One inference on {self.chip}: {shown(self.latency_seconds, 's')}, {shown(self.energy_joules, 'J')}",
            f"in a stream: one every {shown(self.interval_seconds, 's')}",
            "",
            f"{'matrix':<34}{'vectors':>9}{'MVMs':>9}{'cores':>6}{'latency':>10}{'energy':>10}",
        ]
        for matrix in self.matrices:
            name = matrix.name if len(matrix.name) < 34 else f"...{matrix.name[-30:]}"  # as wide as its column
            time, energy = shown(matrix.latency_seconds, "s"), shown(matrix.energy_joules, "J")
            lines.append(f"{name:<34}{matrix.vectors:>9}{matrix.mvms:>9}{matrix.cores:>6}{time:>10}{energy:>10}")
        work = ", ".join(f"{name} {count}" for name, count in self.digital_operations.items())
        lines += ["", *textwrap.wrap(f"Digital operations: {work or 'none'}", width), ""]
        for sentence in (*self.unknown, *self.assumptions):
            lines += textwrap.wrap(sentence, width, initial_indent="- ", subsequent_indent="  ")
        return "\n".join(lines)


def shown(value: float | None, unit: str) -> str:
    """Write a value in seconds or joules with three digits and a prefix: 33.3 us; 'unknown' for None."""
    if value is None:
        return "unknown"
    if value == 0:
        return f"0 {unit}"
    power = min(max(math.floor(math.log10(value) / 3), -4), 0)
    return f"{value / 1000.0**power:.3g} {('', 'm', 'u', 'n', 'p')[-power]}{unit}"


class _Counting(Exact):
    """Multiplies in float, aside of the digital work, and notes how many vectors each call has."""

    def __init__(self, work: DigitalWork) -> None:
        self._work = work
        self.calls: list[int] = []

    def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(x))
        with self._work.aside():
            return super().__call__(x, matrix)


def cost_of(
    network: nn.Module, matrices: Sequence[tuple[PlacedMatrix, OnChip]], chip: Backend, one: torch.Tensor
) -> Cost:
    """Estimate the cost of an inference.

    Nothing goes through the chip: the input is run in float, with products that count.

    Parameters
    ----------
    network
        The converted network.
    matrices
        Its matrices and what multiplies by them.
    chip
        The open chip.
    one
        A batch of one input.
    """
    calls, work = _count(network, [matrix for matrix, _ in matrices], one)
    modes = _modes(chip, {_core(tile) for _, product in matrices for tile in product.tiles})
    operations: Counter[str] = Counter()
    found, busy = [], Counter[int]()
    for (matrix, product), each in zip(matrices, calls, strict=True):
        loads = [_load(product, vectors) for vectors in each]
        total = sum(loads, Counter[int]())
        busy += total
        operations += _around(product, each)
        found.append(_matrix_cost(matrix.name, sum(each), loads, modes))
    seconds = {core: _seconds(count, modes[core]) for core, count in busy.items()}
    operations += work.operations
    return Cost(
        chip=chip.info.name,
        matrices=tuple(found),
        latency_seconds=_sum([one.latency_seconds for one in found]),
        interval_seconds=_largest(list(seconds.values())),
        energy_joules=_sum([one.energy_joules for one in found]),
        digital_operations=dict(operations.most_common()),
        assumptions=tuple(_assumptions(matrices, modes, one, work)),
        unknown=tuple(_unknown(chip, modes)),
    )


def _count(
    network: nn.Module, placed: Sequence[PlacedMatrix], one: torch.Tensor
) -> tuple[list[list[int]], DigitalWork]:
    """Run an input and give the vectors of each call of each matrix, and the digital work around them."""
    work = DigitalWork()
    counting = [_Counting(work) for _ in placed]
    users = [(user, product) for matrix, product in zip(placed, counting, strict=True) for user in matrix.sharing]
    before = [dict(user.layer.products) for user, _ in users]
    for user, product in users:
        user.layer.products[user.own_name] = product
    try:
        # Attention is taken apart, so that its products are counted.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), work:
            network(one)
    finally:
        for (user, _), products in reversed(list(zip(users, before, strict=True))):
            user.layer.products = products
    return [product.calls for product in counting], work


def vectors_of(network: nn.Module, placed: Sequence[PlacedMatrix], one: torch.Tensor) -> list[int]:
    """Count the input vectors of each matrix in an inference of a converted network; `one` is a batch of one input."""
    return [sum(calls) for calls in _count(network, placed, one)[0]]


def _core(tile: LayerTile) -> int:
    return tile.programmed.tile.place.core


def _modes(chip: Backend, cores: set[int]) -> dict[int, ReadMode | None]:
    """Find how each core does its MVMs; None where the chip does not tell what that costs."""
    info = chip.info
    if Capability.READ_MODE in info.capabilities:
        return {core: checks.read_mode(info, chip.read_mode(core)) for core in sorted(cores)}
    only = info.read_modes[0] if len(info.read_modes) == 1 else None
    return dict.fromkeys(sorted(cores), only)


def _of_replicas(product: OnChip, vectors: int) -> list[int]:
    """Tell how many vectors of a call each copy of a matrix gets."""
    copies = len(product.replicas)
    if product.use == "average":
        return [vectors] * copies
    return [len(range(copy, vectors, copies)) for copy in range(copies)]


def _load(product: OnChip, vectors: int) -> Counter[int]:
    """Count the MVMs of each core in one call."""
    load: Counter[int] = Counter()
    for tiles, own in zip(product.replicas, _of_replicas(product, vectors), strict=True):
        for tile in tiles:
            load[_core(tile)] += own
    return load


def _around(product: OnChip, calls: Sequence[int]) -> Counter[str]:
    """Count the operations between the network and the converters."""
    work: Counter[str] = Counter()
    for vectors in calls:
        sums = 0
        for tiles, own in zip(product.replicas, _of_replicas(product, vectors), strict=True):
            for tile in tiles:
                place = tile.programmed.tile.place
                work["input codes"] += own * place.rows
                work["column corrections"] += 2 * own * place.columns
                sums += own * place.columns
        work["partial sums"] += sums - vectors * product.outputs
        if product.use == "average" and len(product.replicas) > 1:
            work["means over copies"] += vectors * product.outputs
    return +work


def _matrix_cost(
    name: str, vectors: int, loads: Sequence[Counter[int]], modes: Mapping[int, ReadMode | None]
) -> MatrixCost:
    total = sum(loads, Counter[int]())
    calls = [_largest([_seconds(count, modes[core]) for core, count in load.items()]) for load in loads]
    energies = [_joules(count, modes[core]) for core, count in total.items()]
    return MatrixCost(name, vectors, total.total(), len(total), _sum(calls), _sum(energies))


def _seconds(mvms: int, mode: ReadMode | None) -> float | None:
    return None if mode is None else mvms * mode.seconds


def _joules(mvms: int, mode: ReadMode | None) -> float | None:
    return None if mode is None or mode.joules is None else mvms * mode.joules


def _sum(values: Sequence[float | None]) -> float | None:
    """Add values up; None when one is unknown."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None


def _largest(values: Sequence[float | None]) -> float | None:
    """Find the largest value, 0 of none; None when one is unknown."""
    known = [value for value in values if value is not None]
    return max(known, default=0.0) if len(known) == len(values) else None


def _unknown(chip: Backend, modes: Mapping[int, ReadMode | None]) -> list[str]:
    """Say why a figure is missing."""
    info = chip.info
    if None in modes.values():
        return [
            f"{info.name} does not tell what an MVM takes and consumes (ChipInfo.read_modes): nothing is published."
        ]
    silent = sorted({mode.name for mode in modes.values() if mode is not None and mode.joules is None})
    core = f"a core of {info.rows} x {info.columns} cells"
    return [f"{info.name} does not tell the energy of an MVM of {core} in {name} mode." for name in silent]


def _assumptions(
    matrices: Sequence[tuple[PlacedMatrix, OnChip]],
    modes: Mapping[int, ReadMode | None],
    one: torch.Tensor,
    work: DigitalWork,
) -> list[str]:
    """Say what the figures take for granted."""
    told = []
    for mode in sorted({mode for mode in modes.values() if mode is not None}, key=lambda mode: mode.name):
        energy = "" if mode.joules is None else f" and {shown(mode.joules, 'J')}"
        told.append(f"An MVM of a core in {mode.name} mode takes {shown(mode.seconds, 's')}{energy} ({mode.source}).")
    told += [
        "An MVM costs that of a whole core, however few of its cells a tile uses.",
        f"An inference is that of the first calibration input, of the shape {tuple(one.shape[1:])}.",
        "Matrices are used in sequence, each when the outputs of the one before are complete, branches too; in a "
        "stream of inputs the busiest core sets the pace.",
        "Tiles on different cores work at once, those on one core in turn; the vectors of a call follow each other "
        "without a pause.",
        "Left out: time and energy of digital work, of buffers and of data between cores, of the link to the chip, and "
        "of programming and calibration.",
        "A product of matrices counts as its multiplications and additions, any other digital operation as one for "
        "each value; copies and look-ups count as nothing.",
    ]
    uses = {product.use for _, product in matrices if len(product.replicas) > 1}
    if "average" in uses:
        told.append("Copies of a matrix whose outputs are averaged each get every vector: they save no time.")
    elif uses:
        told.append("Copies of a matrix share out the vectors of a call; a call of one vector uses one of them.")
    most = max((product.settings.bound_management for _, product in matrices), default=0)
    if most:
        told.append(f"No vector saturates; those that do are repeated up to {most} times, which is not counted.")
    if work.uncounted:
        told.append(f"The digital work within {', '.join(sorted(work.uncounted))} is not counted: it is done in one.")
    return told
