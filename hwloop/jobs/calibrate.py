"""The jobs behind `hwloop calibrate`: calibrate into a file, renew it, check it, and say what it tells."""

from __future__ import annotations

import importlib.metadata
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from hwloop.calibration.certificate.certificate import HOLDS, Calibration, CoreCalibration
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.renewal import Finding, check, renew
from hwloop.calibration.certificate.session import Observer, calibrate
from hwloop.calibration.routines.converters import ConverterSettings
from hwloop.calibration.routines.devices import DeviceSettings, Fault
from hwloop.calibration.routines.floor import FloorSettings
from hwloop.calibration.routines.programming_curve import CurveSettings
from hwloop.calibration.settings import Settings
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError, CalibrationWarning, HwloopError
from hwloop.files import hdf5
from hwloop.files.weights import load_weights
from hwloop.mapping.activations import load_activations
from hwloop.typing import FloatArray

SETTINGS: dict[str, type[Settings]] = {
    "devices": DeviceSettings,
    "converters": ConverterSettings,
    "curve": CurveSettings,
    "floor": FloorSettings,
}

SAVING_SHARE = 0.05
"""Share of the time that saving what was done so far may take."""


def make_plan(
    parts: Sequence[str],
    settings: Mapping[str, str] | None = None,
    *,
    weights: str | None = None,
    tensor: str | None = None,
    inputs: str | None = None,
    age: float | None = None,
) -> Plan:
    """A plan from texts.

    settings  values by ROUTINE.KEY, such as devices.settle
    weights   file of the matrix for ranges and floor; `tensor` names it where the file has several
    inputs    file of sample activations of that matrix, for the ranges
    Raises BadInputError for an unknown routine or setting, several matrices without a name, or a bad file.
    """
    by_routine: dict[str, dict[str, str]] = {name: {} for name in SETTINGS}
    for key, text in (settings or {}).items():
        routine, _, name = key.partition(".")
        if routine not in SETTINGS or not name:
            raise BadInputError(f"--set {key}: expected ROUTINE.KEY=VALUE with one of {', '.join(SETTINGS)}")
        by_routine[routine][name] = text
    matrix = None
    if weights is None and tensor is not None:
        raise BadInputError(f"--tensor {tensor}: give the file that holds it with --weights")
    if weights is not None:
        matrices = load_weights(weights, tensor)
        if len(matrices) > 1:
            names = ", ".join(m.name for m in matrices)
            raise BadInputError(f"{weights} has the matrices {names}; choose one with --tensor")
        matrix = matrices[0]
    parsed = {name: kind.parse(by_routine[name]) for name, kind in SETTINGS.items()}
    if inputs and matrix is None:
        raise BadInputError(
            f"--inputs {inputs}: sample inputs need the weights they belong to; name them with --weights"
        )
    activations = load_activations(inputs, [matrix])[matrix.name] if inputs and matrix else None
    return Plan(parts, weights=matrix, inputs=activations, age=age, **parsed)  # type: ignore[arg-type]


def calibrate_to_file(
    plan: Plan,
    backend_uri: str,
    out: str | Path,
    *,
    cores: Sequence[int] | None = None,
    seed: int = 0,
    force: bool = False,
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Calibrate and save; returns the JSON object of docs/commands.md.

    The file is there once the first part is done, and grows: a process that is killed, or a link that fails, costs what
    came after the last save. Nothing is on file of a calibration that was stopped before its first part was done.
    """
    saving = _Saving(hdf5.check_writable(out, force=force))
    try:
        with connect(backend_uri) as backend:
            calibration = calibrate(backend, plan, cores=cores, seed=seed, observer=observer, keep=saving.keep)
    except HwloopError as error:
        if saving.last is not None:
            saving.save(saving.last)
            error.add_note(f"what was done before is in {out}, which says that it is not finished")
        raise
    if calibration.measured():
        saving.save(calibration)
    return summary(calibration) | {
        "backend": backend_uri,
        "calibration": str(out) if calibration.measured() else None,
    }


class _Saving:
    """The file of a calibration on its way, written so often that it takes SAVING_SHARE of the time at most."""

    def __init__(self, path: Path) -> None:
        self.last: Calibration | None = None
        self._path, self._due = path, 0.0

    def keep(self, calibration: Calibration) -> None:
        """Save, unless the last time was a moment ago."""
        self.last = calibration
        if time.monotonic() >= self._due:
            self.save(calibration)

    def save(self, calibration: Calibration) -> None:
        """Save now."""
        began = time.monotonic()
        calibration.save(self._path, force=True)
        now = time.monotonic()
        self._due = now + (now - began) / SAVING_SHARE


def renew_to_file(
    base: str | Path,
    backend_uri: str,
    out: str | Path,
    *,
    seed: int = 0,
    force: bool = False,
    observer: Observer | None = None,
) -> dict[str, Any]:
    """The daily calibration, on what the chip holds now; returns the JSON object of docs/commands.md."""
    known = Calibration.load(base)
    hdf5.check_writable(out, force=force)
    with connect(backend_uri) as backend:
        calibration = renew(known, backend, seed=seed, observer=observer)
    for text in calibration.out_of_date():
        warnings.warn(text, CalibrationWarning, stacklevel=2)
    calibration.save(out, force=force)
    return summary(calibration) | {"backend": backend_uri, "calibration": str(out)}


def check_file(path: str | Path, backend_uri: str, seed: int = 1) -> dict[str, Any]:
    """Compare a calibration with a small probe of its chip."""
    calibration = Calibration.load(path)
    with connect(backend_uri) as backend:
        warnings = calibration.for_chip(backend)
        findings = check(calibration, backend, seed=seed)
    return {
        "calibration": str(path),
        "backend": backend_uri,
        "created": calibration.created.isoformat(),
        "holds": all(finding.expected for finding in findings),
        "warnings": warnings,
        "findings": [_finding(finding) for finding in findings],
        "hwloop_version": importlib.metadata.version("hwloop"),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "core": finding.core if finding.core >= 0 else None,
        "what": finding.what,
        "compared": finding.compared,
        "moved": finding.moved,
        "worst_sigmas": _plain(finding.worst),
    }


def summary(calibration: Calibration) -> dict[str, Any]:
    """What a calibration says, without the arrays."""
    return {
        "chip": vars(calibration.chip),
        "created": calibration.created.isoformat(),
        "temperature_kelvin": _plain(calibration.temperature),
        "parts": {
            name: {
                "measured": calibration.dates[name].isoformat(),
                "holds_days": HOLDS[name][0],
                "holds_until": (calibration.dates[name] + timedelta(days=HOLDS[name][0])).isoformat(),
                "because": HOLDS[name][1],
            }
            for name in calibration.measured()
        },
        "skipped": dict(calibration.skipped),
        "out_of_date": calibration.out_of_date(),
        "cost": dict(calibration.cost),
        "cores": [{"core": index} | core_summary(core) for index, core in sorted(calibration.cores.items())],
        "seed": calibration.seed,
        "hwloop_version": calibration.hwloop_version,
    }


def core_summary(core: CoreCalibration) -> dict[str, Any]:
    """Scalars as they are, arrays by their root mean square over what is known, and its median uncertainty."""
    told: dict[str, Any] = {}
    if core.devices is not None:
        told["devices"] = {fault.name.lower(): core.devices.count(fault) for fault in Fault} | {
            "typical_high_uS": core.devices.typical_high
        }
    if core.converters is not None:
        c = core.converters
        loud = ~c.silent
        told["converters"] = {
            "columns": int(loud.sum()),
            "silent_columns": int(c.silent.sum()),
            "adc_noise_lsb": _plain(c.adc_noise),
            "noise_lsb": _median(c.noise[loud]),
            "full_scale_uS": c.full_scale,
        } | {
            f"{name}_lsb": {"rms": _rms(getattr(c, name)[which]), "sigma": _median(getattr(c, f"{name}_sigma")[which])}
            for name, which in (
                ("offset", loud),
                ("square", loud),
                ("cubic", loud),
                ("row_square", np.isfinite(c.row_square_sigma)),
                ("row_cubic", np.isfinite(c.row_cubic_sigma)),
            )
        }
    if core.gains is not None:
        known = np.isfinite(core.gains.gain_sigma)
        told["gains"] = {
            "spread": _plain(float(np.std(core.gains.gain[known]))) if known.any() else None,
            "sigma": _median(core.gains.gain_sigma[known]),
            "reference": "mean conductance of each column's SET devices",
        }
    if core.trims is not None:
        told["trims"] = {"offset_lsb_rms": _rms(core.trims.offset), "gain_rms": _rms(core.trims.gain)}
    for name in ("wires", "programming_curve", "ranges", "floor"):
        part = getattr(core, name)
        if part is not None:
            told[name] = {key: _plain(v) for key, v in vars(part).items() if isinstance(v, float | int)}
    if core.programming_curve is not None:
        told["programming_curve"] |= {
            "shift_sigma": _median(core.programming_curve.shift_sigma),
            "height_sigma": _median(core.programming_curve.height_sigma),
        }
    return told


def _rms(values: FloatArray) -> float | None:
    return _plain(float(np.sqrt(np.mean(values**2)))) if values.size else None


def _median(values: FloatArray) -> float | None:
    return _plain(float(np.median(values))) if values.size else None


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
