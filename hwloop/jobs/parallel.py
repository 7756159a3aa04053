"""Programs weights in parts that do not know of each other: cores of a simulated chip, or chips of a fleet.

Every part is opened, programmed and measured by whoever an executor gives it to, on a clock of its own, as if each core
had a controller of its own. So the result depends neither on the number of workers nor on their order. On a chip of
one clock, which `hwloop.program` works on, all cores wait for each other instead.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.use import region_of
from hwloop.calibration.error_interval import WeightNoise, error_interval
from hwloop.calibration.evaluation import Outputs, overall_error
from hwloop.calibration.programming.base import Method, ProgrammingStep
from hwloop.calibration.randomness import Purpose, generator
from hwloop.calibration.steps import rest, run_together
from hwloop.chip.backend import Backend
from hwloop.chip.counts import Counts
from hwloop.chip.driver import Settings
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.runs import AS_PROGRAMMED, AS_STOPPED, RunRecord, TileRecord
from hwloop.fleet.chips import Blueprint, Fleet, together
from hwloop.fleet.executors import Executor
from hwloop.jobs.program import Programming, Task, TileWork, measure_tiles, spare_inputs, warn_of_useless
from hwloop.jobs.progress import Report, silent
from hwloop.jobs.recorders import Recorder
from hwloop.jobs.run import Run
from hwloop.mapping.tile import Tile
from hwloop.typing import AnyArray, FloatArray, State


@dataclass(frozen=True)
class Part:
    """Tiles on one core of a simulated chip, or on one chip of a fleet, with all that programming them takes.

    Parameters
    ----------
    uri, state, session
        The chip; the state in which a simulated one begins, or None; the session of the ledger that it belongs to.
    numbers, tiles, activations
        Numbers of the tiles within the run; the tiles, as they lie on this chip; their sample inputs, or None.
    method, age, seed, calibration
        As for the whole task.
    """

    uri: str
    numbers: tuple[int, ...]
    tiles: tuple[Tile, ...]
    activations: tuple[FloatArray | None, ...]
    method: Method
    age: float
    seed: int
    calibration: Calibration | None = None
    state: State | None = None
    session: str = ""


@dataclass(frozen=True)
class Done:
    """What came of a part.

    Parameters
    ----------
    tiles, outputs, noise
        Of each of its tiles; outputs are None where they were not measured.
    ended, utc
        End of programming on the part's clock, seconds, and by the calendar; None where it was stopped before.
    state
        Of a simulated chip at that moment, or when it was stopped.
    temperature
        Kelvin, where the chip can tell.
    cost, settings
        What it cost; snapshot of the chip at its end.
    """

    tiles: tuple[TileRecord, ...]
    outputs: tuple[Outputs | None, ...]
    noise: tuple[WeightNoise | None, ...]
    ended: float | None
    utc: datetime | None
    state: State | None
    temperature: float | None
    cost: Counts
    settings: Settings


Word: TypeAlias = tuple[int, dict[str, float], int, int]
"""What a part tells of a step: number of the tile, values of `StepSeries`, steps done, and steps in all."""


def carry_out_part(part: Part, tell: Callable[[Word | None], None]) -> Done:
    """Program and measure one part; what was done until a stop is returned."""
    with connect(part.uri) as chip:
        if part.session:
            chip.lifetime.session = part.session
        if part.state is not None:
            chip.import_state(part.state)
        work = _PartWork(part, chip)
        try:
            work.program(tell)
            work.note_end()
            rest(chip, part.age, lambda: tell(None))
            measure_tiles(work.numbered, part.seed, part.age)
        except KeyboardInterrupt:
            work.note_stop()
        return work.done()


class _PartWork:
    """A part while it is worked on, on its open chip."""

    def __init__(self, part: Part, chip: Backend) -> None:
        self._part, self._chip, self._before = part, chip, chip.counts
        self._items = [
            TileWork(tile, region_of(chip, tile, part.calibration), activations)
            for tile, activations in zip(part.tiles, part.activations, strict=True)
        ]
        self._ended: float | None = None
        self._utc: datetime | None = None
        self._state: State | None = None
        self._temperature: float | None = None

    @property
    def numbered(self) -> list[tuple[int, TileWork]]:
        """The tiles with their numbers within the run."""
        return list(zip(self._part.numbers, self._items, strict=True))

    def program(self, tell: Callable[[Word | None], None]) -> None:
        """Program all tiles in lockstep."""
        part, chip, began = self._part, self._chip, self._chip.now()
        works = [
            part.method.steps(item.region, item.tile, part.age, generator(part.seed, number, Purpose.PROGRAM))
            for number, item in self.numbered
        ]

        def watch(index: int, step: ProgrammingStep) -> None:
            values = self._items[index].note(step, chip.now() - began)
            tell((part.numbers[index], values, step.done, step.total))

        run_together(works, chip, watch, lambda: tell(None))

    def note_end(self) -> None:
        """Note the end of programming, from which ages count."""
        self._ended, self._utc = self._chip.now(), datetime.now(UTC)
        if Capability.TEMPERATURE in self._chip.info.capabilities:
            self._temperature = self._chip.temperature()
        self._state = self._exported()

    def note_stop(self) -> None:
        """Note that the part was stopped."""
        if self._state is None:
            self._state = self._exported()

    def done(self) -> Done:
        """Say what came of it."""
        items = self._items
        return Done(
            tuple(item.record(self._ended) for item in items),
            tuple(item.outputs for item in items),
            tuple(item.noise for item in items),
            self._ended,
            self._utc,
            self._state,
            self._temperature,
            self._chip.counts - self._before,
            self._chip.snapshot(),
        )

    def _exported(self) -> State | None:
        return self._chip.export_state() if Capability.STATE in self._chip.info.capabilities else None


# ---- the whole ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A task cut into parts: the work as it would be on one chip, and the parts of it."""

    whole: Programming
    chip: Backend
    parts: tuple[Part, ...]

    @classmethod
    def of_cores(cls, task: Task, chip: Backend) -> Plan:
        """Make a part of the tiles on each core of a simulated chip that takes pulses.

        Raises
        ------
        BadInputError
            For another chip: its cores share a link, which has one user.
        """
        if Capability.STATE not in chip.info.capabilities or not chip.uri.startswith("sim:"):
            raise BadInputError(
                f"{chip.info.name}: its cores are behind one link, which workers cannot share; leave --workers out, "
                "or list several chips in a --fleet"
            )
        if Capability.TARGETS in chip.info.capabilities:
            raise BadInputError(f"{chip.info.name} programs all targets at once by itself; leave --workers out")
        whole = Programming(task, chip)
        state = chip.export_state()
        cores = list(dict.fromkeys(item.tile.place.core for item in whole.tiles))
        chosen = [[n for n, item in enumerate(whole.tiles) if item.tile.place.core == core] for core in cores]
        parts = tuple(
            _part(whole, task, numbers, chip.uri, state=_of_core(state, core), session=chip.lifetime.session)
            for core, numbers in zip(cores, chosen, strict=True)
        )
        return cls(whole, chip, parts)

    @classmethod
    def of_fleet(cls, task: Task, fleet: Fleet, executor: Executor) -> Plan:
        """Make a part of the tiles on each chip of a fleet, whose chips are asked what they are by the executor.

        Raises
        ------
        BadInputError
            For chips of different kinds, and for a calibration, which is of one chip.
        """
        if task.calibration is not None:
            raise BadInputError("a calibration is of one chip; leave --calibration out with a fleet")
        uris = [member.backend for member in fleet.members]
        found = executor.map(describe, uris, lambda number, word: None, lambda: None)
        infos = [info for info in found if info is not None]
        chip = Blueprint(together(fleet, infos))
        chip.uri = f"fleet:{fleet.name}"
        whole, parts, first = Programming(task, chip), list[Part](), 0
        for uri, info in zip(uris, infos, strict=True):
            cores = range(first, first + info.cores)
            numbers = [n for n, item in enumerate(whole.tiles) if item.tile.place.core in cores]
            if numbers:
                part = _part(whole, task, numbers, uri, state=None, session="")
                parts.append(dataclasses.replace(part, tiles=tuple(_moved(tile, -first) for tile in part.tiles)))
            first += info.cores
        return cls(whole, chip, tuple(parts))


def describe(uri: str, tell: Callable[[None], None]) -> ChipInfo:
    """Say what a chip is."""
    with connect(uri) as chip:
        return chip.info


def _moved(tile: Tile, cores: int) -> Tile:
    return dataclasses.replace(tile, place=dataclasses.replace(tile.place, core=tile.place.core + cores))


def _part(
    whole: Programming, task: Task, numbers: Sequence[int], uri: str, *, state: State | None, session: str
) -> Part:
    items = [whole.tiles[number] for number in numbers]
    return Part(
        uri,
        tuple(numbers),
        tuple(item.tile for item in items),
        tuple(item.activations for item in items),
        task.method,
        task.target_age(whole.chip),
        task.seed,
        task.calibration.calibration if task.calibration else None,
        state,
        session,
    )


def _of_core(state: State, core: int) -> dict[str, AnyArray]:
    """Take what belongs to one core, and to the chip as a whole, out of a state."""
    own = (f"core{core}/", f"ledger/{core}")
    return {name: array for name, array in state.items() if name == "clock" or name.startswith(own)}


def program_parts(
    plan: Plan, task: Task, executor: Executor, out: str | Path, *, force: bool = False, report: Report = silent
) -> Run:
    """Program and measure all parts of a plan with an executor, into a run file that grows.

    Raises
    ------
    BadInputError
        For a file that cannot be written.
    ChipError
        Of the first part that failed, once the others have stopped; what was done until then is on file.
    """
    with hdf5.WholeFileWriter(out, hdf5.RUN_FORMAT, force=force) as file:
        spare_inputs(task.weights, out)
        return _Together(plan, Recorder(file, file.file), report, str(out)).run(executor)


class _Together:
    """The parts of a plan while they are worked on."""

    def __init__(self, plan: Plan, recorder: Recorder, report: Report, name: str) -> None:
        self._plan, self._recorder, self._report = plan, recorder, report
        self._asked = dataclasses.replace(plan.whole.record(), name=name)
        self._shares = [0.0] * len(self._asked.tiles)
        self._stopped = False

    def run(self, executor: Executor) -> Run:
        began, chip = time.perf_counter(), self._plan.chip
        self._recorder.begin(self._asked, chip.snapshot())
        try:
            results = executor.map(carry_out_part, self._plan.parts, self._hear, self._check)
        except Exception as error:
            self._recorder.fail(dataclasses.replace(self._asked, status="failed"), Counts(), error)
            raise
        done = [(part, result) for part, result in zip(self._plan.parts, results, strict=True) if result is not None]
        record = dataclasses.replace(self._merged(done), wall_seconds=time.perf_counter() - began)
        record = dataclasses.replace(record, name=self._recorder.name(record.name))
        if record.status == "complete":
            self._recorder.programmed(record)
        cost = _sum([result.cost for _, result in done])
        self._recorder.finish(record, cost, {name: v for _, result in done for name, v in result.settings.items()})
        warn_of_useless(record.mvm_error)
        return Run(record)

    def _hear(self, part: int, word: Word | None) -> None:
        if word is None:
            return
        number, values, done, total = word
        self._recorder.step(number, values)
        self._shares[number] = (done + 1) / (total + 1)

    def _check(self) -> None:
        try:
            self._report(round(1000 * sum(self._shares)), 1000 * len(self._shares))
        except KeyboardInterrupt:
            self._stopped = True
            raise

    def _merged(self, done: Sequence[tuple[Part, Done]]) -> RunRecord:
        """Put the outcomes of parts together as that of one run; parts that had not begun are as they were."""
        tiles, measured = list(self._asked.tiles), list[tuple[Tile, Outputs]]()
        noise: list[WeightNoise] = []
        last = max((result.ended for _, result in done if result.ended is not None), default=None)
        complete = not self._stopped and all(result.ended is not None for _, result in done)
        for part, result in done:
            for number, tile, outputs, spread in zip(
                part.numbers, result.tiles, result.outputs, result.noise, strict=True
            ):
                place = tiles[number].tile  # as it lies in the fleet
                tiles[number] = dataclasses.replace(tile, tile=place, pulse_age=_later(tile.pulse_age, result, last))
                if outputs is not None:
                    measured.append((place, outputs))
                noise += [spread] if spread is not None else []
        whole = complete and len(measured) == len(tiles)
        return dataclasses.replace(
            self._asked,
            status="complete" if whole else "interrupted",
            tiles=tuple(tiles),
            mvm_error=overall_error(measured) if whole else math.nan,
            mvm_error_interval=error_interval(measured, noise) if whole else (math.nan, math.nan),
            programmed_at=last if whole else None,
            programmed_utc=max((r.utc for _, r in done if r.utc is not None), default=None) if whole else None,
            temperature=next((r.temperature for _, r in done if r.temperature is not None), None),
            state=_joined(result.state for _, result in done),
            state_moment=AS_PROGRAMMED if whole else AS_STOPPED,
        )


def _later(age: FloatArray | None, result: Done, last: float | None) -> FloatArray | None:
    """Count ages of pulses up to the end of the part that ended last, for which the others have waited."""
    if age is None or last is None or result.ended is None:
        return age
    return age + (last - result.ended)


def _joined(states: Iterable[State | None]) -> State | None:
    """Join the states of cores that each had a clock of their own: those that were done earlier have waited."""
    known = [state for state in states if state is not None]
    if not known:
        return None
    whole: dict[str, AnyArray] = {name: array for state in known for name, array in state.items()}
    whole["clock"] = np.array(max(float(state["clock"]) for state in known))
    return whole


def _sum(costs: Sequence[Counts]) -> Counts:
    """Add up what parts cost side by side: their time is that of the longest."""
    total = {
        item.name: sum(getattr(cost, item.name) for cost in costs)
        for item in dataclasses.fields(Counts)
        if item.name != "chip_seconds"
    }
    return Counts(**total, chip_seconds=max((cost.chip_seconds for cost in costs), default=0.0))
