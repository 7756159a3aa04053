"""1/f read noise as a ladder of relaxation processes, one per decade of time.

A 1/f spectrum is a sum of Lorentzians whose correlation times are spread evenly in log time, each decade with the
variance ln 10 (in units of Q^2). Every device carries one Ornstein-Uhlenbeck state per decade, set to zero by a
programming pulse. The variance of a state of correlation time tau at an age t is then 1 - exp(-2 t / tau), and the
ladder's sum grows with ln t by itself: with the constant of `fast_variance` it is the published
Q^2 ln((t + t_read) / (2 t_read)) at every age (Joshi et al. 2020), to 0.3 % in variance for decade spacing.

Two MVMs share the states that are slow against the time between them, and only those: averaging helps as much as on
silicon. Within one batch a state is taken as frozen when its correlation time exceeds FROZEN times the duration, and
as independent from vector to vector otherwise; the constant is chosen so that the mean over the batch keeps the
variance that the ladder of continuous density would leave.

A state is advanced when it is looked at, not when a device is pulsed: each device remembers when it was pulsed last,
and its state has had the time since then to grow, not the time since the ladder was last looked at.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

import torch

from hwloop.sim_backend.normals import normals

LN10 = math.log(10.0)
"""Natural logarithm of a decade: the variance of one state, in units of Q^2."""
EULER_GAMMA = 0.5772156649015329
"""The Euler-Mascheroni constant."""
FROZEN = math.exp(EULER_GAMMA - 1.5)
"""Cut-off of the correlation time over the batch duration that preserves the variance of the mean.

The mean over T of a process of correlation time tau keeps f(u) = 2 (u - 1 + exp(-u)) / u^2 of its variance,
with u = T / tau, and the integral of [f(u) - 1(u < 1)] du / u is 3/2 - gamma.
"""


@dataclass(frozen=True)
class LadderSettings:
    """Which relaxation processes the ladder has, and when they are brought up to date."""

    first_tau_in_reads: float = 40.0
    """Shortest correlation time, in reads; what is faster counts as white."""
    slowest_tau: float = 1e9
    """Seconds; slower states stay at zero within any use of a chip."""
    negligible: float = 0.03
    """A state is not advanced until this much of its correlation time has passed; the wait is then made up.

    What it leaves out at any moment is under 2 * 0.03 of one decade's variance, 0.4 % of the noise of a device seconds
    old."""
    silent: float = 1e-24
    """Variance in uS^2 below which a cell has no noise, and no share of a sum that could be taken."""
    dropped_bits: int = 13
    """Last binary digits of every state that are zero: of 24, 11 remain, and a state is off by 0.05 % at most."""


LADDER = LadderSettings()
"""The ladder of every simulated chip."""


def shortened(states: torch.Tensor) -> torch.Tensor:
    """Round states (float32), in place, to the binary digits that they are kept with, and return them.

    A state of noise needs no more, and its last digits, which nothing can compress, are a third of a chip's file. They
    are rounded as soon as they are drawn, so that a chip never differs from what its file says.
    """
    states.view(torch.int32).add_(1 << (LADDER.dropped_bits - 1)).bitwise_and_(-1 << LADDER.dropped_bits)
    return states


def ladder_times(t_read: float) -> list[float]:
    """Return correlation times in seconds, a decade apart, the first one 40 reads long."""
    first = LADDER.first_tau_in_reads * t_read
    return [first * 10.0**k for k in range(math.ceil(math.log10(LADDER.slowest_tau / first)))]


class FlickerLadder:
    """The slow noise of all devices of one core, in units of Q: `slow(...)` has the sum of all frozen states."""

    def __init__(self, t_read: float, shape: tuple[int, ...], generator: torch.Generator, now: float) -> None:
        """Start with every state at zero at the time `now` (seconds)."""
        self.taus = ladder_times(t_read)
        self.generator = generator
        self.updated = [now] * len(self.taus)
        """Seconds: when each decade was last brought up to date."""
        # A state is made when it first moves: a chip minutes old carries no states of months.
        self.states: list[torch.Tensor | None] = [None] * len(self.taus)
        """State of every device, of the ladder's shape, for each decade; None where all are zero."""
        self.pulsed = torch.full(shape, now, dtype=torch.float64, device=generator.device)
        """Seconds: when each device was pulsed last."""
        self.last_pulse = now
        # The ladder starts at tau_0; what is faster counts as white. The constant makes the sum match the formula.
        self._white = math.log(self.taus[0] / (4.0 * t_read)) - EULER_GAMMA - LN10 / 2

    def _first_frozen(self, duration: float) -> int:
        """Return the number of the first decade that is frozen during a batch; all slower ones are, too."""
        return bisect.bisect_right(self.taus, FROZEN * duration)

    def fast_variance(self, duration: float) -> float:
        """Return the variance (Q^2) that is independent between the vectors of a batch of `duration` seconds."""
        return self._white + LN10 * self._first_frozen(duration)

    def due(self, updated: list[float], now: float, duration: float) -> list[int]:
        """List the decades, updated last at these times, that a batch of `duration` seconds wants up to date."""
        frozen = range(self._first_frozen(duration), len(self.taus))
        return [k for k in frozen if now - updated[k] >= LADDER.negligible * self.taus[k]]

    def advance(self, now: float, duration: float) -> None:
        """Bring all states that are frozen during a batch of `duration` seconds up to the time `now`."""
        since_pulse: torch.Tensor | None = None
        for k in self.due(self.updated, now, duration):
            tau, elapsed = self.taus[k], (now - self.updated[k]) / self.taus[k]
            fresh = normals(tuple(self.pulsed.shape), self.generator)
            if self.last_pulse <= self.updated[k]:
                fresh.mul_(math.sqrt(-math.expm1(-2.0 * elapsed)))
            else:
                if since_pulse is None:
                    since_pulse = (now - self.pulsed).clamp_(min=0.0).to(torch.float32)
                fresh.mul_(since_pulse.clamp(max=now - self.updated[k]).mul_(-2.0 / tau).expm1_().neg_().sqrt_())
            state = self.states[k]
            self.states[k] = shortened(fresh if state is None else fresh.add_(state, alpha=math.exp(-elapsed)))
            self.updated[k] = now

    def slow(self, duration: float) -> torch.Tensor | None:
        """Return the sum (Q) of the frozen states of a batch of `duration` seconds; None while all are zero."""
        return self.frozen_sum(self.states, duration)

    def frozen_sum(self, states: list[torch.Tensor | None], duration: float) -> torch.Tensor | None:
        """Add up what there is of the frozen ones of a state for each decade, in units of Q; None without any."""
        frozen = [state for state in states[self._first_frozen(duration) :] if state is not None]
        if not frozen:
            return None
        total = frozen[0] * math.sqrt(LN10)
        for state in frozen[1:]:
            total.add_(state, alpha=math.sqrt(LN10))
        return total

    def expected(self, now: float) -> torch.Tensor:
        """Return the noise (Q) of every device to expect at the time `now`, given the states as they are."""
        total = torch.zeros(self.pulsed.shape, device=self.generator.device)
        for state, tau, updated in zip(self.states, self.taus, self.updated, strict=True):
            if state is not None:
                total.add_(state, alpha=math.sqrt(LN10) * math.exp(min(updated - now, 0.0) / tau))
        return total

    def forget(self, devices: torch.Tensor, now: float) -> None:
        """Set the states of devices (flat indices) to zero: a pulse at the time `now` has made a new glass of them."""
        for state in self.states:
            if state is not None:
                state.view(-1)[devices] = 0.0
        self.pulsed.view(-1)[devices] = now
        self.last_pulse = now

    def export(self) -> dict[str, torch.Tensor]:
        """Return states and their times, by name."""
        made = {f"flicker/{k}": state for k, state in enumerate(self.states) if state is not None}
        return made | {"flicker_updated": torch.tensor(self.updated, dtype=torch.float64)}

    def restore(self, state: dict[str, torch.Tensor], pulsed: torch.Tensor) -> None:
        """Take back what `export` gave; `pulsed` is the time at which each device was pulsed last.

        Raises KeyError or ValueError for what it did not give.
        """
        made = [state.get(f"flicker/{k}") for k in range(len(self.taus))]
        if len(state["flicker_updated"]) != len(made):
            raise ValueError("'flicker_updated' has another length")
        if any(own is not None and own.shape != self.pulsed.shape for own in made):
            raise ValueError("a state of the read noise has another shape")
        self.updated = [float(t) for t in state["flicker_updated"]]
        self.pulsed = pulsed
        self.last_pulse = float(self.pulsed.max())
        self.states = [None if own is None else own.to(self.generator.device) for own in made]
