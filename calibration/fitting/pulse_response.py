"""Steps of devices as piecewise linear functions of their conductance, from ramps of pulses up and down.

What a device moves between two reads is regressed on where it was. Where it was is told by the reads before, not by the
one that the move begins with, whose noise is in the move too: so the regression is not drawn towards zero. Since those
reads are older, they are moved on by what the fit itself says of the way since, which is repeated until it agrees.
Intervals are those of devices as wholes: each device has a step of its own, which all its moves share. What successive
moves have in common, with the opposite sign, is the noise of reads and of what a pulse leaves to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from scipy import stats

from hwloop.calibration.fitting.base import SHARED, Description, Family
from hwloop.calibration.fitting.checks import check_reads, rows_of
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.layout import Block, Coefficient, Layout
from hwloop.calibration.fitting.likelihood import LogLikelihood, Optimum, tensor
from hwloop.calibration.fitting.screening import STUCK, Screening
from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class PulseResponseSettings(Settings):
    """What the fit of a pulse response takes for granted."""

    nodes: int = 13
    """Conductances, evenly spaced over the measured range, at which steps are stated."""
    before: int = 3
    """Reads before a move whose mean tells where the device was."""
    rounds: int = 4
    """Times that these are moved on by the fit."""
    arrived: float = 0.15
    """Share of the range, at most, by which a move before a device's end of the ramp is left out: it may have met a
    bound on its way."""
    still: float = 0.02
    """A device is stuck when its conductance ranges over less than this share of what the median device does."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("nodes", 2, 100)
        self._require("before", 1, 1000)
        self._require("rounds", 1, 100)
        self._require("arrived", 0, 0.4)
        self._require("still", 0, 1)


@dataclass(frozen=True)
class StepTable:
    """Moves of devices (cells, moves), and where each device was in the middle of them."""

    pulses: int
    """Pulses of a move."""
    ages: tuple[float, float]
    """Smallest and largest age of a read, seconds."""
    nodes: FloatArray = field(metadata=SHARED)
    """(nodes,) uS, rising."""
    up: BoolArray = field(metadata=SHARED)
    """(moves,) whether its pulses are ones up."""
    position: FloatArray
    """uS"""
    move: FloatArray
    """uS for a pulse, positive in the direction of the pulses."""
    used: FloatArray
    """1 for moves that count, else 0."""
    lowest: FloatArray
    """(cells,) uS: below, a device has come to its end of the ramps down."""
    highest: FloatArray
    """(cells,) uS: above, one has come to its end of those up."""
    smooth: ClassVar[float] = 1e-9
    """Weight of a bend between nodes, over that of all moves: enough to continue a line where there are none."""


class PulseResponse(Family[StepTable]):
    """Piecewise linear mean steps up and down, with the spread of devices, the noise of steps and that of reads."""

    name: ClassVar[str] = "piecewise"
    experiment: ClassVar[Experiment] = Experiment.PULSE_RESPONSE
    summary: ClassVar[str] = "steps up and down as piecewise linear functions of the conductance"
    cells_per_parameter: ClassVar[int] = 2

    def __init__(self, settings: PulseResponseSettings | None = None) -> None:
        """Use the settings, or the defaults."""
        self.settings = settings or PulseResponseSettings()

    def prepare(self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN) -> tuple[StepTable, Screening]:
        """Return the moves of devices that answer to their pulses. Raises BadInputError without any."""
        check_reads(measurement)
        screening, rows = Screening.of(measurement), rows_of(measurement)
        pulses, ramp = _ramps(measurement, rows.conductance.shape[1])
        screening.drop(~np.asarray(rows.there.all(1), bool), "reads are missing")
        reads = rows.conductance
        ranges = np.ptp(reads, axis=1)
        typical = float(np.median(ranges[screening.kept])) if screening.kept.any() else 0.0
        screening.drop(ranges < self.settings.still * typical, STUCK)
        if not screening.kept.any() or typical == 0:
            raise BadInputError(f"pulse-response: no device answers to its pulses ({screening.why()})")
        reads, h = reads[screening.kept], self.settings.before
        at = np.arange(reads.shape[1] - 1)
        at = at[at % ramp >= h]
        if not at.size:
            raise BadInputError(f"pulse-response: ramps of {ramp} reads are too short for the {h} before each move")
        up = (at // ramp) % 2 == 0
        sign = np.where(up, 1.0, -1.0)
        before = np.mean([reads[:, at - k] for k in range(1, h + 1)], axis=0)
        move = sign * (reads[:, at + 1] - reads[:, at]) / pulses
        ends = _ends(reads, ramp, h)
        low, high = np.median(ends, axis=1)
        if not low < high:
            raise BadInputError("pulse-response: conductances do not rise with pulses up; are the ramps the other way?")
        table = StepTable(
            pulses,
            (float(rows.time.min()), float(rows.time.max())),
            np.linspace(low, high, self.settings.nodes),
            up,
            before,
            move,
            np.ones_like(move),
            *(ends + np.array([[1.0], [-1.0]]) * self._arrived(reads, move * pulses, high - low)),
        )
        for _ in range(self.settings.rounds):
            theta, _, _ = _steps(_within(table))
            way = np.where(up, _interpolated(table, theta[0]), _interpolated(table, theta[1]))
            table = replace(table, position=before + sign * (h + 2) / 2 * pulses * way)
        return _within(table), screening

    def _arrived(self, reads: FloatArray, moves: FloatArray, width: float) -> float:
        """Return how close (uS) to its end a device may have met a bound: a move and a half, and the noise of reads."""
        noise = float(np.std(reads[:, 2:] - 2 * reads[:, 1:-1] + reads[:, :-2])) / np.sqrt(6)
        return float(min(1.5 * np.median(np.abs(moves)) + 2 * noise, self.settings.arrived * width))

    def layout(self, table: StepTable) -> Layout:
        """Return the steps at all nodes, up and then down, and three numbers of their noise."""
        blocks = [
            Block(
                name,
                tuple(
                    Coefficient(f"{name}.{k}", "uS", f"mean step {name} at {at:.4g} uS")
                    for k, at in enumerate(table.nodes)
                ),
            )
            for name in ("up", "down")
        ]
        noise = (
            Coefficient("step_noise", "uS", "standard deviation of single steps of a device", log=True),
            Coefficient("seen_noise", "uS", "standard deviation of reads about what steps act on", log=True),
            Coefficient("step_spread", "1", "device-to-device standard deviation of steps, relative", log=True),
        )
        return Layout((*blocks, *(Block(one.name, (one,)) for one in noise)))

    def estimate(self, table: StepTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Return steps by least squares, noise by moments, and the covariance between devices."""
        steps, covariance, gains = _steps(table)
        noise, errors = _noise(table, steps, gains)
        theta = np.concatenate([steps.ravel(), np.log(noise)])
        size = len(theta)
        whole = np.zeros((size, size))
        whole[: size - 3, : size - 3] = covariance
        whole[range(size - 3, size), range(size - 3, size)] = (errors / noise) ** 2
        each = self.likelihood(table)(tensor(theta))
        held = {}
        if noise[2] < 2 * errors[2]:
            held["step_spread"] = (
                "devices step alike, or noise hides how they differ; more cycles, or averages of reads, would tell"
            )
        return Optimum(theta, whole, float(each.sum()), True), held

    def likelihood(self, table: StepTable) -> LogLikelihood:
        """Return the normal log-likelihood of every device's moves, taken as independent."""
        index, share = (tensor(part.astype(np.float64)) for part in _between(table))
        at, used, move = index.long(), tensor(table.used), tensor(table.move)
        up, count = torch.from_numpy(table.up), len(table.nodes)

        def each(theta: torch.Tensor) -> torch.Tensor:
            steps = theta[: 2 * count].view(2, count)
            rising, falling = ((1 - share) * one[at] + share * one[at + 1] for one in steps)
            away = move - torch.where(up, rising, falling)
            variance = _variance(table, torch.exp(theta[2 * count]), torch.exp(theta[2 * count + 1]))
            return (used * (-0.5 * away**2 / variance - 0.5 * torch.log(2 * np.pi * variance))).sum(1)

        return each

    def quantiles(self, table: StepTable, theta: FloatArray) -> FloatArray:
        """Return the predicted quantile of every move."""
        steps = theta[: 2 * len(table.nodes)].reshape(2, -1)
        mean = np.where(table.up, _interpolated(table, steps[0]), _interpolated(table, steps[1]))
        noise = np.exp(theta[-3:])
        sigma = np.sqrt(_variance(table, noise[0], noise[1]) + (noise[2] * mean) ** 2)
        found: FloatArray = stats.norm.cdf((table.move - mean) / sigma)[table.used > 0]
        return found

    def describe(self, table: StepTable) -> Description:
        """Return the range of the nodes, and how many there are."""
        low, high = float(table.nodes[0]), float(table.nodes[-1])
        return Description((low, high), table.ages, {"nodes": float(len(table.nodes)), "low": low, "high": high})


def _ramps(measurement: Measurement, reads: int) -> tuple[int, int]:
    """Return the pulses between two reads, and the reads of a ramp. Raises BadInputError where they are not told."""
    told = [measurement.attributes.get(name) for name in ("read_every", "pulses", "cycles")]
    every, pulses, cycles = (int(one) if isinstance(one, int | float) and one >= 1 else 0 for one in told)
    ramp = pulses // every if every else 0
    if not ramp or reads != 1 + 2 * cycles * ramp:
        raise BadInputError(
            "pulse-response: the measurement does not tell which pulses lie between its reads (attributes read_every, "
            "pulses and cycles); measure with hwloop measure pulse-response"
        )
    return every, ramp


def _ends(reads: FloatArray, ramp: int, last: int) -> FloatArray:
    """Return where each device comes to at the end of the ramps down and of those up, (2, cells) uS."""
    turns = np.arange(0, reads.shape[1], ramp)
    near = [reads[:, max(int(at) - last + 1, 0) : int(at) + 1].mean(1) for at in turns]
    return np.stack([np.mean(near[2::2], axis=0), np.mean(near[1::2], axis=0)])


def _within(table: StepTable) -> StepTable:
    """Leave out moves beyond the outermost nodes, and those of devices at their end of a ramp, maybe a bound."""
    inside = (table.position >= table.nodes[0]) & (table.position <= table.nodes[-1])
    coming = np.where(table.up, table.position < table.highest[:, None], table.position > table.lowest[:, None])
    inside &= coming
    return replace(table, used=inside.astype(np.float64))


def _between(table: StepTable) -> tuple[IndexArray, FloatArray]:
    """Return the node below each position, and the share of the way to the next one."""
    scaled = (table.position - table.nodes[0]) / (table.nodes[1] - table.nodes[0])
    scaled = np.clip(scaled, 0.0, len(table.nodes) - 1.0)
    index = np.minimum(scaled.astype(np.int64), len(table.nodes) - 2)
    return index, scaled - index


def _interpolated(table: StepTable, steps: FloatArray) -> FloatArray:
    index, share = _between(table)
    found: FloatArray = (1 - share) * steps[index] + share * steps[index + 1]
    return found


def _steps(table: StepTable) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return steps (2, nodes) up and down by least squares, their covariance, and each device's step over the mean.

    A node that devices hardly come by has what continues the others in a straight line, and an infinite variance.
    """
    count, cells = len(table.nodes), len(table.move)
    index, share = _between(table)
    steps = np.zeros((2, count))
    scores, unseen = np.zeros((cells, 2, count)), np.zeros((2, count), bool)
    for side, mask in enumerate((table.up, ~table.up)):
        used = table.used[:, mask]
        at, part = index[:, mask], share[:, mask]
        if not used.any() or np.ptp((at + part)[used > 0]) < 1e-6:  # no line through one point
            raise BadInputError(
                f"pulse-response: moves {('up', 'down')[side]} tell no steps: devices are at their ends after a few "
                "reads, and what they move there is a bound's; measure with fewer --pulses, or a smaller --read-every"
            )
        tents = np.zeros((*used.shape, count))
        np.put_along_axis(tents, at[..., None], ((1 - part) * used)[..., None], 2)
        np.put_along_axis(tents, at[..., None] + 1, (part * used)[..., None], 2)
        normal = np.einsum("cmi,cmj->ij", tents, tents, optimize=True)
        bends = np.diff(np.eye(count), 2, axis=0)
        inverse = np.linalg.inv(normal + table.smooth * np.trace(normal) * bends.T @ bends)
        steps[side] = inverse @ np.einsum("cmi,cm->i", tents, table.move[:, mask])
        away = used * (table.move[:, mask] - tents @ steps[side])
        scores[:, side] = np.einsum("cmi,cm->ci", tents, away) @ inverse
        unseen[side] = tents.sum((0, 1)) < cells
    flat = scores.reshape(cells, -1)
    covariance = flat.T @ flat * cells / max(cells - 1, 1)
    covariance[unseen.ravel(), unseen.ravel()] = np.inf
    mean = np.where(table.up, _interpolated(table, steps[0]), _interpolated(table, steps[1])) * table.used
    gains: FloatArray = (mean * table.move).sum(1) / np.maximum((mean**2).sum(1), 1e-300)
    return steps, covariance, gains


def _noise(table: StepTable, steps: FloatArray, gains: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the noise of steps and of reads (uS) and the relative spread of devices, and their standard errors."""
    mean = np.where(table.up, _interpolated(table, steps[0]), _interpolated(table, steps[1]))
    away = (table.move - gains[:, None] * mean) * table.used * table.pulses
    both = table.used[:, 1:] * table.used[:, :-1] * (table.up[1:] == table.up[:-1])
    of_cell = (away**2).sum(1) / np.maximum(table.used.sum(1), 1)
    near = (away[:, 1:] * away[:, :-1] * both).sum(1) / np.maximum(both.sum(1), 1)
    cells, least = len(away), 1e-12
    values = np.array([np.mean(of_cell + 2 * near) / table.pulses, np.mean(-near)])
    errors = np.array([np.std(of_cell + 2 * near) / table.pulses, np.std(near)]) / np.sqrt(cells)
    noise = np.sqrt(np.maximum(values, least))
    # Successive moves share a read with opposite signs: most of its noise is gone from a device's mean step.
    squares = np.maximum((mean**2 * table.used).sum(1), least)
    pairs = (mean[:, 1:] * mean[:, :-1] * both).sum(1)
    own = (of_cell * squares + 2 * near * pairs) / (squares * table.pulses) ** 2
    weight = squares / squares.sum()  # devices that hardly moved tell little of their steps
    away_of_cell = (gains - weight @ gains) ** 2 - own
    spread = np.sqrt(max(float(weight @ away_of_cell), least))
    error = float(np.sqrt(weight**2 @ (away_of_cell - weight @ away_of_cell) ** 2)) / (2 * max(spread, 1e-3))
    return np.array([*noise, spread]), np.array([*(errors / (2 * noise)), error])


def _variance(table: StepTable, step_noise: torch.Tensor, seen_noise: torch.Tensor) -> torch.Tensor:
    """Return the variance of a move for a pulse, uS^2."""
    return step_noise**2 / table.pulses + 2 * seen_noise**2 / table.pulses**2
