"""Goes on with the unfinished experiment of a measurement file, as the file tells what was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.experiments.cells import Levels, ListedLevels
from hwloop.chip.backend import Backend
from hwloop.chip.registry import connect_recorded
from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.resume_folder import listed, plain
from hwloop.jobs.inputs import UsedCalibration
from hwloop.jobs.measure import (
    Into,
    MeasurementReport,
    MeasurementTask,
    Setting,
    experiment_from,
    measure_to_file,
)
from hwloop.jobs.progress import Report
from hwloop.typing import Json


def measure_again(path: str | Path, chip: Backend | None, report: Report) -> MeasurementReport:
    """Go on with the last experiment of a measurement file, which is not finished; see `hwloop.resume`.

    Raises
    ------
    BadInputError
        For a file whose last experiment is complete, or does not tell what was asked for, another chip, and a
        calibration that is gone.
    """
    last = read_measurements(path)[-1]
    told = last.attributes
    if told.get("status") == "complete":
        raise BadInputError(f"{path} is complete: there is nothing to go on with")
    if "settings" not in told:
        raise BadInputError(f"{path} does not tell its settings; give the command again that began it, with --resume")
    try:
        plan, settings = plain(json.loads(str(told["plan"]))), plain(json.loads(str(told["settings"])))
        experiment = experiment_from(last.experiment.value, {key: _value(one) for key, one in settings.items()})
        seed, temperature = int(str(plan["seed"])), plan["temperature"]
        kelvin = None if temperature is None else float(str(temperature))
    except (LookupError, TypeError, ValueError) as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{path} does not tell what was asked for ({error}); begin the experiment anew") from None
    task = MeasurementTask(experiment, seed, kelvin, _calibration(path, plan.get("calibration")))
    if chip is None:
        chip = connect_recorded(str(told["backend"]), path)
    return measure_to_file(task, chip, path, into=Into.RESUME, show=report)


def _value(value: Json) -> Setting:
    """Return a setting as the experiment has it: levels, a tuple of numbers, or a plain value."""
    if isinstance(value, Mapping):
        if "values" in value:
            return ListedLevels(tuple(float(str(one)) for one in listed(value["values"])))
        return Levels(int(str(value["count"])), float(str(value["low"])), float(str(value["high"])))
    if isinstance(value, str | int | float):
        return value
    return tuple(one if isinstance(one, int) else float(str(one)) for one in listed(value))


def _calibration(path: str | Path, name: Json) -> UsedCalibration | None:
    if name is None:
        return None
    place = Path(str(name))
    if not place.is_file():
        raise BadInputError(f"{path} cannot be gone on with: its calibration {place} is gone; put it back")
    return UsedCalibration(Calibration.load(place), str(name), fingerprint(place))
