"""Calibrate a chip: the routines in the order in which each finds what it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.identity import Identity
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.routines.base import CoreTask, whole_core
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.steps import Step, Work, run
from hwloop.chip.backend import Backend
from hwloop.chip.counts import Counts
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, ChipError, ClosedError, InstrumentError, LinkError

R = TypeVar("R")
UNFINISHED = {"unfinished": "the calibration has not come to its end; what was done until then is here"}
STEPS_OF_ROUTINE = 12
"""Steps that each routine counts as, whatever its own number of stages, for progress alone."""


@dataclass(frozen=True)
class CalibrationStep(Step):
    """A stage that comes next, or a part that is done."""

    core: int = 0
    """Number of the core on the chip."""
    so_far: Calibration | None = None
    """After a part: all that is known by now, saying that it is not finished. None before a stage."""


Observer = Callable[[CalibrationStep], None]
"""Called before every stage; it may raise KeyboardInterrupt, and the chip is in a defined state."""
Keep = Callable[[Calibration], None]
"""Called with what is known so far, to put it in a safe place."""


def calibrate(
    backend: Backend,
    plan: Plan | None = None,
    *,
    cores: Sequence[int] | None = None,
    seed: int = 0,
    observer: Observer | None = None,
    keep: Keep | None = None,
) -> Calibration:
    """Calibrate cores of an open chip, whatever they hold: it is lost.

    A part that the chip cannot do is skipped and named in `skipped`, and so is a core that fails.

    Parameters
    ----------
    backend
        The chip.
    plan
        What to calibrate; everything, unless told otherwise.
    cores
        Numbers of the cores; all, unless told otherwise.
    seed
        Of all probe inputs.
    observer
        Called before every stage. KeyboardInterrupt from it ends the calibration with what is done, `skipped` naming
        the rest.
    keep
        Called with the calibration so far after every part, `skipped` saying that it is not finished.

    Raises
    ------
    BadInputError
        Before anything is sent: for cores that do not exist, and for settings, weights or inputs that do not suit the
        chip.
    MissingCapabilityError, ChipError
        For a part that cannot be done, or fails, and was asked for alone; ChipError too for a core that fails alone.
    LinkError
        Always: what was done until then is what `keep` got last.
    """
    session = Session(backend, plan or Plan(), cores, seed)

    def watch(_: int, step: CalibrationStep) -> None:
        if step.so_far is None and observer is not None:
            observer(step)
        if step.so_far is not None and keep is not None:
            keep(step.so_far)

    try:
        return run(session.steps(), backend, watch)
    except KeyboardInterrupt:
        return session.interrupted()


class Session:
    """A calibration on its way."""

    def __init__(self, backend: Backend, plan: Plan, cores: Sequence[int] | None, seed: int) -> None:
        """Check that all can be done, before anything is sent; see `calibrate` for what it raises."""
        info = backend.info
        self._backend, self._plan, self._seed = backend, plan, seed
        self._cores = list(range(info.cores)) if cores is None else list(dict.fromkeys(cores))
        if not self._cores:
            raise BadInputError("calibrate: no core is chosen; name one, or leave the choice out for all")
        self._skipped = plan.unable(info)
        self._tile = plan.tile(info)
        for core in self._cores:
            if not 0 <= core < info.cores:
                raise BadInputError(f"core {core} does not exist; {info.name} has {info.cores} core(s)")
        plan.budget(whole_core(backend, self._cores[0]))
        self._routines = plan.routines(info)
        self._created, self._clock, self._before = datetime.now(UTC), backend.now(), backend.counts
        self._temperature = backend.temperature() if Capability.TEMPERATURE in info.capabilities else math.nan
        self._known: dict[int, CoreCalibration] = {}
        self._at = self._cores[0]

    def steps(self) -> Work[CalibrationStep, Calibration]:
        """Calibrate core by core: yield a step before every stage and one after every part."""
        failed: ChipError | None = None
        for number, core in enumerate(self._cores):
            try:
                yield from self._core(number, core)
            except (LinkError, ClosedError):
                raise
            except ChipError as error:
                if len(self._cores) == 1:
                    raise
                failed, self._skipped[f"core {core}"] = error, str(error)
                del self._known[core]
        if failed is not None and not self._known:
            raise failed
        return self._calibration(self._skipped)

    def interrupted(self) -> Calibration:
        """Return what is done, of a session that was stopped."""
        why = f"stopped on core {self._at}; cores after it were not begun"
        return self._calibration(self._skipped | {"interrupted": why})

    def _core(self, number: int, core: int) -> Work[CalibrationStep, None]:
        """Run all routines on a core, each on what the one before has left.

        A routine that fails is left out, with those that need it, and named in `skipped`; unless everything was asked
        for, or nothing is known of the core yet, it raises ChipError. So does a link that fails.
        """
        self._at, self._known[core] = core, CoreCalibration()
        region, rng = whole_core(self._backend, core), np.random.default_rng([self._seed, core])
        tile = replace(self._tile, place=replace(self._tile.place, core=core))
        age = self._plan.age or self._backend.info.reference_age
        missing = set[str]()
        for place, routine in enumerate(self._routines):
            if missing.intersection(routine.requires):
                missing.update(routine.parts)
                continue
            task = CoreTask(region, self._known[core], tile, self._plan.inputs, age, rng)
            done = STEPS_OF_ROUTINE * (number * len(self._routines) + place)
            counted = partial(_counted, core, done, self._total)
            try:
                self._known[core] = yield from retold(routine.steps(task), counted)
            except (LinkError, InstrumentError, ClosedError):
                raise
            except ChipError as error:
                if not self._plan.everything or not self._known[core].parts():
                    raise
                missing.update(routine.parts)
                self._skipped[f"core {core}: {routine.parts[0]}"] = str(error).removeprefix(f"core {core}: ")
                continue
            so_far = self._calibration(self._skipped | UNFINISHED)
            yield CalibrationStep(done + STEPS_OF_ROUTINE, self._total, core=core, so_far=so_far)

    @property
    def _total(self) -> int:
        return STEPS_OF_ROUTINE * len(self._routines) * len(self._cores)

    def _calibration(self, skipped: Mapping[str, str]) -> Calibration:
        """Return what is known by now."""
        finished = {name for core in self._known.values() for name in core.parts()}
        return Calibration(
            chip=Identity.of(self._backend.info),
            created=self._created,
            temperature=self._temperature,
            cores=dict(self._known),
            dates=dict.fromkeys(sorted(finished), self._created),
            seed=self._seed,
            clock=self._clock,
            cost=plain_counts(self._backend.counts - self._before),
            skipped=dict(skipped),
            settings=self._plan.settings(),
        )


def _counted(core: int, done: int, total: int, step: Step) -> CalibrationStep:
    """Count the step of a routine within a session of `total` steps, of which `done` were behind when it began."""
    return CalibrationStep(done + STEPS_OF_ROUTINE * step.done // step.total, total, step.stage, step.rest, core=core)


def retold(work: Work[Step, R], tell: Callable[[Step], CalibrationStep]) -> Work[CalibrationStep, R]:
    """Run a piece of work as part of another, each of its steps told as a step of that."""
    while True:
        try:
            step = next(work)
        except StopIteration as end:
            result: R = end.value
            return result
        yield tell(step)


def plain_counts(spent: Counts) -> Mapping[str, float]:
    """Return what was spent, by name."""
    return {name: float(number) for name, number in vars(spent).items()}
