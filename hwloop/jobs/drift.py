"""The job behind `hwloop drift`: judge compensations at several ages, and keep the outcome in a drift file."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwloop.calibration.drift.base import PROBES, Strategy
from hwloop.calibration.drift.registry import make_compensation
from hwloop.calibration.drift.study import CompensationOutcome, DriftStudy
from hwloop.calibration.drift.study_file import DriftRecorder
from hwloop.calibration.evaluation import finite
from hwloop.chip.info import Capability
from hwloop.chip.registry import connect, connect_recorded, split_uri
from hwloop.devices.drift import DriftModel
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.models import drift_model, load_model
from hwloop.files.runs import read_run

LIMIT = 0.15
"""Relative MVM error whose passing the monitor foretells."""

Observer = Callable[[int, int], None]
"""Called with (done, total) between steps; may raise KeyboardInterrupt to stop there."""


def _fitted_drift(path: str) -> DriftModel:
    """The drift of a model file. Raises BadInputError for one without."""
    drift = drift_model(load_model(path))
    if drift is None:
        raise BadInputError(f"{path}: holds no drift of single devices; hwloop measure drift, and fit that")
    return drift


def hold_file(
    path: str | Path,
    ages: Sequence[float],
    names: Sequence[str],
    out: str | Path,
    *,
    backend: str | None = None,
    limit: float = LIMIT,
    probes: int = PROBES,
    seed: int = 1,
    force: bool = False,
    observer: Observer | None = None,
    calibration: str | None = None,
    model: str | None = None,
) -> dict[str, Any]:
    """Judge compensations at several ages and record them in a drift file; returns the JSON object of docs/drift.md.

    A KeyboardInterrupt, such as one that the observer raises, ends it with what was done so far.
    """
    strategies = [make_compensation(name) for name in names]
    if not (math.isfinite(limit) and limit > 0):
        raise BadInputError(f"limit {limit:g} must be a positive MVM error")
    if probes < 3:
        raise BadInputError(f"probes: three or more are needed, not {probes}")
    run = read_run(path)
    recorded = run.backend
    uri = backend or recorded
    if Path(out).resolve() == Path(path).resolve():
        raise BadInputError(f"{out} is the run to hold; give another name for the output")
    with (
        hdf5.WholeFileWriter(out, hdf5.DRIFT_FORMAT, force=force) as writer,
        connect(backend) if backend else connect_recorded(recorded, path) as chip,
    ):
        if Capability.STATE in chip.info.capabilities and split_uri(uri) != split_uri(recorded):
            raise BadInputError(
                f"{path} was programmed on {recorded}; a simulated chip's state fits that chip alone, not {uri}: "
                "leave --backend out"
            )
        drift = _fitted_drift(model) if model else None
        holding = DriftStudy(run, chip, seed=seed, probes=probes, drift=drift, calibration=calibration)
        holding.check(ages, strategies)
        done: dict[str, list[CompensationOutcome | None]] = {strategy.name: [] for strategy in strategies}
        record = DriftRecorder(writer, path, uri, holding, limit, [strategy.name for strategy in strategies])
        total = len(ages) * len(strategies)

        def stop() -> None:
            if observer is not None:
                observer(sum(map(len, done.values())), total)

        status = "complete"
        try:
            for number, age in enumerate(ages):
                stop()
                holding.wait_until(age, stop)
                last = number == len(ages) - 1
                groups = [[one for one in strategies if not one.changes_chip]]
                groups += [[one] for one in strategies if one.changes_chip and (last or holding.can_fork)]
                results: dict[str, CompensationOutcome] = {}
                try:
                    for group in filter(None, groups):
                        results |= holding.evaluate(group, stop)
                finally:  # what was measured before a stop or a failure counts
                    if results:
                        for strategy in strategies:
                            done[strategy.name].append(results.get(strategy.name))
                        record.add(number, age, results)
        except KeyboardInterrupt:
            status = "interrupted"
        except Exception as error:
            record.fail(error)
            if writer.committed:
                error.add_note(f"the times that were done are in {out}")
            raise
        if any(one.changes_chip for one in strategies) and not holding.can_fork:
            holding.notes.append(
                "a real chip cannot be put back: its cells are refreshed at the last time alone, after all else; from "
                f"then on the compensations in {out} hold, and {path} describes the chip as it was"
            )
        result = _result(path, uri, holding, ages, limit, probes, seed, status, strategies, done)
        record.finish(result)
        return result | {"file": str(out) if writer.committed else None}


def _result(
    path: str | Path,
    uri: str,
    holding: DriftStudy,
    ages: Sequence[float],
    limit: float,
    probes: int,
    seed: int,
    status: str,
    strategies: Sequence[Strategy],
    done: Mapping[str, Sequence[CompensationOutcome | None]],
) -> dict[str, Any]:
    """The JSON object of `drift`."""
    return {
        "run": str(path),
        "backend": uri,
        "status": status,
        "mvm_error_in_run": finite(holding.mvm_error_then),
        "seconds_after_programming": holding.calibrated,
        "devices": sum(held.region.size for held in holding.held),
        "limit": limit,
        "probes": probes,
        "seed": seed,
        "times_s": list(ages),
        "compensations": {one.name: _entry(holding, limit, one, done[one.name]) for one in strategies},
        "calibration": holding.calibration,
        "notes": holding.notes,
        "hwloop_version": importlib.metadata.version("hwloop"),
    }


def _entry(
    holding: DriftStudy, limit: float, strategy: Strategy, done: Sequence[CompensationOutcome | None]
) -> dict[str, Any]:
    """One compensation: lists with a value for each time that was reached, and when the limit will be passed."""
    crossing = holding.crossing(limit, strategy, [one for one in done if one is not None])
    because = next((one.made[0].because for one in reversed(done) if one is not None and one.made), None)
    return {
        "mvm_error": [finite(one.mvm_error) if one else None for one in done],
        "tile_errors": [[finite(error) for error in one.tile_errors] if one else None for one in done],
        "measured_at_s": [one.age if one else None for one in done],
        "pulses": [one.pulses if one else None for one in done],
        "mvms": [one.mvms if one else None for one in done],
        "holds_until_s": [finite(one.holds_until) if one else None for one in done],
        "holds_because": because,
        "passes_limit": {
            "earliest_s": finite(crossing.earliest),
            "age_s": finite(crossing.age),
            "latest_s": finite(crossing.latest),
        }
        if crossing is not None
        else None,
    }
