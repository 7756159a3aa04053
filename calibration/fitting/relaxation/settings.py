"""Numbers that steer the fit of relaxation."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.calibration.settings import Settings


@dataclass(frozen=True)
class RelaxationSettings(Settings):
    """What the fit of relaxation takes for granted."""

    knots: int = 12
    """First conductances at which every quantity is fitted, where there are cells enough."""
    cells_per_knot: int = 150
    """Cells that support a knot; with fewer cells there are fewer knots."""
    largest_tail: float = 5.0
    """ln of degrees of freedom less one, beyond which Student's t is normal."""
    stiffness: float = 5.0
    """Prior that neighbouring knots are alike: one over the variance of the step between them, starts of quantities."""
    growth_stiffness: float = 50.0
    """The same for growths, of which a measurement tells less and a prediction needs more."""
    usual_growth: float = -1.0
    """ln of the growth of widths and hazard in a decade that is usual."""
    growth_weight: float = 0.05
    """Prior that growths are usual, one over the variance: it decides where nothing grows that could be seen."""
    usual_warp: float = 0.03
    """w, over g_scale, that is usual."""
    warp_spread: float = 2.0
    """Standard deviation of ln w about that."""
    unlike: float = 0.3
    """Standard deviation of ln G0 from which on first reads must tell something of later ones."""
    smallest_change: float = 1e-5
    """A cell whose reads differ by less than this, over g_scale, is stuck."""
    most_cells: int = 20_000
    """Cells that are fitted; of more, a random choice of this many."""
    memory_freedom: float = 3.0
    """Degrees of freedom of the scores of which reads of a cell have something in common; of those from 1.5 to 100 the
    one that says most of measured RRAM cells."""
    lags: int = 3
    """Reads of a cell that are at most this many places apart tell how long its rank lasts."""
    first_steps: int = 60
    """Steps of the search until directions are first looked for."""
    steps: int = 150
    """Steps of every later round."""
    rounds: int = 6
    """Rounds at most."""
    settled: float = 0.1
    """Gain of a round in log-likelihood, of all cells, below which the search is done."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("knots", 2, 100)
        self._require("cells_per_knot", 1, 10**6)
        self._require("largest_tail", 1.0, 20.0)
        for name in ("stiffness", "growth_stiffness", "growth_weight", "settled"):
            self._require(name, 0.0, 1e6)
        self._require("usual_growth", -20.0, 20.0)
        self._require("usual_warp", 1e-6, 10.0)
        self._require("warp_spread", 0.01, 100.0)
        self._require("unlike", 0.0, 100.0)
        self._require("smallest_change", 0.0, 1.0)
        self._require("most_cells", 10, 10**9)
        self._require("memory_freedom", 0.5, 1e4)
        for name in ("lags", "first_steps", "steps", "rounds"):
            self._require(name, 1, 100_000)
