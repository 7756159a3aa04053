"""What a network bears: each nonideality of a chip alone, and each layer alone, raised until accuracy is lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.settings import Settings, seconds
from hwloop.durations import UNITS
from hwloop.nn.noise_aware import ChipNoise, NoisyNetwork
from hwloop.nn.noisy_accuracy import Images, right_exactly, right_under_noise
from hwloop.nn.nonidealities import Nonideality, Range
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class SensitivitySettings(Settings):
    """How the limits of a network are looked for."""

    loss: float = 0.01
    """Accuracy that may be lost: 0.01 is a point."""
    draws: int = 8
    """Draws of the noise of which an accuracy is the mean."""
    images: int = 1000
    """Test images, at most."""
    age: float = seconds(UNITS["y"])
    """Seconds after programming at which the network works: drift and read noise grow with it."""
    doublings: int = 12
    """Times, at most, that a nonideality is doubled or halved from where the search begins."""
    halvings: int = 3
    """Times that the interval in which the limit lies is halved, in the logarithm."""
    calibration: int = 512
    """Training images from which all ranges are chosen."""
    seed: int = 0
    """Of the noise."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("loss", 1e-4, 1.0), ("draws", 2, 10_000), ("images", 1, 10_000_000), ("age", 1e-6, 1e12),
            ("doublings", 1, 40), ("halvings", 0, 20), ("calibration", 1, 1_000_000), ("seed", 0, 2**53),
        ):  # fmt: skip
            self._require(name, low, high)


@dataclass(frozen=True)
class Drop:
    """What accuracy has lost.

    Parameters
    ----------
    mean
        Digital accuracy less that under noise.
    error
        Standard error of it, of the images and of the draws of the noise.
    """

    mean: float
    error: float


@dataclass(frozen=True)
class Limit:
    """How much of something a network bears.

    Parameters
    ----------
    name
        Nonideality, or matrix.
    unit
        Of the amounts.
    nominal, value
        Amount on the chip, and that at which the accuracy in question is lost; NaN where it is not lost before the end
        of the search.
    low, high
        95 % interval of `value`; NaN at a side where the search has not come so far.
    factor
        `value` in strengths of the chip's own (or, where the chip has none, of where the search began): the smaller,
        the weaker the spot. For bits, it is by what the step is larger; for a range, by what it is narrower.
    accuracy
        With the amount on the chip, and nothing else that is not ideal.
    comparable
        The chip has it and keeps it, so that `factor` compares with those of others: it is neither taken away by the
        calibration of columns nor chosen for the network, as ranges are.
    """

    name: str
    unit: str
    nominal: float
    value: float
    low: float
    high: float
    factor: float
    accuracy: float
    comparable: bool = True


Measure = Callable[[float], Drop | None]
"""What is lost at a factor of strength; None where it cannot be raised so far."""


def limits_of_parts(noisy: NoisyNetwork, data: Images, settings: SensitivitySettings) -> Iterator[Limit]:
    """Raise each nonideality of a chip alone.

    Parameters
    ----------
    noisy
        The network with ranges, and the noise of the chip.
    data
        Test images.
    settings
        How.
    """
    chip, trials = noisy.noise, _Trials(noisy, data, settings)
    for part in chip.parts:
        nominal = trials.drop(chip.only(part)) if part.amount else Drop(0.0, 0.0)
        found = search(_raising(part, chip, trials), settings)
        low, value, high = (part.raised(one).amount if math.isfinite(one) else math.nan for one in found)
        if part.raised(2.0).amount < part.raised(1.0).amount:  # bits and ranges fall
            low, high = high, low
        accuracy = trials.digital - nominal.mean
        comparable = part.amount > 0 and not part.corrected and not isinstance(part, Range)
        yield Limit(part.name, part.unit, part.amount, value, low, high, found[1], accuracy, comparable)
    noisy.redraw(chip.ages[0], chip)


def limits_of_layers(noisy: NoisyNetwork, data: Images, settings: SensitivitySettings) -> Iterator[Limit]:
    """Let one matrix at a time have all nonidealities that calibration leaves, and raise them together.

    Ranges stay as they were chosen for the network.

    Parameters
    ----------
    noisy, data, settings
        As for `limits_of_parts`.
    """
    chip, trials = noisy.noise, _Trials(noisy, data, settings)
    left = chip.only(*(part for part in chip.parts if not part.corrected))
    for name in noisy.products:
        noisy.use([name])
        nominal = trials.drop(left)
        low, value, high = search(lambda factor: trials.drop(left.raised(factor)), settings)
        yield Limit(name, "times nominal", 1.0, value, low, high, value, trials.digital - nominal.mean)
    noisy.use()
    noisy.redraw(chip.ages[0], chip)


class _Trials:
    """Accuracies of a network under the noise of several chips, always with the same random numbers."""

    def __init__(self, noisy: NoisyNetwork, data: Images, settings: SensitivitySettings) -> None:
        self._noisy, self._data, self._settings = noisy, data, settings
        self._exactly = right_exactly(noisy, data).double()
        self.digital = float(self._exactly.mean())

    def drop(self, chip: ChipNoise) -> Drop:
        """Find out what is lost on a chip; where nothing on it is random, one draw tells as much as many."""
        settings = self._settings
        draws = settings.draws if any(part.random for part in chip.parts) else 1
        right, _ = right_under_noise(self._noisy, self._data, draws, settings.seed, noise=chip)
        lost = self._exactly - right.double()
        of_images = lost.mean(0).var(correction=min(1, lost.shape[1] - 1)) / lost.shape[1]
        of_draws = lost.mean(1).var(correction=min(1, draws - 1)) / draws
        return Drop(float(lost.mean()), math.sqrt(float(of_images + of_draws)))


def _raising(part: Nonideality, chip: ChipNoise, trials: _Trials) -> Measure:
    def measure(factor: float) -> Drop | None:
        raised = part.raised(factor)
        beyond = part.raised(factor / 2).at_its_end
        return None if beyond else trials.drop(chip.only(raised))

    return measure


def search(measure: Measure, settings: SensitivitySettings) -> tuple[float, float, float]:
    """Find the factor at which accuracy is lost: start of its 95 % interval, value, end; NaN where it was not found.

    The factor is doubled until even the lower end of the loss is beyond what may be lost, or halved until its upper end
    is below. Between the two factors around the limit it is then halved in the logarithm. What is lost is taken to
    rise with the factor, and to be linear in its logarithm between two that were tried.

    Parameters
    ----------
    measure
        Gives what is lost at a factor.
    settings
        What may be lost, and how far the search goes.
    """
    tried: dict[float, Drop] = {}

    def lost(exponent: float) -> Drop | None:
        found = measure(2.0**exponent)
        if found is not None:
            tried[exponent] = found
        return found

    up = down = lost(0.0)
    exponent = 0.0
    while up is not None and up.mean - 2 * up.error < settings.loss and exponent < settings.doublings:
        exponent += 1.0
        up = lost(exponent)
    exponent = 0.0
    while down is not None and down.mean + 2 * down.error >= settings.loss and exponent > -settings.doublings:
        exponent -= 1.0
        down = lost(exponent)
    for _ in range(settings.halvings):
        around = _around(tried, settings.loss)
        if around is None:
            break
        lost(sum(around) / 2)
    at = np.array(sorted(tried))
    mean, error = (np.array([getattr(tried[one], what) for one in at]) for what in ("mean", "error"))
    sides = (mean + 1.96 * error, mean, mean - 1.96 * error)
    low, value, high = (crossing(at, side, settings.loss) for side in sides)
    return 2.0**low, 2.0**value, 2.0**high


def _around(tried: dict[float, Drop], loss: float) -> tuple[float, float] | None:
    """Find the two neighbours that were tried between which the limit lies."""
    at = sorted(tried)
    above = next((k for k, one in enumerate(at) if tried[one].mean >= loss), 0)
    return (at[above - 1], at[above]) if above else None


def crossing(at: FloatArray, values: FloatArray, level: float) -> float:
    """Find where values first reach a level, linearly between points; NaN where they do not, or begin above it.

    Parameters
    ----------
    at, values
        (n,) ascending places, and values there.
    level
        What is to be reached.
    """
    rising: Sequence[float] = np.maximum.accumulate(values).tolist()
    first = next((k for k, value in enumerate(rising) if value >= level), 0)
    if not first:
        return math.nan
    share = (level - rising[first - 1]) / (rising[first] - rising[first - 1])
    return float(at[first - 1] + share * (at[first] - at[first - 1]))


def weakest(limits: Sequence[Limit]) -> Limit | None:
    """Return what is borne least, in strengths of the chip's own; None where nothing is that compares."""
    found = [one for one in limits if math.isfinite(one.factor) and one.comparable]
    return min(found, key=lambda one: one.factor, default=None)
