"""What to program and how, as objects, and as a file from which the same is done again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hwloop.calibration.programming.base import Method, check_age
from hwloop.calibration.programming.registry import method_from
from hwloop.chip.backend import Backend
from hwloop.files.reading import whole
from hwloop.files.resume_folder import ResumeFolder, listed, plain
from hwloop.files.runs import Provenance
from hwloop.jobs.inputs import UsedCalibration, Weights
from hwloop.jobs.recording import JobOnFile
from hwloop.jobs.stored import calibration_bytes, samples_again, samples_on_file, samples_told, stored_calibration
from hwloop.mapping.activations import Sample
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.sharing import MappingSettings
from hwloop.typing import AnyArray, FloatArray, Json


@dataclass(frozen=True)
class Task:
    """What to program and how, as objects: nothing below this knows a file name or a command-line word.

    Parameters
    ----------
    weights, method, mapping, age, seed, calibration
        As in `program`.
    activations
        Sample inputs by tensor, or None.
    run
        What tells a run that can be gone on with from every other; empty for any other.
    errors
        Whether MVM errors are measured in the end; columns are calibrated either way. Files do not keep it.
    """

    weights: Weights
    method: Method
    mapping: MappingSettings = field(default_factory=MappingSettings)
    age: float | None = None
    seed: int = 0
    calibration: UsedCalibration | None = None
    activations: Mapping[str, Sample] | None = None
    run: str = ""
    errors: bool = True

    def target_age(self, chip: Backend) -> float:
        """Return the age in seconds at which targets hold: as given, else the chip's reference age."""
        if self.age is None:
            return chip.info.reference_age
        check_age(self.age)
        return self.age

    def within(self, chip: Backend, chip_seconds: float | None) -> Task:
        """Return the task with a budget of seconds for the rests of its method; None leaves it as it is."""
        if chip_seconds is None:
            return self
        method = self.method.within(chip_seconds, self.target_age(chip), chip.info)
        return dataclasses.replace(self, method=method)

    def provenance(self, chip: Backend) -> Provenance:
        """Describe the task for whoever finds the run later."""
        used = self.calibration
        return Provenance(
            backend=chip.uri,
            weights=self.weights.name,
            weights_sha256=self.weights.sha256,
            method=self.method.name,
            settings=dataclasses.asdict(self.method),
            mapping=self.mapping,
            seed=self.seed,
            calibration=used.name if used else "",
            calibration_sha256=used.sha256 if used else "",
            chip=chip.lifetime.identity,
            device_shape=(chip.info.cores, *chip.info.device_shape),
            session=chip.lifetime.session,
            g_max=chip.info.g_max,
            run=self.run,
        )

    def on_file(self) -> JobOnFile:
        """Give all of it as plain values and arrays: a file that moves, or is gone, shall not matter."""
        used, samples = self.calibration, self.activations or {}
        told: dict[str, Json] = {
            "method": self.method.name,
            "settings": dataclasses.asdict(self.method),
            "mapping": dataclasses.asdict(self.mapping),
            "age": self.age,
            "seed": self.seed,
            "run": self.run,
            "weights": self.weights.name,
            "weights_sha256": self.weights.sha256,
            "tensors": [matrix.name for matrix in self.weights.matrices],
            "activations": samples_told(samples),
            "calibration": None if used is None else [used.name, used.sha256],
        }
        arrays: dict[str, list[AnyArray]] = {
            "weights": [_shorter(matrix.values) for matrix in self.weights.matrices],
            **samples_on_file(samples),
            "calibration": [] if used is None else [calibration_bytes(used.calibration)],
        }
        return JobOnFile("program", told, arrays)

    @classmethod
    def from_file(cls, folder: ResumeFolder) -> Task:
        """Make it again of what `on_file` gave. Raises BadInputError for what is not whole."""
        told = folder.job()
        with whole(folder.path, "job folder", "begin the job anew"):
            # As JSON gives them back, the types of values are those that were written.
            settings = {name: str(value) for name, value in plain(told["settings"]).items()}
            names, values = listed(told["tensors"]), folder.arrays("weights")
            matrices = tuple(
                Matrix(str(name), np.asarray(one, np.float64)) for name, one in zip(names, values, strict=True)
            )
            return cls(
                weights=Weights(str(told["weights"]), str(told["weights_sha256"]), matrices),
                method=method_from(str(told["method"]), settings),
                mapping=MappingSettings(**dict(told["mapping"])),  # type: ignore[arg-type]
                age=None if told["age"] is None else float(str(told["age"])),
                seed=int(str(told["seed"])),
                calibration=stored_calibration(folder, told["calibration"]),
                activations=samples_again(folder, told["activations"]) or None,
                run=str(told.get("run", "")),
            )


def _shorter(values: FloatArray) -> AnyArray:
    """Return numbers in single precision where nothing is lost by that."""
    single = values.astype(np.float32)
    return single if np.array_equal(single, values) else values
