"""Calibrate a chip: the routines in the order in which each finds what it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration, CoreCalibration, Identity
from hwloop.calibration.certificate.plan import _REQUIRES, Plan
from hwloop.calibration.programming.base import known_devices
from hwloop.calibration.routines.base import Tick
from hwloop.calibration.routines.converters import (
    ConverterCalibration,
    column_gains,
)
from hwloop.calibration.routines.devices import DeviceCalibration, DeviceResult
from hwloop.calibration.routines.floor import FloorCalibration
from hwloop.calibration.routines.programming_curve import CurveCalibration
from hwloop.calibration.routines.trims import TrimCalibration, TrimResult, seen_through
from hwloop.calibration.routines.wires import WireCalibration, WireSettings
from hwloop.calibration.settings import Settings
from hwloop.chip.backend import Backend
from hwloop.chip.cell_calibration import CellCalibration
from hwloop.chip.counts import Counts
from hwloop.chip.info import Capability
from hwloop.chip.region import Place, Region
from hwloop.errors import (
    BadInputError,
    ChipError,
    ClosedError,
    InstrumentError,
    LinkError,
    MissingCapabilityError,
)
from hwloop.mapping.ranges import choose_ranges
from hwloop.mapping.tile import Tile

_NEEDS: dict[str, tuple[Capability, ...]] = {
    "adc": (Capability.MVM,),
    "dac": (Capability.MVM,),
    "wires": (Capability.MVM, Capability.DEVICE_READ),
    "floor": (Capability.MVM,),
}
UNFINISHED = {"unfinished": "the calibration has not come to its end; what was done until then is here"}


@dataclass(frozen=True)
class Progress:
    """What an observer is told: the core, and what comes next on it."""

    core: int
    cores: int
    stage: str
    done: int
    stages: int


Observer = Callable[[Progress], None]
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
    """Calibrate cores of an open chip, all of them unless told otherwise.

    All that the cores hold is lost. `keep` gets the calibration so far after every part, `skipped` saying that it is
    not finished. A part that the chip cannot do is skipped and named in `skipped`, and so is a core
    that fails; asked for alone, it raises MissingCapabilityError or ChipError instead, and LinkError always: what was
    done until then is what `keep` got last. KeyboardInterrupt from the
    observer ends the calibration with what is done, `skipped` naming the rest. Before anything is sent, raises
    BadInputError for cores that do not exist, and for settings, weights or inputs that do not suit the chip.
    """
    plan = plan or Plan()
    chosen = list(range(backend.info.cores)) if cores is None else list(dict.fromkeys(cores))
    if not chosen:
        raise BadInputError("calibrate: no core is chosen; name one, or leave the choice out for all")
    skipped = _unable(backend, plan)
    tile = plan.tile(backend.info)
    for core in chosen:
        if not 0 <= core < backend.info.cores:
            raise BadInputError(f"core {core} does not exist; {backend.info.name} has {backend.info.cores} core(s)")
    plan.budget(whole_core(backend, chosen[0]))
    created, clock, before, temperature = datetime.now(UTC), backend.now(), backend.counts, _temperature(backend)
    done: dict[int, CoreCalibration] = {}
    failed: ChipError | None = None

    def known(cores: Mapping[int, CoreCalibration], without: Mapping[str, str]) -> Calibration:
        finished = {name for core in cores.values() for name in core.parts()}
        return Calibration(
            chip=Identity.of(backend.info),
            created=created,
            temperature=temperature,
            cores=cores,
            dates=dict.fromkeys(sorted(finished), created),
            seed=seed,
            clock=clock,
            cost=plain_counts(backend.counts - before),
            skipped=without,
            settings={"parts": list(plan.wanted())} | _as_plain(plan),
        )

    for number, core in enumerate(chosen):
        on_core = replace(tile, place=replace(tile.place, core=core))
        work = _Core(backend, core, plan, on_core, set(skipped), np.random.default_rng([seed, core]))
        try:
            for so_far in work.run(ticker(observer, number, len(chosen), core, plan)):
                if keep is not None:
                    keep(known(done | {core: so_far}, skipped | work.failed | UNFINISHED))
        except (LinkError, ClosedError):
            raise
        except ChipError as error:
            if len(chosen) == 1:
                raise
            failed, skipped[f"core {core}"] = error, str(error)
            continue
        except KeyboardInterrupt:
            skipped["interrupted"] = f"stopped on core {core}; cores after it were not begun"
            done[core] = work.result
            break
        finally:
            skipped |= {f"core {core}: {name}": reason for name, reason in work.failed.items()}
        done[core] = work.result
    if failed is not None and not done:
        raise failed
    return known(done, skipped)


# ---- one core ------------------------------------------------------------------------------------------------


class _Core:
    """Calibration of one core on its way; `result` has what is done so far, `failed` what went wrong."""

    def __init__(
        self, backend: Backend, core: int, plan: Plan, tile: Tile, unable: set[str], rng: np.random.Generator
    ) -> None:
        self.result = CoreCalibration()
        self.failed: dict[str, str] = {}
        self._plan, self._tile, self._rng = plan, tile, rng
        self._wanted = [name for name in plan.wanted() if name not in unable]
        self._region = whole_core(backend, core)

    def run(self, tick: Tick) -> Iterator[CoreCalibration]:
        """All parts, each on what the one before has left; yields what is known after each.

        A part that fails is left out, with those that need it, and named in `failed`; unless everything was asked
        for, it raises ChipError. So do the devices, and a link that fails.
        """
        if "devices" in self._wanted:
            found = DeviceCalibration(self._plan.devices).run(self._region, self._rng, tick)
            self.result = replace(self.result, devices=found)
            yield self.result
        parts: dict[str, Callable[[Tick], CoreCalibration]] = {
            "adc": self._converters,
            "wires": self._wires,
            "programming-curve": self._curve,
            "ranges": self._ranges,
            "floor": self._floor,
        }
        for name, part in parts.items():
            if name not in self._wanted or self.failed.keys() & set(_REQUIRES.get(name, ())):
                continue
            try:
                self.result = part(tick)
                yield self.result
            except (LinkError, InstrumentError, ClosedError):
                raise
            except ChipError as error:
                if not self._plan.everything:
                    raise
                self.failed[name] = str(error).removeprefix(f"core {self._region.place.core}: ")

    def _trim(self, tick: Tick) -> DeviceResult:
        """Write the trims, or note those in use; returns the devices as their columns would show them now."""
        backend, core, found = self._region.backend, self._region.place.core, self.result.devices
        assert found is not None
        if Capability.TRIMS in backend.info.capabilities:
            before = trims = TrimResult.in_use(backend, core)
            if self._plan.trims(backend):
                trims = TrimCalibration().run(self._region, column_gains(found), tick)
            found = seen_through(found, before, trims)
            self.result = replace(self.result, devices=found, trims=trims)
        return found

    def _converters(self, tick: Tick) -> CoreCalibration:
        found = self._trim(tick)
        settings = self._plan.converters
        if "dac" not in self._wanted:
            settings = replace(settings, dac_vectors=0)
        converters = ConverterCalibration(settings).run(self._region, self._rng, tick)
        return replace(self.result, converters=converters, gains=column_gains(found))

    def _wires(self, tick: Tick) -> CoreCalibration:
        found, converters = self.result.devices, self.result.converters
        assert found is not None
        assert converters is not None
        wires = WireCalibration(WireSettings()).run(self._region, found, converters, tick)
        return replace(self.result, wires=wires)

    def _curve(self, tick: Tick) -> CoreCalibration:
        assert self.result.devices is not None
        routine = CurveCalibration(self._plan.curve)
        curve = routine.run(self._corrected(), self.result.devices, self._rng, tick)
        return replace(self.result, programming_curve=curve)

    def _ranges(self, tick: Tick) -> CoreCalibration:
        tick("ranges")
        info = self._region.backend.info
        return replace(
            self.result, ranges=choose_ranges(self._tile.target, info, self._plan.inputs, self.result.adc_noise)
        )

    def _floor(self, tick: Tick) -> CoreCalibration:
        backend, info = self._region.backend, self._region.backend.info
        assert self.result.ranges is not None
        tile = replace(self._tile, full_scale=self.result.ranges.full_scale)
        adjustable = Capability.ADC_RANGE in info.capabilities
        region = Region(
            backend, tile.place, tile.full_scale if adjustable else None, self.result.of_cells(tile.place, info)
        )
        age = self._plan.age or info.reference_age
        floor = FloorCalibration(self._plan.floor).run(region, tile, known_devices(region), age, self._rng, tick)
        return replace(self.result, floor=floor)

    def _corrected(self) -> Region:
        """The whole core, its converters corrected where they are known."""
        backend, place = self._region.backend, self._region.place
        return Region(backend, place, calibration=self.result.of_cells(place, backend.info))


def whole_core(backend: Backend, core: int) -> Region:
    """All cells of a core, with nothing known of them."""
    return Region(backend, Place(core, 0, 0, backend.info.rows, backend.info.columns), calibration=CellCalibration())


def _unable(backend: Backend, plan: Plan) -> dict[str, str]:
    """Parts that the chip cannot do, and why. Raises MissingCapabilityError when they were asked for by name."""
    unable: dict[str, str] = {}
    for name in plan.wanted():
        missing = [c for c in _NEEDS.get(name, ()) if c not in backend.info.capabilities]
        if missing and not plan.everything:
            raise MissingCapabilityError(
                f"{backend.info.name}: calibrating {name} needs {' and '.join(c.value for c in missing)}, which this "
                "chip lacks; hwloop calibrate all finds out what it can without"
            )
        if missing:
            unable[name] = f"needs {' and '.join(c.value for c in missing)}, which {backend.info.name} lacks"
    return unable


def _temperature(backend: Backend) -> float:
    return backend.temperature() if Capability.TEMPERATURE in backend.info.capabilities else math.nan


def plain_counts(spent: Counts) -> Mapping[str, float]:
    """What was spent, by name."""
    return {name: float(number) for name, number in vars(spent).items()}


def _as_plain(plan: Plan) -> dict[str, Any]:
    groups: dict[str, Settings] = {
        "devices": plan.devices,
        "converters": plan.converters,
        "curve": plan.curve,
        "floor": plan.floor,
    }
    return {name: dict(vars(settings)) for name, settings in groups.items()}


def ticker(observer: Observer | None, number: int, cores: int, core: int, plan: Plan) -> Tick:
    """Tells an observer of the stages of a core, the one with this number of so many."""
    stages = STAGES_PER_PART * len(plan.wanted())
    done = 0

    def tick(stage: str) -> None:
        nonlocal done
        if observer is not None:
            observer(Progress(core, cores, stage, number * stages + min(done, stages - 1), cores * stages))
        done += 1

    return tick


STAGES_PER_PART = 3
"""Stages of a part on average; for progress alone."""
