"""Programs weights in parts that do not know of each other: cores of a simulated chip, or chips of a fleet.

Every part is opened, programmed and measured by whoever an executor gives it to, on a clock of its own, as if each core
had a controller of its own. So the result depends neither on the number of workers nor on their order. On a chip of
one clock, which `hwloop.program` works on, all cores wait for each other instead.
"""

from __future__ import annotations

import dataclasses
import math
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwloop.calibration.error_interval import WeightNoise, error_interval
from hwloop.calibration.evaluation import Outputs, overall_error
from hwloop.chip.backend import Backend
from hwloop.chip.counts import Counts
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.runs import AS_PROGRAMMED, AS_STOPPED, FLEET, RunRecord
from hwloop.fleet.chips import Blueprint, Fleet, together
from hwloop.fleet.executors import Executor
from hwloop.jobs.parallel_kept import KeptParts
from hwloop.jobs.parts import CLASSES, Done, Part, Word, carry_out_part
from hwloop.jobs.program import STEP_NAMES, Programming, Task, spare_inputs, warn_of_useless
from hwloop.jobs.progress import Report, silent
from hwloop.jobs.recorders import Recorder
from hwloop.jobs.run import Run
from hwloop.mapping.tile import Tile
from hwloop.typing import AnyArray, FloatArray, State


@dataclass(frozen=True)
class Plan:
    """A task cut into parts: the work as it would be on one chip, and the parts of it."""

    whole: Programming
    chip: Backend
    parts: tuple[Part, ...]
    chips: tuple[str, ...] = ()
    """URIs of the chips of a fleet."""

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
        chip.uri = f"{FLEET}{fleet.name}"
        whole, parts, first = Programming(task, chip), list[Part](), 0
        for uri, info in zip(uris, infos, strict=True):
            cores = range(first, first + info.cores)
            numbers = [n for n, item in enumerate(whole.tiles) if item.tile.place.core in cores]
            if numbers:
                part = _part(whole, task, numbers, uri, state=None, session="")
                parts.append(dataclasses.replace(part, tiles=tuple(_moved(tile, -first) for tile in part.tiles)))
            first += info.cores
        return cls(whole, chip, tuple(parts), tuple(uris))


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

    What a part has come to is kept beside it as soon as it is done, so that `hwloop.resume` does the others.

    Raises
    ------
    BadInputError
        For a file that cannot be written.
    ChipError
        Of the first part that failed, once the others have stopped; what was done until then is on file.
    """
    spare_inputs(task.weights, out)
    with hdf5.WholeFileWriter(out, hdf5.RUN_FORMAT, force=force) as file:
        kept = KeptParts.begun(out, dataclasses.replace(task, run=uuid.uuid4().hex), plan.chip, plan.chips)
        try:
            return finish_parts(plan, kept, executor, file, report)
        except Exception:
            if not file.committed and not kept.any:
                kept.folder.remove()
            raise


def finish_parts(plan: Plan, kept: KeptParts, executor: Executor, file: hdf5.WholeFileWriter, report: Report) -> Run:
    """Do the parts of a plan that are not done yet; what is kept beside the file goes once all are."""
    run = _Together(plan, kept, Recorder(file, file.file), report).run(executor)
    if run.status == "complete":
        kept.folder.remove()
    return run


class _Together:
    """The parts of a plan while they are worked on."""

    def __init__(self, plan: Plan, kept: KeptParts, recorder: Recorder, report: Report) -> None:
        self._plan, self._kept, self._recorder, self._report = plan, kept, recorder, report
        asked = plan.whole.record()
        provenance = dataclasses.replace(asked.provenance, run=kept.run)
        self._asked = dataclasses.replace(asked, name=str(kept.folder.out), provenance=provenance)
        self._shares = [0.0] * len(self._asked.tiles)
        self._stopped = False
        known = {number: kept.done(part.numbers[0], CLASSES) for number, part in enumerate(plan.parts)}
        self._done = {number: done for number, done in known.items() if isinstance(done, Done)}
        self._left = [number for number in known if number not in self._done]

    def run(self, executor: Executor) -> Run:
        began, chip, recorder = time.perf_counter(), self._plan.chip, self._recorder
        recorder.make_sure(self._plan.whole.needs)
        recorder.begin(self._asked, chip.snapshot())
        for done in self._done.values():
            self._show(done)
        parts = [self._plan.parts[number] for number in self._left]
        try:
            executor.map(carry_out_part, parts, self._hear, self._check, self._keep)
        except Exception as error:
            recorder.fail(dataclasses.replace(self._merged(), status="failed"), self._cost(), error)
            raise
        record = dataclasses.replace(self._merged(), wall_seconds=time.perf_counter() - began)
        record = dataclasses.replace(record, name=recorder.name(record.name))
        if record.status == "complete":
            recorder.programmed(record)
        settings = {name: value for _, done in sorted(self._done.items()) for name, value in done.settings.items()}
        recorder.finish(record, self._cost(), settings)
        warn_of_useless(record.mvm_error)
        return Run(record)

    def _cost(self) -> Counts:
        return _sum([done.cost for done in self._done.values()])

    def _show(self, done: Done) -> None:
        """Write the steps of a part that was done before."""
        number = next(key for key, value in self._done.items() if value is done)
        for tile, record in zip(self._plan.parts[number].numbers, done.tiles, strict=True):
            series = [getattr(record.steps, name) for name in STEP_NAMES]
            for values in zip(*series, strict=True):
                self._recorder.step(tile, dict(zip(STEP_NAMES, map(float, values), strict=True)))
            self._shares[tile] = 1.0

    def _keep(self, index: int, done: Done) -> None:
        """Keep what a part has come to; one that was stopped before its end is begun anew some day."""
        number = self._left[index]
        self._done[number] = done
        if all(outputs is not None for outputs in done.outputs):
            self._kept.keep(self._plan.parts[number].numbers[0], done)

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

    def _merged(self) -> RunRecord:
        """Put the outcomes of parts together as that of one run; parts that had not begun are as they were."""
        done = [(self._plan.parts[number], result) for number, result in sorted(self._done.items())]
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
            state=None if self._plan.chips else _joined(result.state for _, result in done),
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
