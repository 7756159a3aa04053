"""`ChipInfo` as JSON: what CHIP:DESCribe? answers."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from hwloop.chip.info import Capability, ChipInfo, PulseLimits, ReadMode, TrimLimits
from hwloop.chip.updates import SteppingDevices
from hwloop.devices import drift, model, programming_curve, read_noise, splines, statistics, time_law
from hwloop.errors import BadInputError

_KINDS: dict[str, type] = {
    name: kind
    for module in (drift, model, programming_curve, read_noise, splines, statistics, time_law)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind)
}


_BESIDE = ("trims", "read_modes", "stepping")
"""What stands beside the chip, where drivers of earlier versions, which do not know it, pass over it."""


@dataclasses.dataclass(frozen=True)
class Description:
    """What an instrument says of itself.

    info           the chip
    virtual_clock  the clock moves only when a command moves it
    buffer         longest program message, bytes
    memory         size of the transfer memory, bytes
    """

    info: ChipInfo
    virtual_clock: bool
    buffer: int
    memory: int


def encode(description: Description) -> bytes:
    """Write a description as ASCII JSON; numbers keep all their digits."""
    info = description.info
    plain = {f.name: getattr(info, f.name) for f in dataclasses.fields(info) if f.name not in _BESIDE}
    plain["limits"] = dataclasses.asdict(info.limits)
    plain["capabilities"] = sorted(capability.value for capability in info.capabilities)
    plain["device_model"] = _plain(info.device_model)
    whole = {
        "chip": plain,
        "trims": dataclasses.asdict(info.trims) if info.trims else None,
        "read_modes": [dataclasses.asdict(mode) for mode in info.read_modes],
        "stepping": dataclasses.asdict(info.stepping) if info.stepping else None,
        "virtual_clock": description.virtual_clock,
        "buffer": description.buffer,
        "memory": description.memory,
    }
    return json.dumps(whole, allow_nan=False).encode("ascii")


def decode(data: bytes) -> Description:
    """Read a description, leaving out capabilities unknown to this version. Raises ValueError when it is none."""
    try:
        whole = json.loads(data)
        chip = dict(whole["chip"])
        known = {capability.value: capability for capability in Capability}
        chip["capabilities"] = frozenset(known[name] for name in chip["capabilities"] if name in known)
        chip["limits"] = PulseLimits(**chip["limits"])
        chip["adc_range"] = (float(chip["adc_range"][0]), float(chip["adc_range"][1]))
        chip["device_model"] = _object(chip["device_model"])
        if (trims := whole.get("trims")) is not None:
            chip["trims"] = TrimLimits(**trims)
        elif Capability.TRIMS in chip["capabilities"]:
            raise ValueError("it says that the chip has trims, and not how far they reach")
        chip["read_modes"] = tuple(ReadMode(**mode) for mode in whole.get("read_modes", ()))
        if Capability.READ_MODE in chip["capabilities"] and not chip["read_modes"]:
            raise ValueError("it says that the chip has read modes, and not which")
        if (stepping := whole.get("stepping")) is not None:
            chip["stepping"] = SteppingDevices(**stepping)
        elif Capability.UPDATE in chip["capabilities"]:
            raise ValueError("it says that the chip takes pulsed updates, and not of which devices")
        return Description(ChipInfo(**chip), bool(whole["virtual_clock"]), int(whole["buffer"]), int(whole["memory"]))
    except (KeyError, TypeError, ValueError, IndexError, BadInputError) as error:
        raise ValueError(f"not a chip description: {error!r}") from error


def _plain(value: Any) -> Any:
    """Write dataclasses as objects with their class's name under 'kind'.

    What stands at its default is left out, so that drivers of earlier versions, which do not know it, read the rest.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = [f.name for f in dataclasses.fields(value) if getattr(value, f.name) != f.default]
        own = {name: _plain(getattr(value, name)) for name in told}
        return {"kind": type(value).__name__} | own
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _object(value: Any) -> Any:
    if isinstance(value, dict):
        own = {name: _object(item) for name, item in value.items() if name != "kind"}
        return _KINDS[value["kind"]](**own)
    return tuple(_object(item) for item in value) if isinstance(value, list) else value
