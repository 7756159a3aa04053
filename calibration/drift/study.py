"""Hold a programmed chip against drift: its MVM error at later ages, with each compensation beside the others.

The chip ages once, on its own clock. Digital compensations are judged on the same outputs. What changes the cells
(refresh) is tried on a copy of a simulated chip's state, which is then put back; a real chip has no copy, and is
refreshed at the last age, after all else. All ages are seconds after the end of programming.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from hwloop.calibration.certificate.use import calibration_of_run, region_of, use_calibration
from hwloop.calibration.drift.base import (
    PROBES,
    Compensation,
    ProgrammedTile,
    Pulsed,
    Steps,
    Strategy,
    far_apart,
    uncompensated,
)
from hwloop.calibration.drift.digital import ColumnAffine
from hwloop.calibration.drift.forecast import HORIZON, Forecast
from hwloop.calibration.drift.monitor import Crossing, Expected, learn_growth, predict_crossing
from hwloop.calibration.evaluation import EVALUATION_VECTORS, Outputs, overall_error
from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.randomness import Purpose
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.devices.drift import DriftModel
from hwloop.durations import format_duration
from hwloop.errors import BadInputError
from hwloop.files.runs import RunRecord, TileRecord
from hwloop.typing import FloatArray

CLOCKS_DISAGREE = 0.1
"""The chip's clock and the calendar may differ by this fraction of the age before it is worth a note."""
REACHED = 1e-9
"""An age is reached when this fraction of it is left, less than the clock of a chip that is years old may resolve."""
WAIT_STEP = 1.0
"""Seconds at a time that a clock is waited for which runs in real time, so that a wait can be stopped."""


@dataclass
class CompensationOutcome:
    """One compensation at one age: what it reached, and what it cost."""

    mvm_error: float
    tile_errors: list[float]
    age: float
    """Seconds after the end of programming at which the error was measured."""
    made: list[Compensation]
    held: list[ProgrammedTile]
    before: CompensationOutcome | None = None
    """Of what changes cells: how the columns alone did just before."""

    @property
    def pulses(self) -> int:
        """Pulses spent on all tiles."""
        return sum(made.pulses for made in self.made)

    @property
    def mvms(self) -> int:
        """Input vectors spent on all tiles, the judging ones not counted."""
        return sum(made.mvms for made in self.made)

    @property
    def holds_until(self) -> float:
        """Age until which it should hold on all tiles."""
        return min(made.holds_until for made in self.made)


class DriftStudy:
    """A programmed chip that is watched while it ages."""

    def __init__(
        self,
        run: RunRecord,
        backend: Backend,
        *,
        seed: int = 1,
        probes: int = PROBES,
        drift: DriftModel | None = None,
        calibration: str | None = None,
    ) -> None:
        """Find the chip of a run: a simulated one as it was at the end of programming, a real one as it is now.

        run      what `program` left, complete
        backend  the open chip that it was programmed on
        seed     of probes and of the inputs that judge
        probes   probe vectors of each tile
        drift    drift model that forecasts go by, such as a fitted one; None for the nominal one of the chip
        calibration  file of one to read outputs through; None for the one that the run was programmed with, if any

        Raises BadInputError for a run that cannot be held, MissingCapabilityError for a chip without MVMs.
        """
        backend.require(Capability.MVM, "holding weights against drift")
        self.backend, self.seed, self.notes = backend, seed, list[str]()
        nominal = backend.info.device_model
        self._model = (
            dataclasses.replace(nominal, drift=drift) if nominal is not None and drift is not None else nominal
        )
        if run.status != "complete":
            raise BadInputError(
                f"{run.name}: the run did not finish (status '{run.status}'), so its columns were not calibrated; "
                "program again"
            )
        known = calibration_of_run(run, calibration)
        self.calibration = known and known[0]
        self._calibration = known and known[1]
        if self._calibration is not None:
            use_calibration(self._calibration, backend)
        self._run, self.calibrated, self.mvm_error_then = run, run.age, run.mvm_error
        self.can_fork = Capability.STATE in backend.info.capabilities
        if self.can_fork:
            backend.import_state(run.chip_state())
            self.end = run.end()
        else:
            self.end = self._end_on_this_clock(run)
        self._temperature_then = run.temperature
        self._note_temperature()
        self.tiles = [record.tile for record in run.tiles]
        self.held = [self._held(k, record, probes) for k, record in enumerate(run.tiles)]

    def _held(self, number: int, record: TileRecord, probes: int) -> ProgrammedTile:
        info, tile = self.backend.info, record.tile
        if record.correction is None:
            raise BadInputError(f"{self._run.name}: tile {number} has no column calibration; program again")
        pulsed = None
        if record.pulse_age is not None and record.amplitude is not None and np.any(np.isfinite(record.amplitude)):
            pulsed = Pulsed(record.pulse_age, record.amplitude, record.reached)
        forecast = None
        region = region_of(self.backend, tile, self._calibration)
        if self._model is not None:
            devices = tile.device_targets(info, region.calibration.devices).reshape(
                -1, tile.place.rows, tile.place.columns
            )
            # Without a record of the pulses, all devices count as born at the end of programming.
            born = np.zeros(devices.shape) if pulsed is None else -np.nan_to_num(pulsed.age).reshape(devices.shape)
            forecast = Forecast(devices, born, self.calibrated, tile.scale, self._model, record.mvm_error)
        seed = (self.seed, number, Purpose.PROBE)
        return ProgrammedTile(
            region,
            tile,
            record.correction,
            self.end,
            self.calibrated,
            seed=seed,
            forecast=forecast,
            pulsed=pulsed,
            probes=probes,
            temperature=self._temperature_then,
        )

    def _end_on_this_clock(self, run: RunRecord) -> float:
        """The end of programming on the clock of a real chip, which may have begun anew when it was opened."""
        now, end = self.backend.now(), run.end()
        then = run.programmed_utc
        calendar = (datetime.now(UTC) - then).total_seconds() if then is not None else math.nan
        if now >= end:
            elapsed = now - end
            if abs(elapsed - calendar) > CLOCKS_DISAGREE * max(elapsed, calendar):
                self.notes.append(
                    f"the chip's clock says that programming ended {format_duration(elapsed)} ago, the calendar "
                    f"{format_duration(calendar)}: ages count by the chip's clock"
                )
            return end
        if not calendar >= 0:
            raise BadInputError("the run file does not say when programming ended by the calendar; program again")
        self.notes.append(
            f"the chip's clock began anew: by the calendar, programming ended {format_duration(calendar)} ago"
        )
        return now - calendar

    def _note_temperature(self) -> None:
        if Capability.TEMPERATURE not in self.backend.info.capabilities:
            return
        then, now = self._temperature_then, self.backend.temperature()
        note = (
            f"the chip is at {now:g} K and was programmed and calibrated at {then:g} K: what changed with temperature "
            "shows as drift, and 'none', 'predictive' and all forecasts know nothing of it"
        )
        if far_apart(then, now) and note not in self.notes:
            self.notes.append(note)

    # ---- what it does ----------------------------------------------------------------------------------------

    @property
    def age(self) -> float:
        """Seconds after the end of programming, now."""
        return self.backend.now() - self.end

    def check(self, ages: Sequence[float], strategies: Sequence[Strategy]) -> None:
        """Refuse, before anything is done, ages and compensations that cannot be had on this chip."""
        if not ages or not strategies:
            raise BadInputError("give at least one time and one compensation")
        names = [strategy.name for strategy in strategies]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise BadInputError(f"compensation '{twice}' is named twice; name each once")
        for earlier, later in zip([0.0, *ages], ages, strict=False):
            if not later > earlier:
                raise BadInputError(
                    f"time {format_duration(later)} does not come after "
                    f"{format_duration(earlier) if earlier else 'the end of programming, from which times count'}; "
                    "give times that increase"
                )
        if ages[-1] > HORIZON:
            raise BadInputError(f"time {format_duration(ages[-1])} is beyond {format_duration(HORIZON)}")
        if ages[0] < self.age:
            raise BadInputError(
                f"time {format_duration(ages[0])} has passed: the chip is {format_duration(self.age)} past the end of "
                "programming"
                + (", where this run file, of an earlier version, keeps it" if self.can_fork else "")
                + "; give later times"
            )
        if not self.can_fork and sum(strategy.changes_chip for strategy in strategies) > 1:
            raise BadInputError(
                f"{self.backend.info.name} cannot be put back to an earlier state: name one compensation that changes "
                "its cells, not several"
            )
        for strategy in strategies:
            for held in self.held:
                strategy.check(held)

    def wait_until(self, age: float, stop: Callable[[], None] = lambda: None) -> None:
        """Let the chip reach an age; `stop` is called now and then while a real clock is waited for."""
        while (left := age - self.age) > REACHED * age:
            step, began = min(left, WAIT_STEP), time.monotonic()
            self.backend.wait(step)
            if time.monotonic() - began < step / 2:  # a virtual clock goes the rest of the way at once
                self.backend.wait(max(age - self.age, 0.0))
                return
            stop()

    def evaluate(
        self, strategies: Sequence[Strategy], stop: Callable[[], None] = lambda: None
    ) -> dict[str, CompensationOutcome]:
        """Make these compensations now and measure the MVM error with each.

        Digital ones on the same outputs; each that changes cells on a copy of the chip, or last of all on a real one.
        """
        self._note_temperature()
        digital = [strategy for strategy in strategies if not strategy.changes_chip]
        made: dict[str, list[Compensation]] = {}
        for held in self.held:  # tile by tile, so that all strategies see the same probes
            for strategy in digital:
                made.setdefault(strategy.name, []).append(strategy.make(held, uncompensated(held)))
        results = self._measure(made)
        for strategy in (strategy for strategy in strategies if strategy.changes_chip):
            stop()
            results[strategy.name] = self._try_out(strategy, stop)
        return results

    def _try_out(self, strategy: Strategy, stop: Callable[[], None]) -> CompensationOutcome:
        before = self.backend.export_state() if self.can_fork else None
        copies = [dataclasses.replace(held, _probed=None) for held in self.held]
        columns = ColumnAffine()
        try:
            unchanged = {columns.name: [columns.make(held, uncompensated(held)) for held in copies]}
            (columns_alone,) = self._measure(unchanged).values()
            made = _together([strategy.steps(held, uncompensated(held)) for held in copies], self.backend, stop)
            (judged,) = self._measure({strategy.name: made}).values()
            judged.held, judged.before = copies, columns_alone
        finally:
            if before is not None:
                self.backend.import_state(before)
        return judged

    def _measure(self, made: Mapping[str, list[Compensation]]) -> dict[str, CompensationOutcome]:
        """MVM errors over all tiles with each set of compensations, on fresh inputs, the same for all of a set."""
        if not made:
            return {}
        age = self.age
        parts: dict[str, list[Outputs]] = {name: [] for name in made}
        top = self.backend.info.input_max
        for number, held in enumerate(self.held):
            rng = np.random.default_rng([self.seed, number, Purpose.JUDGE, int(age)])
            x = uniform_inputs(rng, EVALUATION_VECTORS, held.tile.place.rows, top)
            outputs, reference = held.outputs(x), (x / top) @ held.tile.weights
            for name, tiles in made.items():
                parts[name].append(Outputs(tiles[number].apply(outputs), reference))
        return {
            name: CompensationOutcome(
                overall_error(list(zip(self.tiles, outputs, strict=True))),
                [part.mvm_error for part in outputs],
                age,
                made[name],
                self.held,
            )
            for name, outputs in parts.items()
        }

    def crossing(self, limit: float, strategy: Strategy, judged: Sequence[CompensationOutcome]) -> Crossing | None:
        """When this compensation, made anew whenever needed, will no longer keep the error within a limit.

        From what was measured so far, the run's own measurement included, and the drift model. After a refresh the
        devices are young again: its crossing counts from its own last measurement, and what was measured before each
        refresh tells how far to believe the model. None where too little is known.
        """
        if strategy.changes_chip and judged:
            return self._crossing_after_refresh(limit, judged)
        ages, errors = self._course(judged)
        expected = self._expected(self.held, 1.0 if strategy.name == "none" else None)
        if expected is None and len(ages) < 2:
            return None
        return predict_crossing(limit, ages, errors, self.calibrated, expected)

    def _crossing_after_refresh(self, limit: float, judged: Sequence[CompensationOutcome]) -> Crossing | None:
        last = judged[-1]
        foretold, expected = self._expected(self.held), self._expected(last.held)
        if foretold is None or expected is None:
            return None
        growth = learn_growth(*self._course([one.before for one in judged if one.before]), self.calibrated, foretold)
        since = max(held.since for held in last.held)
        return predict_crossing(
            limit, [last.age], [last.mvm_error], last.age, expected, since=since, growth=growth.after_refresh()
        )

    def _course(self, judged: Sequence[CompensationOutcome]) -> tuple[list[float], list[float]]:
        """Ages and MVM errors since programming."""
        later = [one for one in judged if one.age > self.calibrated]
        return (
            [self.calibrated, *(one.age for one in later)],
            [self.mvm_error_then, *(one.mvm_error for one in later)],
        )

    def _expected(self, held: Sequence[ProgrammedTile], gain: float | None = None) -> Expected | None:
        """MVM error over all tiles that the drift model foretells at an age; None where there is no model."""
        forecasts = [one.forecast for one in held if one.forecast is not None]
        if len(forecasts) < len(held):
            return None
        shares = self._shares()

        def expected(age: float) -> float:
            squares = [forecast.mvm_error(age, gain) ** 2 for forecast in forecasts]
            return float(np.sqrt(np.nansum(shares * np.array(squares))))

        return expected

    def _shares(self) -> FloatArray:
        """How much each tile's squared error counts in that of the whole: by its outputs, and by its part of them."""
        power = np.array([float((tile.weights**2).sum()) for tile in self.tiles])
        groups = [(tile.tensor, tile.first_output) for tile in self.tiles]
        whole = np.array([sum(p for p, g in zip(power, groups, strict=True) if g == own) for own in groups])
        columns = np.array([tile.place.columns for tile in self.tiles]) * power / np.where(whole > 0, whole, 1.0)
        return np.asarray(columns / max(float(columns.sum()), 1e-300))


def _together(steps: Sequence[Steps], backend: Backend, stop: Callable[[], None]) -> list[Compensation]:
    """Drive the steps of all tiles in lockstep, so that they rest at the same time and wait for each other."""
    made: dict[int, Compensation] = {}
    active, ready = list(range(len(steps))), list[int]()
    while active:
        rest, waiting = 0.0, list[int]()
        for number in active:
            try:
                seconds = next(steps[number])
            except StopIteration as done:
                made[number] = done.value
                continue
            if seconds is None:
                waiting.append(number)
            rest = max(rest, seconds or 0.0)
        active = [number for number in active if number not in made and number not in waiting]
        ready += waiting
        if not active:
            active, ready = ready, []
        backend.wait(rest)
        stop()
    return [made[number] for number in range(len(steps))]
