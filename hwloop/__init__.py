"""hwloop: program, calibrate and measure analog in-memory computing chips built from phase-change memory.

import hwloop

weights = hwloop.load_weights("data/digits_mlp.safetensors")
with hwloop.connect("sim:hermes-core?seed=1") as chip:
    run = hwloop.program(chip, weights, "gdp")
    print(run.mvm_error)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwloop.chip.backend import Backend
    from hwloop.chip.info import Capability, ChipInfo
    from hwloop.chip.pulses import PulseKind, Pulses
    from hwloop.chip.registry import connect
    from hwloop.errors import HwloopError
    from hwloop.files.weights import load_weights
    from hwloop.jobs.program import Run, program
    from hwloop.mapping.matrix import Matrix, matrices
    from hwloop.mapping.partition import MappingSettings

# Resolved on first use, so that `import hwloop` and `hwloop --help` do not wait for torch.
_HOMES = {
    "connect": "hwloop.chip.registry",
    "Backend": "hwloop.chip.backend",
    "Capability": "hwloop.chip.backend",
    "ChipInfo": "hwloop.chip.backend",
    "PulseKind": "hwloop.chip.backend",
    "Pulses": "hwloop.chip.backend",
    "Run": "hwloop.jobs.program",
    "program": "hwloop.jobs.program",
    "HwloopError": "hwloop.errors",
    "MappingSettings": "hwloop.mapping.partition",
    "Matrix": "hwloop.files.weights",
    "load_weights": "hwloop.files.weights",
    "matrices": "hwloop.files.weights",
}

__all__ = [
    "Backend",
    "Capability",
    "ChipInfo",
    "HwloopError",
    "MappingSettings",
    "Matrix",
    "PulseKind",
    "Pulses",
    "Run",
    "connect",
    "load_weights",
    "matrices",
    "program",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hwloop' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
