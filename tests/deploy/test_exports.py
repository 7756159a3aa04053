"""Exports run beside the simulators' bases and compute what the model says.

Where aihwkit or CrossSim is not installed, the file is run on a small base that has what their documentation promises:
the constructor, and the names of the methods that are called.
"""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from hwloop.calibration.fitting.programming_noise import Polynomial2
from hwloop.calibration.fitting.read_noise import KnotsReadNoise
from hwloop.calibration.fitting.relaxation import Relaxation
from hwloop.deploy.exports import export_model, statistic_code
from hwloop.device_models import Polynomial, Spline
from hwloop.errors import BadInputError
from hwloop.model_file import Fit, Model, load_model, save_model
from tests.calibration.fitting import test_read_noise, test_relaxation
from tests.calibration.fitting.test_programming_noise import measured
from tests.test_model_file import fitted_drift

G = np.geomspace(0.01, 1.2, 60)


class _Converter:
    def __init__(self, g_max: float) -> None:
        self.g_max = g_max


class _NoiseModel:
    def __init__(self, g_converter: object) -> None:
        self.g_converter = g_converter


class _Parameters:
    """Of a CrossSim device."""

    Rmin = 1e6 / 25.0
    time = 0.0


class _Device:
    def __init__(self, device_params: _Parameters) -> None:
        self.device_params = device_params
        self.time = device_params.time
        self.Gmin_norm, self.Gmax_norm, self.Grange_norm, self.on_off_ratio = 0.0, 1.0, 1.0, 1e20


def module(name: str, **content: object) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__dict__.update(content)
    return made


@pytest.fixture(autouse=True)
def draws_repeat() -> None:
    """Exports draw from the global generators of the simulators' own frameworks."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002


@pytest.fixture(autouse=True)
def bases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented bases, unless the real packages are here."""
    made = {
        "aihwkit.inference.converter.conductance": {"SinglePairConductanceConverter": _Converter},
        "aihwkit.inference.noise.base": {"BaseNoiseModel": _NoiseModel},
        "aihwkit.inference.noise.pcm": {"PCMLikeNoiseModel": lambda **settings: settings},
        "simulator.backend": {"ComputeBackend": lambda: np},
        "simulator.devices.idevice": {"EmptyDevice": _Device},
    }
    for name, content in made.items():
        for end in range(1, name.count(".") + 2):
            parent = ".".join(name.split(".")[:end])
            if parent not in sys.modules:
                monkeypatch.setitem(sys.modules, parent, module(parent))
        monkeypatch.setitem(sys.modules, name, module(name, **content))


def programming() -> Fit:
    return Polynomial2().fit(measured(2_000, seed=1))[0].record


def exported(tmp_path: Path, to: str, **fits: Fit) -> tuple[Any, Model]:
    """The module that an export is, and the model."""
    model = Model({name.replace("_", "-"): fit for name, fit in fits.items()}, {}, {}, "2026-01-01T00:00:00")
    path = tmp_path / "model.json"
    save_model(model, path)
    export_model(path, to, tmp_path / "out.py")
    code = module("out")
    exec(compile((tmp_path / "out.py").read_text(), "out.py", "exec"), code.__dict__)
    return code, load_model(path)


@pytest.mark.parametrize("to", ["aihwkit", "crosssim"])
def test_formulas_are_those_of_the_model(tmp_path: Path, to: str) -> None:
    noise = KnotsReadNoise().fit(test_read_noise.measured(60, seed=1))[0].record
    code, model = exported(tmp_path, to, programming=programming(), drift=fitted_drift(), read_noise=noise)
    made = code.FittedNoiseModel if to == "aihwkit" else code.FittedDevice
    array = torch.tensor if to == "aihwkit" else np.asarray
    for function, kind, name in (
        (made.programming_bias, "programming", "bias"),
        (made.programming_sigma, "programming", "sigma"),
        (made.drift_mean, "drift", "mean"),
        (made.drift_spread, "drift", "spread"),
        (made.read_noise_q, "read-noise", "q"),
    ):
        assert np.asarray(function(array(G))) == pytest.approx(model.fits[kind].statistic(name)(G), rel=1e-12), name


def test_a_spline_is_exported_as_the_curve_that_it_is() -> None:
    spline = Spline((-4.0, -2.0, -1.5, 0.0), (0.13, 0.07, 0.06, 0.02))
    g = np.geomspace(1e-3, 2.0, 50)
    assert eval(statistic_code(spline, "np.log"), {"np": np, "g": g}) == pytest.approx(spline(g), rel=1e-12)


def test_aihwkit_noise_has_the_moments_of_the_model(tmp_path: Path) -> None:
    code, model = exported(tmp_path, "aihwkit", programming=programming(), drift=fitted_drift())
    noise = code.noise_model
    target = torch.full((40_000,), 15.0, dtype=torch.float64)
    error = noise.apply_programming_noise_to_conductance(target) - target
    sigma = float(model.fits["programming"].statistic("sigma")(np.array([15 / 25]))[0])
    assert float(error.std()) == pytest.approx(sigma, rel=0.02)  # 40 000 draws: 0.35 %
    nu = noise.generate_drift_coefficients(target)
    assert float(nu.mean()) == pytest.approx(0.049, abs=3e-4)
    later = noise.apply_drift_noise_to_conductance(target, torch.full_like(target, 0.05), 1980.0)
    assert later.numpy() == pytest.approx(15.0 * 100**-0.05)


def test_a_polynomial_alone_becomes_pcm_like(tmp_path: Path) -> None:
    code, model = exported(tmp_path, "aihwkit", programming=programming())
    sigma = model.fits["programming"].statistic("sigma")
    assert isinstance(sigma, Polynomial)
    assert code.noise_model == {
        "prog_coeff": list(sigma.coefficients), "g_max": 25.0, "read_noise_scale": 0.0, "drift_scale": 0.0
    }  # fmt: skip


def test_crosssim_drift_has_the_moments_of_the_model(tmp_path: Path) -> None:
    code, _ = exported(tmp_path, "crosssim", drift=fitted_drift())
    device = code.FittedDevice(_Parameters())
    later = device.drift_error(np.full(40_000, 0.6), 1980.0)
    assert np.log(later / 0.6).mean() == pytest.approx(-0.049 * np.log(100), abs=0.002)


@pytest.mark.parametrize("to", ["aihwkit", "crosssim"])
def test_relaxation_draws_the_mixture(tmp_path: Path, to: str) -> None:
    fit, table = Relaxation().fit(test_relaxation.measured(2_000, seed=1))
    code, _ = exported(tmp_path, to, drift=fit.record)
    start = np.full(40_000, 60.0)
    if to == "aihwkit":
        drawn = code.noise_model.apply_drift_noise_to_conductance(torch.tensor(start), None, 100.0).numpy()
    else:
        drawn = 25.0 * code.FittedDevice(_Parameters()).drift_error(start / 25.0, 100.0)
    decades = np.full((start.size, 1), np.log10(100.0) - fit.record.settings["reference_decade"])
    seen = replace(table, first=start, decades=decades, change=(drawn - start)[:, None], there=decades > 0)
    uniform = Relaxation().quantiles(seen, fit.optimum.theta)
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3  # the mixture's own distribution function


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="known: aihwkit, crosssim"):
        exported(tmp_path, "spice", drift=fitted_drift())
    model = Model({"programming-curve": replace(fitted_drift(), experiment="programming-curve")}, {}, {}, "")
    save_model(model, tmp_path / "curve.json")
    with pytest.raises(BadInputError, match="it has: programming-curve"):
        export_model(tmp_path / "curve.json", "aihwkit", tmp_path / "x.py")
