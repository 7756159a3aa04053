"""What a fitted model says of conductances at other times and levels, and where it says more than was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from hwloop.devices.drift import DriftModel
from hwloop.devices.drifted import DriftedConductance, ReadScatter
from hwloop.devices.predicted import Blend, Predicted
from hwloop.devices.programmed import ProgrammedConductance
from hwloop.durations import format_duration
from hwloop.errors import BadInputError
from hwloop.files.fitted_devices import bake_law, is_bake, is_relaxation, relaxation_law, time_law
from hwloop.files.models import Fit, Model
from hwloop.notebook.card import card
from hwloop.typing import FloatArray, Json

PREDICTABLE = ("drift", "programming")
"""Experiments whose fits predict conductances, those that say more of time first."""


@dataclass(frozen=True, repr=False)
class Prediction:
    """The distribution of the conductance of devices of one level at one age."""

    shown: ClassVar[tuple[float, ...]] = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    """Probabilities of the quantiles that are told."""

    time: float
    """Age, s."""
    level: float
    """Conductance (uS) of the devices, as `level_is` says."""
    level_is: str
    """What the level is: 'at the first read', 'at t0 = 20 s', 'target'."""
    distribution: Predicted = field(repr=False)
    """Density, distribution function, quantiles and samples; of all families that fit alike."""
    families: tuple[str, ...]
    """Those families."""
    each: dict[str, dict[float, float]]
    """Family -> probability -> quantile (uS)."""
    beyond: tuple[str, ...]
    """In what it goes beyond what was measured, a sentence each; empty for none."""
    window: tuple[float, float] | None = None
    """uS."""
    temperature: float | None = None
    """K, where it was asked for."""

    @property
    def extrapolates(self) -> bool:
        """Whether it is of an age, level or temperature that was not measured."""
        return bool(self.beyond)

    @property
    def quantiles(self) -> dict[float, float]:
        """Probability -> conductance (uS); where families differ, the outermost of theirs."""
        return {p: _outermost(p, [own[p] for own in self.each.values()]) for p in Prediction.shown}

    @property
    def probability_outside(self) -> float | None:
        """Probability to be outside of the window; None without one."""
        return None if self.window is None else float(self.distribution.outside(*self.window))

    def sample(self, count: int, seed: int = 0) -> FloatArray:
        """Draw conductances (count,) in uS."""
        return self.distribution.sample(np.random.default_rng(seed), count)

    def to_json(self) -> dict[str, Json]:
        """Return it as `hwloop predict --json` prints it."""
        return {
            "time": self.time,
            "level": self.level,
            "level_is": self.level_is,
            "temperature": self.temperature,
            "quantiles": {f"{p:g}": value for p, value in self.quantiles.items()},
            "window": None if self.window is None else list(self.window),
            "probability_outside": self.probability_outside,
            "extrapolates": self.extrapolates,
            "beyond": list(self.beyond),
            "families": {
                name: {f"{p:g}": value for p, value in own.items()} for name, own in self.each.items()
            },
        }  # fmt: skip

    def _repr_html_(self) -> str:
        rows = [(f"{share:.0%}", value) for share, value in self.quantiles.items()]
        title = f"{self.level:g} uS {self.level_is}, after {format_duration(self.time)}"
        told = "; ".join(f"extrapolates: {sentence}" for sentence in self.beyond)
        outside = {} if self.window is None else {"probability outside of the window": self.probability_outside}
        return card(title, told, outside, ("quantile", "uS"), rows)

    def __repr__(self) -> str:
        low, middle, high = (self.quantiles[p] for p in (0.05, 0.5, 0.95))
        more = ", extrapolates" if self.extrapolates else ""
        place = f"{format_duration(self.time)}, {self.level:g} uS"
        return f"<Prediction {place}: {middle:.4g} uS, 90 % {low:.4g} to {high:.4g}{more}>"


def _outermost(probability: float, values: Sequence[float]) -> float:
    """Return the quantile furthest from the middle; of the median, the mean."""
    if probability == 0.5:
        return float(np.mean(values))
    return min(values) if probability < 0.5 else max(values)


def predict(
    model: Model,
    time: float,
    level: float,
    window: tuple[float, float] | None = None,
    *,
    temperature: float | None = None,
    experiment: str | None = None,
) -> Prediction:
    """Predict the conductance of devices of one level at one age; the arguments are those of `hwloop.predict`.

    Raises BadInputError for a model that predicts no conductances, and for numbers that are no age, level or window.
    """
    fit = _fit_of(model, experiment)
    if not (math.isfinite(time) and time > 0):
        raise BadInputError(f"time {time:g} s: predictions are of ages above zero")
    if not (math.isfinite(level) and level > 0):
        raise BadInputError(f"level {level:g} uS: predictions are of conductances above zero")
    if window is not None and not window[0] < window[1]:
        raise BadInputError(f"window {window[0]:g} to {window[1]:g} uS: the lower end comes first")
    fits = (fit, *fit.alternatives)
    parts = [distribution(one, time, level, temperature) for one in fits]
    each = {
        one.family: {p: float(part.quantile(p)) for p in Prediction.shown}
        for one, part in zip(fits, parts, strict=True)
    }  # fmt: skip
    return Prediction(
        time=time,
        level=level,
        level_is=level_meaning(fit),
        distribution=parts[0] if len(parts) == 1 else Blend(parts),
        families=tuple(each),
        each=each,
        beyond=tuple(_beyond(model, fit, time, level, temperature)),
        window=window,
        temperature=temperature,
    )


def _fit_of(model: Model, experiment: str | None) -> Fit:
    wanted = PREDICTABLE if experiment is None else (experiment,)
    for name in wanted:
        if name in model.fits and name in PREDICTABLE:
            return model.fits[name]
    raise BadInputError(
        f"the model has no fit of {' or '.join(wanted)} (it has: {', '.join(model.fits)}), and of "
        f"{' and '.join(PREDICTABLE)} alone conductances are predicted"
    )


def level_meaning(fit: Fit) -> str:
    """Say at what moment the conductances of a fit are those of its levels."""
    if "given_target" in fit.settings:
        return "target" if fit.settings["given_target"] else "right after the write"
    if is_bake(fit):
        return "before the bake"
    if fit.experiment == "programming":
        return "target"
    return "at the first read" if is_relaxation(fit) else f"at t0 = {fit.settings['t0']:g} s"


def distribution(
    fit: Fit, time: FloatArray | float, level: FloatArray | float, temperature: FloatArray | float | None = None
) -> Predicted:
    """Return the distribution of conductances at ages (s) of devices of levels (uS), which broadcast.

    Temperatures (K) are those of a bake, and of no concern to other fits. Raises BadInputError for a fit that predicts
    no conductances, and for one of bakes without a temperature.
    """
    if is_bake(fit):
        law = bake_law(fit)
        if len(law.measured) == 1:
            return law.at(time, level, law.measured[0][0])
        kelvin = np.asarray(np.nan if temperature is None else temperature, np.float64)
        if not (kelvin > 0).all():
            raise BadInputError("the fit is of bakes at several temperatures: name one above zero (--temperature, K)")
        return law.at(time, level, kelvin)
    if is_relaxation(fit):
        return relaxation_law(fit).at(time, level)
    if "mean" in fit.forms and "t0" in fit.settings:
        return _drifted(fit, np.asarray(time, np.float64), np.asarray(level, np.float64))
    if fit.experiment == "programming" and "bias" in fit.forms:
        g = np.asarray(level, np.float64) / fit.settings["g_scale"]
        tail = {row.name: row.value for row in fit.parameters}.get("tail", np.inf)
        bias, sigma = (np.asarray(fit.statistic(name)(g), np.float64) for name in ("bias", "sigma"))
        return ProgrammedConductance(np.asarray(level, np.float64) + bias, sigma, 2.0 + tail)
    raise BadInputError(f"the {fit.experiment} fit ({fit.family}) predicts no conductances")


def _drifted(fit: Fit, time: FloatArray, level: FloatArray) -> Predicted:
    """Return drift with the noise of a single read."""
    t0, g_scale = fit.settings["t0"], fit.settings["g_scale"]
    model = DriftModel(t0, g_scale, fit.statistic("mean"), fit.statistic("spread"), time_law(fit))
    own = {row.name: row.value for row in fit.parameters}
    places = fit.forms["noise"].at if "noise" in fit.forms else ()
    log_variance = [math.log(max(own[f"noise.v{k}"], 1e-12)) for k in range(len(places))]
    variance = np.exp(np.interp(np.log(level / g_scale), places, log_variance)) if places else np.zeros(level.shape)
    growth = 1.0 + fit.settings.get("noise_growth", 0.0) * np.log(time / t0)
    scatter = ReadScatter(
        relative=np.sqrt(variance * np.maximum(growth, 0.0)),
        constant=own.get("noise.floor", 0.0),
        freedom=own.get("tail.freedom", math.inf),
        switching=own.get("telegraph.share", 0.0),
        step=own.get("telegraph.step", 0.0),
    )
    return DriftedConductance(model, level, time, scatter)


@dataclass(frozen=True)
class Near:
    """What counts as measured although it was not exactly that."""

    kelvin: float = 5.0
    """Temperatures as near as this."""
    age: float = 1.1
    """Ages that are up to so many times longer or shorter."""


NEAR = Near()


def _beyond(
    model: Model, fit: Fit, time: float, level: float, temperature: float | None, near: Near = NEAR
) -> list[str]:
    """Say in what a prediction goes beyond what was measured."""
    if is_bake(fit) and temperature is not None and "given_target" not in fit.settings:
        return _beyond_bakes(fit, time, level, temperature, near)
    found, (start, end) = [], fit.time_range
    if not start / near.age <= time <= end * near.age:
        found.append(f"time {format_duration(time)}: measured {_span(start, end)}")
    found += _beyond_levels(fit, level)
    own = model.chip.get("temperature_at_start")
    if temperature is not None and not isinstance(own, str):
        if own is None or not math.isfinite(float(own)):
            found.append(f"temperature {temperature:g} K: that of the measurement is not known")
        elif abs(temperature - float(own)) > near.kelvin:
            found.append(f"temperature {temperature:g} K: measured at {float(own):.4g} K, the prediction is for that")
    return found


def _beyond_levels(fit: Fit, level: float) -> list[str]:
    low, high = fit.conductance_range
    if low * (1 - 1e-6) <= level <= high * (1 + 1e-6):
        return []
    return [f"level {level:g} uS: measured from {low:.4g} to {high:.4g} uS"]


def _span(start: float, end: float) -> str:
    """Say from when to when, in the units that people use."""
    first, last = format_duration(start), format_duration(end)
    return f"at {last}" if first == last else f"from {first} to {last}"


def _beyond_bakes(fit: Fit, time: float, level: float, temperature: float, near: Near) -> list[str]:
    """Say in what a prediction goes beyond the bakes that were measured: see `_beyond`."""
    law, found = bake_law(fit), []
    kelvin, seconds = np.array(law.measured).T
    if not kelvin.min() - near.kelvin <= temperature <= kelvin.max() + near.kelvin:
        found.append(f"temperature {temperature:g} K: measured from {kelvin.min():.4g} to {kelvin.max():.4g} K")
    start, end = float(seconds.min()), float(seconds.max())
    if not start / near.age <= time <= end * near.age:
        told = "" if fit.settings["energy_told"] else "; how times and temperatures replace each other is assumed"
        found.append(f"time {format_duration(time)}: baked for {_span(start, end).removeprefix('at ')}{told}")
    if not found and not -0.05 <= float(law.place(law.equivalent(time, temperature))) <= 1.05:
        said = f"{format_duration(time)} at {temperature:g} K"
        found.append(f"{said}: milder or harder than any bake that was measured")
    return found + _beyond_levels(fit, level)
