"""A chip of its own physics behind the contract: none of its laws is one of the simulator's.

* A RESET pulse leaves what a normal integral of its amplitude says, after a device's own factor; the noise of a pulse
  is a factor on its amplitude and one on what it leaves.
* Conductance falls with the logarithm of time, G(t) = G (1 - c ln(1 + t / onset)), and so hardly before the onset.
* Reads are noisy by a white part and by two slow ones with one time constant each.
* One SET pulse crystallises a fixed share of what is still amorphous.
* There are no device reads, and no model of the devices is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from hwloop.chip.backend import Backend
from hwloop.chip.driver import Settings
from hwloop.chip.info import Capability, ChipInfo, PulseLimits
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.typing import CodeArray, FloatArray, IndexArray


@dataclass(frozen=True)
class Physics:
    """Numbers of the chip."""

    g_top: float = 18.0
    g_low: float = 0.05
    middle: float = 310.0
    width: float = 34.0
    middle_spread: float = 0.03
    top_spread: float = 0.05
    amplitude_noise: float = 0.006
    result_noise: float = 0.02
    melt: float = 205.0
    set_share: float = 0.97
    drift: float = 0.04
    drift_spread: float = 0.008
    onset: float = 1.0
    white: float = 0.08
    slow: tuple[tuple[float, float], ...] = ((0.02, 0.3), (0.02, 100.0))
    """Relative standard deviations and their time constants, seconds."""
    gain_spread: float = 0.03
    offset_spread: float = 0.7
    adc_noise: float = 0.4
    stuck_rate: float = 0.0
    vector_seconds: float = 2e-6


class ForeignChip(Backend):
    """One core with one device per polarity."""

    def __init__(self, seed: int, rows: int = 128, columns: int = 96, physics: Physics | None = None) -> None:
        self.physics = p = physics or Physics()
        rng = self._rng = np.random.default_rng([seed, 77])
        super().__init__(
            ChipInfo(
                name="foreign",
                serial=f"F{seed}",
                cores=1,
                rows=rows,
                columns=columns,
                devices_per_polarity=1,
                input_bits=8,
                output_bits=9,
                g_max=15.0,
                read_voltage=0.2,
                adc_range=(20.0, 5000.0),
                limits=PulseLimits(amplitude_max=560.0, width_min=50.0, width_max=3000.0, pulses_per_device=1000),
                capabilities=frozenset({Capability.MVM, Capability.ADC_RANGE, Capability.EXACT_PLACEMENT}),
            )
        )
        size = self.info.devices_per_core
        self.clock, self.full_scale = 0.0, 500.0
        self.middle = p.middle * np.exp(p.middle_spread * rng.standard_normal(size))
        self.top = p.g_top * np.exp(p.top_spread * rng.standard_normal(size))
        self.stuck = rng.random(size) < p.stuck_rate
        self.g = np.full(size, p.g_low)
        self.g[self.stuck & (rng.random(size) < 0.5)] = p.g_top
        self.born = np.full(size, -1e6)
        self.fall = self._falls(size)
        self.slow = np.stack([sigma * rng.standard_normal(size) for sigma, _ in p.slow])
        self.seen = 0.0
        self.gain = 1.0 + p.gain_spread * rng.standard_normal(columns)
        self.offset = p.offset_spread * rng.standard_normal(columns)

    def conductances(self) -> FloatArray:
        """What the devices conduct now, without noise, (2, 1, rows, columns) in uS."""
        age = np.maximum(self.clock - self.born, 0.0)
        fallen = np.where(self.stuck, 1.0, 1.0 - self.fall * np.log1p(age / self.physics.onset))
        return (self.g * np.maximum(fallen, 0.0)).reshape(self.info.device_shape)

    def _falls(self, count: int) -> FloatArray:
        p = self.physics
        return np.maximum(p.drift + p.drift_spread * self._rng.standard_normal(count), 0.0)

    def _pulse(self, core: int, pulses: Pulses) -> None:
        p, rng = self.physics, self._rng
        self.clock += 1e-6 * len(pulses)
        works = ~self.stuck[pulses.devices]
        if pulses.kind is PulseKind.RESET:
            works &= pulses.amplitude >= p.melt
        at = pulses.devices[works]
        if pulses.kind is PulseKind.RESET:
            amplitude = pulses.amplitude[works] * (1.0 + p.amplitude_noise * rng.standard_normal(len(at)))
            left = p.g_low + (self.top[at] - p.g_low) * ndtr((self.middle[at] - amplitude) / p.width)
            left *= 1.0 + p.result_noise * rng.standard_normal(len(at))
        else:
            share = 1.0 - (1.0 - p.set_share) ** (pulses.width[works] / self.info.limits.width_max)
            left = self.g[at] + share * (self.top[at] - self.g[at])
        self.g[at], self.born[at], self.fall[at] = np.abs(left), self.clock, self._falls(len(at))

    def _place(self, core: int, devices: IndexArray, conductance: FloatArray, age: float) -> None:
        at = devices[~self.stuck[devices]]
        self.born[at] = self.clock
        fallen = 1.0 - self.fall[at] * np.log1p(age / self.physics.onset)
        self.g[at] = conductance[~self.stuck[devices]] / fallen

    def _mvm(self, core: int, x: CodeArray) -> CodeArray:
        p, rng, info = self.physics, self._rng, self.info
        for number, (sigma, constant) in enumerate(p.slow):
            kept = np.exp(-(self.clock - self.seen) / constant)
            fresh = sigma * np.sqrt(1.0 - kept**2) * rng.standard_normal(len(self.g))
            self.slow[number] = kept * self.slow[number] + fresh
        self.seen = self.clock
        true = self.conductances()
        noisy = true * (1.0 + self.slow.sum(0).reshape(true.shape))
        drive = x / info.input_max
        sums = drive @ (noisy[0, 0] - noisy[1, 0])
        sums += np.sqrt(drive**2 @ (p.white**2 * (true**2).sum((0, 1)))) * rng.standard_normal(sums.shape)
        codes = self.gain * sums / self.full_scale * info.code_max + self.offset
        codes += p.adc_noise * rng.standard_normal(codes.shape)
        self.clock += p.vector_seconds * len(x)
        return np.clip(np.rint(codes), -info.code_max, info.code_max).astype(np.int32)

    def _now(self) -> float:
        return self.clock

    def _wait(self, seconds: float) -> None:
        self.clock += seconds

    def _adc_range(self, core: int) -> float:
        return self.full_scale

    def _set_adc_range(self, core: int, full_scale: float) -> None:
        self.full_scale = full_scale

    def _close(self) -> None:
        pass

    def _snapshot(self) -> Settings:
        return {"clock": self.clock}
