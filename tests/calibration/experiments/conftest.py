"""Measuring into a file in a temporary folder, and a chip that is slow: one device after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hwloop.calibration.experiments.base import DeviceExperiment, RunningExperiment
from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.steps import Step, rest, run
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability, ChipInfo, PulseLimits
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.devices.drift import DriftModel
from hwloop.devices.model import DeviceModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.statistics import Polynomial
from hwloop.files.experiment_writer import ExperimentWriter
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurement_writer import MeasurementWriter
from hwloop.files.measurements import Measurement
from hwloop.typing import FloatArray, IndexArray, State

NU = 0.1
"""Drift coefficient of all devices of the slow chip."""

MODEL = DeviceModel(
    curve=ProgrammingCurve(
        g_min=0.0,
        g_max=20.0,
        midpoint=250.0,
        steepness=20.0,
        melt=150.0,
        width=100.0,
        midpoint_spread=0.0,
        height_spread=0.0,
        jitter=0.0,
        noise=0.0,
    ),
    drift=DriftModel(t0=20.0, g_scale=20.0, mean=Polynomial((NU,)), spread=Polynomial((0.0,))),
    read_noise=ReadNoiseModel(t_read=1e-6, g_scale=20.0, q=Polynomial((0.0,))),
)


class SlowChip(Backend):
    """No noise and a clock of its own: every pulse takes `pace` seconds, every read too, one after the other.

    A device conducts what the nominal curve says at t0 and drifts from the very moment of its own pulse.
    """

    def __init__(
        self, pace: float = 0.01, capabilities: frozenset[Capability] | None = None, budget: int = 1000
    ) -> None:
        self.pace, self.clock = pace, 0.0
        info = ChipInfo(
            name="slow",
            serial="7",
            cores=2,
            rows=8,
            columns=8,
            devices_per_polarity=1,
            input_bits=8,
            output_bits=8,
            g_max=20.0,
            read_voltage=0.2,
            adc_range=(30.0, 30.0),
            limits=PulseLimits(amplitude_max=500.0, width_min=20.0, width_max=20_000.0, pulses_per_device=budget),
            capabilities=frozenset({Capability.DEVICE_READ}) if capabilities is None else capabilities,
            device_model=MODEL,
        )
        super().__init__(info)
        self.g = np.zeros((2, info.devices_per_core))
        self.born = np.zeros((2, info.devices_per_core))
        self.reading: Callable[[FloatArray], FloatArray] = lambda values: values

    def _pulse(self, core: int, pulses: Pulses) -> None:
        passed = self.pace * np.arange(1, len(pulses) + 1)
        melts = (pulses.amplitude >= MODEL.curve.melt) | (pulses.kind is PulseKind.SET)
        after = MODEL.curve.conductance(pulses.amplitude) if pulses.kind is PulseKind.RESET else MODEL.curve.g_max
        self.g[core, pulses.devices[melts]] = np.broadcast_to(after, melts.shape)[melts]
        self.born[core, pulses.devices[melts]] = (self.clock + passed)[melts]
        self.clock += passed[-1]

    def _read(self, core: int, devices: IndexArray, averages: int) -> FloatArray:
        passed = self.pace * np.arange(1, len(devices) + 1)
        age = np.maximum(self.clock + passed - self.born[core, devices], 1e-6)
        if len(devices):
            self.clock += passed[-1]
        return self.reading(self.g[core, devices] * (age / MODEL.drift.t0) ** -NU)

    def _now(self) -> float:
        return self.clock

    def _wait(self, seconds: float) -> None:
        self.clock += seconds

    def _adc_range(self, core: int) -> float:
        return 30.0

    def _close(self) -> None:
        pass

    def _snapshot(self) -> dict[str, str | int | float | bool]:
        return {"pace": self.pace}


Measure = Callable[..., Measurement]


def follow(
    running: RunningExperiment, sink: ExperimentWriter, steps: int | None = None, state: State | None = None
) -> Step:
    """Take steps, all unless told otherwise, resting as they ask; return the last one."""
    last = None
    for step in running.work(sink, state):
        last = step
        if step.done == steps:
            break
        rest(running.bench.backend, step.rest)
    assert last is not None
    return last


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """`measure(experiment, backend, seed)` gives the measurement, as it is read back from its file."""

    def measured(experiment: DeviceExperiment, backend: Backend, seed: int = 0) -> Measurement:
        running = experiment.begin(Bench(backend), seed)
        with MeasurementWriter(tmp_path / "m.h5", "w") as writer:
            sink = writer.begin(experiment.kind, running.cells(), running.attributes())
            run(running.work(sink), backend)
            writer.finish()
        return read_measurements(tmp_path / "m.h5")[0]

    return measured
