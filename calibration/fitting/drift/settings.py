"""What the drift fit takes for granted: thresholds, sizes and tolerances, by where they act."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.calibration.settings import Settings


@dataclass(frozen=True)
class LineSettings(Settings):
    """Reduction of each device to its own line."""

    fewest_reads: int = 3
    """Reads of a device: a line through two has no residual."""
    precise: float = 0.08
    """Standard deviation of a device's ln G(t0) up to which it counts as known."""
    loose_nu: float = 0.6
    """Drift coefficient, in either direction, beyond which a line through noise has not found its device."""
    loose_level: float = 1.0
    """Distance in ln G, from the mean of the reads, beyond which it has not either."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("fewest_reads", 3, 10**6)
        self._require("precise", 1e-6, 1.0)
        self._require("loose_nu", 1e-3, 100.0)
        self._require("loose_level", 1e-3, 100.0)


@dataclass(frozen=True)
class NoiseSettings(Settings):
    """What is learnt of the noise of reads from the residuals of lines."""

    too_noisy: float = 0.35
    """Relative standard deviation of a read above which lines scatter more than their errors say, and are not drawn."""
    quiet: float = 0.1
    """Relative standard deviation of a read up to which residuals about a line show how noise grows."""
    fewest_lines: int = 20
    """Devices with a line, below which nothing is learnt of them."""
    fewest_products: int = 100
    """Reads, less two per device, that show how noise grows."""
    outlying: float = 25.0
    """Squared residual over the variance of its neighbours' from which on it is not taken for noise."""
    learnt_from: int = 20_000
    """Devices that tell what is constant, of very many."""
    draws: int = 3
    """Sets of reads drawn to see what lines through much noise leave."""
    sure: float = 3.5
    """Standard deviations from which on some of the noise is taken to be constant in uS."""
    too_much: float = 3.0
    """Constant noise, over what the emptiest devices show, from which on it is something else that lines have left."""
    line_noise: float = 0.25
    """Relative standard deviation of a read up to which constant noise is looked for in the residuals of lines."""
    fewest_empty: int = 50
    """Devices, of those that read least, whose last reads bound the constant noise."""
    emptiest: float = 0.02
    """Share of all devices that are taken for these, if they are more."""
    levelling: int = 5
    """Steps in which noise of a conductance is parted into what is constant and what is not."""
    least: float = 0.1
    """Conductance over the constant noise of a read below which devices are not told apart."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        for name in ("too_noisy", "quiet", "line_noise"):
            self._require(name, 1e-6, 10.0)
        for name in ("fewest_lines", "fewest_products", "learnt_from", "draws", "fewest_empty", "levelling"):
            self._require(name, 1, 10**9)
        for name in ("outlying", "sure", "too_much", "least"):
            self._require(name, 1e-6, 1e6)
        self._require("emptiest", 0.0, 1.0)


@dataclass(frozen=True)
class ScreeningSettings(Settings):
    """Which devices contradict their neighbours in conductance."""

    evaluated_noise: float = 0.2
    """Relative standard deviation of a read above which no line calls its device stuck or an outlier: tails too
    long."""
    odds: float = 7.0
    """ln of the odds at which a device that does not drift at all is called stuck."""
    outlier_sigma: float = 5.0
    """Robust standard deviations from its neighbours in conductance at which a device is called an outlier."""
    many_bins: int = 20
    """Bins of conductance from which on medians of neighbouring ones are taken."""
    lost: float = 0.1
    """Share of its target below which a device far from it is called stuck although it drifts."""
    unlikely: float = 1e-7
    """Probability of a residual as large as a device's at which it is called an outlier."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("evaluated_noise", 0.0, 10.0)
        self._require("odds", 0.0, 1e3)
        self._require("outlier_sigma", 1.0, 1e3)
        self._require("many_bins", 5, 10**6)
        self._require("lost", 0.0, 1.0)
        self._require("unlikely", 0.0, 0.5)


@dataclass(frozen=True)
class GridSettings(Settings):
    """The grid on which ln G(t0) and nu of noisy devices are integrated out."""

    finest: float = 1.2
    """Step, in standard deviations of what the reads of the quietest of its devices say. The likelihood of one of those
    is then good to 2 %, of either sign; that of the noisier ones is better by far."""
    reach: float = 4.2
    """Standard deviations of nu that the grid reaches to either side."""
    most_nodes: int = 64
    """Nodes in either direction."""
    most_noisy: int = 60_000
    """Noisy devices to integrate over; of more, a random part stands for all."""
    lowest: float = 4.0
    """Relative variance of a read from which on devices are not told apart by their conductance: there the grid
    ends."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("finest", 0.05, 5.0)
        self._require("reach", 2.0, 20.0)
        self._require("most_nodes", 8, 10_000)
        self._require("most_noisy", 1, 10**9)
        self._require("lowest", 0.1, 100.0)


@dataclass(frozen=True)
class KnotSettings(Settings):
    """Where mean, spread and noise have knots, and how smooth the density of conductances is looked at."""

    few: int = 9
    """Knots of mean and spread, for fewer devices than `many`."""
    most: int = 13
    """Knots of mean and spread, for more."""
    many: int = 1_000
    """Devices."""
    noise: int = 13
    """Knots of ln V: its kinks, as of a noise that is capped, must not look like drift of what is noisy."""
    tilt_bins: int = 300
    """Bins of the histogram whose slope says where errors of ln g go."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        for name in ("few", "most", "noise"):
            self._require(name, 2, 200)
        self._require("many", 1, 10**9)
        self._require("tilt_bins", 20, 5_000)


@dataclass(frozen=True)
class SearchSettings(Settings):
    """The search for the maximum, and what it needs."""

    support: int = 30
    """Cells that must lie where a clipping bound acts before the bound is fitted."""
    stretch: float = 0.4
    """Of ln g, to either side, over which the noise is taken as a power of conductance."""
    group: float = 0.002
    """Of ln g, within which the statistics of devices are taken as one where there are very many of them."""
    loose_noise: float = 2.0
    """Of ln V: how far from a first look it may be at a knot where no device tells."""
    loose_spread: float = 1.0
    """Of the logarithm of the spread: how far neighbouring knots may differ where no device tells."""
    smallest_noise: float = 1e-10
    """Least relative variance of a read beside what is constant in uS."""
    first_look: int = 4_000
    """Noisy devices on which the search starts."""
    second_look: int = 20_000
    """Noisy devices on which the intervals are computed."""
    any_roughness: float = 12.0
    """Of the logarithm of how rough mean and spread may be, to either side of what could just be seen."""
    widest: float = 10.0
    """Width of an interval of a coefficient of mean or spread, from which on it says nothing: drift coefficients of
    real devices are below one."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        for name in ("support", "first_look", "second_look"):
            self._require(name, 1, 10**9)
        self._require("stretch", 1e-3, 10.0)
        self._require("group", 1e-9, 1.0)
        self._require("loose_noise", 1e-3, 100.0)
        self._require("loose_spread", 1e-3, 100.0)
        self._require("smallest_noise", 1e-20, 1.0)
        self._require("any_roughness", 0.1, 100.0)
        self._require("widest", 1e-3, 1e9)


@dataclass(frozen=True)
class LawSettings(Settings):
    """How a law other than the power law is looked for."""

    learnt_from: int = 2_000
    """Devices that tell it."""
    quiet: float = 0.1
    """Relative standard deviation of a read up to which they do, or of the quietest fifth if that is more."""
    freedom: float = 4.0
    """Degrees of freedom with which the noise of a device is taken as known."""
    places: int = 21
    """Onsets that are tried before the best is looked for."""
    sure: float = 1e-3
    """Chance that a power law shows as much, above which a law is refused."""
    step: float = 1e-2
    """Of ln onset, and a tenth of it of curvature and a hundredth of bend: over these derivatives are taken."""
    lightest: float = 30.0
    """Degrees of freedom of Student's t from which on the noise of reads is taken as normal."""
    fewest_switching: float = 0.01
    """Share of cells with telegraph noise below which it is not worth a family of its own."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("learnt_from", 10, 10**9)
        self._require("quiet", 1e-6, 10.0)
        self._require("freedom", 0.1, 1e3)
        self._require("places", 5, 1_000)
        self._require("sure", 0.0, 1.0)
        self._require("step", 1e-6, 1.0)
        self._require("lightest", 2.0, 1e3)
        self._require("fewest_switching", 0.0, 1.0)


@dataclass(frozen=True)
class DriftSettings:
    """All of them."""

    lines: LineSettings = LineSettings()
    noise: NoiseSettings = NoiseSettings()
    screening: ScreeningSettings = ScreeningSettings()
    grid: GridSettings = GridSettings()
    knots: KnotSettings = KnotSettings()
    search: SearchSettings = SearchSettings()
    law: LawSettings = LawSettings()


USUAL = DriftSettings()
