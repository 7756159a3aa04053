"""Rehearse a way of programming on a chip that takes pulses, once for all statistical chips of a kind."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import fields, replace

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


class Learnt:
    """The rehearsals of this process, by parameters of the chip and way of programming; the oldest one goes first."""

    def __init__(self) -> None:
        """Start with none."""
        self._known: OrderedDict[Hashable, Rehearsal] = OrderedDict()
        self._lock = threading.Lock()

    def rehearsal(
        self, parameters: ChipParameters, device: str, pulse_level: PulseLevel, by: Programmer, age: float
    ) -> Rehearsal:
        """Return what `by` leaves at an age in seconds on the chip that parameters describe; rehearse it if need be.

        Parameters
        ----------
        parameters
            Of the rehearsing chip; its name and the sources of its numbers do not matter.
        device
            On which torch computes.
        pulse_level, by, age
            Makes that chip; programs it; and the age in seconds at which targets hold.
        """
        numbers = tuple(getattr(parameters, item.name) for item in fields(parameters) if item.name not in UNIMPORTANT)
        key = (numbers, device, by.key, age)
        with self._lock:
            if key not in self._known:
                self._known[key] = rehearse(parameters, device, pulse_level, by, age)
                if len(self._known) > SETTINGS.kept:
                    self._known.popitem(last=False)
            return self._known[key]


UNIMPORTANT = ("name", "sources")
"""What two chips may differ in and be the same."""
LEARNT = Learnt()
"""What all statistical chips of this process know."""


def rehearsing(parameters: ChipParameters, rows: int) -> ChipParameters:
    """Describe the chip on which columns of so many cells are rehearsed for a chip of these parameters."""
    height = SETTINGS.rows(rows, parameters.rows)
    stuck_rate = max(parameters.stuck_rate, SETTINGS.stuck_rate) if parameters.stuck_rate > 0 else 0.0
    columns = max(SETTINGS.cells // height, SETTINGS.fewest_columns)
    return replace(parameters, cores=1, rows=height, columns=columns, stuck_rate=stuck_rate)


def rehearse(parameters: ChipParameters, device: str, pulse_level: PulseLevel, by: Programmer, age: float) -> Rehearsal:
    """Program a core with targets all over the range, and look at what is there.

    Raises
    ------
    ChipError
        When it does not conduct at all in the end.
    """
    with pulse_level(parameters, SimOptions(seed=SETTINGS.seed, device=device)) as chip:
        largest = parameters.devices_per_polarity * chip.info.g_max
        targets = spread_targets(parameters.rows, parameters.columns, largest)
        by.program(chip, targets, age)
        devices = chip.devices_of(0)
        wanted = torch.tensor(targets, dtype=torch.float32, device=device)
        outcome = Outcome(devices, parameters, wanted, chip.now(), age)
        if not float((outcome.cells(age)[0] * wanted).sum()) > 0:
            raise ChipError(f"{chip.info.name}: programming left nothing of its targets in the rehearsal")
    return Rehearsal(outcome)


def spread_targets(rows: int, columns: int, largest: float) -> FloatArray:
    """Return signed targets (rows, columns) in uS all over the range, most of them small as weights are."""
    count = rows * columns
    zeros, ends = round(SETTINGS.zeros * count), max(round(SETTINGS.largest * count), 1)
    rest = count - zeros - 2 * ends
    flat = round(SETTINGS.uniform * rest)
    edge = ndtr(1.0 / SETTINGS.sigma)
    normal = SETTINGS.sigma * ndtri(1.0 - edge + (2.0 * edge - 1.0) * _evenly(rest - flat))
    shares = np.concatenate([np.zeros(zeros), np.repeat([-1.0, 1.0], ends), 2.0 * _evenly(flat) - 1.0, normal])
    targets: FloatArray = largest * np.random.default_rng(SETTINGS.seed).permutation(shares).reshape(rows, columns)
    return targets


def _evenly(count: int) -> FloatArray:
    """Return the middles of so many equal parts of the interval from 0 to 1."""
    return (np.arange(count) + 0.5) / max(count, 1)
