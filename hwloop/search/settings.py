"""Settings of a search, and the limits that its networks keep."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.calibration.settings import Settings, seconds
from hwloop.durations import UNITS
from hwloop.errors import BadInputError
from hwloop.registry import suggest

STRATEGIES = ("evolution", "random")


@dataclass(frozen=True)
class Limits(Settings):
    """What a network may take at most; 0: no limit."""

    weights: int = 0
    """Weights of all its matrices."""
    cores: int = 0
    """Cores of the chip."""
    latency: float = seconds(0.0)
    """Seconds of the MVMs of one inference, one after the other, each matrix on cores of its own."""

    def __post_init__(self) -> None:
        for name, high in (("weights", 10**12), ("cores", 10**6), ("latency", 1e6)):
            self._require(name, 0, high)


@dataclass(frozen=True)
class SearchSettings(Settings):
    """How networks are sought, trained and evaluated."""

    budget: int = 100
    """Networks that are trained and evaluated in all."""
    first: int = 30
    """Of them, those that are drawn at random at the beginning."""
    batch: int = 10
    """Networks between two fits of the surrogate."""
    strategy: str = STRATEGIES[0]
    """'evolution', or 'random' for a search to compare with."""
    population: int = 40
    """Candidates of a generation that evolves on the surrogate."""
    generations: int = 10
    """Generations between two batches."""
    bold: float = 1.0
    """Standard deviations of its own error by which the surrogate is believed to be too pessimistic."""
    twins: int = 4
    """Chips on which each network is evaluated, each with a seed of its own."""
    asked_on: int = 2
    """Of them, those on which each held-out image is asked: what one chip more tells, it tells of half the images."""
    images: int = 100
    """Training images from which ranges and columns are taken."""
    vectors: int = 256
    """Sample input vectors of each matrix for them."""
    method: str = "gdp"
    """Programs the twins."""
    compensation: str = "global"
    """Makes up for drift before a network is asked at a later age; 'none' for nothing."""
    day: float = seconds(UNITS["d"])
    """Seconds after programming of the first later age."""
    month: float = seconds(30.0 * UNITS["d"])
    """Seconds after programming of the second one."""
    finalists: int = 5
    """Networks, the most accurate after a month, that are trained again before the winner is chosen."""
    again: int = 3
    """Further trainings of each of them, on other parts of the data, asked on fresh twins."""
    epochs: int = 12
    """Epochs in which each network is trained."""
    images_a_step: int = 64
    """Training images between two steps."""
    lr: float = 1e-2
    """Learning rate at its highest."""
    weight_noise: float = 0.04
    """Noise on the weights in training, over the largest weight of each matrix: what a chip will do to them."""
    held_out: float = 0.3
    """Share of the training data on which networks are compared; test data are for the end."""
    seed: int = 0
    """Of all random numbers."""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise BadInputError(f"setting strategy='{self.strategy}': {suggest(self.strategy, STRATEGIES)}")
        for name, low, high in (
            ("budget", 2, 1_000_000), ("first", 2, 1_000_000), ("batch", 1, 100_000), ("population", 4, 100_000),
            ("generations", 1, 100_000), ("bold", 0.0, 100.0), ("twins", 1, 10_000), ("asked_on", 1, 10_000),
            ("images", 6, 10**9),
            ("vectors", 64, 1_000_000), ("day", 0.001, 1e11), ("month", 0.01, 1e12), ("finalists", 1, 1_000_000),
            ("again", 0, 10_000), ("epochs", 1, 1_000_000), ("images_a_step", 2, 10**9), ("lr", 1e-9, 100.0),
            ("weight_noise", 0.0, 10.0), ("held_out", 0.01, 0.9), ("seed", 0, 2**31),
        ):  # fmt: skip
            self._require(name, low, high)
        if self.first > self.budget:
            raise BadInputError(
                f"budget={self.budget} is too small for a search that begins with first={self.first} random networks; "
                "give a larger budget, or set first"
            )
        if self.day >= self.month:
            raise BadInputError(f"settings day={self.day:g} and month={self.month:g} s must rise")


def first_of(budget: int) -> int:
    """Choose how many networks of a budget are drawn at random: half of a small one."""
    return min(SearchSettings.first, max(budget // 2, 2))


def counted(text: str, name: str = "weights") -> int:
    """Read a number of weights such as 200k or 1.5M. Raises BadInputError, which gives its name, for what is none."""
    factor = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}.get(text[-1:], 1)
    try:
        count = float(text[: -1 if factor > 1 else None]) * factor
    except ValueError:
        count = 0.0
    if not 1 <= count < 1e15 or count != int(count):
        raise BadInputError(f"{name} {text}: expected a number of weights, such as 16000, 200k or 1.5M")
    return int(count)
