"""Find devices that do not answer to pulses, by pulses that tell a stuck device from a healthy one.

A cell that is far from what its pulses should have left has a suspect: the device whose being stuck explains it best.
The suspect is sent somewhere else. What the cell shows then is one of three things: the suspect has gone there, so its
earlier pulse had a bad result; nothing has changed, so it did not answer; or the cell has changed as if the suspect had
been on its aim all along, so that another device is to blame. Only a device that did not answer several times in a row
is given up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.calibration.programming.device_curves import DeviceIndex
from hwloop.typing import BoolArray, FloatArray


@dataclass(frozen=True)
class SuspicionRule:
    """When a device is suspected, and where a suspect is sent. Conductances are shares of g_max."""

    far: float = 4.5
    """Standard deviations by which a cell must be off for one of its devices to be suspected."""
    loaded: float = 0.1
    """Conductance from which on a device's first pulse tells anything of whether it answers."""
    evidence_at_first: float = 2.0
    """The same for the first pulses of all: there is time left to ask."""
    evidence: float = 4.0
    """Logarithm of the likelihood ratio of staying to answering, over a device's pulses, that makes it suspect too."""
    most_evidence: float = 3.0
    """What one pulse adds to it or takes from it at most: no single result decides."""
    step: float = 0.6
    """Change of conductance that tells an answer from none for certain; more is not looked for."""
    asked: tuple[float, float, int] = (0.1, 1.0, 10)
    """Lowest and highest conductance that suspects are sent to, and how many there are to choose from."""
    varied: float = 0.7
    """What a change from the last question counts for, over a change from where the suspect may be."""
    unsure: float = 0.08
    """Standard deviation of where a healthy suspect goes, beyond that of a pulse: little is known of its curve."""
    steady: float = 0.03
    """Standard deviation of what a device that was not moved shows, beyond that of measurements."""
    reset: float = 0.05
    """Standard deviation of the conductance of a device that is stuck fully RESET."""
    set: float = 0.1
    """Standard deviation of the conductance of a device that is stuck fully SET, about the top of its curve."""
    anywhere: float = 9.0
    """Squared standard deviations that a device stuck anywhere else counts for: three."""
    beyond: float = 1.25
    """Highest conductance that a suspect is believed to have."""
    cleared: float = 30.0
    """Squared standard deviations that speak for the others where a device has once been found to answer."""


RULE = SuspicionRule()
"""The rule for every chip."""


class StuckSearch:
    """Suspects of a tile, at most one per cell, and the devices that were found stuck; (D, rows, columns) in all."""

    def __init__(self, shape: tuple[int, int, int], sign: FloatArray, g_max: float, g_set: float, strikes: int) -> None:
        """Suspect nothing.

        Parameters
        ----------
        shape
            (D, rows, columns).
        sign
            (D, 1, 1) polarity of the devices.
        g_max
            Unit of the rule's conductances, uS.
        g_set
            Top of the programming curve, uS.
        strikes
            Pulses in a row without an answer after which a device is stuck.
        """
        self._sign, self._g_max, self._g_set, self._strikes = sign, g_max, g_set, strikes
        self.stuck: BoolArray = np.zeros(shape, bool)
        """(D, rows, columns) devices that do not answer."""
        self._cleared: BoolArray = np.zeros(shape, bool)
        self._evidence = np.zeros(shape, np.float32)
        self._enough = RULE.evidence_at_first
        self._suspect = np.full(shape[1:], -1, np.int16)
        self._count = np.zeros(shape[1:], np.int16)
        # Where the suspect should have been, where it seems to be, where it was sent last, and the deviation that made
        # it suspect.
        self._aim, self._level, self._sent = np.zeros(shape[1:]), np.zeros(shape[1:]), np.zeros(shape[1:])
        self._blame = np.zeros(shape[1:])
        self._asked = np.zeros(shape[1:], bool)

    # ---- pulses ----------------------------------------------------------------------------------------------

    def questions(self, open_to: BoolArray, top: FloatArray) -> tuple[DeviceIndex, FloatArray]:
        """Choose suspects to pulse, and the conductances to send them to.

        Parameters
        ----------
        open_to
            (D, rows, columns) devices that may be pulsed.
        top
            (D, rows, columns) highest conductance of each device, uS.

        Returns
        -------
        tuple
            Indices (n,) and aims (n,) in uS.
        """
        cells = np.nonzero(self._suspect >= 0)
        at = (self._suspect[cells].astype(np.intp), *cells)
        may = open_to[at]
        self._suspect[tuple(axis[~may] for axis in cells)] = -1
        at = tuple(axis[may] for axis in at)
        cell, step, highest = at[1:], RULE.step * self._g_max, top[at]
        # Away from where it should be and from where it seems to be, and not where it was sent before.
        tried = np.linspace(*RULE.asked)[:, None] * self._g_max
        aim, level, sent = (np.abs(tried - place[cell]) for place in (self._aim, self._level, self._sent))
        distance = np.minimum(np.minimum(aim, level), step) + RULE.varied * np.minimum(sent, step)
        distance[(tried > highest) & (tried > RULE.asked[0] * self._g_max)] = -1.0
        best = np.argmax(distance, axis=0)
        asked = np.minimum(tried[best, 0], highest)
        self._sent[cell] = asked
        self._asked[:] = False
        self._asked[cell] = True
        return at, asked

    # ---- answers ---------------------------------------------------------------------------------------------

    def hear(self, off: FloatArray, variance: FloatArray, noise: FloatArray, shown: FloatArray) -> FloatArray:
        """Judge the answers to the last questions.

        Parameters
        ----------
        off
            (rows, columns) what cells show beyond what is expected, uS.
        variance, noise
            (rows, columns) of `off` where a pulse went as it should, and of the measurement alone, uS^2.
        shown
            (D, rows, columns) conductances as they are expected to show at present, uS; corrected in place for what the
            answers say.

        Returns
        -------
        ndarray
            (rows, columns) `off`, less what the answers explain.
        """
        cells = np.nonzero(self._asked)
        self._asked[:] = False
        if not len(cells[0]):
            return off
        device = self._suspect[cells].astype(np.intp)
        at, unit = (device, *cells), self._g_max**2
        unmoved = (self._level[cells] - shown[at]) * self._sign[device, 0, 0]
        beyond = np.stack([np.zeros_like(unmoved), unmoved, self._blame[cells]])
        spread = np.stack(
            [
                variance[cells] + RULE.unsure**2 * unit,
                2.0 * noise[cells] + RULE.steady**2 * unit,
                variance[cells] + RULE.steady**2 * unit,
            ]
        )
        verdict = np.argmin((off[cells] - beyond) ** 2 / spread + np.log(spread), axis=0)
        silent, elsewhere = verdict == 1, verdict == 2
        off = off.copy()
        off[cells] -= unmoved * silent
        shown[tuple(axis[silent] for axis in at)] = self._level[cells][silent]
        self._count[cells] = np.where(silent, self._count[cells] + 1, 0)
        found = silent & (self._count[cells] >= self._strikes)
        self.stuck[tuple(axis[found] for axis in at)] = True
        self._cleared[tuple(axis[elsewhere] for axis in at)] = True
        self._evidence[tuple(axis[~silent] for axis in at)] = 0.0
        self._suspect[tuple(axis[~silent | found] for axis in cells)] = -1
        return off

    @property
    def suspects(self) -> BoolArray:
        """(D, rows, columns) devices under suspicion: what they show says nothing of their curves."""
        devices = np.arange(len(self.stuck))[:, None, None]
        suspects: BoolArray = self._suspect == devices
        return suspects

    def weigh(self, at: DeviceIndex, stayed: FloatArray, answered: FloatArray) -> None:
        """Add what ordinary pulses of the devices `at` say.

        Parameters
        ----------
        at
            Indices (n,) of devices.
        stayed, answered
            (n,) minus twice the logarithm of the likelihood of what was seen, if they stayed and if they answered.
        """
        ratio = np.clip(0.5 * (answered - stayed), -RULE.most_evidence, RULE.most_evidence)
        self._evidence[at] = np.maximum(self._evidence[at] + ratio, 0.0)

    def weigh_levels(self, off: FloatArray, variance: FloatArray, others: FloatArray, shown: FloatArray) -> None:
        """Add what the first pulses of all devices say: one that does not answer is fully RESET or fully SET.

        Parameters
        ----------
        off, variance
            (rows, columns) what cells show beyond what is expected, and its expected variance, uS and uS^2.
        others
            (D, rows, columns) what of the variance is not the device's own, uS^2.
        shown
            (D, rows, columns) conductances as they are expected to show at present, uS.
        """
        answered, unit = off**2 / variance + np.log(variance), self._g_max**2
        stayed = np.full(shown.shape, np.inf)
        for level, spread in ((0.0, RULE.reset), (self._g_set, RULE.set)):
            total = others + spread**2 * unit
            stayed = np.minimum(stayed, (off + self._sign * (shown - level)) ** 2 / total + np.log(total))
        at = np.nonzero(shown > RULE.loaded * self._g_max)
        self.weigh(at, stayed[at], np.broadcast_to(answered, shown.shape)[at])

    def suspect(
        self, off: FloatArray, variance: FloatArray, shown: FloatArray, usable: BoolArray, fresh: BoolArray
    ) -> FloatArray:
        """Find the suspects of cells that are far off, and believe that they are where the cells say.

        Parameters
        ----------
        off, variance
            (rows, columns) what cells show beyond what is expected, and its expected variance, uS and uS^2.
        shown
            (D, rows, columns) conductances as they are expected to show at present, uS; those of new suspects are
            corrected in place.
        usable, fresh
            (D, rows, columns) devices that answer as far as is known, and those pulsed since the last measurement.

        Returns
        -------
        ndarray
            (rows, columns) `off`, less what the suspects explain.
        """
        candidates = usable & ~self.stuck
        doubtful = candidates & (self._evidence > self._enough)
        self._enough = RULE.evidence
        far = off**2 > RULE.far**2 * variance
        cells = np.nonzero((far | doubtful.any(0)) & candidates.any(0) & (self._suspect < 0))
        if not len(cells[0]):
            return off
        row, column = cells
        level = shown[:, row, column] + self._sign[:, :, 0] * off[cells]
        cost = self._unlikely(level, variance[cells]) - 2.0 * self._evidence[:, row, column]
        cost += np.where(candidates[:, row, column], RULE.cleared * self._cleared[:, row, column], np.inf)
        device = np.argmin(cost, axis=0)
        at = (device, *cells)
        believed = np.clip(np.take_along_axis(level, device[None], 0)[0], 0.0, RULE.beyond * self._g_max)
        self._suspect[cells], self._count[cells] = device, fresh[at]
        self._aim[cells] = self._sent[cells] = shown[at]
        self._level[cells] = believed
        self._blame[cells] = self._sign[device, 0, 0] * (believed - shown[at])
        off = off.copy()
        off[cells] -= self._blame[cells]
        shown[at] = believed
        return off

    def _unlikely(self, level: FloatArray, variance: FloatArray) -> FloatArray:
        """Return the squared standard deviations that a device stuck at a level counts for.

        Parameters
        ----------
        level
            (D, n) uS, as far as is known from the cell.
        variance
            (n,) of it, uS^2.
        """
        unit = self._g_max**2
        at_reset = level**2 / (RULE.reset**2 * unit + variance)
        at_set = (level - self._g_set) ** 2 / (RULE.set**2 * unit + variance)
        outside = np.maximum(np.maximum(-level, level - self._g_set), 0.0)
        anywhere = RULE.anywhere + outside**2 / (RULE.reset**2 * unit + variance)
        cost: FloatArray = np.minimum(np.minimum(at_reset, at_set), anywhere)
        return cost
