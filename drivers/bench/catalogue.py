"""The instruments a bench file may name."""

from __future__ import annotations

from hwloop.drivers.bench.keithley_707b import Keithley707B
from hwloop.drivers.bench.keithley_2450 import Keithley2450
from hwloop.drivers.bench.keithley_2600 import Keithley2600
from hwloop.drivers.bench.keysight_33600a import Keysight33600A
from hwloop.drivers.bench.keysight_81160a import Keysight81160A
from hwloop.drivers.bench.keysight_b2900 import KeysightB2900
from hwloop.drivers.bench.pulse_generator import CommandPulseGenerator
from hwloop.drivers.bench.source_meter import CommandSourceMeter

SOURCE_METERS: dict[str, type[CommandSourceMeter]] = {
    "keithley-2450": Keithley2450,
    "keithley-2600": Keithley2600,
    "keysight-b2900": KeysightB2900,
}
PULSE_GENERATORS: dict[str, type[CommandPulseGenerator]] = {
    "keysight-33600a": Keysight33600A,
    "keysight-81160a": Keysight81160A,
}
SWITCH_MATRICES: dict[str, type[Keithley707B]] = {"keithley-707b": Keithley707B}
