"""What mapping needs to know of a core's devices: how they share targets, and the error to expect of a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.chip.info import ChipInfo
from hwloop.devices.model import DeviceModel
from hwloop.errors import BadInputError
from hwloop.mapping.clip import CLIPS
from hwloop.mapping.split import SPLITS, split_devices
from hwloop.mapping.split_table import DeviceErrors, SplitTable, device_errors, split_table, table_of

SCALES = ("column", "core")
MEASURE = "measure the devices with hwloop calibrate all, and pass the file with --calibration"
"""The way out where no model of the devices is known."""


@dataclass(frozen=True)
class MappingSettings:
    """How weights become conductances."""

    scale: str = "column"
    """'column': every column uses the full conductance range; 'core': one scale for the whole tile."""
    split: str | None = None
    """Several devices per polarity: 'auto' shares every target so that the expected error is least, by the model of the
    devices; 'fill' loads the first before the second; 'even' shares equally. None: 'auto' where a model is known, else
    'fill'."""
    clip: str = "none"
    """'auto' clips the largest weights of every scale where that lowers the expected error; 'none' keeps them all."""

    def __post_init__(self) -> None:
        for name, known in (("scale", SCALES), ("split", SPLITS), ("clip", CLIPS)):
            value = getattr(self, name)
            if value not in known and not (name == "split" and value is None):
                raise BadInputError(f"mapping {name} '{value}' is unknown; known: {', '.join(known)}")


@dataclass(frozen=True)
class Sharing:
    """How the devices of a core share targets.

    Parameters
    ----------
    split
        One of SPLITS.
    table
        Sharing and expected errors; None where neither the split nor clipping needs it.
    """

    split: str
    table: SplitTable | None = None


def sharing_of(settings: MappingSettings, info: ChipInfo, model: DeviceModel | None, age: float) -> Sharing:
    """Choose how the devices of a core share targets.

    Parameters
    ----------
    settings
        What was asked for.
    info
        Of the chip.
    model
        Of the core's devices: calibrated, fitted or nominal; None where nothing is known.
    age
        Seconds after programming at which the weights are used.

    Raises
    ------
    BadInputError
        For a split or clipping that needs a model where there is none.
    """
    if model is None:
        for name, value in (("split", settings.split), ("clip", settings.clip)):
            if value == "auto":
                raise BadInputError(
                    f"{info.name}: --{name} auto needs a model of the devices, and none is known; {MEASURE}"
                )
        return Sharing(settings.split or "fill")
    split = settings.split or ("auto" if info.devices_per_polarity > 1 else "fill")
    if split != "auto" and settings.clip == "none":
        return Sharing(split)
    errors = device_errors(model, info.g_max, (age,))
    if split == "auto":
        return Sharing(split, split_table(errors, info.devices_per_polarity))
    return Sharing(split, _fixed(errors, info, split))


def _fixed(errors: DeviceErrors, info: ChipInfo, split: str) -> SplitTable:
    """Tabulate what a split without a table of its own expects."""
    number = info.devices_per_polarity
    target = np.linspace(0.0, number * info.g_max, number * (len(errors.conductance) - 1) + 1)
    capacity = np.full((2, number, 1, len(target)), info.g_max)
    return table_of(errors, split_devices(target[None], capacity, split)[0, :, 0])
