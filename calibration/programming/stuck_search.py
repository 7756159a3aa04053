"""Find devices that do not answer to pulses, by pulses that tell a stuck device from a healthy one.

The first measurement says for every device how likely it is to be stuck, and of all together how many are. A cell in
which a device may be stuck is examined: the likeliest device is sent somewhere else, and what the cell shows then
speaks for or against each hypothesis about the cell (`stuck_hypotheses`). The examination ends when no device of the
cell is under suspicion any more, or has been found stuck; only one that did not answer several times is given up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.calibration.programming.device_curves import DeviceIndex
from hwloop.calibration.programming.stuck_hypotheses import LEVELS, Hypotheses, HypothesisFilters
from hwloop.typing import BoolArray, FloatArray


@dataclass(frozen=True)
class SuspicionRule:
    """When a device is suspected, and where a suspect is sent. Conductances are shares of g_max."""

    far: float = 4.5
    """Standard deviations by which a cell must be off for it to be examined."""
    loaded: float = 0.1
    """Conductance from which on it matters whether a device is stuck fully RESET."""
    evidence: float = 4.0
    """Logarithm of the likelihood ratio of staying to answering, over a device's pulses, for it to be examined."""
    most_evidence: float = 3.0
    """What one pulse adds to it or takes from it at most: no single result decides."""
    ask_from: float = 0.006
    """Probability of being stuck from which on a device is asked."""
    sure: float = 1e4
    """Odds of being stuck from which on a device is given up."""
    answered: float = 0.1
    """A measurement that multiplies these odds by less than this is an answer, and ends a row of pulses without one."""
    answering: float = 0.9
    """Probability that all devices of a cell answer from which on its devices' curves are learnt."""
    fewest: float = 1e-5
    """Share of devices that are taken to be stuck at each end, at least, before anything is seen."""
    suspected: float = 1e-3
    """The same in cells that are examined."""
    most: float = 0.1
    """The same, at most."""
    rounds: int = 10
    """Rounds in which the share of stuck devices is estimated from the first look."""
    asked: tuple[float, float, int] = (0.1, 1.0, 10)
    """Lowest and highest conductance that suspects are sent to, and how many there are to choose from."""
    known: float = 0.03
    """Standard deviation below which a cell is never known when devices are suspected."""
    pulses_left: int = 2
    """Pulses of a suspect of which more must be left for it to be asked: it has to come back from where it is sent."""
    rounds_left: int = 10
    """Rounds of which more must be left."""
    unsure: float = 0.08
    """Standard deviation of where a healthy suspect goes, beyond that of a pulse: little is known of its curve."""


RULE = SuspicionRule()
"""The rule for every chip."""


@dataclass(frozen=True)
class Look:
    """What a measurement shows of all cells, by what is expected of them."""

    off: FloatArray
    """(rows, columns) what cells show beyond what is expected, uS."""
    noise: FloatArray
    """(rows, columns) variance of the measurement, uS^2."""
    g: FloatArray
    """(D, rows, columns) expected conductances at the reference age, uS."""
    variance: FloatArray
    """(D, rows, columns) of them, uS^2."""
    effect: FloatArray
    """(D, rows, columns) what devices contribute, over their conductance at the reference age."""

    def shows(self, cells: DeviceIndex, sign: FloatArray) -> FloatArray:
        """Return what some cells show (n,), uS, where `sign` (D, 1, 1) is the polarity of their devices."""
        row, column = cells
        expected = (sign[:, :, 0] * self.g[:, row, column] * self.effect[:, row, column]).sum(0)
        return np.asarray(self.off[cells] + expected, np.float64)


class StuckSearch:
    """The cells of a tile that are examined, and the devices that were found stuck; (D, rows, columns) in all."""

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
        self.examined: BoolArray = np.zeros(shape[1:], bool)
        """(rows, columns) cells that are examined."""
        self._hypotheses = Hypotheses(sign[:, 0, 0], g_max, g_set)
        self._share = RULE.suspected
        self._evidence = np.zeros(shape, np.float32)
        nothing = np.zeros((shape[0], 0))
        # Of the examined cells, n: their places, filters, pulses (D, n) and whether being RESET matters (D, n).
        self._cells: DeviceIndex = (np.zeros(0, np.intp), np.zeros(0, np.intp))
        self._filters = HypothesisFilters(
            self._hypotheses, nothing, nothing, np.zeros((0, len(self._hypotheses.stuck)))
        )
        self._pulses, self._loaded = np.zeros((shape[0], 0), np.int16), np.zeros((shape[0], 0), bool)

    # ---- pulses ----------------------------------------------------------------------------------------------

    def questions(self, open_to: BoolArray, top: FloatArray) -> tuple[DeviceIndex, FloatArray]:
        """Choose the devices to ask, one in each examined cell, and the conductances to send them to.

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
        matters = self._matters(self._filters.posterior())
        may = open_to[:, self._cells[0], self._cells[1]] & ~self.stuck[:, self._cells[0], self._cells[1]]
        matters[~may] = 0.0
        open_cells = matters.max(0, initial=0.0) >= RULE.ask_from
        self._end(~open_cells)
        matters = matters[:, open_cells]
        device = np.argmax(matters, axis=0)
        at = (device, *self._cells)
        tried = np.linspace(*RULE.asked) * self._g_max
        told = self._filters.told(device, tried, (RULE.unsure * self._g_max) ** 2)
        highest = top[at]
        told[(tried[:, None] > highest) & (tried[:, None] > RULE.asked[0] * self._g_max)] = -np.inf
        return at, np.minimum(tried[np.argmax(told, axis=0)], highest)

    def sent(self, at: DeviceIndex, aims: FloatArray, variance: FloatArray) -> None:
        """Take note that what `questions` chose was sent, with pulses of variances (n,) in uS^2."""
        each = np.arange(len(aims))
        self._filters.pulse(each, at[0], aims, variance + (RULE.unsure * self._g_max) ** 2)
        self._pulses[at[0], each] += 1

    # ---- answers ---------------------------------------------------------------------------------------------

    def hear(self, look: Look) -> None:
        """Judge the answers to the last questions, and name devices that did not answer."""
        at = self._cells
        seen = look.shows(at, self._sign)
        before = self._odds()
        self._filters.measure(seen, look.noise[at], look.effect[:, at[0], at[1]])
        odds = self._odds()
        self._pulses[odds < RULE.answered * before] = 0
        device, each = np.nonzero((odds > RULE.sure) & (self._pulses >= self._strikes))
        self.stuck[device, at[0][each], at[1][each]] = True

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

    def weigh_pulses(
        self, at: DeviceIndex, off: FloatArray, meant: FloatArray, calm: FloatArray, variance: FloatArray
    ) -> None:
        """Weigh whether devices stayed where they were, or answered to ordinary pulses.

        Parameters
        ----------
        at
            Indices (n,) of the devices.
        off, meant
            (n,) what their cells show beyond what is expected, and by how much the devices were to change, uS.
        calm, variance
            (n,) expected variance of `off` without and with what pulses add, uS^2.
        """
        stay = off + self._sign[at[0], 0, 0] * meant
        self.weigh(at, stay**2 / calm + np.log(calm), off**2 / variance + np.log(variance))

    def first_look(self, look: Look, may_ask: BoolArray) -> None:
        """Judge the first pulses of all devices: how many are stuck at all, and which may be; these are examined.

        Parameters
        ----------
        look
            The first measurement.
        may_ask
            (D, rows, columns) devices that may be pulsed.
        """
        # An empty device shows nothing of being stuck fully RESET.
        matters = np.stack([may_ask & (look.g >= RULE.loaded * self._g_max), may_ask])
        ratios = self._first_ratios(look) * matters
        share, most = RULE.suspected, max(int(matters.sum()), 1)
        for _ in range(RULE.rounds):  # expectation and maximisation in turn
            likely = share * ratios
            likely /= 1.0 + likely.sum((0, 1))
            share = min(max(float(likely.sum()) / most, RULE.fewest), RULE.most)
        self._share = max(share, RULE.suspected)
        self._begin(np.any(likely.sum(0) > RULE.ask_from, axis=0), look, np.ones(look.g.shape, bool))

    def _first_ratios(self, look: Look) -> FloatArray:
        """Return the likelihoods (2, D, rows, columns) of being stuck fully RESET and fully SET, over answering."""
        shown, variance = look.g * look.effect, look.variance * look.effect**2
        total, unit = variance.sum(0) + look.noise, self._g_max**2
        outlier = LEVELS.outliers / (2.0 * len(shown) * self._g_max)
        answered = np.exp(-0.5 * look.off**2 / total) / np.sqrt(2.0 * np.pi * total) + outlier
        ratios = []
        for level, spread in ((0.0, LEVELS.reset), (self._g_set, LEVELS.set)):
            other = total - variance + spread**2 * unit
            off = look.off + self._sign * (shown - level)
            ratios.append((np.exp(-0.5 * off**2 / other) / np.sqrt(2.0 * np.pi * other) + outlier) / answered)
        return np.stack(ratios)

    def suspect(self, look: Look, variance: FloatArray, may_ask: BoolArray, fresh: BoolArray) -> None:
        """Examine the cells that are far off, and those whose pulses went unanswered.

        Parameters
        ----------
        look
            A measurement.
        variance
            (rows, columns) expected variance of what cells show beyond what is expected, uS^2.
        may_ask, fresh
            (D, rows, columns) devices that may be pulsed, and those pulsed since the last measurement.
        """
        far = look.off**2 > RULE.far**2 * variance
        doubtful = np.any((self._evidence > RULE.evidence) & may_ask, axis=0)
        self._begin((far | doubtful) & np.any(may_ask, axis=0), look, fresh)

    @property
    def doubtful(self) -> BoolArray:
        """(rows, columns) examined cells whose devices may not all answer: what they show says nothing of curves."""
        doubtful = np.zeros(self.examined.shape, bool)
        doubtful[self._cells] = self._filters.posterior()[:, 0] < RULE.answering
        return doubtful

    def beliefs(self, effect: FloatArray) -> tuple[DeviceIndex, FloatArray, FloatArray, FloatArray]:
        """Tell what is believed of the examined cells, by the likeliest hypothesis of each.

        Parameters
        ----------
        effect
            (D, rows, columns) what devices that answer contribute, over their conductance at the reference age.

        Returns
        -------
        tuple
            Indices of rows and columns (n,), conductances (D, n) at the reference age in uS, their variances (D, n),
            and those of the cells (n,) as they show, in uS^2.
        """
        at, each = self._cells, np.arange(len(self._cells[0]))
        best = np.argmax(self._filters.posterior(), axis=1)
        g, covariance = self._filters.g[each, best], self._filters.covariance[each, best]
        factor = effect[:, at[0], at[1]]
        u = self._filters.effects(factor)[each, best] * self._hypotheses.sign
        shows = np.where(self._hypotheses.stuck[best] & ~self.stuck[:, at[0], at[1]].T, g / factor.T, g)
        own = np.diagonal(covariance, axis1=1, axis2=2)
        cells = np.einsum("ni,nij,nj->n", u, covariance, u)
        return at, shows.T, own.T, cells

    # ---- examined cells --------------------------------------------------------------------------------------

    def _matters(self, posterior: FloatArray) -> FloatArray:
        """Return the probabilities (D, n) that a device is stuck where it matters."""
        stuck, at_reset = self._hypotheses.stuck, self._hypotheses.at_reset
        return np.asarray((posterior @ (stuck & ~at_reset)).T + (posterior @ at_reset).T * self._loaded)

    def _odds(self) -> FloatArray:
        """Return the odds (D, n) of being stuck."""
        stuck = (self._filters.posterior() @ self._hypotheses.stuck).T
        return np.asarray(stuck / np.maximum(1.0 - stuck, 1e-300))

    def _begin(self, chosen: BoolArray, look: Look, fresh: BoolArray) -> None:
        """Examine the cells `chosen` (rows, columns), too; a device's fresh pulse counts as its first question."""
        cells: DeviceIndex = np.nonzero(chosen & ~self.examined)
        if not len(cells[0]):
            return
        evidence = self._evidence[:, cells[0], cells[1]].T @ (self._hypotheses.stuck.T / 1.0)
        prior = self._hypotheses.prior(self._share) + evidence
        # What is known to be stuck stays where it is.
        g, variance = look.g[:, cells[0], cells[1]], look.variance[:, cells[0], cells[1]]
        new = HypothesisFilters(self._hypotheses, g, variance, prior)
        seen = look.shows(cells, self._sign)
        new.measure(seen, look.noise[cells], look.effect[:, cells[0], cells[1]])
        self._filters.join(new)
        self._cells = tuple(np.concatenate(both) for both in zip(self._cells, cells, strict=True))
        self._pulses = np.concatenate([self._pulses, fresh[:, cells[0], cells[1]]], axis=1)
        self._loaded = np.concatenate([self._loaded, g >= RULE.loaded * self._g_max], axis=1)
        self.examined[cells] = True
        self._evidence[:, cells[0], cells[1]] = 0.0

    def _end(self, done: BoolArray) -> None:
        """End the examination of the cells `done` (n,)."""
        self.examined[tuple(axis[done] for axis in self._cells)] = False
        self._cells = tuple(axis[~done] for axis in self._cells)
        self._filters.keep(~done)
        self._pulses, self._loaded = self._pulses[:, ~done], self._loaded[:, ~done]
