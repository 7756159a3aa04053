"""Model files: what was fitted to measurements, as readable JSON that notices when it was changed by hand.

A file holds one `Fit` per experiment: family, parameters with 95 % intervals and units, the cells it rests on and the
range it holds in. `device_parts` turns fits into the device models that the simulated chip runs on. docs/fitting.md
describes the layout.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hwloop.devices.drift import DriftModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.splines import Spline
from hwloop.devices.statistics import Knots, LogClip, Polynomial, PowerLaw, Statistic
from hwloop.errors import BadInputError
from hwloop.files import hdf5

MODEL_FORMAT = "hwloop-model"
FORMAT_VERSION = 1
LARGEST = 64 * 2**20
"""Bytes; a model is a page or two, and a foreign file shall not fill the memory."""


@dataclass(frozen=True)
class Estimate:
    """A fitted number with its 95 % interval; without one it was held, and `note` says why."""

    name: str
    value: float
    low: float | None
    high: float | None
    unit: str
    meaning: str
    note: str = ""


@dataclass(frozen=True)
class CellCount:
    """What became of the measured cells; the addresses are those of cells that contradict the model."""

    measured: int
    used: int
    stuck: int = 0
    wild: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason -> cells."""
    stuck_addresses: tuple[int, ...] = ()
    wild_addresses: tuple[int, ...] = ()


@dataclass(frozen=True)
class Form:
    """Shape of a statistic of the conductance: its kind, and for 'knots' and 'spline' where the knots are (ln g)."""

    kind: str
    at: tuple[float, ...] = ()


@dataclass(frozen=True)
class Fit:
    """One fitted experiment."""

    experiment: str
    family: str
    parameters: tuple[Estimate, ...]
    forms: dict[str, Form]
    """Statistic -> its shape; its coefficients are the parameters called STATISTIC.COEFFICIENT."""
    settings: dict[str, float]
    """Numbers that define the parameters and were not fitted: reference age, scale of the conductance."""
    cells: CellCount
    conductance_range: tuple[float, float]
    """uS; outside of it the fit says nothing."""
    time_range: tuple[float, float]
    """s."""
    log_likelihood_per_cell: float
    calibration_distance: float
    """Kolmogorov distance of the cells' predicted quantiles from uniform."""
    choice: dict[str, float] = field(default_factory=dict)
    """ProgrammedTile-out log-likelihood per cell of every family tried, when the family was chosen by it."""
    warnings: tuple[str, ...] = ()

    def value(self, name: str) -> float:
        """A parameter by name. Raises BadInputError when the fit has none of that name."""
        for row in self.parameters:
            if row.name == name:
                return row.value
        raise BadInputError(f"the {self.experiment} fit ({self.family}) has no parameter '{name}'")

    def statistic(self, name: str) -> Statistic:
        """A fitted statistic of the normalised conductance, such as the drift's 'mean'."""
        if name not in self.forms:
            raise BadInputError(f"the {self.experiment} fit ({self.family}) has no statistic '{name}'")
        prefix = f"{name}."
        own = {p.name.removeprefix(prefix): p.value for p in self.parameters if p.name.startswith(prefix)}
        return build_statistic(self.forms[name], own)


@dataclass(frozen=True)
class Model:
    """All fits of a measurement file."""

    fits: dict[str, Fit]
    """Experiment -> fit."""
    chip: dict[str, str | int | float | bool]
    """Identity of what was measured: the measurement's own attributes."""
    data: dict[str, str]
    """File name and SHA-256 of each measurement that was fitted."""
    created: str
    """UTC."""
    hwloop_version: str = field(default_factory=lambda: importlib.metadata.version("hwloop"))


_COEFFICIENTS = {
    "log-clip": ("slope", "offset", "low", "high"),
    "power-law": ("scale", "exponent", "cap"),
}


KINDS = (*_COEFFICIENTS, "polynomial", "knots", "spline")


def build_statistic(form: Form, coefficients: Mapping[str, Any]) -> Statistic:
    """The statistic of a form. Raises BadInputError for an unknown form or missing coefficients."""
    try:
        if form.kind == "log-clip":
            return LogClip(*(coefficients[name] for name in _COEFFICIENTS["log-clip"]))
        if form.kind == "power-law":
            return PowerLaw(*(coefficients[name] for name in _COEFFICIENTS["power-law"]))
        if form.kind == "polynomial":
            return Polynomial(tuple(coefficients[f"c{k}"] for k in range(len(coefficients))))
        if form.kind == "knots":
            return Knots(form.at, tuple(coefficients[f"v{k}"] for k in range(len(form.at))))
        if form.kind == "spline":
            return Spline(form.at, tuple(coefficients[f"v{k}"] for k in range(len(form.at))))
    except KeyError as error:
        raise BadInputError(f"a '{form.kind}' statistic needs the coefficient {error}") from None
    raise BadInputError(f"unknown form '{form.kind}' of a statistic; known: {', '.join(KINDS)}")


def coefficient_names(form: Form, degree: int = 0) -> tuple[str, ...]:
    """Names of a form's coefficients; `degree` is that of a polynomial."""
    if form.kind == "polynomial":
        return tuple(f"c{k}" for k in range(degree + 1))
    if form.kind in ("knots", "spline"):
        return tuple(f"v{k}" for k in range(len(form.at)))
    return _COEFFICIENTS[form.kind]


def coefficient_meanings(form: Form, quantity: str, g_scale: float) -> dict[str, str]:
    """What each coefficient of a form says about a quantity; knots by the conductance (uS) at which they lie."""
    if form.kind in ("knots", "spline"):
        return {f"v{k}": f"{quantity} at {math.exp(at) * g_scale:.3g} uS" for k, at in enumerate(form.at)}
    return {name: f"{name} of the {quantity}" for name in coefficient_names(form)}


# ---- device models ----------------------------------------------------------------------------------------------


def drift_model(model: Model) -> DriftModel | None:
    """The fitted drift, or None where none was fitted in a form that holds for single devices."""
    fit = model.fits.get("drift")
    if fit is None or "mean" not in fit.forms:
        return None
    return DriftModel(fit.settings["t0"], fit.settings["g_scale"], fit.statistic("mean"), fit.statistic("spread"))


def read_noise_model(model: Model, t_read: float) -> ReadNoiseModel | None:
    """Read noise with the exponent 1 and, over the measured frequencies, the variance of the fitted Q^2 / f^alpha.

    `t_read` is the duration of one read, seconds, which no spectrum shows.
    """
    fit = model.fits.get("read-noise")
    if fit is None:
        return None
    q, alpha, interval = fit.statistic("q"), fit.value("alpha"), fit.settings["interval"]
    # Of Q^2 / f^alpha over that of Q^2 / f, from one over the length of the series to half the sampling rate.
    low, high = -math.log(fit.settings["samples"] * interval), -math.log(2 * interval)
    ends = [(1 - alpha) * end for end in (low, high)]
    share = (math.exp(ends[1]) - math.exp(ends[0])) / (ends[1] - ends[0]) if ends[1] != ends[0] else 1.0
    factor = math.sqrt(share)
    if isinstance(q, PowerLaw):
        q = replace(q, scale=factor * q.scale, cap=factor * q.cap)
    elif isinstance(q, Knots):
        q = replace(q, values=tuple(factor * value for value in q.values))
    return ReadNoiseModel(t_read, fit.settings["g_scale"], q)


CURVE_FIELDS = ("g_min", "g_max", "midpoint", "steepness", "midpoint_spread", "height_spread", "jitter", "noise")
"""What a programming-curve fit says of a `ProgrammingCurve`; melting point and width are settings of the pulses."""


def programming_curve(model: Model, melt: float) -> ProgrammingCurve | None:
    """The fitted curve; `melt` is the melting amplitude, uA, which single RESET pulses do not show."""
    fit = model.fits.get("programming-curve")
    if fit is None:
        return None
    return ProgrammingCurve(melt=melt, width=fit.settings["width"], **{name: fit.value(name) for name in CURVE_FIELDS})


# ---- files ------------------------------------------------------------------------------------------------------


def save_model(model: Model, path: str | Path, *, force: bool = False) -> None:
    """Write a model file. Raises BadInputError when `path` exists (without force) or cannot be written."""
    body: dict[str, Any] = {"format": MODEL_FORMAT, "format_version": FORMAT_VERSION} | asdict(model)
    body["checksum"] = _checksum(body)
    text = json.dumps(body, indent=1, allow_nan=False, ensure_ascii=False)
    hdf5.replace_file(hdf5.check_writable(path, force=force), (text + "\n").encode())


def load_model(path: str | Path) -> Model:
    """Read a model file.

    Raises BadInputError when it is missing, truncated, foreign, of a newer version, or not as hwloop wrote it.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise BadInputError(f"{path} is no model file: it is larger than {LARGEST >> 20} MiB")
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, RecursionError):
        raise BadInputError(f"{path} is no model file: it is not JSON text") from None
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path} is truncated or not JSON (line {error.lineno}: {error.msg})") from None
    if not isinstance(body, dict) or body.get("format") != MODEL_FORMAT:
        raise BadInputError(f"{path} is no model file (its 'format' is not '{MODEL_FORMAT}')")
    version = body.get("format_version")
    if version not in range(1, FORMAT_VERSION + 1):
        raise BadInputError(
            f"{path} has format version {version}; this hwloop reads up to {FORMAT_VERSION}: upgrade it"
        )
    try:
        model = _parse(body)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise BadInputError(f"{path}: not the layout of a model file ({type(error).__name__}: {error})") from None
    if body.get("checksum") != _checksum(body):
        raise BadInputError(
            f"{path} was changed after it was written (its checksum does not match): fit again, "
            "or give changes as options of the sim: URI"
        )
    return model


def _checksum(body: Mapping[str, Any]) -> str:
    """SHA-256 of everything but the checksum itself; the layout of the text does not matter."""
    plain = {name: value for name, value in body.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _parse(body: dict[str, Any]) -> Model:
    rest = {name: value for name, value in body.items() if name not in ("format", "format_version", "checksum")}
    rest["fits"] = {name: _parse_fit(name, fit) for name, fit in rest["fits"].items()}
    return Model(**_known(Model, rest, "the file"))


def _parse_fit(name: str, fit: dict[str, Any]) -> Fit:
    values = _known(Fit, fit, f"fit '{name}'")
    estimates = (Estimate(**_known(Estimate, row, f"a parameter of '{name}'")) for row in values["parameters"])
    values["parameters"] = tuple(estimates)
    for row in values["parameters"]:
        if not isinstance(row.value, int | float) or not math.isfinite(row.value):
            raise BadInputError(f"fit '{name}': parameter '{row.name}' is not a finite number")
    shapes = {key: _known(Form, form, f"form '{key}'") for key, form in values["forms"].items()}
    values["forms"] = {key: Form(form["kind"], tuple(form["at"])) for key, form in shapes.items()}
    cells = _known(CellCount, values["cells"], f"the cells of '{name}'")
    for key in ("stuck_addresses", "wild_addresses"):
        cells[key] = tuple(cells[key])
    values["cells"] = CellCount(**cells)
    for key in ("conductance_range", "time_range", "warnings"):
        values[key] = tuple(values[key])
    return Fit(**values)


def _known(kind: type, values: dict[str, Any], where: str) -> dict[str, Any]:
    """The values, once it is known that they are all there and nothing else is."""
    names = {item.name for item in fields(kind)}
    if unknown := sorted(set(values) - names):
        raise BadInputError(f"{where} has the unknown key '{unknown[0]}'")
    if missing := sorted(names - set(values)):
        raise BadInputError(f"{where} lacks the key '{missing[0]}'")
    return dict(values)
