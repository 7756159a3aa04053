"""What the fit of programming curves takes for granted."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.calibration.settings import Settings


@dataclass(frozen=True)
class CurveSettings(Settings):
    """Thresholds, sizes and tolerances."""

    fewest_reads: int = 6
    """Pulses of a device, and different amplitudes of all, below which there is no curve."""
    still: float = 0.3
    """A device whose sweep covers less than this share of the usual range is stuck."""
    sure: float = 5.0
    """Standard errors above zero at which devices are taken to answer to their pulses."""
    unlikely: float = 1e-8
    """Probability of a misfit as large as a device's at which it is called an outlier."""
    saturated: float = 0.003
    """Share of all reads that are equal to the largest from which on that is the end of a scale."""
    most_cells: int = 1500
    """Devices that the likelihood is computed for; of more, this many at random: spreads need no more."""
    few_cells: int = 200
    """Devices of the first rounds of linearising and maximising."""
    few_rounds: int = 4
    """Rounds with few devices."""
    rounds: int = 2
    """Rounds with all of them."""
    most_steps: int = 100
    """Steps of the search in one round."""
    reach: float = 1.0
    """By which the logarithm of a parameter may change in one round: the linearised curve holds nearby alone."""
    device_steps: int = 8
    """Steps in which the most likely parameters of a device are found."""
    noise_knots: int = 6
    """Conductances at which the noise of reads is fitted where every pulse was read twice."""
    widest_range: float = 7.0
    """Of ln G over which those are spread at most."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("fewest_reads", 4, 10**6)
        for name in ("most_cells", "few_cells", "few_rounds", "rounds", "most_steps", "device_steps"):
            self._require(name, 1, 10**9)
        self._require("still", 0.0, 1.0)
        self._require("sure", 0.0, 1e3)
        self._require("unlikely", 0.0, 0.5)
        self._require("saturated", 0.0, 1.0)
        self._require("reach", 1e-3, 100.0)
        self._require("noise_knots", 2, 100)
        self._require("widest_range", 0.1, 50.0)


USUAL = CurveSettings()
