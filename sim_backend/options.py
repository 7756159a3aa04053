"""Options of a `sim:` URI, such as `sim:hermes-core?seed=7&adc_bits=6`."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping

import torch

from hwloop.chip.registry import refuse_unknown_options
from hwloop.devices.model import DeviceModel
from hwloop.errors import BadInputError, first_line
from hwloop.sim_backend.parameters import ChipParameters
from hwloop.sim_backend.stepping.law import StepLaw
from hwloop.sim_backend.stepping.parameters import SteppingParameters

# Parameters that a URI may override, with the values each accepts.
_OVERRIDES: dict[str, tuple[type, float, float]] = {
    "cores": (int, 1, 4096),
    "rows": (int, 1, 4096),
    "columns": (int, 1, 4096),
    "devices_per_polarity": (int, 1, 8),
    "adc_bits": (int, 2, 24),
    "dac_bits": (int, 2, 16),
    "adc_gain_spread": (float, 0, 0.3),
    "adc_offset_spread": (float, 0, 100),
    "adc_nonlinearity": (float, 0, 20),
    "adc_noise": (float, 0, 20),
    "dac_nonlinearity": (float, 0, 20),
    "current_error": (float, -0.5, 0.5),
    "stuck_rate": (float, 0, 1),
    "weak_rate": (float, 0, 1),
    "wire_resistance": (float, 0, 1000),
    "series_resistance": (float, 0, 100_000),
    "temperature": (float, 200, 700),
    "read_noise": (float, 0, 100),
    "programming_noise": (float, 0, 100),
    "drift": (float, 0, 10),
    "drift_onset": (float, 0, 1e4),
    "pulse_noise": (float, 0, 1),
}
# Those of them that belong to the nominal device.
_OF_DEVICE = ("drift_onset", "pulse_noise")


PULSE, STATISTICAL = "pulse", "statistical"
LEVELS = (PULSE, STATISTICAL)
"""What is simulated: every pulse, or what programming by pulses leaves behind, drawn from its statistics."""


@dataclasses.dataclass(frozen=True)
class SimOptions:
    """What does not belong to the chip itself: which specimen it is, and where it is computed."""

    seed: int = 0
    device: str = "cpu"
    variant: str = ""
    """Tells chips of one preset and seed apart that were made with other options; their temperature does not."""
    level: str = PULSE
    """One of LEVELS."""


READ_MODE = "read_mode"
OPTION_NAMES = sorted([*_OVERRIDES, READ_MODE, "seed", "device", "level"])


def apply_options(preset: ChipParameters, query: Mapping[str, str]) -> tuple[ChipParameters, SimOptions]:
    """Apply a URI's options to a preset.

    Raises BadInputError for an unknown option (listing the known ones) and for a value out of range.
    """
    refuse_unknown_options("sim", query, OPTION_NAMES)
    preset = _in_mode(preset, query[READ_MODE]) if READ_MODE in query else preset
    changes = {name: _parse(name, text) for name, text in query.items() if name in _OVERRIDES}
    made: dict[str, float | str] = {name: value for name, value in sorted(changes.items()) if name != "temperature"}
    level = _level(query.get("level", PULSE))
    if level != PULSE:
        made["level"] = level
    options = SimOptions(
        seed=_seed(query.get("seed", "0")),
        device=_torch_device(query.get("device", "cpu")),
        variant=f"-{zlib.crc32(repr(made).encode()):08x}" if made else "",
        level=level,
    )
    of_device = {name: float(changes.pop(name)) for name in _OF_DEVICE if name in changes}
    preset = dataclasses.replace(preset, device=_device_with(preset.device, of_device))
    return dataclasses.replace(preset, **changes), options  # type: ignore[arg-type]


_STEPPING = {
    name: _OVERRIDES[name]
    for name in (
        "cores", "rows", "columns", "adc_bits", "dac_bits", "adc_gain_spread", "adc_offset_spread",
        "adc_nonlinearity", "adc_noise", "dac_nonlinearity", "temperature",
    )
} | {
    "leak": (float, 0, 1e9),
    "leak_spread": (float, 0, 1),
    "symmetry_point_mean": (float, -1, 1),
    "symmetry_point_spread": (float, 0, 1),
}  # fmt: skip
_OF_STEPPING: dict[str, tuple[type, float, float]] = {
    "states": (float, 2, 1e6),
    "step_spread": (float, 0, 1),
    "cycle_spread": (float, 0, 20),
    "up_down": (float, -0.9, 0.9),
    "up_down_spread": (float, 0, 1),
    "bound_spread": (float, 0, 1),
    "write_noise": (float, 0, 500),
}
"""Those that belong to the nominal stepping device; its states are the steps from one end of its range to the other."""
_OF_A_REFERENCE = {"leak", "leak_spread", "symmetry_point_mean", "symmetry_point_spread"}
"""Those that say where a device rests beside its reference."""
STEPPING_OPTION_NAMES = sorted([*_STEPPING, *_OF_STEPPING, "seed"])


def apply_stepping_options(
    preset: SteppingParameters, query: Mapping[str, str]
) -> tuple[SteppingParameters, SimOptions]:
    """Apply a URI's options to a preset of stepping devices; raises as `apply_options`."""
    refuse_unknown_options("sim", query, STEPPING_OPTION_NAMES)
    if preset.pair and (senseless := sorted(_OF_A_REFERENCE & query.keys())):
        raise BadInputError(
            f"{preset.name}: the option '{senseless[0]}' is of cells with one device and a reference, and here two "
            "devices step; leave it out, or use sim:reram-sb"
        )
    changes = {name: _parse(name, text, _STEPPING) for name, text in query.items() if name in _STEPPING}
    of_device = {name: float(_parse(name, text, _OF_STEPPING)) for name, text in query.items() if name in _OF_STEPPING}
    made = {name: value for name, value in sorted((changes | of_device).items()) if name != "temperature"}
    options = SimOptions(
        seed=_seed(query.get("seed", "0")), variant=f"-{zlib.crc32(repr(made).encode()):08x}" if made else ""
    )
    device = _stepping_with(preset.device, dict(of_device))
    asked = {item.name for item in dataclasses.fields(device)}
    changed = [name for name in asked if getattr(device, name) != getattr(preset.device, name)]
    told = {name: f"option {name}" for name in changes} | {f"device.{name}": "by option" for name in changed}
    sources = {**preset.sources, **told}
    return dataclasses.replace(preset, device=device, sources=sources, **changes), options  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class OptionRange:
    """An option of a simulated chip: its name, whether it takes whole numbers, its bounds, and words that it may be."""

    name: str
    whole: bool
    low: float
    high: float
    words: tuple[str, ...] = ()


def options_of(preset: ChipParameters | SteppingParameters) -> list[OptionRange]:
    """List the options of a preset, the seed first."""
    if isinstance(preset, SteppingParameters):
        known = {**_STEPPING, **_OF_STEPPING}
        if preset.pair:
            known = {name: bounds for name, bounds in known.items() if name not in _OF_A_REFERENCE}
        words: dict[str, tuple[str, ...]] = {}
    else:
        known, words = _OVERRIDES, {"level": LEVELS}
        if modes := tuple(sorted(mode.name for mode in preset.read_modes)):
            words[READ_MODE] = modes
    numbers = [OptionRange(name, kind is int, low, high) for name, (kind, low, high) in known.items()]
    of_words = [OptionRange(name, False, 0.0, 0.0, allowed) for name, allowed in words.items()]
    return [OptionRange("seed", True, 0, 2**53), *numbers, *of_words]


def _stepping_with(device: StepLaw, values: dict[str, float]) -> StepLaw:
    """Return a nominal stepping device with other values of options that belong to it."""
    if "states" in values:
        values["step"] = (device.high - device.low) / values.pop("states")
    if "bound_spread" in values:
        values["low_spread"] = values["high_spread"] = values.pop("bound_spread")
    return dataclasses.replace(device, **values)  # type: ignore[arg-type]


def _device_with(device: DeviceModel, values: Mapping[str, float]) -> DeviceModel:
    """Return a nominal device with other values of options that belong to it."""
    curve, drift = device.curve, device.drift
    if "pulse_noise" in values:
        curve = dataclasses.replace(curve, relative_noise=values["pulse_noise"])
    if "drift_onset" in values:
        law = dataclasses.replace(drift.law, onset=values["drift_onset"] / drift.t0)
        drift = dataclasses.replace(drift, law=law)
    return dataclasses.replace(device, curve=curve, drift=drift)


def _in_mode(preset: ChipParameters, name: str) -> ChipParameters:
    try:
        return preset.in_mode(name)
    except KeyError:
        known = ", ".join(sorted(mode.name for mode in preset.read_modes))
        expected = f"expected one of {known}" if known else f"{preset.name} does an MVM in one way alone"
        raise BadInputError(f"option {READ_MODE}={name}: {expected}") from None


def _parse(name: str, text: str, known: Mapping[str, tuple[type, float, float]] = _OVERRIDES) -> float | int:
    kind, low, high = known[name]
    try:
        value = kind(text)
    except ValueError:
        raise BadInputError(f"option {name}={text}: expected {_kind(kind)} from {low:g} to {high:g}") from None
    if not (math.isfinite(value) and low <= value <= high):
        raise BadInputError(f"option {name}={text} is outside {low:g} to {high:g}")
    return value  # type: ignore[no-any-return]


def _kind(kind: type) -> str:
    return "a whole number" if kind is int else "a number"


def _level(text: str) -> str:
    if text not in LEVELS:
        raise BadInputError(f"option level={text}: expected one of {', '.join(LEVELS)}")
    return text


def _seed(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed < 2**63:
        raise BadInputError(f"option seed={text}: expected a whole number from 0 to 2^63 - 1")
    return seed


def _torch_device(text: str) -> str:
    try:
        torch.Generator(text)
    except (RuntimeError, AssertionError) as error:
        raise BadInputError(f"option device={text}: torch cannot use it ({first_line(error)[:80]})") from None
    return text
