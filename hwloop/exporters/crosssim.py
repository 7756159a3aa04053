"""A device model for CrossSim 3: a subclass of its documented base `simulator.devices.idevice.EmptyDevice`."""

from __future__ import annotations

import hashlib

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
    undrifted,
)
from hwloop.files.fitted_devices import time_law

_LOOK_UP = '''\
def _look_up(x, low, values, differences):
    """Straight lines through the points of a table."""
    place = ((x - low) * 256.0).clip(0.0, len(values) - 1)
    whole = place.astype(int)
    return xp.asarray(values).take(whole) + xp.asarray(differences).take(whole) * (place - whole)


'''

NUMPY = Words(
    "xp",
    "numpy",
    "xp.random.normal(size={like}.shape)",
    "xp.random.uniform(size={like}.shape)",
    "xp.random.standard_t({freedom}, size={like}.shape)",
    _LOOK_UP,
)
"""The words of numpy, or of cupy: CrossSim chooses."""


def device_model(content: Content) -> str:
    """Write a module with a device model for CrossSim."""
    top = header(
        content,
        "Device model for CrossSim 3",
        [
            f"import {content.module}  # this file, where Python finds it",
            f"{content.module}.configure(params.xbar.device, time=3600.0)  # CrossSimParameters; s after programming",
            "core = AnalogCore(weights, params)",
        ],
    )
    errors, body = _methods(content)
    tables, formulas = formulas_code(content, NUMPY)
    return _own_name(
        top
        + ("import math\n\n" if "math." in body else "")
        + ("import numpy\n" if "numpy." in tables else "")
        + "from simulator.backend import ComputeBackend\n"
        + "from simulator.devices.idevice import EmptyDevice\n\n"
        + f"xp = ComputeBackend()\n\n{constants(content)}"
        + tables
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


def _own_name(text: str) -> str:
    """Name the class by what the module says: CrossSim knows classes by their names, of all models in a process.

    In the module it is FittedDevice all the same.
    """
    name = f"FittedDevice_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    named = text.replace("class FittedDevice(", f"class {name}(").replace('"FittedDevice"', f'"{name}"')
    return f"{named}\n\nFittedDevice = {name}\n"


def _methods(content: Content) -> tuple[list[str], str]:
    """Write the methods that CrossSim calls, and those that they use; first the errors that they stand for."""
    errors, body = [], ""
    if content.programming or content.drift:
        # CrossSim leaves programming errors to drift_error when the time is not 0, so both are there.
        errors += ["programming_error", "drift_error"]
        body += _programming_and_drift(content)
    if content.noise:
        errors.append("read_noise")
        body += method(
            "read_noise", "input_", "Normalised conductances of one read.",
            ["return (self.read(self.g_max * input_, self.time) / self.g_max).astype(input_.dtype)"],
        )  # fmt: skip
        body += method(
            "read", "conductance, time", "One read of conductances (uS) as drift has left them.",
            ["g_prog = self.undrifted(conductance, time)", *noisy(NUMPY, "T_READ")],
        )  # fmt: skip
        # CrossSim does not tell what a device that it reads was programmed to.
        drift = None if content.relaxes else content.drift
        body += method(
            "undrifted", "conductance, time", "Conductances (uS) before the mean drift up to now.",
            undrifted(NUMPY, drift) if drift else ["return conductance"],
        )  # fmt: skip
    return errors, body


def _programming_and_drift(content: Content) -> str:
    """Write programming and drift, which CrossSim wants in one where the time is not 0."""
    body = method(
        "programming_error", "input_", "Normalised conductances as programming leaves normalised targets.",
        ["return (self.program(self.g_max * input_) / self.g_max).astype(input_.dtype)"],
    )  # fmt: skip
    body += method(
        "drift_error", "input_, time", "The same `time` seconds after programming, whose error is included.",
        [
            "target = self.g_max * input_",
            f"drifted = self.drift(self.program(target), time{', target' * content.verified})",
            "return (drifted.clip(0.0, None) / self.g_max).astype(input_.dtype)",
        ],
    )  # fmt: skip
    body += method(
        "program", "target", "Conductances (uS) of devices programmed to targets (uS).",
        [*programmed(content, NUMPY), "return programmed.clip(0.0, None)"],
    )  # fmt: skip
    meaning = "Conductances (uS) `time` seconds later."
    if content.relaxes:
        return body + method("drift", "g_prog, time", meaning, relaxed(NUMPY, content))
    if not content.drift:
        return body + method("drift", "g_prog, time", "No drift was fitted.", ["return g_prog"])
    known = ", target" * content.verified
    nu = f"self.drift_coefficients(g_prog{known})"
    lines = [f"return g_prog * ((START + time) / START) ** -{nu}"]
    if not time_law(content.drift).plain:
        lines = [*lost(nu, content.drift, "time"), "return g_prog * xp.exp(ln_lost)"]
    body += method("drift", f"g_prog, time{known}", meaning, lines)
    return body + method(
        "drift_coefficients", f"conductance{known}", "A drift coefficient for every device.",
        coefficients(content, NUMPY.normal.format(like="conductance")),
    )  # fmt: skip
