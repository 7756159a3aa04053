"""Numbers that steer the fit of bakes."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.calibration.settings import Settings


@dataclass(frozen=True)
class BakeSettings(Settings):
    """What the fit of bakes takes for granted."""

    energy: float = 1.1
    """Activation energy, eV, where no temperature was baked at for different times: of the order of what is published
    of oxide RRAM, and without influence on predictions at times that were measured."""
    energy_spread: float = 0.5
    """Standard deviation of the activation energy about that before anything is seen, eV."""
    different_times: float = 1.5
    """Ratio of the times at one temperature from which on they tell the activation energy."""
    one_age: float = 0.7
    """ln of how far apart last reads may lie that count as at one age."""
    room: float = 300.0
    """K that is recorded of one age where a measurement does not know its temperature; nothing depends on it."""
    levels: int = 9
    """First conductances at which every quantity is fitted, where there are cells enough."""
    bakes: int = 6
    """Bakes at which every quantity is fitted, at most."""
    cells_per_knot: int = 300
    """Cells that support a quantity at one conductance and bake; with fewer cells there are fewer conductances."""
    same_place: float = 0.03
    """Bakes that are closer than this between mildest (0) and hardest (1) are alike."""
    largest_tail: float = 5.0
    """ln of degrees of freedom less one, beyond which Student's t is normal."""
    usual_tail: float = 2.0
    """ln of degrees of freedom less one that is usual."""
    tail_spread: float = 1.5
    """Standard deviation of that before anything is seen."""
    usual_hazard: float = -0.5
    """ln of the hazard to move that is usual."""
    hazard_weight: float = 0.1
    """Prior that hazards are usual, one over the variance: it decides where one kind of cells is enough."""
    skew_weight: float = 0.5
    """Prior that cells that move have two sides alike, one over the variance."""
    stiffness: float = 2.0
    """Prior that neighbouring conductances are alike: one over the variance of the step between them."""
    bend: float = 2.0
    """Prior that quantities are linear in log equivalent time: one over the variance of the second difference."""
    steadiness: float = 1.0
    """Prior that neighbouring bakes are alike: one over the variance of the step between them. It keeps the two kinds
    of cells from changing their parts from one bake to the next."""
    shift_unit: float = 0.05
    """Shift, over the conductance at the knot or g_scale / 10 at least, that counts as 1 in these priors."""
    usual_warp: float = 0.03
    """w, over g_scale, that is usual."""
    warp_spread: float = 2.0
    """Standard deviation of ln w about that."""
    most_cells: int = 20_000
    """Cells that are fitted; of more, a random choice of this many."""
    first_steps: int = 60
    """Steps of the search until directions are first looked for."""
    steps: int = 120
    """Steps of every later round."""
    rounds: int = 5
    """Rounds at most."""
    settled: float = 0.3
    """Gain of a round in log-likelihood, of all cells, below which the search is done."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("energy", 0.01, 10.0)
        self._require("energy_spread", 0.001, 10.0)
        self._require("different_times", 1.01, 1e6)
        self._require("one_age", 0.0, 10.0)
        self._require("room", 1.0, 10_000.0)
        self._require("levels", 2, 100)
        self._require("bakes", 2, 20)
        self._require("same_place", 1e-6, 0.5)
        self._require("largest_tail", 1.0, 20.0)
        self._require("usual_tail", -5.0, 20.0)
        self._require("usual_hazard", -20.0, 20.0)
        self._require("tail_spread", 0.01, 100.0)
        for name in ("stiffness", "bend", "steadiness", "settled", "hazard_weight", "skew_weight"):
            self._require(name, 0.0, 1e6)
        self._require("shift_unit", 1e-6, 100.0)
        self._require("usual_warp", 1e-6, 10.0)
        self._require("warp_spread", 0.01, 100.0)
        self._require("most_cells", 10, 10**9)
        for name in ("cells_per_knot", "first_steps", "steps", "rounds"):
            self._require(name, 1, 100_000)
