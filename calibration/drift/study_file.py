"""Drift files: what a chip that ages has reached at every age, with each compensation.

docs/drift.md describes the layout.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hwloop.calibration.drift.compensation import Compensation
from hwloop.calibration.drift.monitor import Crossing
from hwloop.calibration.drift.outcome import CompensationOutcome
from hwloop.calibration.drift.study import DriftStudy
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.reading import whole

ACCURACIES = ("accuracy", "accuracy_low", "accuracy_high")
"""Datasets of a network's accuracy: its value, and the ends of the 95 % interval."""


class DriftRecorder:
    """A drift file on its way, written anew after every age."""

    def __init__(
        self,
        writer: hdf5.WholeFileWriter,
        path: str | Path,
        uri: str,
        study: DriftStudy,
        limit: float,
        names: Sequence[str],
    ) -> None:
        """Write what is known beforehand.

        Parameters
        ----------
        writer
            The file, open and empty.
        path
            Run file that is studied.
        uri
            Its chip.
        study
            The study.
        limit
            Relative MVM error whose passing is predicted.
        names
            Compensations that are evaluated.
        """
        self._writer, self._file = writer, writer.file
        hdf5.put_attributes(
            self._file,
            {
                "status": "running",
                "run": str(path),
                "backend": uri,
                "limit": limit,
                "compensations": ",".join(names),
                "mvm_error_in_run": study.mvm_error_in_run,
                "devices": sum(tile.region.size for tile in study.tiles),
                "seed": study.seed,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "hwloop_version": importlib.metadata.version("hwloop"),
            },
        )
        hdf5.put(self._file, "calibrated", study.target_age, "s", "age at which programming calibrated the columns")
        for number, tile in enumerate(study.tiles):
            group = self._file.create_group(f"tiles/{number:04d}")
            hdf5.put_attributes(group, {"tensor": tile.tile.tensor, "core": tile.tile.place.core})

    def add(self, number: int, age: float, results: Mapping[str, CompensationOutcome]) -> None:
        """Add all that was made and measured at one age.

        Parameters
        ----------
        number
            Index of the age among those asked for.
        age
            Seconds after the end of programming.
        results
            Outcomes by the names of the compensations.
        """
        hdf5.append(self._file, "times", age, "s", "ages asked for, from the end of programming")
        for name, one in results.items():
            group = self._file.require_group(f"compensations/{name}")
            for what, value, units, meaning in (
                ("mvm_error", one.mvm_error, "1", "relative MVM error over all tensors, fresh inputs"),
                ("measured_at", one.age, "s", "age at which it was measured, from the end of programming"),
                ("pulses", one.pulses, "1", "pulses spent on the cells"),
                ("mvms", one.mvms, "1", "input vectors spent, those of the evaluation not counted"),
                ("holds_until", one.valid_until, "s", "age until which it should hold, from the end of programming"),
            ):
                hdf5.append(group, what, float(value), units, meaning)
            if one.accuracy is not None:
                for what, share in zip(ACCURACIES, one.accuracy, strict=True):
                    hdf5.append(group, what, share, "1", "share of right answers of the network on the chip")
            for tile, made in enumerate(one.made):
                part = group.create_group(f"time_{number}/{tile:04d}")
                made.save(part)
                part.attrs["mvm_error"] = one.tile_errors[tile]
        self._writer.commit_if_due()

    def finish(self, status: str, notes: Sequence[str], crossings: Mapping[str, Crossing | None]) -> None:
        """Write the end; nothing is left on disk of a job that was stopped before its first age.

        Parameters
        ----------
        status
            'complete' or 'interrupted'.
        notes
            What is worth knowing, a sentence each.
        crossings
            When the limit will be passed, by the names of the compensations; None where too little is known.
        """
        for name, crossing in crossings.items():
            if crossing is not None and f"compensations/{name}" in self._file:
                ages = [crossing.earliest, crossing.age, crossing.latest]
                meaning = "age at which the limit is passed: start of the 95 % interval, median, end"
                hdf5.put(self._file[f"compensations/{name}"], "passes_limit", ages, "s", meaning)
        self._file.attrs["status"] = status
        self._file.attrs["notes"] = "\n".join(notes)
        if "times" in self._file:
            self._writer.commit()

    def fail(self, error: Exception) -> None:
        """Say why it ended, if there is anything to keep.

        Parameters
        ----------
        error
            What ended it.
        """
        if "times" in self._file:
            self._file.attrs["status"], self._file.attrs["error"] = "failed", str(error)
            self._writer.commit()


def load_compensations(path: str | Path, name: str, time: int = -1) -> list[Compensation]:
    """Load the compensations of all tiles from a drift file.

    Parameters
    ----------
    path
        Drift file.
    name
        Name of the compensation.
    time
        Index of the age among those at which it was made; the last one by default.

    Returns
    -------
    list
        One of each tile.

    Raises
    ------
    BadInputError
        When there is none.
    """
    with hdf5.open_file(path, hdf5.DRIFT_FORMAT) as file, whole(path, "drift file", "make it again"):
        group = file.get(f"compensations/{name}")
        made = (
            sorted((int(key.removeprefix("time_")), key) for key in group if key.startswith("time_")) if group else []
        )
        if not made or not -len(made) <= time < len(made):
            raise BadInputError(
                f"{path} holds no compensation '{name}' of time {time}; it has {file.attrs['compensations']} at "
                f"{len(made)} time(s)"
            )
        tiles = group[made[time][1]]
        return [Compensation.load(tiles[tile]) for tile in sorted(tiles)]
