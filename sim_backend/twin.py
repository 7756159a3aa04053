"""The simulated twin of a measured chip: a preset whose devices are replaced by what was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.errors import BadInputError
from hwloop.files.fitted_devices import CURVE_FIELDS, drift_model, programming_curve, read_noise_model
from hwloop.files.model_file import load_model
from hwloop.files.models import Model
from hwloop.sim_backend.parameters import ChipParameters
from hwloop.sim_backend.presets import PRESETS

BASE = "base"
"""Option of a twin's URI: the preset that says what was not measured."""
MOST_ERROR = 0.5
"""Of a specimen's currents; further off, what the chip tells is of another chip."""
GEOMETRY = {
    "cores": int,
    "rows": int,
    "columns": int,
    "devices_per_polarity": int,
    "dac_bits": int,
    "adc_bits": int,
    "read_voltage": float,
}


def is_model(target: str) -> bool:
    """Tell whether a `sim:` target is a model file rather than a preset."""
    return target not in PRESETS and (target.endswith(".json") or Path(target).is_file())


def twin_parameters(path: str, query: Mapping[str, str]) -> tuple[ChipParameters, dict[str, str]]:
    """Return parameters of the twin of a model file, and the query less its option 'base'.

    Raises BadInputError for a bad model file, one without anything for a simulated chip, and an unknown base.
    """
    model = load_model(path)
    rest = dict(query)
    preset = _base(model, rest.pop(BASE, None), path)
    chip = PRESETS[preset]()
    sources = {item.name: _unmeasured(chip, item.name, preset) for item in fields(chip) if item.name != "sources"}
    sources |= {name: f"not measured, as {preset}: {source}" for name, source in chip.sources.items()}
    device, fitted = chip.device, f"fitted, {Path(path).name}"
    curve = programming_curve(model, device.curve.melt)
    if curve is not None:
        sources |= {f"device.curve.{name}": fitted for name in CURVE_FIELDS}
        sources |= {"device.curve.width": f"measured, {Path(path).name}", "steepness_spread": fitted}
        chip = replace(chip, steepness_spread=model.fits["programming-curve"].value("steepness_spread"))
        curve, error = _as_announced(curve, model)
        chip = replace(chip, current_error=error)
        sources["current_error"] = f"{fitted}: the fitted midpoint over that which the chip tells of itself"
    drift = drift_model(model)
    read_noise = read_noise_model(model, device.read_noise.t_read)
    if drift is not None:
        sources["device.drift"] = fitted
    if read_noise is not None:
        alpha = model.fits["read-noise"].value("alpha")
        sources["device.read_noise.q"] = f"{fitted}: exponent {alpha:.2f} taken as 1"
        sources["device.read_noise.g_scale"] = fitted
    if "programming" in model.fits:
        sources["programming_noise"] = f"{sources['programming_noise']}; the programming fit is not carried over"
    if curve is None and drift is None and read_noise is None:
        raise BadInputError(
            f"{path} has no drift, read-noise or programming-curve fit that a simulated chip can use "
            f"(it has: {', '.join(f'{name}, {fit.family}' for name, fit in model.fits.items())})"
        )
    device = replace(
        device,
        curve=curve or device.curve,
        drift=drift or device.drift,
        read_noise=read_noise or device.read_noise,
    )
    known = {name: kind(model.chip[name]) for name, kind in GEOMETRY.items() if name in model.chip}
    sources |= {name: f"as the chip said of itself, {Path(path).name}" for name in known}
    sources["name"] = fitted
    return replace(chip, name=Path(path).name, device=device, sources=sources, **known), rest


def _as_announced(curve: ProgrammingCurve, model: Model) -> tuple[ProgrammingCurve, float]:
    """Split the fitted curve into one of nominal currents and the error of the specimen's.

    A chip does not know its own error, and methods that start from the nominal curve shall have to find it on the twin
    as well.
    """
    nominal = float(model.chip.get("nominal_midpoint", 0.0))
    error = curve.midpoint / nominal - 1.0 if nominal > 0 else 0.0
    if not nominal > 0 or abs(error) > MOST_ERROR:
        return curve, 0.0
    return replace(curve, midpoint=nominal, steepness=curve.steepness / (1.0 + error)), error


def _unmeasured(chip: ChipParameters, name: str, preset: str) -> str:
    return f"not measured, as {preset}: {chip.source(name)}"


def _base(model: Model, asked: str | None, path: str) -> str:
    """Choose the preset of what was not measured: as asked for, else that of the simulated chip that was measured."""
    known = ", ".join(sorted(PRESETS))
    if asked is not None:
        if asked not in PRESETS:
            raise BadInputError(f"option {BASE}={asked}: expected one of {known}")
        return asked
    measured = str(model.chip.get("chip", "")).removeprefix("sim:")
    if measured in PRESETS:
        return measured
    raise BadInputError(
        f"{path} does not say on which preset to build what was not measured (converters, SET pulses); "
        f"give one as sim:{path}?{BASE}=NAME, one of {known}"
    )
