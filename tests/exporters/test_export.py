"""Exports run beside the simulators' bases and compute what the model says.

Where aihwkit or CrossSim is installed, its own classes are used; else stand-ins with what their documentation promises:
constructors, the names of the methods that are called, and the defaults of CrossSim's device parameters.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import sys
import types
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from hwloop.calibration.fitting.programming_noise import HeavyTails, Polynomial2
from hwloop.calibration.fitting.read_noise import KnotsReadNoise
from hwloop.calibration.fitting.relaxation import Relaxation
from hwloop.devices.relaxation import CURVES
from hwloop.devices.statistics import Polynomial
from hwloop.errors import BadInputError
from hwloop.exporters.content import Content
from hwloop.exporters.export import export_model
from hwloop.files.fitted_devices import drift_model, read_noise_model, relaxation_law
from hwloop.files.measurements import Measurement
from hwloop.files.model_file import load_model, save_model
from hwloop.files.models import Estimate, Fit, Form, Model
from tests.calibration.fitting import test_bake, test_read_noise, test_relaxation
from tests.calibration.fitting.test_programming_noise import BIAS, SIGMA, measured
from tests.files.test_models import fitted_drift
from tests.sim_backend.test_baked_twin import fitted_bake

G = np.geomspace(0.01, 1.2, 60)
BOTH = pytest.mark.parametrize("to", ["aihwkit", "crosssim"])


# ---- the simulators ----------------------------------------------------------------------------------------------


class _Converter:
    def __init__(self, g_max: float) -> None:
        self.g_max = g_max


class _NoiseModel:
    def __init__(self, g_converter: object) -> None:
        self.g_converter = g_converter


class _PCMLikeNoiseModel:
    def __init__(self, prog_coeff: list[float], g_max: float, read_noise_scale: float, drift_scale: float) -> None:
        self.prog_coeff, self.g_max = prog_coeff, g_max
        self.read_noise_scale, self.drift_scale = read_noise_scale, drift_scale

    def apply_programming_noise_to_conductance(self, g_target: torch.Tensor) -> torch.Tensor:
        sigma = Polynomial(tuple(self.prog_coeff))(g_target / self.g_max)
        return g_target + sigma * torch.randn_like(g_target)


@dataclass
class _WeightError:
    enable: bool = False
    model: str = "IdealDevice"
    magnitude: float = 0.0


@dataclass
class _DeviceParameters:
    """CrossSim's `DeviceParameters`, with its defaults."""

    Rmin: float = 1000.0
    Rmax: float = 10000.0
    time: float = 0.0
    infinite_on_off_ratio: bool = False
    clip_conductance: bool = False
    cell_bits: int = 0
    programming_error: _WeightError = field(default_factory=_WeightError)
    drift_error: _WeightError = field(default_factory=_WeightError)
    read_noise: _WeightError = field(default_factory=_WeightError)
    Gmax_norm: float = 1.0

    @property
    def Gmin_norm(self) -> float:
        return 0.0 if self.infinite_on_off_ratio else self.Rmin / self.Rmax

    @property
    def Grange_norm(self) -> float:
        return self.Gmax_norm - self.Gmin_norm


class _Device:
    def __init__(self, device_params: _DeviceParameters, weight_error_params: _WeightError) -> None:
        self.device_params, self.time, self.Gmin_norm = device_params, device_params.time, device_params.Gmin_norm


class _Backend:
    """CrossSim's name for numpy or cupy: nobody can use it before a core, or someone else, has chosen one of them."""

    started = False

    def __init__(self, use_gpu: bool | None = None) -> None:
        _Backend.started = _Backend.started or use_gpu is not None

    def __getattr__(self, name: str) -> Any:
        if not _Backend.started:
            raise ValueError("Backend never initialized")
        return getattr(np, name)


def module(name: str, **content: object) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__dict__.update(content)
    return made


def installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


STAND_INS: dict[str, dict[str, object]] = {
    "aihwkit.inference.converter.conductance": {"SinglePairConductanceConverter": _Converter},
    "aihwkit.inference.noise.base": {"BaseNoiseModel": _NoiseModel},
    "aihwkit.inference.noise.pcm": {"PCMLikeNoiseModel": _PCMLikeNoiseModel},
    "simulator.backend": {"ComputeBackend": _Backend},
    "simulator.devices.idevice": {"EmptyDevice": _Device},
}
MISSING = [name for name in STAND_INS if not installed(name)]


@pytest.fixture(autouse=True)
def bases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulators' classes, or stand-ins; exports draw from the generators of their frameworks."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    for name in MISSING:
        parts = name.split(".")
        for parent in (".".join(parts[:end]) for end in range(1, len(parts))):
            monkeypatch.setitem(sys.modules, parent, module(parent))
        monkeypatch.setitem(sys.modules, name, module(name, **STAND_INS[name]))
    _Backend.started = False


# ---- exports -----------------------------------------------------------------------------------------------------


@functools.cache
def programming(*, bias: bool = True) -> Fit:
    fit = Polynomial2().fit(measured(2_000, seed=1))[0].record
    if bias:
        return fit
    none = {"value": 0.0, "low": -0.01, "high": 0.01}
    rows = (replace(p, **none) if p.name.startswith("bias.") else p for p in fit.parameters)  # type: ignore[arg-type]
    return replace(fit, parameters=tuple(rows))


@functools.cache
def relaxation() -> Fit:
    """A fit of relaxation, made once: it takes a second."""
    return Relaxation().fit(test_relaxation.measured(1_000, seed=1))[0].record


@functools.cache
def heavy(cells: int) -> Fit:
    """A fit of so many cells whose programming errors have the tails of Student's t."""
    return HeavyTails().fit(heavy_tailed(cells, seed=3))[0].record


@functools.cache
def read_noise(alpha: float = 1.2) -> Fit:
    """A fit whose exponent is not that of the simulators' formula."""
    fit = KnotsReadNoise().fit(test_read_noise.measured(60, seed=1))[0].record
    rows = (replace(p, value=alpha) if p.name == "alpha" else p for p in fit.parameters)
    return replace(fit, parameters=tuple(rows))


def exported(tmp_path: Path, to: str, **fits: Fit) -> tuple[Any, Model]:
    """The module that an export is, and the model."""
    model = Model({name.replace("_", "-"): fit for name, fit in fits.items()}, {}, {}, "2026-01-01T00:00:00")
    path = tmp_path / "model.json"
    save_model(model, path, force=True)
    export_model(path, to, tmp_path / "made.py", force=True)
    code = module("made")
    exec(compile((tmp_path / "made.py").read_text(), "made.py", "exec"), code.__dict__)
    importlib.import_module("simulator.backend").ComputeBackend(use_gpu=False)  # after it was imported, as a core does
    return code, load_model(path)


def crosssim_device(code: Any, time: float = 0.0) -> Any:
    """The device that CrossSim makes of the parameters that `configure` has set."""
    parameters = _DeviceParameters()
    code.configure(parameters, time)
    return code.FittedDevice(parameters, parameters.drift_error)


@BOTH
def test_formulas_are_those_of_the_model(tmp_path: Path, to: str) -> None:
    code, model = exported(tmp_path, to, programming=programming(), drift=fitted_drift(), read_noise=read_noise())
    made = code.FittedNoiseModel if to == "aihwkit" else code.FittedDevice
    array = torch.tensor if to == "aihwkit" else np.asarray
    drift, noise = drift_model(model), read_noise_model(model, Content.t_read)
    assert drift is not None
    assert noise is not None
    for function, statistic, rel in (
        (made.programming_bias, model.fits["programming"].statistic("bias"), 1e-12),
        (made.programming_sigma, model.fits["programming"].statistic("sigma"), 1e-12),
        (made.drift_mean, drift.mean, 1e-12),
        (made.drift_spread, drift.spread, 1e-12),
        (made.read_noise_q, noise.q, 1e-3),  # a table, across the corners of lines between knots
    ):
        assert np.asarray(function(array(G))) == pytest.approx(statistic(G), rel=rel), function.__name__


@BOTH
def test_a_spline_is_exported_as_the_curve_that_it_is(tmp_path: Path, to: str) -> None:
    at, fit = (-4.0, -2.0, -1.5, 0.0), fitted_drift()
    values = [Estimate(f"mean.v{k}", v, None, None, "1", "") for k, v in enumerate((0.13, 0.07, 0.06, 0.02))]
    rows = (*values, *(p for p in fit.parameters if not p.name.startswith("mean.")))
    spline = replace(fit, parameters=rows, forms=fit.forms | {"mean": Form("spline", at)})
    code, model = exported(tmp_path, to, drift=spline)
    made, array = (code.FittedNoiseModel, torch.tensor) if to == "aihwkit" else (code.FittedDevice, np.asarray)
    drift = drift_model(model)
    assert drift is not None
    assert np.asarray(made.drift_mean(array(G))) == pytest.approx(drift.mean(G), rel=1e-5)  # a table of it
    # Beyond the outermost knots it is flat, and the ends are met.
    ends = np.exp([-9.0, -4.0, 0.0, 1.0])
    assert np.asarray(made.drift_mean(array(ends))) == pytest.approx([0.13, 0.13, 0.02, 0.02], rel=1e-12)


@BOTH
def test_arrays_of_any_shape_and_precision_are_looked_up(tmp_path: Path, to: str) -> None:
    code, model = exported(tmp_path, to, read_noise=read_noise())
    made, array = (code.FittedNoiseModel, torch.tensor) if to == "aihwkit" else (code.FittedDevice, np.asarray)
    noise = read_noise_model(model, Content.t_read)
    assert noise is not None
    grid = G.reshape(5, 12).T  # no copy: its elements do not lie side by side
    expected = pytest.approx(noise.q(grid), rel=1e-3)
    assert np.asarray(made.read_noise_q(array(grid))) == expected
    single = made.read_noise_q(array(grid.astype(np.float32)))
    assert np.asarray(single) == expected
    if to == "aihwkit":
        assert single.dtype == torch.float32


def aged(code: Any, to: str, targets: np.ndarray, seconds: float) -> np.ndarray:
    """Conductances (uS) that the simulator makes of targets (uS), `seconds` after programming, without read noise."""
    if to == "crosssim":
        device = crosssim_device(code, seconds)
        normalised = (targets / code.G_MAX).astype(np.float32)  # as CrossSim's balanced core hands them over
        seen = device.drift_error(normalised, seconds) if seconds else device.programming_error(normalised)
        assert seen.dtype == np.float32
        return seen.astype(float) * code.G_MAX  # type: ignore[no-any-return]
    target = torch.tensor(targets, dtype=torch.float32)
    programmed = code.noise_model.apply_programming_noise_to_conductance(target)
    assert programmed.dtype == torch.float32
    if not seconds:
        return programmed.numpy().astype(float)  # type: ignore[no-any-return]
    nu = code.noise_model.generate_drift_coefficients(target)
    return code.noise_model.apply_drift_noise_to_conductance(programmed, nu, seconds).numpy().astype(float)  # type: ignore[no-any-return]


@BOTH
def test_programming_and_drift_have_the_moments_of_the_model(tmp_path: Path, to: str) -> None:
    code, model = exported(tmp_path, to, programming=programming(), drift=fitted_drift())
    target, fit, drift = np.full(40_000, 15.0), model.fits["programming"], drift_model(model)
    assert drift is not None
    bias, sigma = (float(fit.statistic(name)(np.array([15 / 25]))[0]) for name in ("bias", "sigma"))
    programmed = aged(code, to, target, 0.0)
    error = sigma / 200  # 40 000 draws
    assert programmed.mean() == pytest.approx(15.0 + bias, abs=4 * error)
    assert programmed.std() == pytest.approx(sigma, abs=4 * error / np.sqrt(2))
    # Of ln G, ages count from the last pulse: at time 0 they are those of the programming fit's reads.
    start, later = fit.settings["age"], 1e4
    nu, spread = (float(s(np.array([0.6]))[0]) for s in (drift.mean, drift.spread))
    log_age = np.log((start + later) / start)
    change = np.log(aged(code, to, target, later)) - np.log(15.0 + bias)
    width = np.hypot(sigma / 15.0, spread * log_age)
    assert change.mean() == pytest.approx(-nu * log_age, abs=4 * width / 200 + (sigma / 15.0) ** 2)
    assert change.std() == pytest.approx(width, rel=0.03)  # 40 000 draws: 0.35 %; nu where g is, not at 0.6


@BOTH
def test_a_read_has_the_noise_of_the_model(tmp_path: Path, to: str) -> None:
    code, model = exported(tmp_path, to, programming=programming(), read_noise=read_noise())
    noise, level = read_noise_model(model, Content.t_read), np.full(40_000, 5.0)
    assert noise is not None
    if to == "crosssim":
        seen = 25.0 * crosssim_device(code, 1e3).read_noise((level / 25.0).astype(np.float32))
    else:
        seen = code.noise_model.apply_drift_noise_to_conductance(torch.tensor(level), None, 1e3).numpy()
    expected = 5.0 * noise.relative_sigma(np.array([5.0]), model.fits["programming"].settings["age"] + 1e3)[0]
    assert seen.std() == pytest.approx(expected, rel=4 * 0.0035)  # four sigma of 40 000 draws
    assert seen.mean() == pytest.approx(5.0, abs=4 * expected / 200)


@BOTH
def test_drift_leaves_the_relative_noise_of_a_device_as_it_was_programmed(tmp_path: Path, to: str) -> None:
    """CrossSim hands over a drifted conductance alone: what it was programmed to follows from the mean drift."""
    code, model = exported(tmp_path, to, drift=fitted_drift(), read_noise=read_noise())
    noise, drift, programmed, year = read_noise_model(model, Content.t_read), drift_model(model), 4.0, 3.15e7
    assert noise is not None
    assert drift is not None
    nu = float(drift.mean(np.array([programmed / 25.0]))[0])
    drifted = programmed * ((code.START + year) / code.START) ** -nu
    if to == "crosssim":
        device = crosssim_device(code, year)
        assert device.undrifted(np.array([drifted]), year) == pytest.approx([programmed], rel=1e-3)
        seen = 25.0 * device.read_noise(np.full(40_000, drifted / 25.0))
    else:
        level = torch.full((40_000,), drifted, dtype=torch.float64)
        seen = np.asarray(code.noise_model.read(level, torch.full_like(level, programmed), year))
    expected = noise.relative_sigma(np.array([programmed]), code.START + year)[0]
    assert noise.relative_sigma(np.array([drifted]), code.START + year)[0] > 1.2 * expected
    assert seen.std() / drifted == pytest.approx(expected, rel=4 * 0.0035)  # four sigma of 40 000 draws


def test_what_an_export_contains() -> None:
    def content(**fits: Fit) -> Content:
        return Content(Model({name.replace("_", "-"): fit for name, fit in fits.items()}, {}, {}, ""), "m.json", "made")

    drift = fitted_drift()
    alone = content(drift=drift)
    assert (alone.g_max, alone.largest, alone.start[0]) == (25.0, 25.0, 20.0)
    assert not alone.relaxes
    assert not alone.heavy_tails
    wide = content(drift=replace(drift, conductance_range=(0.5, 31.0)), programming=programming())
    assert wide.largest == 31.0, "the largest conductance that any fit has seen"
    assert [fit.experiment for fit in wide.fits] == ["programming", "drift"]
    assert wide.start[0] == wide.fits[0].settings["age"] == 25.0
    unaged = replace(programming(), settings=programming().settings | {"age": 0.0})
    assert content(programming=unaged, drift=drift).start[0] == 20.0
    assert content(programming=unaged).start == (0.0, "that of the first reads")
    mixture = replace(drift, forms={name: Form("knots", (0.0,)) for name in CURVES})
    assert content(drift=mixture).relaxes


@BOTH
def test_read_noise_alone_is_of_the_age_it_was_measured_at(tmp_path: Path, to: str) -> None:
    code, model = exported(tmp_path, to, read_noise=read_noise())
    assert model.fits["read-noise"].time_range[1] == code.START
    level = np.full(100, 5.0)
    if to == "crosssim":
        assert crosssim_device(code).read_noise(level / code.G_MAX).std() > 0
    else:
        assert code.noise_model.apply_drift_noise_to_conductance(torch.tensor(level), None, 0.0).std() > 0


def heavy_tailed(cells: int, seed: int, freedom: float = 4.0) -> Measurement:
    """As `measured`, with errors that are Student's t of so many degrees of freedom."""
    normal = measured(cells, seed)
    target = normal.cells.target[normal.reads.cell]
    unit = stats.t(freedom).rvs(target.size, random_state=seed) * np.sqrt((freedom - 2) / freedom)
    conductance = target + BIAS(target / 25.0) + SIGMA(target / 25.0) * unit
    return replace(normal, reads=replace(normal.reads, conductance=conductance))


@BOTH
def test_heavy_tails_are_drawn(tmp_path: Path, to: str) -> None:
    code, model = exported(tmp_path, to, programming=heavy(8_000))
    freedom = 2 + model.fits["programming"].value("tail")
    assert freedom == code.PROGRAMMING_FREEDOM
    assert freedom == pytest.approx(4.0, abs=0.8)  # four sigma of 8 000 devices are 0.7
    bias, sigma = (
        float(model.fits["programming"].statistic(name)(np.array([15 / 25]))[0]) for name in ("bias", "sigma")
    )
    error = (aged(code, to, np.full(40_000, 15.0), 0.0) - 15.0 - bias) / sigma
    unit = np.sqrt((freedom - 2) / freedom)
    assert stats.kstest(error, stats.t(freedom, scale=unit).cdf).pvalue > 1e-3
    assert stats.kstest(error, "norm").pvalue < 1e-9, "a Gaussian of the same width is another distribution"
    # Beyond four sigma lie 0.5 % of them, of a Gaussian 0.006 %.
    expected = 2 * stats.t(freedom).sf(4 / unit)
    assert np.mean(np.abs(error) > 4) == pytest.approx(expected, abs=4 * np.sqrt(expected / error.size))
    assert expected > 0.003


def relaxed_after(code: Any, to: str, seconds: float, level: float) -> np.ndarray:
    """Conductances (uS) of 40 000 devices of a level after so many seconds."""
    if to == "aihwkit":
        start = torch.full((40_000,), level, dtype=torch.float64)
        return code.noise_model.apply_drift_noise_to_conductance(start, None, seconds).numpy()  # type: ignore[no-any-return]
    normalised = np.full(40_000, level / code.G_MAX)
    return code.G_MAX * crosssim_device(code, seconds).drift_error(normalised, seconds)  # type: ignore[no-any-return]


@BOTH
def test_relaxation_draws_the_mixture(tmp_path: Path, to: str) -> None:
    code, _ = exported(tmp_path, to, drift=relaxation())

    def after(seconds: float) -> np.ndarray:
        return relaxed_after(code, to, seconds, 20.0)

    assert after(0.0) == pytest.approx(20.0)
    for seconds in (100.0, 1e-3):
        expected = relaxation_law(relaxation()).at(seconds, 20.0)
        assert stats.kstest(expected.cdf(after(seconds)), "uniform").pvalue > 1e-3
        assert after(seconds).min() > 0.0


@BOTH
def test_bakes_draw_the_mixture_at_the_temperature_that_is_set(tmp_path: Path, to: str) -> None:
    law = test_bake.truth()
    code, _ = exported(tmp_path, to, drift=fitted_bake(law))
    assert min(test_bake.HOT) == code.TEMPERATURE
    for kelvin in (380.0, 455.0, 490.0):
        code.TEMPERATURE = kelvin
        assert relaxed_after(code, to, 0.0, 60.0) == pytest.approx(60.0)
        for seconds in (600.0, 7200.0):
            seen = relaxed_after(code, to, seconds, 60.0)
            assert stats.kstest(law.at(seconds, 60.0, kelvin).cdf(seen), "uniform").pvalue > 1e-3


def test_a_polynomial_without_bias_becomes_pcm_like(tmp_path: Path) -> None:
    code, model = exported(tmp_path, "aihwkit", programming=programming(bias=False))
    sigma = model.fits["programming"].statistic("sigma")
    assert isinstance(sigma, Polynomial)
    made = code.noise_model
    assert (made.prog_coeff, made.g_max) == (list(sigma.coefficients), 25.0)
    assert (made.read_noise_scale, made.drift_scale) == (0.0, 0.0)
    seen = made.apply_programming_noise_to_conductance(torch.full((40_000,), 15.0, dtype=torch.float64)) - 15.0
    assert float(seen.std()) == pytest.approx(float(sigma(np.array([0.6]))[0]), rel=4 * 0.0035)


def test_a_bias_is_not_lost_on_pcm_like(tmp_path: Path) -> None:
    code, _ = exported(tmp_path, "aihwkit", programming=programming())
    assert isinstance(code.noise_model, code.FittedNoiseModel)
    assert float(code.noise_model.programming_bias(torch.tensor(0.6))) != 0


# ---- the file ----------------------------------------------------------------------------------------------------


def test_crosssim_tells_two_models_apart_by_the_names_of_their_classes(tmp_path: Path) -> None:
    one, _ = exported(tmp_path, "crosssim", drift=fitted_drift())
    same, _ = exported(tmp_path, "crosssim", drift=fitted_drift())
    other, _ = exported(tmp_path, "crosssim", programming=programming())
    names = [code.FittedDevice.__name__ for code in (one, same, other)]
    assert names[0] == names[1] != names[2]
    for code in (one, other):
        parameters = _DeviceParameters()
        code.configure(parameters, 0.0)
        assert parameters.drift_error.model == code.FittedDevice.__name__


def test_aihwkit_drifts_by_the_programmed_conductance_not_the_target(tmp_path: Path) -> None:
    code, model = exported(tmp_path, "aihwkit", programming=programming(), drift=fitted_drift())
    drift = drift_model(model)
    assert drift is not None
    place = code.noise_model.generate_drift_coefficients(torch.full((40_000,), 8.0))
    assert float(place.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(place.std()) == pytest.approx(1.0, abs=0.015)
    programmed, one = torch.tensor([2.0, 8.0, 20.0], dtype=torch.float64), torch.tensor([1.0, -0.5, 0.0])
    start = model.fits["programming"].settings["age"]
    seen = code.noise_model.apply_drift_noise_to_conductance(programmed, one, 1e4)
    g = programmed.numpy() / model.fits["drift"].settings["g_scale"]
    nu = drift.mean(g) + drift.spread(g) * one.numpy()
    assert seen.numpy() == pytest.approx(programmed.numpy() * ((start + 1e4) / start) ** -nu, rel=1e-6)


@BOTH
def test_drift_since_verification_is_part_of_the_programming_error(tmp_path: Path, to: str) -> None:
    """cov(ln G, nu) = -head_start spread^2, and of the variance of nu `spread_left` is left."""
    fit, target = programming(), 12.0
    rows = (Estimate("head_start.c0", 2.0, None, None, "1", ""), Estimate("spread_left.c0", 0.81, None, None, "1", ""))
    forms = fit.forms | {row.name.removesuffix(".c0"): Form("polynomial") for row in rows}
    together = replace(fit, forms=forms, parameters=(*fit.parameters, *rows))
    code, model = exported(tmp_path, to, programming=together, drift=fitted_drift())
    drift, later = drift_model(model), 1e5
    assert drift is not None
    if to == "aihwkit":
        targets = torch.full((200_000,), target, dtype=torch.float64)
        first = code.noise_model.apply_programming_noise_to_conductance(targets)
        own = code.noise_model.generate_drift_coefficients(targets)
        seen = np.asarray(code.noise_model.apply_drift_noise_to_conductance(first, own, later))
        programmed = np.asarray(first)
    else:
        device = crosssim_device(code)
        targets = np.full(200_000, target)
        programmed = device.program(targets)
        seen = device.drift(programmed, later, targets)
    nu = -np.log(seen / programmed) / np.log((code.START + later) / code.START)
    spread = float(drift.spread(np.array([target / model.fits["drift"].settings["g_scale"]]))[0])
    assert nu.std() == pytest.approx(0.9 * spread, rel=0.03)
    relative = programmed / target  # the error is linear in G
    assert np.cov(relative, nu)[0, 1] == pytest.approx(-2.0 * spread**2, rel=0.1)


def test_configure_is_all_that_crosssim_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _ = exported(tmp_path, "crosssim", drift=fitted_drift())
    monkeypatch.syspath_prepend(str(tmp_path))
    used = re.findall(r"^    (.*)$", (tmp_path / "made.py").read_text().split('"""')[1], re.MULTILINE)[:2]
    params = types.SimpleNamespace(xbar=types.SimpleNamespace(device=_DeviceParameters()))
    exec("\n".join(used), {"params": params})  # the first two lines of what its header says
    monkeypatch.delitem(sys.modules, "made")
    device, name = params.xbar.device, code.FittedDevice.__name__
    assert (device.time, device.Gmin_norm, device.Rmin) == (3600.0, 0.0, 1e6 / 25.0)
    assert (device.drift_error.enable, device.drift_error.model) == (True, name)
    assert (device.programming_error.enable, device.programming_error.model) == (True, name)
    assert not device.read_noise.enable  # not fitted


def test_conductances_that_were_not_measured_are_refused(tmp_path: Path) -> None:
    code, _ = exported(tmp_path, "crosssim", drift=fitted_drift())
    with pytest.raises(ValueError, match=r"from 100 to 1000 uS: nothing is known beyond 25 uS; call configure"):
        code.FittedDevice(_DeviceParameters(), _WeightError())
    code, _ = exported(tmp_path, "aihwkit", drift=fitted_drift())
    converter = sys.modules["aihwkit.inference.converter.conductance"].SinglePairConductanceConverter
    with pytest.raises(ValueError, match=r"g_max = 40\.0 uS: nothing is known"):
        code.FittedNoiseModel(converter(g_max=40.0))


@BOTH
@pytest.mark.parametrize("kinds", ["programming", "drift", "noise", "relaxation", "heavy", "all"])
def test_nothing_is_written_that_is_not_used(tmp_path: Path, to: str, kinds: str) -> None:
    fits: dict[str, Fit] = {}
    if kinds in ("programming", "all"):
        fits["programming"] = programming()
    if kinds in ("drift", "all"):
        fits["drift"] = fitted_drift()
    if kinds in ("noise", "all"):
        fits["read_noise"] = read_noise()
    if kinds == "relaxation":
        fits["drift"] = relaxation()
    if kinds == "heavy":
        fits["programming"] = heavy(2_000)
    exported(tmp_path, to, **fits)
    tree = ast.parse((tmp_path / "made.py").read_text())
    words = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    helpers = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} - {"configure"}
    imports = {
        alias.name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names
    }
    assert {name for name in helpers | imports if not words[name]} == set()


@pytest.mark.parametrize(
    ("to", "out", "message"),
    [
        ("spice", "made.py", "unknown simulator 'spice'; known: aihwkit, crosssim"),
        ("crossim", "made.py", "did you mean 'crosssim'"),
        ("aihwkit", "noise-model.py", "no Python module; give a name such as"),
        ("crosssim", "device.txt", "no Python module; give a name such as"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, to: str, out: str, message: str) -> None:
    save_model(Model({"drift": fitted_drift()}, {}, {}, ""), tmp_path / "model.json")
    with pytest.raises(BadInputError, match=message):
        export_model(tmp_path / "model.json", to, tmp_path / out)


def test_a_model_without_noise_is_refused(tmp_path: Path) -> None:
    model = Model({"programming-curve": replace(fitted_drift(), experiment="programming-curve")}, {}, {}, "")
    save_model(model, tmp_path / "curve.json")
    with pytest.raises(BadInputError, match="it has: programming-curve"):
        export_model(tmp_path / "curve.json", "aihwkit", tmp_path / "x.py")


@BOTH
def test_a_drift_with_an_onset_is_exported_with_it(tmp_path: Path, to: str) -> None:
    fit = fitted_drift()
    still = [replace(row, value=0.0) for row in fit.parameters if row.name.startswith("spread.")]
    rest = [row for row in fit.parameters if not row.name.startswith("spread.")]
    onset = Estimate("law.onset", 300.0, 290.0, 310.0, "s", "")
    bend = Estimate("law.bend", 0.002, 0.001, 0.003, "1", "")
    code, model = exported(tmp_path, to, drift=replace(fit, parameters=(*rest, *still, onset, bend)))
    drift = drift_model(model)
    assert drift is not None
    targets, start = np.array([2.0, 10.0, 20.0]), fit.settings["t0"]
    expected = targets * drift.factor(targets, start + 1e4)
    assert aged(code, to, targets, 1e4) == pytest.approx(expected, rel=1e-5)
