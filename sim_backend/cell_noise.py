"""The slow read noise of whole cells, which is all that a matrix-vector product sees of that of its devices.

A cell adds up the states of its devices, each times the device's signed noise amplitude. For every decade of the ladder
that sum is itself a relaxation process, so that a product needs one random number a cell and decade, not one a device.
The devices' own states stay as they were at some earlier time. Where they are wanted again, for a device read or
because a pulse makes one of them forget, they are drawn from their distribution given that earlier state and the sum
since: a Gaussian under a linear condition, so the law of all that is ever seen is that of a ladder for every device.

Amplitudes are those at the drift model's reference age. Devices of a cell may drift differently by some per cent of
their conductances, which changes their shares of a sum by as little; the size of the sum follows the drift of all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from hwloop.sim_backend.noise import LADDER, FlickerLadder, shortened
from hwloop.sim_backend.normals import normals


@dataclass(frozen=True)
class Amplitudes:
    """Noise amplitudes of the devices of all cells, at the drift model's reference age."""

    signed: torch.Tensor
    """(devices of a cell, cells) uS per unit of flicker, negative for devices of the negative polarity."""

    @cached_property
    def power(self) -> torch.Tensor:
        """(cells,) sum of the squares, uS^2."""
        return self.signed.square().sum(0)

    @cached_property
    def root(self) -> torch.Tensor:
        """(cells,) square root of `power`, uS."""
        return self.power.sqrt()


class _Pulsed(NamedTuple):
    """Some devices that were pulsed (n,)."""

    cells: torch.Tensor
    power: torch.Tensor
    """Squared amplitudes, uS^2."""
    born: torch.Tensor
    """Seconds: when they were pulsed last."""

    def since(self, moment: float) -> _Pulsed:
        """Return those that were pulsed after a moment."""
        kept = (self.born > moment).nonzero().squeeze(1)
        return _Pulsed(self.cells[kept], self.power[kept], self.born[kept])


class CellNoise:
    """The sums of a ladder's states over the devices of each cell, and the way from them back to single devices."""

    def __init__(self, ladder: FlickerLadder) -> None:
        """Start with what the ladder holds."""
        self._ladder = ladder
        # For each decade the sums (cells,) in uS, None where all are zero, and when they held. No list of them: the
        # ladder's own states are newer.
        self._sums: list[torch.Tensor | None] | None = None
        self._updated: list[float] = []

    def advance(self, amplitudes: Amplitudes, now: float, duration: float) -> None:
        """Bring the sums that are frozen during a batch of `duration` seconds up to the time `now`."""
        ladder = self._ladder
        sums = self._gathered(amplitudes)
        due = ladder.due(self._updated, now, duration)
        if not due:
            return
        young = self._pulsed_since(amplitudes, min(self._updated[k] for k in due))
        recent: dict[float, _Pulsed] = {}
        drawn = normals((len(due), *amplitudes.root.shape), ladder.generator)
        for k, fresh in zip(due, drawn.unbind(), strict=True):
            exponent = (self._updated[k] - now) / ladder.taus[k]
            grown = -math.expm1(2.0 * exponent)
            if young is None:
                fresh.mul_(amplitudes.root).mul_(math.sqrt(grown))
            else:
                # A device that was pulsed meanwhile has had the time since then to grow.
                moment = self._updated[k]
                if moment not in recent:
                    recent[moment] = young.since(moment)
                cells, power, born = recent[moment]
                missing = (born - now).mul_(2.0 / ladder.taus[k]).exp_().sub_(1.0 - grown).clamp_(min=0.0)
                variance = (amplitudes.power * grown).index_add_(0, cells, missing.to(power.dtype) * power, alpha=-1.0)
                fresh.mul_(variance.clamp_(min=0.0).sqrt_())
            before = sums[k]
            sums[k] = shortened(fresh.clone() if before is None else before.mul_(math.exp(exponent)).add_(fresh))
            self._updated[k] = now

    def total(self, duration: float) -> torch.Tensor | None:
        """Return the noise (cells,) in uS that a batch of `duration` seconds sees as frozen; None while all is zero."""
        return self._ladder.frozen_sum(self._sums or [], duration)

    def forget(self, amplitudes: Amplitudes, devices: torch.Tensor) -> None:
        """Take the share of devices (n,), flat indices, out of the sums: they are about to be pulsed.

        Given the sum of a cell, the part of it that some of its devices have is a Gaussian about their share.
        """
        if self._sums is None:
            return
        ladder, shape = self._ladder, amplitudes.signed.shape
        mask = torch.zeros(shape, dtype=torch.bool, device=devices.device)
        mask.view(-1)[devices] = True
        cells = mask.any(0).nonzero().squeeze(1)
        own = amplitudes.signed[:, cells]
        power, leaving = own.square(), mask[:, cells].to(own.dtype)
        born = ladder.pulsed.view(shape)[:, cells]
        for k, sums in enumerate(self._sums):
            if sums is None:
                continue
            variance = self._grown(k, born).mul_(power)
            theirs, everyone = (variance * leaving).sum(0), variance.sum(0)
            share = theirs / everyone.clamp_(min=LADDER.silent)
            spread = (theirs * (1.0 - share).clamp_(min=0.0)).sqrt_()
            lost = spread.mul_(normals(tuple(share.shape), ladder.generator))
            known, state = sums[cells], ladder.states[k]
            if state is None:
                lost.add_(share * known)
            else:
                means = own * state.view(shape)[:, cells] * self._kept(k)
                lost.add_((means * leaving).sum(0)).add_(share * (known - means.sum(0)))
            sums[cells] = shortened(known - lost)

    def settle(self, amplitudes: Amplitudes) -> None:
        """Give the devices states of their own again, in the ladder, that add up to the sums."""
        ladder = self._ladder
        for k, sums in enumerate(self._sums or []):
            if sums is None or self._updated[k] <= ladder.updated[k]:
                continue
            variance = self._grown(k, ladder.pulsed.view(amplitudes.signed.shape))
            drawn = normals(tuple(variance.shape), ladder.generator).mul_(variance.sqrt())
            state = ladder.states[k]
            if state is not None:
                drawn.add_(state.view(drawn.shape), alpha=self._kept(k))
            # What the draw misses of the sum is made up by all, each by its share of the variance.
            gain = variance.mul_(amplitudes.signed)
            missed = sums - (amplitudes.signed * drawn).sum(0)
            share = (amplitudes.signed * gain).sum(0).clamp_(min=LADDER.silent)
            ladder.states[k] = shortened(drawn.addcmul_(gain, missed / share).view(-1))
            ladder.updated[k] = self._updated[k]
        self._sums = None

    def export(self) -> dict[str, torch.Tensor]:
        """Return sums and their times, by name; nothing where the ladder's states are newer."""
        if self._sums is None:
            return {}
        made = {f"cell_noise/{k}": sums for k, sums in enumerate(self._sums) if sums is not None}
        return made | {"cell_noise_updated": torch.tensor(self._updated, dtype=torch.float64)}

    def restore(self, state: dict[str, torch.Tensor], cells: int) -> None:
        """Take back what `export` gave. Raises ValueError for what it did not."""
        self._sums, count = None, len(self._ladder.taus)
        if "cell_noise_updated" not in state:
            return
        made = [state.get(f"cell_noise/{k}") for k in range(count)]
        if len(state["cell_noise_updated"]) != count:
            raise ValueError("'cell_noise_updated' has another length")
        if any(own is not None and own.shape != (cells,) for own in made):
            raise ValueError("a sum of the read noise has another shape")
        self._updated = [float(t) for t in state["cell_noise_updated"]]
        self._sums = [None if own is None else own.to(self._ladder.generator.device) for own in made]

    def _gathered(self, amplitudes: Amplitudes) -> list[torch.Tensor | None]:
        """Return the sums, made from the ladder's states where these are newer."""
        if self._sums is None:
            states, signed = self._ladder.states, amplitudes.signed
            sums = (None if one is None else (signed * one.view(signed.shape)).sum(0) for one in states)
            self._sums = [None if one is None else shortened(one) for one in sums]
            self._updated = list(self._ladder.updated)
        return self._sums

    def _pulsed_since(self, amplitudes: Amplitudes, moment: float) -> _Pulsed | None:
        """Return the devices pulsed after a moment, if any."""
        if self._ladder.last_pulse <= moment:
            return None
        pulsed, signed = self._ladder.pulsed, amplitudes.signed
        devices = (pulsed > moment).nonzero().squeeze(1)
        return _Pulsed(devices % signed.shape[1], signed.reshape(-1)[devices].square(), pulsed[devices])

    def _grown(self, k: int, born: torch.Tensor) -> torch.Tensor:
        """Return the variance that states of one decade, of devices pulsed at `born`, have won since the ladder's."""
        ladder = self._ladder
        since = (born.clamp(min=ladder.updated[k]) - self._updated[k]).clamp_(max=0.0).to(torch.float32)
        return since.mul_(2.0 / ladder.taus[k]).expm1_().neg_()

    def _kept(self, k: int) -> float:
        """Return what is left of the ladder's state of one decade at the time of the sums."""
        return math.exp((self._ladder.updated[k] - self._updated[k]) / self._ladder.taus[k])
