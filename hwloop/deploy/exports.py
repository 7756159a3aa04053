"""Fitted models as code for other simulators: a noise model for aihwkit, a device model for CrossSim.

What is written is a Python file that runs by itself beside the simulator and shows every number with its unit. It
subclasses the simulator's documented base: `aihwkit.inference.noise.base.BaseNoiseModel` (aihwkit 1.x; a plain
`PCMLikeNoiseModel` where nothing but a programming polynomial was fitted, since its drift and read noise are fixed) and
`simulator.devices.idevice.EmptyDevice` (CrossSim 3).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwloop import store
from hwloop.device_models import Knots, LogClip, Polynomial, PowerLaw, Spline, Statistic
from hwloop.errors import BadInputError
from hwloop.model_file import Fit, Model, load_model

T_READ = 250e-9
"""Duration of a read in seconds that exports assume unless told otherwise: the published models' own."""


def export_model(path: str | Path, to: str, out: str | Path, *, force: bool = False) -> dict[str, Any]:
    """Write the export of a model file; returns what `hwloop export` prints.

    Raises BadInputError for an unknown simulator, a bad model file, and one with nothing that the simulator can use.
    """
    if to not in TARGETS:
        raise BadInputError(f"unknown simulator '{to}'; known: {', '.join(TARGETS)}")
    model = load_model(path)
    used = [name for name in ("programming", "drift", "read-noise") if name in model.fits]
    if not used:
        raise BadInputError(
            f"{path} has no programming, drift or read-noise fit, which is what {to} can use "
            f"(it has: {', '.join(model.fits)})"
        )
    store.check_writable(out, force=force)
    text = TARGETS[to](model, Path(path).name)
    store.replace_file(Path(out), text.encode())
    return {"model": str(path), "to": to, "out": str(out), "fits": used}


def statistic_code(statistic: Statistic, log: str) -> str:
    """A Python expression of `g` (an array) that computes a statistic; `log` names the logarithm to use."""
    x = f"{log}(g.clip(1e-6, None))"
    if isinstance(statistic, LogClip):
        s = statistic
        return f"({s.slope!r} * {x} + {s.offset!r}).clip({s.low!r}, {s.high!r})"
    if isinstance(statistic, PowerLaw):
        return f"({statistic.scale!r} * g.clip(1e-6, None) ** {statistic.exponent!r}).clip(None, {statistic.cap!r})"
    if isinstance(statistic, Polynomial):
        return " + ".join(f"{c!r} * g**{k}" if k else f"{c!r} + 0.0 * g" for k, c in enumerate(statistic.coefficients))
    if isinstance(statistic, Knots):
        at, values = statistic.at, statistic.values
        parts = [f"{values[0]!r} + 0.0 * g"]
        for k in range(len(at) - 1):
            rise, run = values[k + 1] - values[k], at[k + 1] - at[k]
            parts.append(f"{rise!r} * (({x} - {at[k]!r}) / {run!r}).clip(0.0, 1.0)")
        return "(\n            " + "\n            + ".join(parts) + "\n        )"
    if isinstance(statistic, Spline):
        parts = [f"{statistic.values[0]!r} + 0.0 * g"]
        for start, width, (linear, square, cube) in statistic.pieces():
            share = f"(({x} - {start!r}) / {width!r}).clip(0.0, 1.0)"
            parts += [f"{linear!r} * {share}", f"{square!r} * {share} ** 2", f"{cube!r} * {share} ** 3"]
        return "(\n            " + "\n            + ".join(parts) + "\n        )"
    raise BadInputError(f"a {type(statistic).__name__} statistic has no export")


def _function(name: str, meaning: str, expression: str) -> str:
    return f'    @staticmethod\n    def {name}(g):\n        """{meaning}"""\n        return {expression}\n'


def _formulas(model: Model, log: str) -> str:
    """Static methods of g = G / scale for everything that was fitted."""
    parts = []
    programming, drift, noise = (model.fits.get(name) for name in ("programming", "drift", "read-noise"))
    if programming:
        for name, what in (("bias", "Mean"), ("sigma", "Standard deviation")):
            expression = statistic_code(programming.statistic(name), log)
            meaning = f"{what} (uS) of a relaxed device's conductance less its target, g = target / PROGRAMMING_SCALE."
            parts.append(_function(f"programming_{name}", meaning, expression))
    if drift and "mean" in drift.forms:
        for name, what in (("mean", "Mean"), ("spread", "Standard deviation")):
            meaning = f"{what} of the drift coefficient, g = G(t0) / DRIFT_SCALE."
            parts.append(_function(f"drift_{name}", meaning, statistic_code(drift.statistic(name), log)))
    elif drift:
        for name in drift.forms:
            meaning = f"{drift.family}: {name}, g = first conductance / DRIFT_SCALE."
            # Knots of a relaxation are straight lines in G, not in ln G.
            parts.append(_function(f"relaxation_{name}", meaning, _linear_knots(drift, name)))
    if noise:
        meaning = "Q of the read noise, sigma / G = Q sqrt(ln((t + t_read) / (2 t_read))), g = G / NOISE_SCALE."
        parts.append(_function("read_noise_q", meaning, statistic_code(noise.statistic("q"), log)))
    return "\n".join(parts)


def _linear_knots(fit: Fit, name: str) -> str:
    statistic = fit.statistic(name)
    assert isinstance(statistic, Knots)
    at = [2.718281828459045**a for a in statistic.at]
    values = statistic.values
    parts = [f"{values[0]!r} + 0.0 * g"]
    for k in range(len(at) - 1):
        parts.append(f"{values[k + 1] - values[k]!r} * ((g - {at[k]!r}) / {at[k + 1] - at[k]!r}).clip(0.0, 1.0)")
    return "(\n            " + "\n            + ".join(parts) + "\n        )"


def _constants(model: Model) -> str:
    rows = []
    for name, label in (("programming", "PROGRAMMING"), ("drift", "DRIFT"), ("read-noise", "NOISE")):
        if name in model.fits:
            fit = model.fits[name]
            rows.append(f"{label}_SCALE = {fit.settings['g_scale']!r}  # uS")
            low, high = fit.conductance_range
            rows.append(f"{label}_RANGE = ({low!r}, {high!r})  # uS: measured; nothing is known outside")
    drift = model.fits.get("drift")
    if drift and "t0" in drift.settings:
        rows.append(f"T0 = {drift.settings['t0']!r}  # s, age at which conductances are stated")
    if drift and "mean" not in drift.forms:
        rows.append(f"STAY_FREEDOM, MOVE_FREEDOM = {1 + drift.value('stay_tail')!r}, {1 + drift.value('move_tail')!r}")
        rows.append(f"REFERENCE_DECADE = {drift.settings['reference_decade']!r}  # log10 s")
    programming = model.fits.get("programming")
    if programming and any(p.name == "tail" for p in programming.parameters):
        rows.append(f"PROGRAMMING_FREEDOM = {2 + programming.value('tail')!r}  # of Student's t")
    return "\n".join(rows)


def _header(model: Model, name: str, simulator: str) -> str:
    fits = "".join(f"\n    {kind}: {fit.family}, {fit.cells.used} cells" for kind, fit in model.fits.items())
    missing = [kind for kind in ("programming", "drift", "read-noise") if kind not in model.fits]
    absent = f"\nNot fitted, and so not applied: {', '.join(missing)}.\n" if missing else ""
    return (
        f'"""Noise model for {simulator}, fitted by hwloop {model.hwloop_version} ({name}, {model.created}).\n\n'
        f'Conductances in uS, times in seconds.{fits}\n{absent}"""\n'
    )


def _noise_lines(model: Model, normal: str, student: str) -> list[str]:
    """Statements that turn `target` (uS) into `programmed` (uS)."""
    if "programming" not in model.fits:
        return ["programmed = target + 0.0"]
    heavy = any(p.name == "tail" for p in model.fits["programming"].parameters)
    draw = normal
    if heavy:
        unit = "((PROGRAMMING_FREEDOM - 2) / PROGRAMMING_FREEDOM) ** 0.5"
        draw = f"{student.format(freedom='PROGRAMMING_FREEDOM')} * {unit}"
    return [
        "g = target / PROGRAMMING_SCALE",
        "sigma = self.programming_sigma(g).clip(0.0, None)",
        f"programmed = target + self.programming_bias(g) + sigma * {draw}",
    ]


# ---- aihwkit ----------------------------------------------------------------------------------------------------


def _aihwkit(model: Model, name: str) -> str:
    programming = model.fits.get("programming")
    polynomial = programming and not any(p.name == "tail" for p in programming.parameters)
    if programming and polynomial and set(model.fits) & {"drift", "read-noise"} == set():
        sigma = programming.statistic("sigma")
        assert isinstance(sigma, Polynomial)
        return (
            _header(model, name, "aihwkit 1.x")
            + "\nfrom aihwkit.inference.noise.pcm import PCMLikeNoiseModel\n\n"
            + f"G_MAX = {programming.settings['g_scale']!r}  # uS\n"
            + f"PROG_COEFF = {list(sigma.coefficients)!r}  # uS, powers of G / G_MAX\n\n"
            + "# Drift and read noise of this class are the published ones: switch them off, they were not measured.\n"
            + "noise_model = PCMLikeNoiseModel(\n"
            + "    prog_coeff=PROG_COEFF, g_max=G_MAX, read_noise_scale=0.0, drift_scale=0.0\n)\n"
        )
    g_max = next(
        model.fits[kind].settings["g_scale"] for kind in ("programming", "drift", "read-noise") if kind in model.fits
    )
    body = _method(
        "apply_programming_noise_to_conductance", "g_target", "Relaxed conductance of devices programmed to a target.",
        [
            "target = g_target",
            *_noise_lines(model, "torch.randn_like(target)", "_student({freedom}, target)"),
            "return programmed.clamp(min=0.0)",
        ],
    )  # fmt: skip
    drift = model.fits.get("drift")
    if drift and "mean" in drift.forms:
        body += _method(
            "generate_drift_coefficients", "g_target", "A drift coefficient for every device.",
            [
                "g = g_target.abs() / DRIFT_SCALE",
                "return self.drift_mean(g) + self.drift_spread(g) * torch.randn_like(g)",
            ],
        )  # fmt: skip
        age = ["age = t_inference + T0", "drifted = g_prog * (age / T0) ** -drift_noise_param"]
    elif drift:
        age = [
            "age = max(t_inference, 1e-6)",
            *_relaxation_lines("torch", "torch.rand_like(g)", "_student({freedom}, g)"),
        ]
    else:
        age = ["age = t_inference + 1.0", "drifted = g_prog + 0.0"]
    if "read-noise" in model.fits:
        age += [
            "q = self.read_noise_q(g_prog / NOISE_SCALE)",
            "sigma = q * math.sqrt(math.log((age + self.t_read) / (2 * self.t_read)))",
            "drifted = drifted + drifted * sigma * torch.randn_like(drifted)",
        ]
    body += _method(
        "apply_drift_noise_to_conductance", "g_prog, drift_noise_param, t_inference",
        "Conductance t_inference seconds after the end of programming.", [*age, "return drifted.clamp(min=0.0)"],
    )  # fmt: skip
    return (
        _header(model, name, "aihwkit 1.x")
        + "\nimport math\n\nimport torch\n"
        + "from aihwkit.inference.converter.conductance import SinglePairConductanceConverter\n"
        + "from aihwkit.inference.noise.base import BaseNoiseModel\n\n"
        + f"G_MAX = {g_max!r}  # uS\n{_constants(model)}\n\n\n"
        + "def _student(freedom, like):\n"
        + '    """Student\'s t, one number for every element."""\n'
        + "    return torch.distributions.StudentT(torch.tensor(float(freedom))).sample(like.shape).to(like)\n\n\n"
        + "class FittedNoiseModel(BaseNoiseModel):\n"
        + '    """What was measured; use as `InferenceRPUConfig(noise_model=FittedNoiseModel())`."""\n\n'
        + f"    def __init__(self, g_converter=None, t_read={T_READ!r}):\n"
        + '        """t_read: duration of one read, seconds (assumed: no spectrum shows it)."""\n'
        + "        super().__init__(g_converter or SinglePairConductanceConverter(g_max=G_MAX))\n"
        + "        self.t_read = t_read\n\n"
        + _formulas(model, "torch.log")
        + "\n"
        + body
        + "\n\nnoise_model = FittedNoiseModel()\n"
    )


def _relaxation_lines(module: str, uniform: str, student: str) -> list[str]:
    """Statements that turn `g_prog` (uS) at `age` (s) into `drifted` (uS)."""
    lines = ["g = g_prog / DRIFT_SCALE", "decade = math.log10(age) - REFERENCE_DECADE"]
    for name in ("moved", "stay_shift", "stay_width", "move_shift", "move_width"):
        lines.append(f"{name} = self.relaxation_{name}_level(g) + self.relaxation_{name}_slope(g) * decade")
    stay, move = student.format(freedom="STAY_FREEDOM"), student.format(freedom="MOVE_FREEDOM")
    return [
        *lines,
        f"stays = stay_shift + {module}.exp(stay_width) * {stay}",
        f"moves = move_shift + {module}.exp(move_width) * {move}",
        f"drifted = g_prog + {module}.where({uniform} < 1 / (1 + {module}.exp(-moved)), moves, stays)",
    ]


def _method(name: str, arguments: str, meaning: str, lines: list[str]) -> str:
    body = "".join(f"        {line}\n" for line in lines)
    return f'\n    def {name}(self, {arguments}):\n        """{meaning}"""\n{body}'


# ---- CrossSim ---------------------------------------------------------------------------------------------------


def _crosssim(model: Model, name: str) -> str:
    drift = model.fits.get("drift")
    programming = [
        "target = self._conductance(input_)",
        *_noise_lines(
            model, "xp.random.normal(size=target.shape)", "xp.random.standard_t({freedom}, size=target.shape)"
        ),
        "return programmed.clip(0.0, None)",
    ]
    after = ["g_prog = self._programmed(input_)"]
    if drift and "mean" in drift.forms:
        after += [
            "g = g_prog / DRIFT_SCALE",
            "nu = self.drift_mean(g) + self.drift_spread(g) * xp.random.normal(size=g.shape)",
            "drifted = g_prog * ((time + T0) / T0) ** -nu",
        ]
    elif drift:
        after += [
            "age = max(time, 1e-6)",
            *_relaxation_lines(
                "xp", "xp.random.uniform(size=g.shape)", "xp.random.standard_t({freedom}, size=g.shape)"
            ),
        ]
    else:
        after += ["drifted = g_prog"]
    body = _method(
        "_programmed", "input_", "Relaxed conductances (uS) of devices programmed to normalised targets.", programming
    )
    body += _method(
        "programming_error", "input_", "Normalised conductances as programming leaves them.",
        ["return self._normalised(self._programmed(input_)).astype(input_.dtype)"],
    )  # fmt: skip
    body += _method(
        "drift_error", "input_, time",
        "Normalised conductances `time` seconds after the end of programming, programming included.",
        [*after, "return self._normalised(drifted.clip(0.0, None)).astype(input_.dtype)"],
    )  # fmt: skip
    if "read-noise" in model.fits:
        body += _method(
            "read_noise", "input_", "One read, device_params.time seconds after programming.",
            [
                "conductance = self._conductance(input_)",
                f"age = self.time + {'T0' if drift and 'mean' in drift.forms else '1.0'}",
                "growth = math.sqrt(math.log((age + T_READ) / (2 * T_READ)))",
                "sigma = conductance * self.read_noise_q(conductance / NOISE_SCALE) * growth",
                "noisy = conductance + sigma * xp.random.normal(size=conductance.shape)",
                "return self._normalised(noisy).astype(input_.dtype)",
            ],
        )  # fmt: skip
    return (
        _header(model, name, "CrossSim 3")
        + "\nimport math\n\nfrom simulator.backend import ComputeBackend\n"
        + "from simulator.devices.idevice import EmptyDevice\n\n"
        + f"xp = ComputeBackend()\n\n{_constants(model)}\nT_READ = {T_READ!r}  # s, assumed: no spectrum shows it\n\n\n"
        + "class FittedDevice(EmptyDevice):\n"
        + '    """What was measured; import this file, then set `programming_error.model = "FittedDevice"`\n'
        + "    (drift_error and read_noise likewise) and `device.Rmin` to 1e6 / (largest conductance in uS).\n"
        + '    """\n\n'
        + "    def __init__(self, *args, **kwargs):\n"
        + '        """The conductance range (uS) follows from Rmin and the on/off ratio."""\n'
        + "        super().__init__(*args, **kwargs)\n"
        + "        self.g_max = 1e6 / self.device_params.Rmin\n"
        + "        self.g_min = self.g_max / self.on_off_ratio if self.on_off_ratio else 0.0\n\n"
        + "    def _conductance(self, normalised):\n"
        + '        """Conductance in uS of CrossSim\'s normalised one."""\n'
        + "        share = (normalised - self.Gmin_norm) / self.Grange_norm\n"
        + "        return self.g_min + (self.g_max - self.g_min) * share\n\n"
        + "    def _normalised(self, conductance):\n"
        + '        """CrossSim\'s normalised conductance of one in uS."""\n'
        + "        share = (conductance - self.g_min) / (self.g_max - self.g_min)\n"
        + "        return self.Gmin_norm + self.Grange_norm * share\n\n"
        + _formulas(model, "xp.log")
        + "\n"
        + body.lstrip("\n")
    )


TARGETS: dict[str, Callable[[Model, str], str]] = {"aihwkit": _aihwkit, "crosssim": _crosssim}
