"""Follow a cell under every hypothesis about which of its devices is stuck: one Kalman filter for each of them.

Under the first hypothesis all devices answer to pulses. The others say that one device, or two, stay where they are:
fully RESET, fully SET, or somewhere between. Each predicts what the cell shows, and what it then shows makes some of
them likelier than others.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class StuckLevels:
    """Where a stuck device may stand. Conductances are shares of g_max."""

    reset: float = 0.05
    """Standard deviation of the conductance of a device that is stuck fully RESET."""
    set: float = 0.1
    """Standard deviation of the conductance of a device that is stuck fully SET, about the top of its curve."""
    anywhere: tuple[float, float] = (0.5, 0.35)
    """Mean and standard deviation of the conductance of a device that is stuck anywhere else."""
    rarely: float = 0.05
    """Devices that are stuck anywhere else, over those that are stuck fully RESET."""
    outliers: float = 1e-3
    """Share of measurements that may show anything: no single one decides."""


LEVELS = StuckLevels()
"""The levels for every chip."""


class Hypotheses:
    """The hypotheses about D devices of a cell, H of them, the first one that all answer."""

    def __init__(self, sign: FloatArray, g_max: float, g_set: float) -> None:
        """List them.

        Parameters
        ----------
        sign
            (D,) polarity of the devices.
        g_max
            Unit of the levels, uS.
        g_set
            Top of the programming curve, uS.
        """
        devices, reset, full, other = len(sign), (0.0, LEVELS.reset), (g_set / g_max, LEVELS.set), LEVELS.anywhere
        self.sign, self.g_max = sign, g_max
        ends = [(d, level) for d in range(devices) for level in (reset, full)]
        pairs = [pair for pair in itertools.combinations(ends, 2) if pair[0][0] != pair[1][0]]
        listed = [(), *((end,) for end in ends), *(((d, other),) for d in range(devices)), *pairs]
        shape = (len(listed), devices)
        self.stuck: BoolArray = np.zeros(shape, bool)
        """(H, D) devices that are stuck under each hypothesis."""
        self.level, self.spread = np.zeros(shape), np.zeros(shape)
        """(H, D) uS where they stand, and its standard deviation."""
        for number, one in enumerate(listed):
            for device, (level, spread) in one:
                self.stuck[number, device] = True
                self.level[number, device], self.spread[number, device] = level * g_max, spread * g_max
        self.at_reset: BoolArray = self.stuck & (self.level == 0.0)
        """(H, D) devices that are stuck fully RESET."""
        self._rare: BoolArray = (self.spread == LEVELS.anywhere[1] * g_max).any(1)

    def prior(self, share: float) -> FloatArray:
        """Return the logarithms (H,) of the prior probabilities where a share of all devices is stuck at each end."""
        return np.asarray(self.stuck.sum(1) * math.log(share) + self._rare * math.log(LEVELS.rarely), np.float64)


class HypothesisFilters:
    """The filters of n cells: estimated conductances, their covariances, and the likelihood of each hypothesis."""

    def __init__(self, hypotheses: Hypotheses, g: FloatArray, variance: FloatArray, prior: FloatArray) -> None:
        """Start from devices that are known one by one.

        Parameters
        ----------
        hypotheses
            What may be.
        g, variance
            (D, n) conductances of devices that answer, uS at the reference age, and uS^2.
        prior
            (n, H) logarithms of prior probabilities.
        """
        one = self._hypotheses = hypotheses
        self.g = np.where(one.stuck, one.level, g.T[:, None, :])
        """(n, H, D) uS."""
        own = np.where(one.stuck, one.spread**2, variance.T[:, None, :])
        self.covariance = own[..., None] * np.eye(len(one.sign))
        """(n, H, D, D) uS^2."""
        self._likelihood = prior.copy()
        # Of the last measurement: what devices show over their conductance, (n, H, D), and its variance (n,) in uS^2.
        self._shows = np.broadcast_to(one.sign, self.g.shape)
        self._noise = np.zeros(len(self.g))

    def keep(self, kept: BoolArray) -> None:
        """Go on with the cells `kept` (n,) alone."""
        self.g, self.covariance, self._likelihood = self.g[kept], self.covariance[kept], self._likelihood[kept]
        self._shows, self._noise = self._shows[kept], self._noise[kept]

    def join(self, other: HypothesisFilters) -> None:
        """Take in the cells of another one, behind those here."""
        self.g = np.concatenate([self.g, other.g])
        self.covariance = np.concatenate([self.covariance, other.covariance])
        self._likelihood = np.concatenate([self._likelihood, other._likelihood])
        self._shows = np.concatenate([self._shows, other._shows])
        self._noise = np.concatenate([self._noise, other._noise])

    def pulse(self, cell: IndexArray, device: IndexArray, aim: FloatArray, variance: FloatArray) -> None:
        """Take note of one pulse to the device (m,) of each cell (m,), to aims in uS with variances in uS^2."""
        row, hypothesis = np.nonzero(~self._hypotheses.stuck.T[device])
        n, d = cell[row], device[row]
        self.g[n, hypothesis, d] = aim[row]
        self.covariance[n, hypothesis, d, :] = 0.0
        self.covariance[n, hypothesis, :, d] = 0.0
        self.covariance[n, hypothesis, d, d] = variance[row]

    def measure(self, seen: FloatArray, noise: FloatArray, effect: FloatArray) -> None:
        """Update all filters with what the cells show.

        Parameters
        ----------
        seen, noise
            (n,) signed conductances of the cells in uS, and the variance of the measurement in uS^2.
        effect
            (D, n) what a device that answers contributes, over its conductance at the reference age.
        """
        u = self._shows = self.effects(effect) * self._hypotheses.sign
        self._noise = noise
        shared = np.einsum("nhij,nhj->nhi", self.covariance, u)
        total = (u * shared).sum(-1) + noise[:, None]
        off = seen[:, None] - (u * self.g).sum(-1)
        density = np.exp(-0.5 * off**2 / total) / np.sqrt(2.0 * math.pi * total)
        self._likelihood += np.log((1.0 - LEVELS.outliers) * density + self._anywhere)
        gain = shared / total[..., None]
        self.g += gain * off[..., None]
        self.covariance -= gain[..., None] * shared[..., None, :]

    def told(self, device: IndexArray, aims: FloatArray, scatter: float) -> FloatArray:
        """Tell how well pulses of one device of each cell to some aims would show that it is stuck, if it is.

        What is then seen is what the likeliest hypothesis with that device stuck expects. The less likely it is under
        those by which the device answers, the better: an aim where it stands already, or where it is stuck, tells
        nothing, and nor does one by which another device of the cell, stuck, would show the same.

        Parameters
        ----------
        device
            (n,) devices.
        aims
            (A,) conductances, uS.
        scatter
            Variance of where a device goes that answers, uS^2.

        Returns
        -------
        ndarray
            (A, n) less the logarithm of the likelihood that it answers, up to a constant of each cell.
        """
        each, stays = np.arange(len(device)), self._hypotheses.stuck.T[device]
        others = self._shows.copy()
        others[each, :, device] = 0.0
        there, apart = (self._seen_by(u) for u in (self._shows, others))
        relative = self._likelihood - self._likelihood.max(1, keepdims=True, initial=-np.inf)
        stuck = np.argmax(np.where(stays, relative, -np.inf), axis=1)
        mean, variance = there[0][each, stuck][:, None], there[1][each, stuck][:, None]
        sent = self._shows[each, :, device]
        total = variance + apart[1] + scatter * sent**2
        off = mean - apart[0] - sent * aims[:, None, None]
        answers = np.exp(-0.5 * off**2 / total) / np.sqrt(2.0 * math.pi * total) + self._anywhere
        return np.asarray(-np.log((np.where(stays, 0.0, np.exp(relative)) * answers).sum(-1) + 1e-300), np.float64)

    def _seen_by(self, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return means and variances (n, H) of what devices of effects u (n, H, D) show, in uS and uS^2."""
        return (u * self.g).sum(-1), np.einsum("nhi,nhij,nhj->nh", u, self.covariance, u) + self._noise[:, None]

    @property
    def _anywhere(self) -> float:
        """The density, per uS, of measurements that may show anything."""
        return LEVELS.outliers / (2.0 * len(self._hypotheses.sign) * self._hypotheses.g_max)

    def effects(self, effect: FloatArray) -> FloatArray:
        """Return effects (n, H, D), from those (D, n) of devices that answer: a stuck device does not drift."""
        return np.where(self._hypotheses.stuck, 1.0, effect.T[:, None, :])

    def posterior(self) -> FloatArray:
        """Return the probabilities (n, H) of the hypotheses."""
        weight = np.exp(self._likelihood - self._likelihood.max(1, keepdims=True, initial=-np.inf))
        return np.asarray(weight / weight.sum(1, keepdims=True), np.float64)
