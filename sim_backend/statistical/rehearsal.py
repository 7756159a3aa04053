"""What a way of programming leaves, learnt from a core whose every pulse was simulated.

A core of the same parameters is programmed with targets all over the range. Later, a cell of a statistical chip becomes
a copy of one of its cells with nearly the same target, chosen at random: with that cell's error, its devices' drift and
read noise, its stuck device. So whatever belongs together stays together: error and drift coefficient, the device that
trimmed and its noise, bias and tails. What little the two targets differ by is added at the gain that all cells have.

The copy is exact in distribution as far as a finite sample is: moments of the error over all cells are known as well as
on one core, to 0.6 % in its variance for 65 536 cells.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import torch

from hwloop.sim_backend.base import PulsedChip
from hwloop.sim_backend.devices.pcm import DeviceArray, relaxation_rate
from hwloop.sim_backend.parameters import ChipParameters
from hwloop.sim_backend.statistical.settings import SETTINGS


@dataclass(frozen=True)
class Outcome:
    """What a rehearsal left: devices, and how long they have been left alone.

    Parameters
    ----------
    devices
        Of the rehearsing core.
    parameters
        Of the rehearsing chip.
    targets
        (rows, columns) uS, what was wanted.
    ended
        Seconds on its clock at the end of programming.
    age
        Seconds after that at which the targets hold.
    """

    devices: DeviceArray
    parameters: ChipParameters
    targets: torch.Tensor
    ended: float
    age: float

    def cells(self, since: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return signed conductances and noise amplitudes (rows, columns) in uS, `since` seconds after the end.

        The conductances have what is to be expected of the slow read noise: programming has seen it, and corrected it
        as if it were an error. So it belongs to the cell that was programmed; what comes later is drawn.
        """
        every, shape = torch.arange(self.devices.g.numel(), device=self.devices.g.device), self.parameters.device_shape
        now = self.ended + since
        conductance = self.devices.drifted_subset(every, now * relaxation_rate(self.parameters))
        noise = conductance * self.devices.q
        if self.parameters.read_noise > 0:
            conductance = torch.addcmul(conductance, noise, self.devices.expected_noise(now))
        positive, negative = conductance.view(shape).sum(1)
        return positive - negative, noise.view(shape).square().sum((0, 1)).sqrt()

    @property
    def stuck(self) -> torch.Tensor:
        """(rows, columns) whether one of the cell's devices is stuck."""
        return self.devices.stuck.view(self.parameters.device_shape).any(1).any(0)

    def column_gains(self) -> torch.Tensor:
        """Return the gain (columns,) of each column, shrunk towards their mean by what the cells' errors make of it."""
        sound = ~self.stuck
        conductance, _ = self.cells(self.age)
        smallest = torch.finfo(conductance.dtype).tiny
        squares = (self.targets.square() * sound).sum(0).clamp_(min=smallest)
        gains = (conductance * self.targets * sound).sum(0) / squares
        mean = (gains * squares).sum() / squares.sum()
        left = ((conductance - gains * self.targets) * sound).square().sum(0) / (sound.sum(0) - 1).clamp_(min=1)
        by_chance, seen = (left / squares).mean(), (gains - mean).square().mean()
        return mean + (1.0 - by_chance / seen.clamp(min=smallest)).clamp(0.0, 1.0) * (gains - mean)


@dataclass(frozen=True)
class Moment:
    """The cells of a rehearsal at one age, each (n,) in the order of their targets, less the gains of their columns.

    A cell of a chip with the target T conducts `slope` T plus the residual of the cell that it copies.
    """

    since: float
    """Seconds after the end of programming."""
    slope: float
    residual: torch.Tensor
    """uS."""
    noise: torch.Tensor
    """Read noise per unit of flicker, uS."""


class Rehearsal:
    """A programmed core, and how cells of a chip are chosen from it."""

    def __init__(self, outcome: Outcome) -> None:
        """Sort its cells by their targets, those with a stuck device behind all others."""
        p = outcome.parameters
        self.outcome = outcome
        self.gains = outcome.column_gains()
        wanted, stuck = outcome.targets.reshape(-1), outcome.stuck.reshape(-1)
        self.largest = p.devices_per_polarity * p.device.drift.g_scale
        """Largest target of a cell, uS."""
        self._order = torch.argsort(wanted + stuck * (4.0 * self.largest))
        self._targets = wanted[self._order]
        self.healthy = int((~stuck).sum())
        """Cells without a stuck device."""
        grid = torch.linspace(-self.largest, self.largest, SETTINGS.grid + 1, device=wanted.device)
        first = _middle(self._targets[: self.healthy], grid) - SETTINGS.window // 2
        self._first = first.clamp_(0, max(self.healthy - SETTINGS.window, 0)).to(torch.int32)
        self._moments: OrderedDict[float, Moment] = OrderedDict()
        self._lock = threading.Lock()

    def choose(self, targets: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Choose a cell without stuck devices for each target (n,) in uS, single precision: (n,) positions, int32."""
        count = targets.numel()
        step = targets.mul(SETTINGS.grid / (2.0 * self.largest)).add_(SETTINGS.grid / 2.0 + 0.5)
        chosen = self._first.index_select(0, step.to(torch.int32).clamp_(0, SETTINGS.grid))
        words = torch.empty((count + 7) // 8, dtype=torch.int64, device=generator.device)
        random = words.random_(torch.iinfo(words.dtype).min, None, generator=generator).view(torch.uint8)[:count]
        if self.healthy < SETTINGS.window:
            return chosen.add_(random.to(torch.int32) % max(self.healthy, 1))
        return chosen.add_(random)

    def choose_stuck(self, targets: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """Choose a cell with a stuck device for each target (n,) in uS by a number `which` (n,) from 0 to 1."""
        stuck = self._targets[self.healthy :].contiguous()
        window = min(SETTINGS.stuck_window, stuck.numel())
        first = (_middle(stuck, targets) - window // 2).clamp_(0, stuck.numel() - window)
        return (self.healthy + first + (which * window).long().clamp_(max=window - 1)).to(torch.int32)

    def at(self, since: float) -> Moment:
        """Return the cells `since` seconds after the end of programming, or so little later that nothing changed."""
        with self._lock:
            for then, moment in self._moments.items():
                if abs(since - then) <= max(SETTINGS.unchanged * then, SETTINGS.at_once):
                    return moment
            moment = self._compute(since)
            self._moments[since] = moment
            if len(self._moments) > SETTINGS.moments:
                self._moments.popitem(last=False)
            return moment

    def _compute(self, since: float) -> Moment:
        gains = self.gains[self._order % self.outcome.parameters.columns]
        conductance, noise = (part.reshape(-1)[self._order] / gains for part in self.outcome.cells(since))
        healthy, wanted = conductance[: self.healthy], self._targets[: self.healthy]
        slope = float((healthy @ wanted) / (wanted @ wanted))
        return Moment(since, slope, conductance.sub_(self._targets, alpha=slope), noise)

    # ---- saving ----------------------------------------------------------------------------------------------

    def export(self) -> dict[str, torch.Tensor]:
        """Return what `restored` needs, by name."""
        outcome = self.outcome
        times = torch.tensor([outcome.ended, outcome.age], dtype=torch.float64)
        return outcome.devices.export() | {"targets": outcome.targets, "times": times}

    @classmethod
    def restored(cls, chip: PulsedChip, parameters: ChipParameters, state: dict[str, torch.Tensor]) -> Rehearsal:
        """Make it again of what `export` gave, on a fresh rehearsing chip.

        Raises KeyError or ValueError for what it did not give.
        """
        devices = chip.devices_of(0)
        devices.restore(state)
        ended, age = state["times"].tolist()
        targets = state["targets"].to(devices.g)
        if targets.shape != (parameters.rows, parameters.columns):
            raise ValueError(f"targets of a rehearsal have the shape {tuple(targets.shape)}")
        return cls(Outcome(devices, parameters, targets, ended, age))


def _middle(ascending: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return where values would be inserted, in the middle of equal ones."""
    return (torch.searchsorted(ascending, values) + torch.searchsorted(ascending, values, right=True)) // 2
