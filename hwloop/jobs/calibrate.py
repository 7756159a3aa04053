"""Calibrates a chip into a file that grows part by part, renews the file, and checks what has moved since."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.check import Finding, check
from hwloop.calibration.certificate.plan import PARTS, Plan
from hwloop.calibration.certificate.renewal import renew
from hwloop.calibration.certificate.session import Observer
from hwloop.calibration.certificate.session import calibrate as calibrate_cores
from hwloop.calibration.routines.base import Routine
from hwloop.calibration.routines.converters import ConverterCalibration
from hwloop.calibration.routines.devices import DeviceCalibration
from hwloop.calibration.routines.floor import FloorCalibration
from hwloop.calibration.routines.programming_curve import CurveCalibration
from hwloop.calibration.routines.symmetry import SymmetryCalibration
from hwloop.calibration.routines.trims import TrimCalibration
from hwloop.calibration.routines.wires import WireCalibration
from hwloop.calibration.steps import Step
from hwloop.chip.backend import Backend
from hwloop.errors import BadInputError, CalibrationWarning, HwloopError
from hwloop.files import hdf5
from hwloop.files.output import OutputFile
from hwloop.files.reading import whole
from hwloop.files.resume_folder import ResumeFolder, listed, plain
from hwloop.jobs.exclusive import exclusive
from hwloop.jobs.progress import Progress, Report, phase, reporting, silent
from hwloop.jobs.recording import JobOnFile, Recording, recorded, replayed
from hwloop.mapping.activations import Sample, sample_of
from hwloop.mapping.matrix import Matrix
from hwloop.typing import AnyArray, Json

R = TypeVar("R", bound=Routine)

ROUTINES: dict[str, type[Routine]] = {
    "devices": DeviceCalibration,
    "trims": TrimCalibration,
    "converters": ConverterCalibration,
    "wires": WireCalibration,
    "curve": CurveCalibration,
    "floor": FloorCalibration,
    "symmetry": SymmetryCalibration,
}
"""Routines with settings, by what ROUTINE.KEY=VALUE calls them."""


@exclusive
def calibrate(
    chip: Backend,
    parts: Sequence[str] | Plan = PARTS,
    *,
    cores: Sequence[int] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress = False,
) -> Calibration:
    """Find out what a chip is: what works, what its converters do, how devices answer, and which noise floor it has.

    All that the chip's cores hold is lost.

    Parameters
    ----------
    chip
        An open chip.
    parts
        Names out of 'devices', 'adc', 'dac', 'wires', 'programming-curve', 'ranges', 'floor', or 'symmetry-point' of a
        chip that trains in memory, or a plan with settings.
    cores
        Numbers of the cores; None for all.
    seed
        Of all probe inputs.
    out
        New calibration file that is saved part by part; None leaves saving to `Calibration.save`.
    progress
        True draws a bar; a function is told (done, total) and may raise KeyboardInterrupt to stop between stages.

    Returns
    -------
    Calibration
        With `save`, `check(chip)`, `renew(chip)`; what could not be done is named in `skipped`.

    Raises
    ------
    BadInputError
        For parts, cores or settings that do not suit the chip, before anything is sent.
    MissingCapabilityError, ChipError
        For a part that cannot be done, or fails, and was asked for alone.
    """
    plan = parts if isinstance(parts, Plan) else Plan(tuple(parts))
    with reporting(progress, "calibrating") as report:
        if out is not None:
            with CalibrationFile(out) as file:
                return calibrate_into(file, chip, plan, cores=cores, seed=seed, report=report)
        return calibrate_cores(chip, plan, cores=cores, seed=seed, observer=_observer(report))


def plan_from(parts: Sequence[str], settings: Mapping[str, str]) -> Plan:
    """Make a plan from the names of its parts and the texts of settings by ROUTINE.KEY, such as devices.settle.

    Raises
    ------
    BadInputError
        For an unknown part, routine or setting.
    """
    by_routine: dict[str, dict[str, str]] = {name: {} for name in ROUTINES}
    for key, text in settings.items():
        routine, _, name = key.partition(".")
        if routine not in ROUTINES or not name:
            raise BadInputError(f"--set {key}: expected ROUTINE.KEY=VALUE with one of {', '.join(ROUTINES)}")
        by_routine[routine][name] = text
    return Plan(
        parts,
        devices=_parsed(DeviceCalibration, by_routine["devices"], "devices"),
        trims=_parsed(TrimCalibration, by_routine["trims"], "trims"),
        converters=_parsed(ConverterCalibration, by_routine["converters"], "converters"),
        wires=_parsed(WireCalibration, by_routine["wires"], "wires"),
        curve=_parsed(CurveCalibration, by_routine["curve"], "curve"),
        floor=_parsed(FloorCalibration, by_routine["floor"], "floor"),
        symmetry=_parsed(SymmetryCalibration, by_routine["symmetry"], "symmetry"),
    )


def _parsed(kind: type[R], texts: Mapping[str, str], name: str) -> R:
    """Make a routine of the texts of its settings. Raises BadInputError that names the routine."""
    try:
        return kind.parse(texts)
    except BadInputError as error:
        raise BadInputError(f"routine {name}: {error}") from None


class CalibrationFile:
    """Writes the file of a calibration that goes on, so often that it takes a small share of the time; use it `with`.

    Parameters
    ----------
    path
        Where it comes.
    force
        Whether it may replace a file; without, BadInputError.
    """

    def __init__(self, path: str | Path, *, force: bool = False) -> None:
        self._output = OutputFile(path, force=force)
        self.last: Calibration | None = None
        self.replaying: Callable[[], bool] = lambda: False
        """Whether the calibration is only led to where an earlier process has left it: that is on the disk."""
        self._timer = hdf5.CommitTimer()

    def keep(self, calibration: Calibration) -> None:
        """Save, unless the last time was a moment ago."""
        self.last = calibration
        if self._timer.due() and not self.replaying():
            self.save(calibration)

    def save(self, calibration: Calibration) -> None:
        """Save now."""
        with self._timer.committing():
            calibration.save(self._output)

    @property
    def path(self) -> Path:
        """Where the file lies; another place than was asked for once somebody else has put a file there."""
        return self._output.path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._output.close()


def calibrate_into(
    file: CalibrationFile,
    chip: Backend,
    plan: Plan,
    *,
    cores: Sequence[int] | None = None,
    seed: int = 0,
    report: Report = silent,
) -> Calibration:
    """Calibrate and save.

    The file is there once the first part is done, and grows: a process that is killed, or a link that fails, costs what
    came after the last save. Nothing is on file of a calibration that was stopped before its first part was done.
    """
    job = CalibrationJob(plan, None if cores is None else tuple(cores), seed)
    with recorded(file.path, chip, job.on_file()) as recording:
        return job.carry_out(file, chip, recording, report)


@exclusive
def calibrate_again(folder: ResumeFolder, chip: Backend, progress: Progress = False) -> Calibration:
    """Go on with a calibration that was stopped or killed; see `hwloop.resume`."""
    job, file = CalibrationJob.from_file(folder), CalibrationFile(folder.out, force=True)
    with reporting(progress, "calibrating") as report, replayed(folder, chip) as recording:
        return job.carry_out(file, chip, recording, report)


@dataclass(frozen=True)
class CalibrationJob:
    """What to calibrate, as objects, and as a file from which the same is done again; see `calibrate`."""

    plan: Plan
    cores: tuple[int, ...] | None = None
    seed: int = 0

    def carry_out(self, file: CalibrationFile, chip: Backend, recording: Recording, report: Report) -> Calibration:
        """Calibrate and save."""
        file.replaying = lambda: recording.replaying
        try:
            calibration = calibrate_cores(
                chip, self.plan, cores=self.cores, seed=self.seed, observer=_observer(report), keep=file.keep
            )
        except HwloopError as error:
            if file.last is not None:
                file.save(file.last)
                error.add_note(
                    f"what was done before is in {file.path}, which says that it is not finished; hwloop resume "
                    f"{file.path} goes on"
                )
            raise
        if "interrupted" not in calibration.skipped:
            recording.complete()
        if calibration.measured():
            file.save(calibration)
        return calibration

    def on_file(self) -> JobOnFile:
        """Give all of it as plain values and arrays."""
        plan = self.plan
        told: dict[str, Json] = {
            "parts": list(plan.parts),
            "settings": {name: dataclasses.asdict(getattr(plan, name)) for name in ROUTINES},
            "age": plan.age,
            "cores": None if self.cores is None else [int(core) for core in self.cores],
            "seed": self.seed,
            "matrix": None if plan.weights is None else plan.weights.name,
        }
        arrays: dict[str, list[AnyArray]] = {
            "weights": [] if plan.weights is None else [plan.weights.values],
            "inputs": [] if plan.inputs is None else _on_file(sample_of(plan.inputs)),
        }
        return JobOnFile("calibrate", told, arrays)

    @classmethod
    def from_file(cls, folder: ResumeFolder) -> CalibrationJob:
        """Make it again of what `on_file` gave. Raises BadInputError for what is not whole."""
        told = folder.job()
        weights, inputs = ([np.asarray(one) for one in folder.arrays(name)] for name in ("weights", "inputs"))
        with whole(folder.path, "job folder", "begin the job anew"):
            of_routines = plain(told["settings"])
            texts = {f"{name}.{key}": _text(v) for name in ROUTINES for key, v in plain(of_routines[name]).items()}
            plan = dataclasses.replace(
                plan_from([str(part) for part in listed(told["parts"])], texts),
                age=None if told["age"] is None else float(str(told["age"])),
                weights=Matrix(str(told["matrix"]), weights[0]) if told["matrix"] is not None else None,
                inputs=Sample(*inputs) if inputs else None,
            )
            cores = None if told["cores"] is None else tuple(int(str(core)) for core in listed(told["cores"]))
            return cls(plan, cores, int(str(told["seed"])))


def _on_file(inputs: Sample) -> list[AnyArray]:
    return [inputs.vectors] if inputs.weights is None else [inputs.vectors, inputs.weights]


def _text(value: Json) -> str:
    """Return a setting as `plan_from` takes it."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _observer(report: Report) -> Observer:
    def observe(step: Step) -> None:
        phase(report, step.stage)
        report(step.done, step.total)

    return observe


def renew_to_file(
    base: Calibration,
    chip: Backend,
    out: str | Path,
    *,
    seed: int = 0,
    force: bool = False,
    report: Report = silent,
) -> Calibration:
    """Renew the converters' part of a calibration, on what the chip holds now, into a file."""
    hdf5.check_writable(out, force=force)
    calibration = renew(base, chip, seed=seed, observer=_observer(report))
    for text in calibration.out_of_date():
        warnings.warn(text, CalibrationWarning, stacklevel=2)
    calibration.save(out, force=force)
    return calibration


@dataclass(frozen=True)
class CheckReport:
    """What has moved on a chip since its calibration.

    Parameters
    ----------
    calibration, backend, created
        File, URI of the chip, and date of the calibration in ISO 8601.
    warnings
        What is out of date, a sentence each.
    findings
        Comparisons with a probe.
    """

    calibration: str
    backend: str
    created: str
    warnings: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether all differences are within what chance explains."""
        return all(finding.expected for finding in self.findings)

    def to_json(self) -> dict[str, Json]:
        """Give the JSON object of `hwloop calibrate check`."""
        return {
            "calibration": self.calibration,
            "backend": self.backend,
            "created": self.created,
            "holds": self.holds,
            "warnings": list(self.warnings),
            "findings": [finding.to_json() for finding in self.findings],
            "hwloop_version": importlib.metadata.version("hwloop"),
        }


def check_file(path: str | Path, chip: Backend, seed: int = 1) -> CheckReport:
    """Compare a calibration file with a small probe of its chip."""
    calibration = Calibration.load(path)
    stale = calibration.for_chip(chip)
    findings = check(calibration, chip, seed=seed)
    return CheckReport(str(path), chip.uri, calibration.created.isoformat(), tuple(stale), tuple(findings))
