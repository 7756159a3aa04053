"""Strategies: the ways in which a compensation of drift is made.

A strategy looks at a `ProgrammedTile` and makes a `Compensation`. Strategies follow one another: `a+b` makes b on top
of a. One that sends no pulse derives from `Digital`, or from `Probing` where it measures; docs/compensations.md shows
how.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwloop.calibration.drift.compensation import Compensation
from hwloop.calibration.drift.programmed_tile import ProgrammedTile
from hwloop.calibration.settings import Settings
from hwloop.calibration.steps import Step, Work, run
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Strategy(Settings, abc.ABC):
    """A way to compensate drift; its fields are its settings."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Name by which it is chosen and recorded."""

    @property
    def changes_chip(self) -> bool:
        """Whether it pulses cells, so that nothing made before it is valid afterwards."""
        return False

    @abc.abstractmethod
    def check(self, tile: ProgrammedTile) -> None:
        """Refuse, before anything is sent, a chip that does not allow this strategy, or of which too little is known.

        Parameters
        ----------
        tile
            The tile that is to be compensated.

        Raises
        ------
        MissingCapabilityError, BadInputError
            With what is missing and the way out.
        """

    @abc.abstractmethod
    def steps(self, tile: ProgrammedTile, so_far: Compensation) -> Work[Step, Compensation]:
        """Make the compensation in steps, so that tiles can rest together and are calibrated at the same age.

        Parameters
        ----------
        tile
            The tile.
        so_far
            Compensation on top of which the new one is made; `uncompensated(tile)` for none.

        Returns
        -------
        Work
            A generator of steps whose result is the compensation to use from now on.
        """

    def make(self, tile: ProgrammedTile, so_far: Compensation) -> Compensation:
        """Make the compensation at once; parameters and result as of `steps`."""
        return run(self.steps(tile, so_far), tile.region.backend)


@dataclass(frozen=True)
class Digital(Strategy):
    """A strategy that sends no pulse and needs no rest: derive from it and write `name` and `make`."""

    growth: float = 0.10
    """A compensation is valid until drift is expected to make its error larger by this fraction."""

    def __post_init__(self) -> None:
        self._require("growth", 1e-6, 1e6)

    def check(self, tile: ProgrammedTile) -> None:
        """Allow every chip."""

    @abc.abstractmethod
    def make(self, tile: ProgrammedTile, so_far: Compensation) -> Compensation:
        """Make the compensation to use from now on, on top of `so_far`."""

    def steps(self, tile: ProgrammedTile, so_far: Compensation) -> Work[Step, Compensation]:
        """Do all in one: there is nothing to wait for."""
        yield from ()
        return self.make(tile, so_far)

    def extend(
        self,
        so_far: Compensation,
        tile: ProgrammedTile,
        gain: FloatArray | float,
        offset: FloatArray | float = 0.0,
        vectors: int = 0,
    ) -> Compensation:
        """Put a gain and an offset on top of a compensation.

        Parameters
        ----------
        so_far
            The compensation that comes first.
        tile
            The tile, for the circumstances and for how long the result is valid.
        gain
            (columns,) or one for all: a bare number.
        offset
            (columns,) or one for all, in weight units.
        vectors
            Probe inputs that were used.

        Returns
        -------
        Compensation
            Named after both.
        """
        total = so_far.gain * gain
        until, because = validity(tile, total, self.growth)
        return replace(
            so_far,
            name=self.name if so_far.name == NOTHING else f"{so_far.name}+{self.name}",
            gain=total,
            offset=so_far.offset * gain + offset,
            made=tile.circumstances(vectors),
            valid_until=until,
            because=because,
            mvms=so_far.mvms + vectors,
        )


@dataclass(frozen=True)
class Probing(Digital):
    """A digital strategy that measures probe inputs, `tile.probe(self.probes)`."""

    probes: int = 256
    """Probe vectors from which gains are measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("probes", 3, 1_000_000)

    def check(self, tile: ProgrammedTile) -> None:
        """Refuse a chip without MVMs."""
        tile.region.backend.require(Capability.MVM, f"the compensation '{self.name}'")


@dataclass(frozen=True)
class Chain(Strategy):
    """Strategies one after the other, each on top of what the earlier ones left; made by `chain`."""

    parts: tuple[Strategy, ...] = ()
    """In the order in which they are made."""

    @property
    def name(self) -> str:
        """Names of the parts, joined by plus signs."""
        return "+".join(part.name for part in self.parts)

    @property
    def changes_chip(self) -> bool:
        """Whether any part pulses cells."""
        return any(part.changes_chip for part in self.parts)

    def check(self, tile: ProgrammedTile) -> None:
        """Ask every part."""
        for part in self.parts:
            part.check(tile)

    def steps(self, tile: ProgrammedTile, so_far: Compensation) -> Work[Step, Compensation]:
        """Go through the steps of every part in turn."""
        for part in self.parts:
            so_far = yield from part.steps(tile, so_far)
        return so_far


def chain(strategies: Sequence[Strategy]) -> Chain:
    """Put strategies in a row.

    Parameters
    ----------
    strategies
        In the order in which they are made.

    Returns
    -------
    Chain

    Raises
    ------
    BadInputError
        When a later one changes the cells that an earlier one was measured on.
    """
    for earlier, later in itertools.pairwise(strategies):
        if later.changes_chip:
            raise BadInputError(
                f"compensation '{earlier.name}+{later.name}': '{later.name}' changes the cells that '{earlier.name}' "
                f"was measured on; write '{later.name}+{earlier.name}'"
            )
    return Chain(tuple(strategies))


NOTHING = "none"
"""Name of what leaves the column calibration of programming as it is."""


def uncompensated(tile: ProgrammedTile) -> Compensation:
    """Give the column calibration of programming as it is: where every strategy starts.

    Parameters
    ----------
    tile
        The tile.

    Returns
    -------
    Compensation
        Gains of one and offsets of zero; for how long they are valid is what `Uncompensated` says.
    """
    columns = tile.tile.place.columns
    return Compensation(NOTHING, np.ones(columns), np.zeros(columns), tile.circumstances())


def validity(tile: ProgrammedTile, gain: FloatArray | float, growth: float) -> tuple[float, str]:
    """Predict how long a gain chosen now is valid.

    Parameters
    ----------
    tile
        The tile.
    gain
        (columns,) or one for all, on top of the column calibration of programming.
    growth
        It is valid until drift is expected to make its error larger by this fraction.

    Returns
    -------
    tuple
        Age in seconds, infinite where nothing is known of the devices, and why.
    """
    if tile.forecast is None:
        return math.inf, "no drift model: how long it holds is not known"
    until = tile.forecast.valid_until(tile.age, gain / tile.base, growth)
    return until, f"until the drift model's mean and spread raise the expected error by {growth:.0%}"
