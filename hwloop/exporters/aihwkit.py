"""A noise model for aihwkit 1.2: a subclass of its documented base `aihwkit.inference.noise.base.BaseNoiseModel`.

Where a programming polynomial without a bias is all that was fitted, it is a `PCMLikeNoiseModel`, whose drift and read
noise are fixed and are switched off.
"""

from __future__ import annotations

from hwloop.devices.statistics import Polynomial
from hwloop.exporters.content import Content
from hwloop.exporters.formulas import (
    Words,
    coefficients,
    constants,
    formulas_code,
    header,
    lost,
    method,
    noisy,
    programmed,
    relaxed,
)
from hwloop.files.fitted_devices import time_law

_LOOK_UP = '''\
def _look_up(x, low, values, differences):
    """Straight lines through the points of a table."""
    place = ((x - low) * 256.0).clip_(0.0, len(values) - 1)
    whole = place.int()
    at, rest = whole.reshape(-1), place.sub_(whole).reshape(-1)
    found = rest.mul_(differences.to(x).index_select(0, at)).add_(values.to(x).index_select(0, at))
    return found.view(x.shape)


'''

TORCH = Words(
    "torch", "torch", "torch.randn_like({like})", "torch.rand_like({like})", "_student({freedom}, {like})", _LOOK_UP
)
"""The words of torch, and of the functions of this file."""

_STUDENT = '''\
def _student(freedom, like):
    """Student's t, one number for every element."""
    return torch.distributions.StudentT(torch.tensor(float(freedom))).sample(like.shape).to(like)


'''


def noise_model(content: Content) -> str:
    """Write a module with a noise model for aihwkit."""
    top = header(
        content,
        "Noise model for aihwkit 1.2",
        [
            f"from {content.module} import noise_model  # this file, where Python finds it",
            "analog = convert_to_analog(network, InferenceRPUConfig(noise_model=noise_model)).eval()",
            "drift_analog_weights(analog, t_inference=3600.0)  # s after programming, which the first call does",
        ],
    )
    return top + (_pcm_like(content) if _is_pcm_like(content) else _fitted(content))


def _is_pcm_like(content: Content) -> bool:
    """Tell whether aihwkit's own class says all that was fitted: it has no bias, and its other noise is fixed."""
    if [fit.experiment for fit in content.fits] != ["programming"] or content.heavy_tails:
        return False
    if not isinstance(content.fits[0].statistic("sigma"), Polynomial):
        return False
    bias = [p for p in content.fits[0].parameters if p.name.startswith("bias.")]
    return all(p.low is not None and p.high is not None and p.low <= 0.0 <= p.high for p in bias)


def _pcm_like(content: Content) -> str:
    """Write the settings of aihwkit's own class."""
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


def _fitted(content: Content) -> str:
    """Write a class of our own, which does all that was fitted."""
    body, reads = _methods(content), content.noise is not None
    tables, formulas = formulas_code(content, TORCH)
    return (
        ("import math\n\n" if "math." in body else "")
        + "import torch\n"
        + "from aihwkit.inference.converter.conductance import SinglePairConductanceConverter\n"
        + "from aihwkit.inference.noise.base import BaseNoiseModel\n\n"
        + constants(content)
        + tables
        + (_STUDENT if "_student(" in body else "")
        + "class FittedNoiseModel(BaseNoiseModel):\n"
        + '    """Noise of the measured devices, for weights that become pairs of them."""\n\n'
        + f"    def __init__(self, g_converter=None{', t_read=T_READ' if reads else ''}):\n"
        + '        """g_converter: of weights to conductances, by default to one pair of devices of up to G_MAX."""\n'
        + "        super().__init__(g_converter or SinglePairConductanceConverter(g_max=G_MAX))\n"
        + '        if (g_max := getattr(self.g_converter, "g_max", G_MAX)) > LARGEST:\n'
        + '            raise ValueError(f"g_max = {g_max} uS: nothing is known of devices beyond {LARGEST:.4g} uS")\n'
        + ("        self.t_read = t_read\n" if reads else "")
        + formulas
        + body
        + "\n\nnoise_model = FittedNoiseModel()\n"
    )


def _methods(content: Content) -> str:
    """Write the methods that aihwkit calls, and those that they use."""
    body = method(
        "apply_programming_noise_to_conductance", "g_target", "Conductances (uS) of devices programmed to targets.",
        ["target = g_target", *programmed(content, TORCH), "return programmed.clip(0.0, None)"],
    )  # fmt: skip
    aged = ["conductance = g_prog"]
    if content.relaxes:
        body += method(
            "relax", "g_prog, time", "Conductances (uS) `time` seconds after the first.", relaxed(TORCH, content)
        )
        aged = ["conductance = self.relax(g_prog, t_inference).clip(0.0, None)"]
    elif content.drift:
        drawn = TORCH.normal.format(like="g_target")
        own = "For every device how many spreads its coefficient lies from the mean"
        if content.verified:
            drawn, own = f"torch.stack([{drawn}, g_target])", f"{own} apart from its programming error, and its target"
        body += method("generate_drift_coefficients", "g_target", f"{own}; drawn once.", [f"return {drawn}"])
        known = "conductance, own, target" if content.verified else "conductance, own"
        meaning = "The drift coefficients of programmed conductances (uS)."
        body += method("drift_coefficients", known, meaning, coefficients(content, "own"))
        aged = [f"nu = self.drift_coefficients(g_prog, {'*' * content.verified}drift_noise_param)"]
        if time_law(content.drift).plain:
            aged.append("conductance = g_prog * ((START + t_inference) / START) ** -nu")
        else:
            lines = lost("nu", content.drift, "t_inference")
            aged += [*lines, "conductance = g_prog * torch.exp(ln_lost)"]
    if content.noise:
        meaning = "One read of conductances (uS) that were programmed to g_prog (uS)."
        body += method("read", "conductance, g_prog, time", meaning, noisy(TORCH, "self.t_read"))
        aged.append("conductance = self.read(conductance, g_prog, t_inference)")
    body += method(
        "apply_drift_noise_to_conductance", "g_prog, drift_noise_param, t_inference",
        "Conductances (uS) as read t_inference seconds after programming.",
        [*aged, "return conductance.clip(0.0, None)"],
    )  # fmt: skip
    return body
