"""What a drift study found: the courses of all compensations, and the file that holds them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from hwloop.calibration.drift.strategy import Probing
from hwloop.calibration.drift.study_file import ACCURACIES
from hwloop.durations import format_duration
from hwloop.files import hdf5
from hwloop.files.reading import whole
from hwloop.notebook.card import Cell, card
from hwloop.typing import FloatArray, Json
from hwloop.units import finite

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Course:
    """One compensation at all ages that were reached; a value an age, NaN where it was not made.

    Parameters
    ----------
    mvm_error
        Relative MVM error over all tensors.
    tile_errors
        The same of each tile; empty where it was not made.
    measured_at, valid_until
        Seconds after the end of programming: when it was measured, and until when it should hold.
    pulses, mvms
        What was spent on all tiles, the vectors that evaluate not counted.
    because
        Where `valid_until` comes from.
    passes_limit
        Seconds after the end of programming at which the limit is passed: start of the 95 % interval, median, end;
        infinite where it is not; None where too little is known.
    accuracy
        (times, 3) share of right answers of the network on the chip and its 95 % interval, NaN where it was not
        measured; None without a network.
    """

    mvm_error: FloatArray
    tile_errors: tuple[tuple[float, ...], ...]
    measured_at: FloatArray
    valid_until: FloatArray
    pulses: FloatArray
    mvms: FloatArray
    because: str = ""
    passes_limit: tuple[float, float, float] | None = None
    accuracy: FloatArray | None = None

    def to_json(self) -> dict[str, Json]:
        """Give one entry of `compensations` in the JSON of `hwloop drift`."""
        made = [bool(np.isfinite(age)) for age in self.measured_at]
        names = ("earliest_s", "age_s", "latest_s")
        passes = self.passes_limit
        accuracy: dict[str, Json] = {}
        if self.accuracy is not None:
            intervals = [[finite(low), finite(high)] for _, low, high in self.accuracy]
            accuracy = {"accuracy": [finite(one) for one in self.accuracy[:, 0]], "accuracy_interval": intervals}
        return {
            **accuracy,
            "mvm_error": [finite(error) for error in self.mvm_error],
            "tile_errors": [[finite(error) for error in errors] or None for errors in self.tile_errors],
            "measured_at_s": [finite(age) for age in self.measured_at],
            "pulses": [int(spent) if there else None for spent, there in zip(self.pulses, made, strict=True)],
            "mvms": [int(spent) if there else None for spent, there in zip(self.mvms, made, strict=True)],
            "holds_until_s": [finite(age) for age in self.valid_until],
            "holds_because": self.because or None,
            "passes_limit": {name: finite(age) for name, age in zip(names, passes, strict=True)} if passes else None,
        }


COURSE = {
    "mvm_error": ("1", "relative MVM error over all tensors"),
    "measured_at": ("s", "age at which it was measured"),
    "valid_until": ("s", "age until which the compensation should hold"),
    "pulses": ("1", "pulses that were spent"),
    "mvms": ("1", "vectors that were spent"),
}
"""Unit and meaning of what a course holds by age."""
ACCURACY = {
    "accuracy": "share of right answers",
    "accuracy_low": "start of its 95 % interval",
    "accuracy_high": "end of its 95 % interval",
}


@dataclass(frozen=True)
class DriftResult:
    """What a chip that ages has reached with each compensation.

    Parameters
    ----------
    run, backend
        File of the run, and URI of its chip.
    status
        'complete' or 'interrupted'.
    mvm_error_in_run, target_age
        Error that programming left, and the age in seconds at which it was measured.
    limit
        MVM error whose passing is predicted.
    times
        Seconds after the end of programming that were asked for; the first of them were reached.
    courses
        By the names of the compensations.
    devices, probes, seed
        Devices of all tiles, probe vectors of each, seed of the inputs.
    calibration
        File of the calibration through which outputs are read; empty for none.
    notes
        What is worth knowing, a sentence each.
    file
        Drift file; empty for none.
    """

    run: str
    backend: str
    status: str
    mvm_error_in_run: float
    target_age: float
    limit: float
    times: tuple[float, ...]
    courses: Mapping[str, Course]
    devices: int = 0
    probes: int = Probing.probes
    seed: int = 1
    calibration: str = ""
    notes: tuple[str, ...] = ()
    file: str = ""

    def to_json(self) -> dict[str, Json]:
        """Summarise as the JSON object of `hwloop drift`."""
        return {
            "run": self.run,
            "backend": self.backend,
            "status": self.status,
            "mvm_error_in_run": finite(self.mvm_error_in_run),
            "seconds_after_programming": self.target_age,
            "devices": self.devices,
            "limit": self.limit,
            "probes": self.probes,
            "seed": self.seed,
            "times_s": list(self.times),
            "compensations": {name: course.to_json() for name, course in self.courses.items()},
            "calibration": self.calibration or None,
            "notes": list(self.notes),
            "hwloop_version": importlib.metadata.version("hwloop"),
            "file": self.file or None,
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each compensation and age; needs the extra `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        rows: list[dict[str, Json]] = []
        for name, course in self.courses.items():
            values = zip(self.times, course.mvm_error, course.measured_at, course.pulses, course.mvms, strict=False)
            for time, error, at, pulses, mvms in values:
                rows.append(
                    {
                        "compensation": name, "time_s": time, "mvm_error": finite(error), "measured_at_s": finite(at),
                        "pulses": finite(pulses), "mvms": finite(mvms),
                    }
                )  # fmt: skip
        return dataframe(rows)

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray dataset by compensation and age; needs the extra `hwloop[xarray]`."""
        from hwloop.notebook.tables import About, Variable, dataset

        both = ("compensation", "time")
        found = {
            name: Variable(both, self._of(name), unit, meaning)
            for name, (unit, meaning) in COURSE.items()
        }  # fmt: skip
        if any(course.accuracy is not None for course in self.courses.values()):
            for number, (name, meaning) in enumerate(ACCURACY.items()):
                found[name] = Variable(both, self._of("accuracy", number), "1", meaning)
        coordinates = {
            "compensation": Variable(("compensation",), np.array(list(self.courses), np.str_), "", "compensation"),
            "time": Variable(("time",), np.array(self.times, np.float64), "s", "age after the end of programming"),
        }
        about: About = {"run": self.run, "backend": self.backend, "status": self.status, "limit": self.limit}
        return dataset(found, coordinates, about)

    def _of(self, name: str, column: int | None = None) -> FloatArray:
        """Stack what all compensations reached, (compensations, times), NaN where a time was not reached."""
        stacked = np.full((len(self.courses), len(self.times)), np.nan)
        for row, course in zip(stacked, self.courses.values(), strict=True):
            values = getattr(course, name)
            if values is not None:
                row[: len(values)] = values if column is None else values[:, column]
        return stacked

    def _repr_html_(self) -> str:
        known = any(course.accuracy is not None for course in self.courses.values())
        values = self._of("accuracy", 0) if known else self._of("mvm_error")
        rows: list[tuple[Cell, ...]] = [
            (name, *map(float, row)) for name, row in zip(self.courses, values, strict=True)
        ]
        told = "share of right answers by age" if known else "MVM error by age"
        return card(
            f"Drift on {self.backend}", told, head=("compensation", *map(format_duration, self.times)), rows=rows
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the accuracy, or without a network the MVM error, against age, on `ax` or new axes, and return them."""
        from hwloop.plot.drift import accuracy_against_age, error_against_age

        known = any(course.accuracy is not None for course in self.courses.values())
        return accuracy_against_age(self, ax) if known else error_against_age(self, ax)

    def __repr__(self) -> str:
        last = ", ".join(
            f"{name} {course.mvm_error[-1]:.4f}" for name, course in self.courses.items() if len(course.mvm_error)
        )
        return f"<DriftResult on {self.backend}: MVM errors at the last time {last or 'not reached'}>"


def read_drift(path: str | Path) -> DriftResult:
    """Read a drift file. Raises BadInputError for a file that is none, or not whole."""
    with hdf5.open_file(path, hdf5.DRIFT_FORMAT) as file, whole(path, "drift file", "make it again"):
        names = [name for name in str(file.attrs["compensations"]).split(",") if f"compensations/{name}" in file]
        times = hdf5.get(file, "times", "s") if "times" in file else np.empty(0)
        return DriftResult(
            run=str(file.attrs["run"]),
            backend=str(file.attrs["backend"]),
            status=str(file.attrs["status"]),
            mvm_error_in_run=float(file.attrs["mvm_error_in_run"]),
            target_age=float(hdf5.get(file, "calibrated", "s")),
            limit=float(file.attrs["limit"]),
            times=tuple(times.tolist()),
            courses={name: _read_course(file[f"compensations/{name}"]) for name in names},
            devices=int(file.attrs.get("devices", 0)),
            probes=int(file.attrs.get("probes", Probing.probes)),
            seed=int(file.attrs.get("seed", 1)),
            calibration=str(file.attrs.get("calibration", "")),
            notes=tuple(filter(None, str(file.attrs.get("notes", "")).splitlines())),
            file=str(path),
        )


def _read_course(group: h5py.Group) -> Course:
    times = sorted((key for key in group if key.startswith("time_")), key=lambda key: int(key.removeprefix("time_")))
    passes = tuple(map(float, hdf5.get(group, "passes_limit", "s"))) if "passes_limit" in group else None
    last = [str(tile.attrs.get("holds_because", "")) for tile in group[times[-1]].values()] if times else []
    return Course(
        mvm_error=hdf5.get(group, "mvm_error", "1"),
        tile_errors=tuple(tuple(float(tile.attrs["mvm_error"]) for tile in group[key].values()) for key in times),
        measured_at=hdf5.get(group, "measured_at", "s"),
        valid_until=hdf5.get(group, "holds_until", "s"),
        pulses=hdf5.get(group, "pulses", "1"),
        mvms=hdf5.get(group, "mvms", "1"),
        because=last[0] if last else "",
        passes_limit=(passes[0], passes[1], passes[2]) if passes is not None else None,
        accuracy=np.stack([hdf5.get(group, name, "1") for name in ACCURACIES], axis=1) if "accuracy" in group else None,
    )
