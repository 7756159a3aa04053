"""Refresh: re-program the cells that drift and noise have spoilt most, and only those, from MVMs alone.

A chip that has aged holds its weights at some fraction of their scale, with a spread that no gain takes away. Which
cells to pulse is decided as GDP decides it, by the expected gain in squared error against the noise of a pulse, with
what programming left on file as a start:

* the amplitude of each device's last pulse and the conductance that it led to say where the device's own programming
  curve lies: sending the same amplitude again brings the device back to where it was, to within the pulse noise;
* its age says how far it is expected to have drifted, and how much louder its read noise has become, which a pulse
  sets back too;
* Hadamard measurements of the chip as it is say what each cell really holds.

The scale at which the weights are held afterwards is free, because column gains are digital. Kept low, few cells need
a pulse; raised, all weights stand further above the noise. The one with the smallest expected error is taken.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from hwloop.calibration.drift.aged_filter import AgedConductanceFilter, RefreshSettings
from hwloop.calibration.drift.base import Compensation, ProgrammedTile, Steps, Strategy, drive, uncompensated, validity
from hwloop.calibration.drift.digital import ColumnAffine
from hwloop.calibration.probes import hadamard_block
from hwloop.calibration.programming.base import known_devices
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.errors import BadInputError

MIN_VECTORS = 256
"""Vectors of one measurement at least; short columns repeat their Hadamard design."""


class Refresh(Strategy):
    """Re-program the cells that need it, rest until the targets hold, and calibrate the columns anew.

    The tile is measured `calibrated` seconds after the last pulse, as after programming. Where pulses would lower the
    expected error by less than 5 %, nothing is pulsed, and the columns alone are calibrated.
    """

    name = "refresh"
    changes_chip = True

    def __init__(self, settings: RefreshSettings | None = None) -> None:
        """Defaults suit every chip."""
        self.settings = settings or RefreshSettings()

    def check(self, held: ProgrammedTile) -> None:
        """Refuse a chip without MVMs, of whose devices nothing is known, or a run without a record of its pulses."""
        held.region.backend.require(Capability.MVM, "the compensation 'refresh'")
        known_devices(held.region)
        if held.pulsed is None or held.pulsed.reached is None:
            raise BadInputError(
                "the compensation 'refresh' starts from the pulses of programming, and there is no record of them (the "
                "run file is of an earlier version, its method sends none, or the cells were refreshed since): program "
                "again"
            )

    def make(self, held: ProgrammedTile, sofar: Compensation) -> Compensation:
        """Pulse, rest, and fit the columns."""
        return drive(self.steps(held, sofar), held.region.backend)

    def steps(self, held: ProgrammedTile, sofar: Compensation) -> Steps:
        """As `make`, with the rests left to the caller."""
        s, region = self.settings, held.region
        before, vectors = _pulses(region), region.cost.mvms
        belief = AgedConductanceFilter(held, known_devices(region), s)
        rng = np.random.default_rng([*held.seed, 1])
        belief.measure(rng, _blocks(region))
        columns_alone = ColumnAffine().make(held, uncompensated(held))
        later = (s.max_steps - 1) * s.settle * held.calibrated
        scale = belief.best_scale(later, held.probe_error(columns_alone))
        if scale is not None:
            yield from self._correct(belief, region, scale, s.settle * held.calibrated, rng)
        spent = _pulses(region) - before
        if spent:
            held.since = held.age
            yield held.calibrated
        yield None
        made = ColumnAffine().make(held, uncompensated(held))
        held.forecast, held.base = belief.forecast(held, made), made.gain
        if spent:
            held.pulsed = None  # the record is of the pulses before
        until, because = validity(held, made.gain)
        return replace(
            made,
            name=self.name,
            holds_until=until,
            because=because,
            pulses=sofar.pulses + spent,
            mvms=sofar.mvms + region.cost.mvms - vectors,
        )

    def _correct(
        self, belief: AgedConductanceFilter, region: Region, scale: float, rest: float, rng: np.random.Generator
    ) -> Generator[float, None, None]:
        """Rounds of pulses, rests of `rest` seconds, and measurements while the chip rests."""
        s = self.settings
        for index in range(s.max_steps):
            left = s.max_steps - 1 - index
            if not belief.refresh(scale, left * rest):
                break
            for _ in range(s.measurements if left else 0):
                yield rest / s.measurements
                belief.measure(rng, _blocks(region))


def _blocks(region: Region) -> int:
    return -(-MIN_VECTORS // hadamard_block(region.place.rows))


def _pulses(region: Region) -> int:
    return int(region.pulses_spent().sum())
