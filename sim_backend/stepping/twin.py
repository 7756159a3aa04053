"""The simulated twin of a measured chip of stepping devices: a preset with the steps that were fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from hwloop.errors import BadInputError
from hwloop.files.models import Fit, Model
from hwloop.sim_backend.stepping.law import StepLaw
from hwloop.sim_backend.stepping.parameters import SteppingParameters
from hwloop.sim_backend.stepping.piecewise import PiecewiseStep
from hwloop.sim_backend.stepping.presets import STEPPING_PRESETS
from hwloop.typing import FloatArray

RESPONSE = "pulse-response"
"""Experiment whose fit makes such a twin."""
BASE = "base"
"""Option of a twin's URI: the preset that says what was not measured."""


def stepping_twin(model: Model, path: str, query: Mapping[str, str]) -> tuple[SteppingParameters, dict[str, str]]:
    """Return parameters of the twin of a model with a fitted pulse response, and the query less its option 'base'.

    Raises BadInputError for an unknown base, and for a fit that no device can follow.
    """
    rest = dict(query)
    measured = str(model.chip.get("chip", "")).removeprefix("sim:")
    preset = rest.pop(BASE, measured if measured in STEPPING_PRESETS else "rpu-baseline")
    if preset not in STEPPING_PRESETS:
        raise BadInputError(f"option {BASE}={preset}: expected one of {', '.join(sorted(STEPPING_PRESETS))}")
    chip, fit = STEPPING_PRESETS[preset](), model.fits[RESPONSE]
    fitted = f"fitted, {Path(path).name}"
    sources = {name: f"not measured, as {preset}: {source}" for name, source in chip.sources.items()}
    measured_parts = ("step", "step_spread", "cycle_spread", "low", "high", "write_noise", "down_nodes", "up_nodes")
    sources |= {f"device.{name}": fitted for name in measured_parts}
    sources["device.additive"] = f"{fitted}: the mean over all weights"
    for name in ("up_down", "up_down_spread", "low_spread", "high_spread"):
        sources[f"device.{name}"] = "none: not told apart by the fit"
    return replace(chip, name=Path(path).name, device=_device(fit, chip), sources=sources), rest


def _device(fit: Fit, chip: SteppingParameters) -> PiecewiseStep:
    """Return the device of a fit. Raises BadInputError for one that does not step both ways over some range."""
    count = int(fit.settings.get("nodes", 0))
    low, high = ((fit.settings[end] - chip.middle) / chip.unit for end in ("low", "high"))
    nodes: list[FloatArray] = [
        np.maximum([fit.value(f"{side}.{k}") / chip.unit for k in range(count)], 0.0) for side in ("down", "up")
    ]
    if count < 2 or not low < 0 < high or not all(one.any() and np.isfinite(one).all() for one in nodes):
        raise BadInputError(
            f"the {fit.experiment} fit makes no device: its steps must go both ways, over a range about "
            f"{chip.middle:g} uS; choose the preset of the periphery by ?{BASE}=NAME"
        )
    step = float(np.mean(nodes))
    none = {item.name: 0.0 for item in fields(StepLaw) if item.name.endswith("_spread")}
    given = none | {
        "step": step,
        "step_spread": fit.value("step_spread"),
        "cycle_spread": fit.value("step_noise") / chip.unit / step,
        "write_noise": fit.value("seen_noise") / chip.unit / step,
        "up_down": 0.0,
        "low": low,
        "high": high,
        "least_bound": chip.device.least_bound,
    }
    down, up = (tuple(float(value) / step for value in one) for one in nodes)
    return PiecewiseStep(**given, additive=True, down_nodes=down, up_nodes=up)
