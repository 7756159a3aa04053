"""Fitted models as code for other simulators: a noise model for aihwkit, a device model for CrossSim.

What is written is a Python file that runs by itself beside the simulator, shows every number with its unit and says at
its top how it is used. It subclasses the simulator's documented base: `aihwkit.inference.noise.base.BaseNoiseModel`
(aihwkit 1.2) or `simulator.devices.idevice.EmptyDevice` (CrossSim 3). Where a programming polynomial without a bias is
all that was fitted, it is a `PCMLikeNoiseModel` for aihwkit, whose drift and read noise are fixed and are switched off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwloop.devices.splines import Spline
from hwloop.devices.statistics import G_FLOOR, Knots, LogClip, Polynomial, PowerLaw, Statistic
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.models import Fit, Model, load_model, read_noise_model

T_READ = 250e-9
"""Duration of a read in seconds that exports assume: the published models' own, as no spectrum shows it."""
KINDS = ("programming", "drift", "read-noise")
"""What the simulators can use of a model."""


def export_model(path: str | Path, to: str, out: str | Path, *, force: bool = False) -> dict[str, Any]:
    """Write the export of a model file; returns what `hwloop export` prints.

    Raises BadInputError for an unknown simulator, a file name that Python cannot import, a bad model file, and one with
    nothing that the simulator can use.
    """
    if to not in TARGETS:
        raise BadInputError(f"unknown simulator '{to}'; known: {', '.join(TARGETS)}")
    out = Path(out)
    if out.suffix != ".py" or not out.stem.isidentifier():
        raise BadInputError(f"{out} would be no Python module; give a name such as fitted_devices.py")
    model = load_model(path)
    used = [kind for kind in KINDS if kind in model.fits]
    if not used:
        raise BadInputError(
            f"{path} has no programming, drift or read-noise fit, which is what {to} can use "
            f"(it has: {', '.join(model.fits)})"
        )
    hdf5.check_writable(out, force=force)
    text = TARGETS[to](_Content(model, Path(path).name, out.stem))
    hdf5.replace_file(out, text.encode())
    return {"model": str(path), "to": to, "out": str(out), "fits": used}


# ---- what an export contains -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Content:
    """A model, and the names of its file and of the module to write."""

    model: Model
    file: str
    module: str

    @property
    def programming(self) -> Fit | None:
        return self.model.fits.get("programming")

    @property
    def drift(self) -> Fit | None:
        return self.model.fits.get("drift")

    @property
    def noise(self) -> Fit | None:
        return self.model.fits.get("read-noise")

    @property
    def fits(self) -> list[Fit]:
        return [self.model.fits[kind] for kind in KINDS if kind in self.model.fits]

    @property
    def relaxes(self) -> bool:
        """Whether the drift is that of resistive memory: a mixture, without a coefficient per device."""
        return self.drift is not None and "mean" not in self.drift.forms

    @property
    def heavy_tails(self) -> bool:
        return self.programming is not None and any(p.name == "tail" for p in self.programming.parameters)

    @property
    def g_max(self) -> float:
        """Conductance that the largest weight becomes, uS."""
        return self.fits[0].settings["g_scale"]

    @property
    def largest(self) -> float:
        """Conductance beyond which nothing is known, uS."""
        return max(self.g_max, *(fit.conductance_range[1] for fit in self.fits))

    @property
    def start(self) -> tuple[float, str]:
        """Age of the devices, in seconds after their last pulse, when the simulator's time is 0, and why."""
        if self.programming and self.programming.settings["age"] > 0:
            return self.programming.settings["age"], "at which programmed devices were read"
        if self.drift and not self.relaxes:
            return self.drift.settings["t0"], "at which the drift fit states conductances"
        if self.noise:
            return self.noise.time_range[1], "assumed: the length of the measured series"
        return 0.0, "that of the first reads"


@dataclass(frozen=True)
class _Words:
    """How a simulator writes what is computed for every element of an array."""

    module: str
    """Has exp, log and where."""
    normal: str
    """A standard normal number per element of {like}."""
    uniform: str
    student: str
    """Student's t with {freedom} degrees of freedom."""


def _header(content: _Content, simulator: str, usage: list[str]) -> str:
    model, (start, why) = content.model, content.start
    fits = "".join(
        f"    {fit.experiment}: {fit.family}, {fit.cells.used} cells, measured from {fit.conductance_range[0]:.3g} to "
        f"{fit.conductance_range[1]:.3g} uS\n"
        for fit in content.fits
    )
    missing = [kind for kind in KINDS if kind not in model.fits]
    return (
        f'"""{simulator}, fitted by hwloop {model.hwloop_version} ({content.file}, {model.created}).\n\n'
        + "".join(f"    {line}\n" for line in usage)
        + "\nConductances in uS, times in seconds; nothing is known of conductances that were not measured.\n"
        + f"Time 0 is an age of {start:.3g} s, {why}.\n"
        + f"Fitted:\n{fits}"
        + (f"Not fitted, and so not applied: {', '.join(missing)}.\n" if missing else "")
        + '"""\n\n'
    )


def _constants(content: _Content) -> str:
    rows = [
        f"G_MAX = {content.g_max!r}  # uS, of the largest weight",
        f"LARGEST = {content.largest!r}  # uS: beyond, nothing was measured",
        f"START = {content.start[0]!r}  # s, age of the devices at time 0",
    ]
    if fit := content.programming:
        rows.append(f"PROGRAMMING_SCALE = {fit.settings['g_scale']!r}  # uS, where g = 1")
    if content.programming and content.heavy_tails:
        rows.append(f"PROGRAMMING_FREEDOM = {2 + content.programming.value('tail')!r}  # of Student's t")
    if fit := content.drift:
        rows.append(f"DRIFT_SCALE = {fit.settings['g_scale']!r}  # uS, where g = 1")
    if content.drift and content.relaxes:
        fit = content.drift
        rows += [
            f"STAY_FREEDOM, MOVE_FREEDOM = {1 + fit.value('stay_tail')!r}, {1 + fit.value('move_tail')!r}",
            f"REFERENCE_DECADE = {fit.settings['reference_decade']!r}  # log10 s",
            f"FIRST_TIME = {fit.time_range[0]!r}  # s: changes are not known before, and held",
        ]
    if fit := content.noise:
        rows.append(f"NOISE_SCALE = {fit.settings['g_scale']!r}  # uS, where g = 1")
        rows.append(f"T_READ = {T_READ!r}  # s, duration of a read; assumed: no spectrum shows it")
    return "\n".join(rows) + "\n\n\n"


_LINES = '''\
def _lines(x, at, values):
    """Straight lines through (at[k], values[k]), flat beyond both ends."""
    result = values[0] + 0.0 * x
    for k in range(len(at) - 1):
        result = result + (values[k + 1] - values[k]) * ((x - at[k]) / (at[k + 1] - at[k])).clip(0.0, 1.0)
    return result


'''


_PIECES = '''\
def _pieces(x, first, pieces):
    """first, plus a u + b u^2 + c u^3 of every piece (start, width, (a, b, c)), with u from 0 to 1 along it."""
    result = first + 0.0 * x
    for start, width, (a, b, c) in pieces:
        u = ((x - start) / width).clip(0.0, 1.0)
        result = result + u * (a + u * (b + u * c))
    return result


'''


def _code(statistic: Statistic, words: _Words, *, linear: bool = False) -> str:
    """A Python expression of the array `g` that computes a statistic; knots are in g rather than ln g if `linear`."""
    ln_g = f"{words.module}.log(g.clip({G_FLOOR!r}, None))"
    if isinstance(statistic, LogClip):
        return f"({statistic.slope!r} * {ln_g} + {statistic.offset!r}).clip({statistic.low!r}, {statistic.high!r})"
    if isinstance(statistic, PowerLaw):
        power = f"g.clip({G_FLOOR!r}, None) ** {statistic.exponent!r}"
        return f"({statistic.scale!r} * {power}).clip(None, {statistic.cap!r})"
    if isinstance(statistic, Polynomial):
        powers = ["0.0 * g", *(f"{c!r} * g**{k}" for k, c in enumerate(statistic.coefficients) if k)]
        return " + ".join([repr(statistic.coefficients[0]), *powers])
    if isinstance(statistic, Knots):
        at = tuple(math.exp(a) for a in statistic.at) if linear else statistic.at
        rows = ("g" if linear else ln_g, repr(at), repr(statistic.values))
        return "_lines(\n" + "".join(f"            {row},\n" for row in rows) + "        )"
    if isinstance(statistic, Spline):
        pieces = "".join(f"                {piece!r},\n" for piece in statistic.pieces())
        rows = (ln_g, repr(statistic.values[0]), f"(\n{pieces}            )")
        return "_pieces(\n" + "".join(f"            {row},\n" for row in rows) + "        )"
    raise BadInputError(f"a {type(statistic).__name__} statistic has no export")


def _formulas(content: _Content, words: _Words) -> str:
    """Static methods of g = G / scale for everything that was fitted."""
    rows: list[tuple[str, str, str]] = []
    if fit := content.programming:
        error = "of a relaxed device's conductance less its target, g = target / PROGRAMMING_SCALE"
        for name, what in (("bias", "Mean"), ("sigma", "Standard deviation")):
            rows.append((f"programming_{name}", f"{what} (uS) {error}.", _code(fit.statistic(name), words)))
    if (fit := content.drift) and content.relaxes:
        for name in fit.forms:
            meaning = f"Of the mixture: {name.replace('_', ' ')}, g = first conductance / DRIFT_SCALE."
            rows.append((f"relaxation_{name}", meaning, _code(fit.statistic(name), words, linear=True)))
    elif fit:
        for name, what in (("mean", "Mean"), ("spread", "Standard deviation")):
            meaning = f"{what} of the drift coefficient, g = conductance before drift / DRIFT_SCALE."
            rows.append((f"drift_{name}", meaning, _code(fit.statistic(name), words)))
    if noise := read_noise_model(content.model, T_READ):
        law = "sigma / G = Q sqrt(ln((age + t_read) / (2 t_read))), g = G / NOISE_SCALE"
        rows.append(("read_noise_q", f"Q of the read noise, {law}.", _code(noise.q, words)))
    return "".join(
        f'\n    @staticmethod\n    def {name}(g):\n        """{meaning}"""\n        return {expression}\n'
        for name, meaning, expression in rows
    )


def _method(name: str, arguments: str, meaning: str, lines: list[str]) -> str:
    body = "".join(f"        {line}\n" for line in lines)
    return f'\n    def {name}(self, {arguments}):\n        """{meaning}"""\n{body}'


def _programmed(content: _Content, words: _Words) -> list[str]:
    """Statements that make `programmed` (uS) of `target` (uS)."""
    if not content.programming:
        return ["programmed = target + 0.0"]
    draw = words.normal.format(like="target")
    if content.heavy_tails:
        unit = "((PROGRAMMING_FREEDOM - 2) / PROGRAMMING_FREEDOM) ** 0.5"
        draw = f"{words.student.format(freedom='PROGRAMMING_FREEDOM', like='target')} * {unit}"
    return [
        "g = target / PROGRAMMING_SCALE",
        "sigma = self.programming_sigma(g).clip(0.0, None)",
        f"programmed = target + self.programming_bias(g) + sigma * {draw}",
    ]


def _relaxed(words: _Words) -> list[str]:
    """Statements that make `drifted` (uS) of `g_prog` (uS) at `time` (s)."""
    m = words.module
    stay, move = (words.student.format(freedom=f"{who}_FREEDOM", like="g") for who in ("STAY", "MOVE"))
    return [
        "if time <= 0:",
        "    return g_prog",
        "g = g_prog / DRIFT_SCALE",
        "decade = math.log10(max(time, FIRST_TIME)) - REFERENCE_DECADE",
        *(
            f"{name} = self.relaxation_{name}_level(g) + self.relaxation_{name}_slope(g) * decade"
            for name in ("moved", "stay_shift", "stay_width", "move_shift", "move_width")
        ),
        f"stays = stay_shift + {m}.exp(stay_width) * {stay}",
        f"moves = move_shift + {m}.exp(move_width) * {move}",
        f"moving = {words.uniform.format(like='g')} < 1 / (1 + {m}.exp(-moved))",
        f"return g_prog + {m}.where(moving, moves, stays)",
    ]


def _coefficient(words: _Words) -> list[str]:
    """Statements that return a drift coefficient for every element of `conductance` (uS)."""
    return [
        "g = conductance / DRIFT_SCALE",
        f"return self.drift_mean(g) + self.drift_spread(g) * {words.normal.format(like='g')}",
    ]


def _noisy(words: _Words, t_read: str) -> list[str]:
    """Statements that return one read of `conductance` (uS) at `time` (s)."""
    return [
        f"growth = math.sqrt(math.log((START + time + {t_read}) / (2 * {t_read})))",
        "sigma = conductance * self.read_noise_q(conductance / NOISE_SCALE) * growth",
        f"return conductance + sigma * {words.normal.format(like='conductance')}",
    ]


# ---- aihwkit ----------------------------------------------------------------------------------------------------

TORCH = _Words("torch", "torch.randn_like({like})", "torch.rand_like({like})", "_student({freedom}, {like})")

_STUDENT = '''\
def _student(freedom, like):
    """Student's t, one number for every element."""
    return torch.distributions.StudentT(torch.tensor(float(freedom))).sample(like.shape).to(like)


'''


def _aihwkit(content: _Content) -> str:
    header = _header(
        content,
        "Noise model for aihwkit 1.2",
        [
            f"from {content.module} import noise_model  # this file, where Python finds it",
            "analog = convert_to_analog(network, InferenceRPUConfig(noise_model=noise_model)).eval()",
            "drift_analog_weights(analog, t_inference=3600.0)  # s after programming, which the first call does",
        ],
    )
    return header + (_pcm_like(content) if _is_pcm_like(content) else _noise_model(content))


def _is_pcm_like(content: _Content) -> bool:
    """Whether aihwkit's own class says all that was fitted: it has no bias, and its other noise cannot be changed."""
    if [fit.experiment for fit in content.fits] != ["programming"] or content.heavy_tails:
        return False
    bias = [p for p in content.fits[0].parameters if p.name.startswith("bias.")]
    return all(p.low is not None and p.high is not None and p.low <= 0.0 <= p.high for p in bias)


def _pcm_like(content: _Content) -> str:
    fit = content.fits[0]
    sigma = fit.statistic("sigma")
    assert isinstance(sigma, Polynomial)
    return (
        "from aihwkit.inference.noise.pcm import PCMLikeNoiseModel\n\n"
        f"G_MAX = {fit.settings['g_scale']!r}  # uS\n"
        f"PROG_COEFF = {list(sigma.coefficients)!r}  # uS, powers of G / G_MAX\n\n"
        "# Its drift and read noise are the published ones: off, as they were not measured. No bias was found.\n"
        "noise_model = PCMLikeNoiseModel(prog_coeff=PROG_COEFF, g_max=G_MAX, read_noise_scale=0.0, drift_scale=0.0)\n"
    )


def _noise_model(content: _Content) -> str:
    body = _method(
        "apply_programming_noise_to_conductance", "g_target", "Conductances (uS) of devices programmed to targets.",
        ["target = g_target", *_programmed(content, TORCH), "return programmed.clip(0.0, None)"],
    )  # fmt: skip
    aged = ["conductance = g_prog"]
    if content.relaxes:
        body += _method("relax", "g_prog, time", "Conductances (uS) `time` seconds after the first.", _relaxed(TORCH))
        aged = ["conductance = self.relax(g_prog, t_inference).clip(0.0, None)"]
    elif content.drift:
        body += _method(
            "generate_drift_coefficients", "g_target", "A drift coefficient for every device.",
            ["conductance = g_target", *_coefficient(TORCH)],
        )  # fmt: skip
        aged = ["conductance = g_prog * ((START + t_inference) / START) ** -drift_noise_param"]
    if content.noise:
        body += _method("read", "conductance, time", "One read of conductances (uS).", _noisy(TORCH, "self.t_read"))
        aged.append("conductance = self.read(conductance, t_inference)")
    body += _method(
        "apply_drift_noise_to_conductance", "g_prog, drift_noise_param, t_inference",
        "Conductances (uS) as read t_inference seconds after programming.",
        [*aged, "return conductance.clip(0.0, None)"],
    )  # fmt: skip
    formulas = _formulas(content, TORCH)
    t_read = content.noise is not None
    return (
        ("import math\n\n" if "math." in body else "")
        + "import torch\n"
        + "from aihwkit.inference.converter.conductance import SinglePairConductanceConverter\n"
        + "from aihwkit.inference.noise.base import BaseNoiseModel\n\n"
        + _constants(content)
        + (_LINES if "_lines(" in formulas else "")
        + (_PIECES if "_pieces(" in formulas else "")
        + (_STUDENT if "_student(" in body else "")
        + "class FittedNoiseModel(BaseNoiseModel):\n"
        + '    """Noise of the measured devices, for weights that become pairs of them."""\n\n'
        + f"    def __init__(self, g_converter=None{', t_read=T_READ' if t_read else ''}):\n"
        + '        """g_converter: of weights to conductances, by default to one pair of devices of up to G_MAX."""\n'
        + "        super().__init__(g_converter or SinglePairConductanceConverter(g_max=G_MAX))\n"
        + '        if (g_max := getattr(self.g_converter, "g_max", G_MAX)) > LARGEST:\n'
        + '            raise ValueError(f"g_max = {g_max} uS: nothing is known of devices beyond {LARGEST:.4g} uS")\n'
        + ("        self.t_read = t_read\n" if t_read else "")
        + formulas
        + body
        + "\n\nnoise_model = FittedNoiseModel()\n"
    )


# ---- CrossSim ---------------------------------------------------------------------------------------------------

NUMPY = _Words(
    "xp",
    "xp.random.normal(size={like}.shape)",
    "xp.random.uniform(size={like}.shape)",
    "xp.random.standard_t({freedom}, size={like}.shape)",
)


def _crosssim(content: _Content) -> str:
    header = _header(
        content,
        "Device model for CrossSim 3",
        [
            f"import {content.module}  # this file, where Python finds it",
            f"{content.module}.configure(params.xbar.device, time=3600.0)  # CrossSimParameters; s after programming",
            "core = AnalogCore(weights, params)",
        ],
    )
    errors, body = [], ""
    if content.programming or content.drift:
        # CrossSim leaves programming errors to drift_error when the time is not 0, so both are there.
        errors += ["programming_error", "drift_error"]
        body += _programming_and_drift(content)
    if content.noise:
        errors.append("read_noise")
        body += _method(
            "read_noise", "input_", "Normalised conductances of one read.",
            ["return (self.read(self.g_max * input_, self.time) / self.g_max).astype(input_.dtype)"],
        )  # fmt: skip
        body += _method("read", "conductance, time", "One read of conductances (uS).", _noisy(NUMPY, "T_READ"))
    formulas = _formulas(content, NUMPY)
    return (
        header
        + ("import math\n\n" if "math." in body else "")
        + "from simulator.backend import ComputeBackend\n"
        + "from simulator.devices.idevice import EmptyDevice\n\n"
        + f"xp = ComputeBackend()\n\n{_constants(content)}"
        + (_LINES if "_lines(" in formulas else "")
        + (_PIECES if "_pieces(" in formulas else "")
        + "def configure(device_params, time=0.0):\n"
        + '    """Make `params.xbar.device` this model, `time` seconds after programming, from 0 to G_MAX."""\n'
        + "    device_params.Rmin, device_params.infinite_on_off_ratio = 1e6 / G_MAX, True\n"
        + "    device_params.time = time\n"
        + f"    for name in {tuple(errors)!r}:\n"
        + "        error = getattr(device_params, name)\n"
        + '        error.enable, error.model = True, "FittedDevice"\n\n\n'
        + "class FittedDevice(EmptyDevice):\n"
        + '    """The measured devices. CrossSim finds the class by its name; its conductances are in 1 / Rmin."""\n\n'
        + "    def __init__(self, *args, **kwargs):\n"
        + '        """Raise ValueError for conductances that were not measured, as of the default Rmin."""\n'
        + "        super().__init__(*args, **kwargs)\n"
        + "        self.g_max = 1e6 / self.device_params.Rmin  # uS\n"
        + "        if self.g_max > LARGEST * (1 + 1e-9) or self.Gmin_norm >= 1:\n"
        + "            low, high = self.g_max * self.Gmin_norm, self.g_max\n"
        + '            known = f"nothing is known beyond {LARGEST:.4g} uS; call configure(params.xbar.device)"\n'
        + '            raise ValueError(f"Rmin and Rmax make devices from {low:.4g} to {high:.4g} uS: {known}")\n'
        + formulas
        + body
    )


def _programming_and_drift(content: _Content) -> str:
    body = _method(
        "programming_error", "input_", "Normalised conductances as programming leaves normalised targets.",
        ["return (self.program(self.g_max * input_) / self.g_max).astype(input_.dtype)"],
    )  # fmt: skip
    body += _method(
        "drift_error", "input_, time", "The same `time` seconds after programming, whose error is included.",
        [
            "g_prog = self.program(self.g_max * input_)",
            "return (self.drift(g_prog, time).clip(0.0, None) / self.g_max).astype(input_.dtype)",
        ],
    )  # fmt: skip
    body += _method(
        "program", "target", "Conductances (uS) of devices programmed to targets (uS).",
        [*_programmed(content, NUMPY), "return programmed.clip(0.0, None)"],
    )  # fmt: skip
    meaning = "Conductances (uS) `time` seconds later."
    if content.relaxes:
        return body + _method("drift", "g_prog, time", meaning, _relaxed(NUMPY))
    if not content.drift:
        return body + _method("drift", "g_prog, time", "No drift was fitted.", ["return g_prog"])
    body += _method(
        "drift", "g_prog, time", meaning,
        ["return g_prog * ((START + time) / START) ** -self.drift_coefficients(g_prog)"],
    )  # fmt: skip
    return body + _method(
        "drift_coefficients", "conductance", "A drift coefficient for every device.", _coefficient(NUMPY)
    )


TARGETS: dict[str, Callable[[_Content], str]] = {"aihwkit": _aihwkit, "crosssim": _crosssim}
