"""Devices of resistive memory, whose conductance after programming is that of a fitted relaxation.

A device conducts what it was programmed to until its first read; then it stays, or at some moment it moves. Whether and
when, and how far among its like, is drawn once; how far it is changes with log time as ranks of measured reads do. At
every age the conductances of devices are thereby distributed as the fit says, and those of one device hang together.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from hwloop.devices.bake import BakeLaw
from hwloop.devices.relaxation import RelaxationLaw, unwarped
from hwloop.sim_backend.devices.pcm import DeviceArray
from hwloop.sim_backend.parameters import ChipParameters


class RelaxingArray(DeviceArray):
    """All devices of one core; pulses are those of the base, relaxation that which was fitted."""

    _DYNAMIC: tuple[str, ...] = (*DeviceArray._DYNAMIC, "fate", "far", "slow", "fast", "seen")

    def __init__(
        self,
        parameters: ChipParameters,
        law: RelaxationLaw | BakeLaw,
        specimen: torch.Generator,
        dynamics: torch.Generator,
    ) -> None:
        """Draw the specimen's devices, fully RESET; `dynamics` is the source of all later randomness."""
        super().__init__(parameters, specimen, dynamics)
        self._law = law
        count = self.g.numel()
        self.fate = torch.rand(2, count, generator=specimen, device=specimen.device)
        """Share that has moved when the device moves, and on which side it then is."""
        self.far = torch.ones(2, count, device=specimen.device)
        """What makes Student's t of normal numbers, of devices that stayed and of devices that moved."""
        self.slow, self.fast = torch.randn(2, 2, count, generator=specimen, device=specimen.device)
        """Normal numbers (2, count) of devices that stayed and that moved: what lasts, and what each read has anew."""
        self.seen = torch.zeros(count, dtype=torch.float64, device=specimen.device)
        """Decades of time since the first read when the device was last looked at."""
        self._decide(torch.arange(count, device=specimen.device))

    def place(self, devices: torch.Tensor, target: torch.Tensor, age: float, clock: float) -> None:
        """Make devices conduct exactly `target` (uS) until their first read, which is when they are `age` seconds old.

        The age is that of the fit's first reads.
        """
        self._reborn(devices, self._scaled_by_temperature(target, 1.0 / (1.0 - self._thermal)), clock)

    def _reborn(self, devices: torch.Tensor, conductance: torch.Tensor, clock: float) -> None:
        super()._reborn(devices, conductance, clock)
        if devices.numel():
            self._decide(devices)

    def _decide(self, devices: torch.Tensor) -> None:
        """Draw what becomes of devices that were just programmed."""
        shape = (2, devices.numel())
        self.fate[:, devices] = torch.rand(shape, generator=self._dynamics, device=devices.device)
        for kind, freedom in enumerate(self._law.freedom):
            self.far[kind, devices] = self._stretch(freedom, devices).to(self.far.dtype)
        for own in (self.slow, self.fast):
            own[:, devices] = torch.empty(shape, device=devices.device).normal_(generator=self._dynamics)
        self.seen[devices] = 0.0

    def _stretch(self, freedom: float, devices: torch.Tensor) -> torch.Tensor:
        """Draw the root of freedom over a chi-squared number (n,): a normal number times it is Student's t."""
        # torch draws gamma numbers from the global generator alone; this one is drawn by a seed from ours.
        seed = torch.randint(2**31, (1,), generator=self._dynamics, device=devices.device)
        return stretches(freedom, devices.numel(), int(seed)).to(devices.device)

    def _drift_of(self, devices: torch.Tensor | slice, clock: float) -> torch.Tensor:
        """Return the conductances (uS) of devices now, and go on with their ranks."""
        law, g = self._law, self.g[devices]
        age = (clock - self.born[devices]).clamp_(min=0.0)
        decades = torch.log10((age.clamp(min=law.first_age) + law.clock) / (law.first_age + law.clock))
        self._advance(devices, decades)
        first = g.clamp(min=1e-6 * law.g_scale)
        parts = law.parts(age, first, self._p.temperature)
        share, _ = law.memory
        score = self.far[:, devices] * (
            math.sqrt(share) * self.slow[:, devices] + math.sqrt(1 - share) * self.fast[:, devices]
        )
        when, side = self.fate[0][devices], self.fate[1][devices]
        lower = side < parts.skew / (parts.skew + 1.0 / parts.skew)
        stays = parts.stay_shift + parts.stay_width * score[0]
        moves = parts.move_shift + parts.move_width * torch.where(lower, -parts.skew, 1.0 / parts.skew) * score[1].abs()
        change = self._p.drift * torch.where(when < parts.moved, moves, stays)
        later = unwarped((first + law.warp * first.log() + change).double(), law.warp).to(g.dtype)
        still = (age <= self._model.drift.t0) | self.stuck[devices] | (self._p.drift == 0)
        return self._scaled_by_temperature(torch.where(still, g, later), 1.0 - self._thermal)

    def _advance(self, devices: torch.Tensor | slice, decades: torch.Tensor) -> None:
        """Let ranks change by the decades that have passed since devices were last looked at."""
        passed = (decades - self.seen[devices]).clamp_(min=0.0)
        keep = torch.exp(-passed / self._law.memory[1]).to(self.slow.dtype)
        slow, fast = self.slow[:, devices], self.fast[:, devices]
        new = [torch.empty(slow.shape, device=slow.device).normal_(generator=self._dynamics) for _ in range(2)]
        self.slow[:, devices] = keep * slow + (1.0 - keep * keep).sqrt() * new[0]
        self.fast[:, devices] = torch.where(passed > 0, new[1], fast)
        self.seen[devices] = torch.maximum(self.seen[devices], decades)


def stretches(freedom: float, count: int, seed: int) -> torch.Tensor:
    """Draw the root of freedom over a chi-squared number, so many times."""
    drawn = np.random.default_rng(seed).chisquare(freedom, count)
    return torch.from_numpy(np.sqrt(freedom / np.maximum(drawn, 1e-30))).float()
