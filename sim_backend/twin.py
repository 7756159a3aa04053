"""The simulated twin of a measured chip: a preset whose devices are replaced by what was fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np

from hwloop.devices.drift import DriftModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.devices.statistics import Polynomial
from hwloop.errors import BadInputError
from hwloop.files.fitted_devices import (
    CURVE_FIELDS,
    bake_law,
    drift_model,
    is_bake,
    is_relaxation,
    programming_curve,
    read_noise_model,
    relaxation_law,
)
from hwloop.files.model_file import load_model
from hwloop.files.models import Fit, Model
from hwloop.sim_backend.parameters import ChipParameters
from hwloop.sim_backend.presets import PRESETS

BASE = "base"
"""Option of a twin's URI: the preset that says what was not measured."""
IDEAL = "pcm-ideal"
"""Preset of the periphery and the pulses of resistive memory, which no preset is of."""
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
    fitted = f"fitted, {Path(path).name}"
    changed = [_with_relaxation(chip, model, fitted, sources)]
    for change in (_with_curve, _with_drift, _with_read_noise):
        changed.append(change(changed[-1] or chip, model, fitted, sources) or changed[-1])
    twin = changed[-1]
    if twin is None:
        raise BadInputError(
            f"{path} has no drift, relaxation, read-noise or programming-curve fit that a simulated chip can use "
            f"(it has: {', '.join(f'{name}, {fit.family}' for name, fit in model.fits.items())})"
        )
    if "programming" in model.fits and not is_bake(model.fits["programming"]):
        sources["programming_noise"] = f"{sources['programming_noise']}; the programming fit is not carried over"
    known = {name: kind(model.chip[name]) for name, kind in GEOMETRY.items() if name in model.chip}
    sources |= {name: f"as the chip said of itself, {Path(path).name}" for name in known}
    sources["name"] = fitted
    twin = replace(twin, name=Path(path).name, sources=sources, **known)
    if not _is_single(twin):
        raise BadInputError(f"{path} makes a chip with numbers beyond those of single precision; fit again")
    return twin, rest


def _is_single(value: object) -> bool:
    """Tell whether all numbers in nested dataclasses and tuples are such that single precision holds them."""
    if isinstance(value, float):
        return not np.finfo(np.float32).max < abs(value) < math.inf
    if isinstance(value, tuple):
        return all(map(_is_single, value))
    return not is_dataclass(value) or all(_is_single(getattr(value, item.name)) for item in fields(value))


# What was fitted is in force on every base: a preset that has a part switched off does not switch off what was fitted.


def _with_curve(chip: ChipParameters, model: Model, fitted: str, sources: dict[str, str]) -> ChipParameters | None:
    """Return the chip with the fitted programming curve; None where none was fitted."""
    curve = programming_curve(model, chip.device.curve.melt)
    if curve is None:
        return None
    sources |= {f"device.curve.{name}": fitted for name in CURVE_FIELDS}
    measured = fitted.replace("fitted", "measured", 1)
    sources |= {"device.curve.width": measured, "steepness_spread": fitted, "programming_noise": fitted}
    spread = model.fits["programming-curve"].value("steepness_spread")
    curve, error = _as_announced(curve, model)
    sources["current_error"] = f"{fitted}: the fitted midpoint over that which the chip tells of itself"
    device = replace(chip.device, curve=curve)
    return replace(chip, device=device, steepness_spread=spread, current_error=error, programming_noise=1.0)


def _with_drift(chip: ChipParameters, model: Model, fitted: str, sources: dict[str, str]) -> ChipParameters | None:
    """Return the chip with the fitted drift; None where none was fitted."""
    drift = drift_model(model)
    if drift is None:
        return None
    sources |= {"device.drift": fitted, "drift": fitted}
    return replace(chip, device=replace(chip.device, drift=drift), drift=1.0)


def _with_read_noise(chip: ChipParameters, model: Model, fitted: str, sources: dict[str, str]) -> ChipParameters | None:
    """Return the chip with the fitted read noise; None where none was fitted."""
    noise = read_noise_model(model, chip.device.read_noise.t_read)
    if noise is None:
        return None
    alpha = model.fits["read-noise"].value("alpha")
    sources["device.read_noise.q"] = f"{fitted}: exponent {alpha:.2f} taken as 1"
    sources |= {"device.read_noise.g_scale": fitted, "read_noise": fitted}
    return replace(chip, device=replace(chip.device, read_noise=noise), read_noise=1.0)


def _with_relaxation(chip: ChipParameters, model: Model, fitted: str, sources: dict[str, str]) -> ChipParameters | None:
    """Return the chip with the fitted relaxation of resistive memory; None where none was fitted.

    Conductances of the base are stretched to those that were measured; noise of reads is a part of the relaxation.
    """
    fit = _of_resistive_memory(model)
    if fit is None:
        return None
    law = bake_law(fit) if is_bake(fit) else relaxation_law(fit)
    wider = stretched(chip, law.g_scale / chip.device.drift.g_scale)
    none = Polynomial((0.0,))
    # Read at once: before they are read again, and of bakes before anything has come about.
    t0 = law.first_age or (1e-3 if is_bake(fit) else 0.1) * law.clock
    drift = DriftModel(t0, law.g_scale, none, none)
    for name in ("device.curve", "set_model", "adc_range"):
        sources[name] = f"assumed: {sources.get(name, name)}, stretched to {law.g_scale:g} uS"
    sources |= {"relaxation": fitted, "drift": fitted, "device.drift": f"{fitted}: relaxation in its place"}
    sources["read_noise"] = f"{fitted}: noise of reads is a part of the relaxation"
    twin = replace(wider, relaxation=law, device=replace(wider.device, drift=drift), drift=1.0, read_noise=0.0)
    if not is_bake(fit):
        return twin
    sources |= dict.fromkeys(("relaxation_energy", "conduction_energy"), f"{fitted}: temperature is a part of it")
    return replace(twin, relaxation_energy=0.0, conduction_energy=0.0)


def _of_resistive_memory(model: Model) -> Fit | None:
    """Return the fit of relaxation, of bakes or of one age, if there is one."""
    found = [model.fits[name] for name in ("drift", "programming") if name in model.fits]
    return next((fit for fit in found if is_relaxation(fit) or is_bake(fit)), None)


def stretched(chip: ChipParameters, factor: float) -> ChipParameters:
    """Return the chip with all conductances this much larger."""
    device, step = chip.device, chip.set_model
    names = ("g_min", "g_max", "noise")
    curve = replace(device.curve, **{name: factor * getattr(device.curve, name) for name in names})
    drift = replace(device.drift, g_scale=factor * device.drift.g_scale)
    noise = replace(device.read_noise, g_scale=factor * device.read_noise.g_scale)
    sizes = {name: factor * getattr(step, name) for name in ("level", "first", "sigma_level")}
    low, usual, high = (factor * end for end in chip.adc_range)
    return replace(
        chip,
        device=replace(device, curve=curve, drift=drift, read_noise=noise),
        set_model=replace(step, **sizes),
        adc_range=(low, usual, high),
    )


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
    if _of_resistive_memory(model) is not None:
        return IDEAL
    raise BadInputError(
        f"{path} does not say on which preset to build what was not measured (converters, SET pulses); "
        f"give one as sim:{path}?{BASE}=NAME, one of {known}"
    )
