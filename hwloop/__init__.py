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
    from hwloop.backends import connect
    from hwloop.contract import Backend, Capability, ChipInfo, PulseKind, Pulses
    from hwloop.deploy.run import Run, program
    from hwloop.errors import HwloopError
    from hwloop.mapping import MappingSettings
    from hwloop.weights import Matrix, load_weights, matrices

# Resolved on first use, so that `import hwloop` and `hwloop --help` do not wait for torch.
_HOMES = {
    "connect": "hwloop.backends",
    "Backend": "hwloop.contract",
    "Capability": "hwloop.contract",
    "ChipInfo": "hwloop.contract",
    "PulseKind": "hwloop.contract",
    "Pulses": "hwloop.contract",
    "Run": "hwloop.deploy.run",
    "program": "hwloop.deploy.run",
    "HwloopError": "hwloop.errors",
    "MappingSettings": "hwloop.mapping",
    "Matrix": "hwloop.weights",
    "load_weights": "hwloop.weights",
    "matrices": "hwloop.weights",
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
