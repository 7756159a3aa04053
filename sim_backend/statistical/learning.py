"""Rehearse a way of programming on a chip that takes pulses, once for all statistical chips of a kind."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from scipy.special import ndtr, ndtri

from hwloop.chip.targets import Programmer
from hwloop.errors import ChipError
from hwloop.sim_backend.base import PulsedChip
from hwloop.sim_backend.options import SimOptions
from hwloop.sim_backend.parameters import ChipParameters
from hwloop.sim_backend.statistical.rehearsal import Outcome, Rehearsal
from hwloop.sim_backend.statistical.settings import SETTINGS
from hwloop.typing import FloatArray

PulseLevel = Callable[[ChipParameters, SimOptions], PulsedChip]
"""Makes a simulated chip that takes pulses."""


@dataclass(frozen=True)
class Plan:
    """What to rehearse.

    Parameters
    ----------
    parameters
        Of the rehearsing chip; its name and the sources of its numbers do not matter.
    width
        How wide its targets are, a power of `RehearsalSettings.width_step`.
    device
        On which torch computes.
    by
        Programs that chip.
    age
        Seconds after programming at which the targets hold.
    """

    parameters: ChipParameters
    width: int
    device: str
    by: Programmer
    age: float

    @property
    def key(self) -> Hashable:
        """What two plans with the same outcome have in common."""
        names = (item.name for item in fields(self.parameters) if item.name not in UNIMPORTANT)
        return tuple(getattr(self.parameters, name) for name in names), self.width, self.device, self.by.key, self.age


class Learnt:
    """The rehearsals of this process; the oldest one goes first."""

    def __init__(self) -> None:
        """Start with none."""
        self._known: OrderedDict[Hashable, Rehearsal] = OrderedDict()
        self._lock = threading.Lock()

    def rehearsal(self, plan: Plan, pulse_level: PulseLevel) -> Rehearsal:
        """Return the outcome of a plan, carried out if need be on a chip that `pulse_level` makes."""
        with self._lock:
            if plan.key not in self._known:
                self._known[plan.key] = rehearse(plan, pulse_level)
                if len(self._known) > SETTINGS.kept:
                    self._known.popitem(last=False)
            return self._known[plan.key]


UNIMPORTANT = ("name", "sources")
"""What two chips may differ in and be the same."""
LEARNT = Learnt()
"""What all statistical chips of this process know."""


def rehearsing(parameters: ChipParameters, rows: int) -> ChipParameters:
    """Describe the chip on which columns of so many cells are rehearsed for a chip of these parameters."""
    stuck_rate = max(parameters.stuck_rate, SETTINGS.stuck_rate) if parameters.stuck_rate > 0 else 0.0
    columns = max(SETTINGS.cells // rows, SETTINGS.fewest_columns)
    return replace(parameters, cores=1, rows=rows, columns=columns, stuck_rate=stuck_rate)


def rehearse(plan: Plan, pulse_level: PulseLevel) -> Rehearsal:
    """Program a core with targets all over the range, and look at what is there.

    Raises
    ------
    ChipError
        When it does not conduct at all in the end.
    """
    p = plan.parameters
    with pulse_level(p, SimOptions(seed=SETTINGS.seed, device=plan.device)) as chip:
        targets = p.devices_per_polarity * chip.info.g_max * spread_targets(p.rows, p.columns, plan.width)
        plan.by.program(chip, targets, plan.age)
        wanted = torch.tensor(targets, dtype=torch.float32, device=plan.device)
        outcome = Outcome(chip.devices_of(0), p, wanted, chip.now(), plan.age)
        if not float((outcome.cells(plan.age)[0] * wanted).sum()) > 0:
            raise ChipError(f"{chip.info.name}: programming left nothing of its targets in the rehearsal")
    return Rehearsal(outcome)


def spread_targets(rows: int, columns: int, width: int) -> FloatArray:
    """Return signed targets (rows, columns) all over the range from -1 to 1, most of them within a width from zero."""
    count = rows * columns
    zeros, ends = round(SETTINGS.zeros * count), max(round(SETTINGS.largest * count), 1)
    rest = count - zeros - 2 * ends
    flat = round(SETTINGS.uniform * rest) if width <= SETTINGS.widths[1] else rest
    sigma = SETTINGS.width_step**width
    edge = ndtr(1.0 / sigma)
    normal = sigma * ndtri(1.0 - edge + (2.0 * edge - 1.0) * _evenly(rest - flat))
    shares = np.concatenate([np.zeros(zeros), np.repeat([-1.0, 1.0], ends), 2.0 * _evenly(flat) - 1.0, normal])
    targets: FloatArray = np.random.default_rng(SETTINGS.seed).permutation(shares).reshape(rows, columns)
    return targets


def _evenly(count: int) -> FloatArray:
    """Return the middles of so many equal parts of the interval from 0 to 1."""
    return (np.arange(count) + 0.5) / max(count, 1)
