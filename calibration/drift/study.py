"""A drift study: the MVM error of a programmed chip at later ages, with each compensation beside the others.

The chip ages once, on its own clock. Digital compensations are evaluated on the same outputs. What changes the cells
(refresh) is tried on a copy of a simulated chip's state, which is then put back; a real chip has no copy, and is
refreshed at the last age, after all else. All ages are seconds after the end of programming.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.drift.aged_run import AgedRun, end_on_this_clock
from hwloop.calibration.drift.compensation import Compensation, far_apart
from hwloop.calibration.drift.digital import ColumnAffine
from hwloop.calibration.drift.forecast import HORIZON
from hwloop.calibration.drift.monitor import Crossing, Monitor
from hwloop.calibration.drift.outcome import CompensationOutcome
from hwloop.calibration.drift.outlook import Outlook
from hwloop.calibration.drift.strategy import Strategy, uncompensated
from hwloop.calibration.evaluation import STANDARD, Outputs, overall_error
from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.randomness import Purpose
from hwloop.calibration.steps import never, rest, run_together
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.devices.drift import DriftModel
from hwloop.devices.model import DeviceModel
from hwloop.durations import format_duration
from hwloop.errors import BadInputError
from hwloop.files.runs import RunRecord


class DriftStudy:
    """A programmed chip that is watched while it ages."""

    def __init__(
        self,
        run: RunRecord,
        backend: Backend,
        *,
        seed: int = 1,
        probes: int = ColumnAffine.probes,
        drift: DriftModel | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Find the chip of a run: a simulated one as it was at the end of programming, a real one as it is now.

        Parameters
        ----------
        run
            What `program` left, complete.
        backend
            The open chip that it was programmed on.
        seed
            Seed of probes and of the inputs on which compensations are evaluated.
        probes
            Probe vectors of each tile for the column calibration that is made just before a refresh.
        drift
            Drift model that forecasts go by, such as a fitted one; None for the nominal one of the chip.
        calibration
            Through which outputs are read, the one that the run was programmed with, checked with `use_calibration`.

        Raises
        ------
        BadInputError
            For a run that cannot be studied.
        MissingCapabilityError
            For a chip without MVMs.
        """
        backend.require(Capability.MVM, "a drift study")
        if run.status != "complete":
            raise BadInputError(
                f"{run.name}: the run did not finish (status '{run.status}'), so its columns were not calibrated; "
                "program again"
            )
        self.backend, self.seed, self.notes = backend, seed, list[str]()
        self.target_age, self.mvm_error_in_run, self._temperature_then = run.age, run.mvm_error, run.temperature
        self.can_fork = Capability.STATE in backend.info.capabilities
        self.end = self._find(run)
        if calibration is not None:
            calibration.write_trims(backend)
        self._note_temperature()
        aged = AgedRun(run, self.end, _model(backend, drift), calibration, seed)
        self.tiles = aged.tiles(backend)
        self._columns = ColumnAffine(probes=probes)
        self.accuracy: Callable[[Strategy], tuple[tuple[float, float, float], int]] | None = None
        """Measures the accuracy of the network on the chip with a strategy, with its interval, and the input vectors
        that its digital part was adapted with; None: no network."""

    def __repr__(self) -> str:
        chip = self.backend.info.name
        return f"<DriftStudy of {len(self.tiles)} tiles on {chip}, {format_duration(self.age)} after programming>"

    def _find(self, run: RunRecord) -> float:
        """Bring a simulated chip to the end of programming; return that moment on the chip's clock."""
        if self.can_fork:
            self.backend.import_state(run.chip_state())
            return run.end()
        end, notes = end_on_this_clock(run, self.backend)
        self.notes += notes
        return end

    def _note_temperature(self) -> None:
        if Capability.TEMPERATURE not in self.backend.info.capabilities:
            return
        then, now = self._temperature_then, self.backend.temperature()
        if not far_apart(then, now):
            return
        note = (
            f"the chip is at {now:g} K and was programmed and calibrated at {then:g} K: what changed with temperature "
            "shows as drift, and 'none', 'predictive' and all forecasts know nothing of it"
        )
        if note not in self.notes:
            self.notes.append(note)

    # ---- what it does ----------------------------------------------------------------------------------------

    @property
    def age(self) -> float:
        """Seconds after the end of programming, now."""
        return self.backend.now() - self.end

    def check(self, ages: Sequence[float], strategies: Sequence[Strategy]) -> None:
        """Refuse, before anything is done, ages and compensations that cannot be had on this chip.

        Parameters
        ----------
        ages
            Seconds after the end of programming, rising.
        strategies
            What is to be evaluated at each.

        Raises
        ------
        BadInputError, MissingCapabilityError
            With what cannot be had, and the way out.
        """
        if not ages or not strategies:
            raise BadInputError("give at least one time and one compensation")
        names = [strategy.name for strategy in strategies]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise BadInputError(f"compensation '{twice}' is named twice; name each once")
        self._check_ages(ages)
        if not self.can_fork and sum(strategy.changes_chip for strategy in strategies) > 1:
            raise BadInputError(
                f"{self.backend.info.name} cannot be put back to an earlier state: name one compensation that changes "
                "its cells, not several"
            )
        for strategy in strategies:
            for tile in self.tiles:
                strategy.check(tile)

    def _check_ages(self, ages: Sequence[float]) -> None:
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

    def wait_until(self, age: float, check: Callable[[], None] = never) -> None:
        """Let the chip reach an age.

        Parameters
        ----------
        age
            Seconds after the end of programming.
        check
            Called now and then while a real clock is waited for; may raise KeyboardInterrupt to stop.
        """
        left = age - self.age
        if left > 0:
            rest(self.backend, left, check)

    def evaluate(
        self, strategies: Sequence[Strategy], check: Callable[[], None] = never
    ) -> dict[str, CompensationOutcome]:
        """Make compensations now and measure the MVM error with each.

        Digital ones on the same outputs; each that changes cells on a copy of the chip, or last of all on a real one.

        Parameters
        ----------
        strategies
            What to evaluate.
        check
            Called between steps; may raise KeyboardInterrupt to stop.

        Returns
        -------
        dict
            Outcomes by the names of the strategies.
        """
        self._note_temperature()
        digital = [strategy for strategy in strategies if not strategy.changes_chip]
        made: dict[str, list[Compensation]] = {}
        for tile in self.tiles:  # tile by tile, so that all strategies see the same probes
            for strategy in digital:
                made.setdefault(strategy.name, []).append(strategy.make(tile, uncompensated(tile)))
        results = self.measure(made)
        for strategy in digital:
            results[strategy.name] = self._with_accuracy(strategy, results[strategy.name])
        for strategy in (strategy for strategy in strategies if strategy.changes_chip):
            check()
            results[strategy.name] = self._try_out(strategy, check)
        return results

    def _try_out(self, strategy: Strategy, check: Callable[[], None]) -> CompensationOutcome:
        before = self.backend.export_state() if self.can_fork else None
        tiles = [tile.copy() for tile in self.tiles]
        try:
            unchanged = [self._columns.make(tile, uncompensated(tile)) for tile in tiles]
            columns_alone = self.measure({self._columns.name: unchanged})[self._columns.name]
            works = [strategy.steps(tile, uncompensated(tile)) for tile in tiles]
            made = run_together(works, self.backend, lambda number, step: check(), check)
            outcome = self._with_accuracy(strategy, self.measure({strategy.name: made})[strategy.name])
        finally:
            if before is not None:
                self.backend.import_state(before)
        return dataclasses.replace(outcome, tiles=tuple(tiles), columns_alone=columns_alone)

    def _with_accuracy(self, strategy: Strategy, outcome: CompensationOutcome) -> CompensationOutcome:
        """Add the accuracy of the network on the chip, where there is one."""
        if self.accuracy is None:
            return outcome
        accuracy, spent = self.accuracy(strategy)
        return dataclasses.replace(outcome, accuracy=accuracy, adaptation_mvms=spent)

    def measure(self, made: Mapping[str, Sequence[Compensation]]) -> dict[str, CompensationOutcome]:
        """Measure MVM errors over all tiles now, on fresh inputs that are the same for all sets of compensations.

        Parameters
        ----------
        made
            Compensations of all tiles, by name.

        Returns
        -------
        dict
            Outcomes by name.
        """
        if not made:
            return {}
        age = self.age
        parts: dict[str, list[Outputs]] = {name: [] for name in made}
        top = self.backend.info.input_max
        for number, tile in enumerate(self.tiles):
            rng = np.random.default_rng([self.seed, number, Purpose.EVALUATE_DRIFT, int(age)])
            x = uniform_inputs(rng, STANDARD.vectors, tile.tile.place.rows, top)
            outputs, reference = tile.outputs(x), (x / top) @ tile.tile.weights
            for name, of_tiles in made.items():
                parts[name].append(Outputs(of_tiles[number].apply(outputs), reference))
        tiles = [tile.tile for tile in self.tiles]
        return {
            name: CompensationOutcome(
                mvm_error=overall_error(list(zip(tiles, outputs, strict=True))),
                tile_errors=tuple(part.mvm_error for part in outputs),
                age=age,
                made=tuple(made[name]),
                tiles=tuple(self.tiles),
            )
            for name, outputs in parts.items()
        }

    def crossing(
        self,
        limit: float,
        strategy: Strategy,
        outcomes: Sequence[CompensationOutcome],
        monitor: Monitor | None = None,
    ) -> Crossing | None:
        """Predict when a compensation, made anew whenever needed, will no longer keep the error within a limit.

        Parameters
        ----------
        limit
            Relative MVM error.
        strategy
            The compensation.
        outcomes
            What it reached so far, as `evaluate` gave it.
        monitor
            Predicts the crossing; None for one with its defaults.

        Returns
        -------
        Crossing or None
            None where too little is known.
        """
        outlook = Outlook(self.tiles, self.target_age, self.mvm_error_in_run, monitor or Monitor())
        return outlook.crossing(limit, strategy, outcomes)


def _model(backend: Backend, drift: DriftModel | None) -> DeviceModel | None:
    """Give the chip's nominal model, with another drift in it where one is given."""
    nominal = backend.info.device_model
    return dataclasses.replace(nominal, drift=drift) if nominal is not None and drift is not None else nominal
