"""The phase-change devices of one core: what pulses, time and temperature do to their conductances.

Conductances are kept as they would be at the drift model's reference age t0, with each device's own drift
coefficient and time of birth; the conductance at any moment follows from these three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.sim_backend.cell_noise import Amplitudes, CellNoise
from hwloop.sim_backend.noise import FlickerLadder
from hwloop.sim_backend.normals import normals
from hwloop.sim_backend.parameters import ChipParameters
from hwloop.units import BOLTZMANN


@dataclass(frozen=True)
class Assumptions:
    """What no paper says of a PCM device and the simulator must assume; no chip's preset changes it."""

    youngest: float = 1e-6
    """Seconds: the melt has solidified and drift follows its law from here on."""
    thermal_time: float = 10.0
    """Time constant, ns, with which a device heats up, so that shorter pulses melt less."""
    reset_contrast: float = 1e-3
    """A device that conducts this fraction of g_max counts as fully RESET where a preset's g_min is lower still."""
    age_at_delivery: float = 1e6
    """Seconds since a fresh chip was RESET at the factory."""
    weak_g_max: float = 0.5
    """A weak device reaches this fraction of g_max."""
    weak_jitter: float = 3.0
    """A weak device has this multiple of the pulse jitter."""
    unchanged: float = 1e-4
    """Drifted conductances are reused while time has passed by less than this fraction of the youngest device's age."""


ASSUMED = Assumptions()
"""The assumptions of every simulated chip."""


def relaxation_rate(parameters: ChipParameters) -> float:
    """Return seconds of structural relaxation per second, 1 at the reference temperature (Arrhenius)."""
    kelvin = 1.0 / parameters.temperature - 1.0 / parameters.reference_temperature
    return math.exp(-parameters.relaxation_energy / BOLTZMANN * kelvin)


def thermal_exponent(parameters: ChipParameters) -> float:
    """Return s in G(T) = g_max (G / g_max)^(1 - s), 0 at the reference temperature and positive above it.

    The activation energy of the conductance falls linearly with ln G (assumed), from `conduction_energy` at g_min to
    zero at g_max: the amorphous phase conducts by thermal activation, the crystalline one hardly depends on
    temperature. The order of conductances is the same at every temperature.
    """
    curve = parameters.device.curve
    contrast = math.log(curve.g_max / max(curve.g_min, ASSUMED.reset_contrast * curve.g_max))
    kelvin = 1.0 / parameters.temperature - 1.0 / parameters.reference_temperature
    return -parameters.conduction_energy / BOLTZMANN * kelvin / contrast


def curve_conductance(
    curve: ProgrammingCurve,
    amplitude: torch.Tensor,
    g_max: torch.Tensor,
    midpoint: torch.Tensor,
    steepness: torch.Tensor,
) -> torch.Tensor:
    """Return the conductance (uS) that a RESET pulse of an effective amplitude (uA) leaves on each device."""
    return curve.g_min + (g_max - curve.g_min) * torch.sigmoid((midpoint - amplitude) / steepness)


def specimen_curve(parameters: ChipParameters) -> ProgrammingCurve:
    """Return the typical programming curve of this specimen's devices, which need other currents than nominal."""
    curve, factor = parameters.device.curve, 1.0 + parameters.current_error
    return replace(
        curve, midpoint=factor * curve.midpoint, steepness=factor * curve.steepness, melt=factor * curve.melt
    )


class DeviceArray:
    """All devices of one core; flat tensors of 2 * K * rows * columns elements."""

    def __init__(self, parameters: ChipParameters, specimen: torch.Generator, dynamics: torch.Generator) -> None:
        """Draw the specimen's devices, fully RESET; `dynamics` is the source of all later randomness."""
        self._p = parameters
        self._model = replace(parameters.device, curve=specimen_curve(parameters))
        self._dynamics = dynamics
        self._relaxation = relaxation_rate(parameters)
        self._thermal = thermal_exponent(parameters)
        count, torch_device = math.prod(parameters.device_shape), specimen.device

        def normal() -> torch.Tensor:
            return torch.empty(count, device=torch_device).normal_(generator=specimen)

        def chosen(rate: float) -> torch.Tensor:
            return torch.rand(count, generator=specimen, device=torch_device) < rate

        curve = self._model.curve
        self.midpoint = curve.midpoint + curve.midpoint_spread * normal()
        self.steepness = curve.steepness * (1.0 + parameters.steepness_spread * normal())
        self.g_max = curve.g_max * (1.0 + curve.height_spread * normal())
        self.weak = chosen(parameters.weak_rate)
        self.g_max = torch.where(self.weak, ASSUMED.weak_g_max * self.g_max, self.g_max)
        self.stuck = chosen(parameters.stuck_rate)
        stuck_set = self.stuck & chosen(0.5)

        # A fresh chip was RESET at the factory; the noise of that pulse belongs to the specimen.
        self.g = (curve.g_min + self._scaled(curve.noise) * normal()).abs_()
        self.g = torch.where(stuck_set, self.g_max, self.g)
        self.nu = self._draw_nu(self.g, normal())
        # The SET phase is crystalline: a device stuck there does not drift.
        self.nu = torch.where(stuck_set, torch.zeros_like(self.nu), self.nu)
        self.q = self._q(self.g)
        self.born = torch.full((count,), -ASSUMED.age_at_delivery, dtype=torch.float64, device=torch_device)
        self.set_pulses = torch.zeros(count, dtype=torch.int16, device=torch_device)
        self.flicker = FlickerLadder(self._model.read_noise.t_read, (count,), dynamics, now=0.0)
        self.cell_noise = CellNoise(self.flicker)
        self._last_birth = -ASSUMED.age_at_delivery
        self._drifted: tuple[float, torch.Tensor] | None = None
        self._amplitudes: Amplitudes | None = None

    # ---- programming -----------------------------------------------------------------------------------------

    def reset(self, devices: torch.Tensor, amplitude: torch.Tensor, width: torch.Tensor, clock: float) -> None:
        """Apply RESET pulses: devices (n,) flat, amplitude (n,) uA, width (n,) ns, at relaxation time `clock` (s).

        The result depends on the amplitude and not on history (the right flank of the programming curve). Below the
        melting amplitude nothing happens.
        """
        curve = self._model.curve
        heating = (1.0 - torch.exp(-width / ASSUMED.thermal_time)) / (
            1.0 - math.exp(-curve.width / ASSUMED.thermal_time)
        )
        effective = amplitude * torch.sqrt(heating)
        melts = (effective >= curve.melt) & ~self.stuck[devices]
        devices, effective = devices[melts], effective[melts]
        jitter = self._scaled(curve.jitter) * torch.where(self.weak[devices], ASSUMED.weak_jitter, 1.0)
        conductance = curve_conductance(
            curve,
            effective + jitter * self._normal(devices),
            self.g_max[devices],
            self.midpoint[devices],
            self.steepness[devices],
        )
        if curve.relative_noise:
            conductance *= 1.0 + self._scaled(curve.relative_noise) * self._normal(devices)
        conductance += self._scaled(curve.noise) * self._normal(devices)
        self.set_pulses[devices] = 0
        # Near zero the noise folds over: a conductance is never negative.
        self._reborn(devices, conductance.abs_(), clock)

    def set(self, devices: torch.Tensor, amplitude: torch.Tensor, width: torch.Tensor, clock: float) -> None:
        """Apply SET pulses, arguments as `reset`: a short one adds a little conductance, a long one crystallises.

        Below the crystallisation amplitude nothing happens.
        """
        model, curve = self._p.set_model, self._model.curve
        works = (amplitude >= model.crystallise) & ~self.stuck[devices]
        devices, width = devices[works], width[works]
        before = self.g[devices]
        number = self.set_pulses[devices] + 1
        mean = model.decay * before + model.level + model.first * torch.exp(-number / model.pulses)
        sigma = self._p.programming_noise * (model.sigma_slope * before + model.sigma_level)
        step = mean.clamp_(min=0.0) + sigma * self._normal(devices)
        full = self.g_max[devices] + self._scaled(curve.noise) * self._normal(devices)
        after = torch.where(width >= model.full_width, full, torch.minimum(before + step, full))
        self.set_pulses[devices] = number
        self._reborn(devices, after.abs_(), clock)

    def place(self, devices: torch.Tensor, target: torch.Tensor, age: float, clock: float) -> None:
        """Make devices pass through exactly `target` (uS) when they are `age` seconds of relaxation old."""
        at_reference = self._scaled_by_temperature(target, 1.0 / (1.0 - self._thermal))
        self._reborn(devices, at_reference, clock)
        drift = self._model.drift
        raised = (age / drift.t0) ** self.nu[devices]
        if not drift.law.plain:
            x = math.log(age / drift.t0)
            raised = torch.exp(self.nu[devices] * drift.law.exponent(x) + drift.law.common(x))
        self.g[devices] = at_reference * raised

    def _reborn(self, devices: torch.Tensor, conductance: torch.Tensor, clock: float) -> None:
        if not devices.numel():
            return
        if self._p.read_noise > 0:
            self.cell_noise.forget(self.amplitudes, devices)
        self.g[devices] = conductance
        self.nu[devices] = self._draw_nu(conductance, self._normal(devices))
        self.q[devices] = self._q(conductance)
        self.born[devices] = clock
        self.flicker.forget(devices, clock / self._relaxation)
        self._last_birth = clock
        self._drifted = self._amplitudes = None

    def _draw_nu(self, conductance: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
        drift = self._model.drift
        g = conductance / drift.g_scale
        return self._p.drift * (drift.mean(g) + drift.spread(g) * normal)

    def _q(self, conductance: torch.Tensor) -> torch.Tensor:
        noise = self._model.read_noise
        return self._p.read_noise * noise.q(conductance / noise.g_scale)

    def _scaled(self, sigma: float) -> float:
        return self._p.programming_noise * sigma

    def _normal(self, like: torch.Tensor) -> torch.Tensor:
        return torch.empty(like.shape, device=like.device).normal_(generator=self._dynamics)

    # ---- what is there now -----------------------------------------------------------------------------------

    @property
    def amplitudes(self) -> Amplitudes:
        """Read noise of every device per unit of flicker, as it was at the drift model's reference age."""
        if self._amplitudes is None:
            by_device = (self.g * self.q).view(2, self._p.devices_per_polarity, -1)
            by_device[1].neg_()
            self._amplitudes = Amplitudes(by_device.flatten(0, 1))
        return self._amplitudes

    def drifted(self, clock: float) -> torch.Tensor:
        """Return conductances (uS) without read noise at relaxation time `clock`. Do not modify the result.

        It is the same tensor as long as nothing that counts has changed.
        """
        if self._drifted is None or clock - self._drifted[0] > ASSUMED.unchanged * (
            self._drifted[0] - self._last_birth
        ):
            self._drifted = (clock, self._drift_of(slice(None), clock))
        return self._drifted[1]

    def drifted_subset(self, devices: torch.Tensor, clock: float) -> torch.Tensor:
        """Return the same as `drifted`, for some devices (n,) alone."""
        return self._drift_of(devices, clock)

    def slow_noise(self, now: float, duration: float) -> torch.Tensor | None:
        """Return the slow read noise of every cell (rows * columns,) that a batch of `duration` seconds sees.

        uS, at the drift model's reference age; None where there is none yet.
        """
        if self._p.read_noise == 0:
            return None
        self.cell_noise.advance(self.amplitudes, now, duration)
        return self.cell_noise.total(duration)

    def sample_reads(
        self, devices: torch.Tensor, averages: int, now: float, clock: float, seconds: float
    ) -> torch.Tensor:
        """Return conductances (n, averages) in uS of devices read `averages` times in a row, `seconds` each."""
        duration = averages * seconds
        conductance = self.drifted_subset(devices, clock)
        if self._p.read_noise == 0:
            return conductance.unsqueeze(1).expand(-1, averages)
        noise = self.q[devices].unsqueeze(1) * math.sqrt(self.flicker.fast_variance(duration))
        relative = normals((devices.numel(), averages), self._dynamics).mul_(noise)
        self.cell_noise.settle(self.amplitudes)
        self.flicker.advance(now, duration)
        slow = self.flicker.slow(duration)
        if slow is not None:
            relative += (self.q[devices] * slow[devices]).unsqueeze(1)
        return conductance.unsqueeze(1) * (1.0 + relative)

    def expected_noise(self, now: float) -> torch.Tensor:
        """Return the read noise of every device, in units of Q, to expect at a later time `now` (s) from today's."""
        self.cell_noise.settle(self.amplitudes)
        return self.flicker.expected(now)

    def _drift_of(self, devices: torch.Tensor | slice, clock: float) -> torch.Tensor:
        age = (clock - self.born[devices]).clamp_(min=ASSUMED.youngest).div_(self._model.drift.t0).to(torch.float32)
        x, law = age.log_(), self._model.drift.law
        loss = x.mul_(self.nu[devices]) if law.plain else law.exponent(x) * self.nu[devices] + law.common(x)
        conductance = loss.neg_().exp_().mul_(self.g[devices])
        return self._scaled_by_temperature(conductance, 1.0 - self._thermal)

    def _scaled_by_temperature(self, conductance: torch.Tensor, exponent: float) -> torch.Tensor:
        if exponent == 1.0:
            return conductance
        g_max = self._model.curve.g_max
        return (conductance / g_max).pow_(exponent).mul_(g_max)

    # ---- saving ----------------------------------------------------------------------------------------------

    _DYNAMIC: tuple[str, ...] = ("g", "nu", "q", "born", "set_pulses")

    def export(self) -> dict[str, torch.Tensor]:
        """Return what pulses and time have changed; the specimen itself follows from its seed."""
        own = {name: getattr(self, name) for name in self._DYNAMIC} | self.flicker.export()
        if torch.equal(self.q, self._q(self.g)):
            del own["q"]  # as always but for a processor whose last bits depend on how many are computed at once
        own |= self.cell_noise.export()
        if self._drifted is not None:
            own["drifted_at"] = torch.tensor(self._drifted[0], dtype=torch.float64)
        return own

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take back what `export` gave. Raises KeyError or ValueError for what it did not."""
        state = state if "q" in state else {**state, "q": self._q(state["g"])}
        for name in self._DYNAMIC:
            current: torch.Tensor = getattr(self, name)
            if state[name].shape != current.shape:
                raise ValueError(f"'{name}' has the shape {tuple(state[name].shape)}")
            setattr(self, name, state[name].to(current.dtype).to(current.device))
        self.flicker.restore(state, self.born / self._relaxation)
        self.cell_noise.restore(state, self._p.rows * self._p.columns)
        self._last_birth = float(self.born.max())
        self._drifted = self._amplitudes = None
        if "drifted_at" in state:  # what was computed then is still in use, and decides the last bit of an output code
            self.drifted(float(state["drifted_at"]))
