"""Chips of stepping devices made to measure."""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest

from hwloop.sim_backend.options import SimOptions
from hwloop.sim_backend.stepping.chip import SteppingChip
from hwloop.sim_backend.stepping.law import StepLaw
from hwloop.sim_backend.stepping.piecewise import PiecewiseStep
from hwloop.sim_backend.stepping.presets import STEPPING_PRESETS, chip_of

Made = Callable[..., SteppingChip]


def alike(law: StepLaw, **changes: float) -> StepLaw:
    """Let all devices of a law be nominal, and change some of its numbers."""
    none = {item.name: 0.0 for item in fields(law) if item.name.endswith("_spread") and item.name != "cycle_spread"}
    return replace(law, **(none | changes))


def laws() -> dict[str, StepLaw]:
    """One law of every kind, with 100 to 200 states and noise that each step draws anew."""
    soft = alike(STEPPING_PRESETS["reram-sb"]().device, step=0.01, cycle_spread=0.3, write_noise=0.0)
    shared = {item.name: getattr(soft, item.name) for item in fields(StepLaw)} | {"additive": False}
    return {
        "constant": alike(STEPPING_PRESETS["rpu-baseline"]().device, step=0.01),
        "linear": alike(STEPPING_PRESETS["ecram"]().device, step=0.01),
        "linear, additive": alike(STEPPING_PRESETS["capacitor"]().device, step=0.01),
        "soft bounds": soft,
        "soft bounds, multiplicative": replace(soft, additive=False),
        "exponential": alike(STEPPING_PRESETS["reram-es"]().device, step=0.005, cycle_spread=0.5, write_noise=0.0),
        "power": alike(STEPPING_PRESETS["power-step"]().device, step=0.01, power=1.5),
        "piecewise": PiecewiseStep(**shared, down_nodes=(0.1, 0.8, 1.0, 1.5), up_nodes=(1.6, 1.0, 0.7, 0.2)),
    }


def plain_step(law: StepLaw, weight: float, up: bool) -> float:
    """Compute the mean step of a nominal device from the formulas in the literature, in plain Python."""
    ratio = 1.0 + min(law.up_down, 0.0) if up else 1.0 - max(law.up_down, 0.0)
    name = type(law).__name__
    if name == "ConstantStep":
        shape = 1.0
    elif name == "LinearStep":
        shape = 1 - law.fall_up * weight / law.high if up else 1 - law.fall_down * weight / law.low
    elif name == "SoftBounds":
        shape = 1 - weight / (law.high if up else law.low)
    elif name == "ExponentialStep":
        z = 2 * law.stretch * weight / (law.high - law.low) + law.shift
        shape = 1 - law.a_up * np.exp(law.gamma_up * z) if up else 1 - law.a_down * np.exp(-law.gamma_down * z)
    elif name == "PowerStep":
        left = (law.high - weight) / (law.high - law.low)
        shape = left**law.power if up else (1 - left) ** law.power
    else:
        nodes = law.up_nodes if up else law.down_nodes
        shape = np.interp((weight - law.low) / (law.high - law.low), np.linspace(0, 1, len(nodes)), nodes)
    return law.step * ratio * shape


def noise_of(law: StepLaw, weight: float, up: bool) -> float:
    """Compute the step-to-step standard deviation of that step."""
    ratio = 1.0 + min(law.up_down, 0.0) if up else 1.0 - max(law.up_down, 0.0)
    return law.cycle_spread * (law.step * ratio if law.additive else plain_step(law, weight, up))


@pytest.fixture
def made() -> Made:
    """Make a chip of one law: `made(law, rows=8, columns=8, seed=1)`."""

    def make(law: StepLaw, seed: int = 0, **changes: float) -> SteppingChip:
        chip = replace(chip_of("made", law, "test"), cores=1, rows=32, columns=32)
        return SteppingChip(replace(chip, **changes), SimOptions(seed=seed))

    return make


def weights(chip: SteppingChip) -> np.ndarray:
    """Return the weights (rows, columns) of the devices that updates step, without write noise."""
    p = chip._chip
    return chip._core(0).devices.weights.reshape(2, p.rows, p.columns)[0].astype(float)


def put(chip: SteppingChip, weight: float | np.ndarray) -> None:
    """Put all devices that updates step exactly on a weight."""
    p, count = chip._chip, chip.info.rows * chip.info.columns
    chip.place(0, np.arange(count), np.broadcast_to(p.middle + p.unit * np.asarray(weight), count), 1.0)
