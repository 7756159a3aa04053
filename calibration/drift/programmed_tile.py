"""A tile that was programmed some time ago, on a chip whose time goes on: what every compensation starts from.

The 'then' of every comparison with now is the column calibration made right after programming. It mapped the chip's
outputs onto X W, so X W of the probe inputs, through the gains and offsets that the run file keeps, is what the probes
gave then: no reading of that time needs to be kept, and any probes can be used.

Times called age are seconds after the end of programming; conductances are in uS, outputs in weight units.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hwloop.calibration.drift.compensation import Circumstances, Compensation
from hwloop.calibration.drift.forecast import Forecast
from hwloop.calibration.evaluation import relative_error
from hwloop.calibration.probes import uniform_inputs
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.tile import Tile
from hwloop.typing import CodeArray, FloatArray

SAME_AGE = 1e-3
"""Ages that differ by less than this fraction count as one: drift from one to the other is a ten-thousandth."""


@dataclass(frozen=True)
class Origin:
    """The end of programming, from which ages count, and what was known of the tile then."""

    correction: ColumnCorrection
    """Column calibration of programming, from output codes to weight units."""
    end: float
    """End of programming, seconds on the chip's clock."""
    target_age: float
    """Age in seconds at which the targets hold, and at which the columns were calibrated."""
    temperature: float | None = None
    """Kelvin at that calibration; None where it is not known."""


@dataclass(frozen=True)
class PulseRecord:
    """What is known of a tile's devices from programming: all that a refresh can start from on a real chip."""

    age: FloatArray
    """(2, K, rows, columns) seconds from a device's last pulse to the end of programming; NaN without a pulse."""
    amplitude: FloatArray
    """(2, K, rows, columns) uA of that pulse; NaN where unknown."""
    reached: FloatArray | None
    """(rows, columns) signed conductances in uS as MVMs showed them after programming; None where not measured."""


@dataclass(frozen=True)
class _Probed:
    """Outputs (probes, columns) of the probe inputs, and what they were at the end of programming."""

    moment: float
    pulses: int
    now: FloatArray
    then: FloatArray


@dataclass(repr=False)
class ProgrammedTile:
    """A tile programmed some time ago; a refresh changes what is known of its devices."""

    region: Region
    """Its cells on the open chip."""
    tile: Tile
    """Its targets and weights."""
    origin: Origin
    """The end of its programming."""
    seed: tuple[int, ...]
    """Seed of the probe inputs: [seed, number of the tile, purpose] as everywhere."""
    forecast: Forecast | None
    """What the drift model predicts; None where nothing is known of the devices."""
    pulses: PulseRecord | None = None
    """Record of the pulses of programming; None where there is none, or where it no longer describes the devices."""
    pulsed_at: float = 0.0
    """Age in seconds at which cells were pulsed last, by a refresh: from there they age anew."""
    base: FloatArray | float = 1.0
    """Gain (columns,) on top of the column calibration of programming from which the forecast starts."""
    sample: CodeArray | None = None
    """(vectors, rows) inputs that probes are drawn from, such as a network's own; None: uniform ones."""
    shares: FloatArray | None = None
    """(vectors,) weights of the sample, whose mean is 1; None: all the same."""
    _probed: dict[int, _Probed] = field(default_factory=dict, init=False)

    def __repr__(self) -> str:
        rows, columns = self.tile.target.shape
        return f"<ProgrammedTile {self.tile.tensor}: {rows} x {columns} cells, {self.age:g} s after programming>"

    @property
    def age(self) -> float:
        """Seconds after the end of programming, now."""
        return self.region.backend.now() - self.origin.end

    def outputs(self, x: CodeArray) -> FloatArray:
        """Measure outputs through the column calibration of programming.

        Parameters
        ----------
        x
            (batch, rows) whole numbers up to the chip's `input_max`.

        Returns
        -------
        FloatArray
            (batch, columns) in weight units.
        """
        return self.origin.correction.apply(self.region.mvm(x))

    def probe(self, vectors: int) -> tuple[FloatArray, FloatArray]:
        """Measure the outputs of fixed probe inputs, once for all who ask at about the same age with no pulse between.

        Parameters
        ----------
        vectors
            Number of probe inputs.

        Returns
        -------
        tuple
            Outputs now, and X W, which the column calibration of programming made of them then; (vectors, columns)
            each, in weight units.
        """
        now, pulses, known = self.region.backend.now(), self.region.cost.pulses, self._probed.get(vectors)
        if known is None or known.pulses != pulses or now - known.moment > SAME_AGE * (self.age - self.pulsed_at):
            top, x = self.region.backend.info.input_max, self._probe_inputs(vectors)[0]
            known = _Probed(now, pulses, self.outputs(x), (x / top) @ self.tile.weights)
            self._probed[vectors] = known
        return known.now, known.then

    def probe_shares(self, vectors: int) -> FloatArray:
        """Return the weights (probes,) of the probe inputs in a fit, whose mean is 1."""
        return self._probe_inputs(vectors)[1]

    def _probe_inputs(self, vectors: int) -> tuple[CodeArray, FloatArray]:
        """Draw probe inputs; those of a weighted sample that is small enough are all of it, with its weights."""
        rng = np.random.default_rng(self.seed)
        if self.sample is None:
            top = self.region.backend.info.input_max
            return uniform_inputs(rng, vectors, self.tile.place.rows, top), np.ones(vectors)
        if self.shares is None:
            return self.sample[rng.integers(len(self.sample), size=vectors)], np.ones(vectors)
        if len(self.sample) <= vectors:
            return self.sample, self.shares
        chance = self.shares / self.shares.sum()
        return self.sample[rng.choice(len(self.sample), vectors, p=chance)], np.ones(vectors)

    def probe_error(self, made: Compensation, vectors: int) -> float:
        """Measure the relative MVM error of the probes with a compensation.

        Parameters
        ----------
        made
            The compensation.
        vectors
            Number of probe inputs.

        Returns
        -------
        float
            ||Y - X W|| / ||X W||.
        """
        now, then = self.probe(vectors)
        root = np.sqrt(self.probe_shares(vectors))[:, None]
        return relative_error(root * made.apply(now), root * then)

    def circumstances(self, vectors: int = 0) -> Circumstances:
        """Describe what a compensation made now is to remember.

        Parameters
        ----------
        vectors
            Number of probe inputs that it is made from; none for one that probes nothing.

        Returns
        -------
        Circumstances
        """
        backend = self.region.backend
        can = Capability.TEMPERATURE in backend.info.capabilities
        here = Circumstances(backend.utc(), backend.now(), self.age, backend.temperature() if can else None)
        inputs = "uniform integers" if self.sample is None else "sample inputs"
        return replace(here, inputs=inputs, vectors=vectors, seed=self.seed) if vectors else here

    def copy(self) -> ProgrammedTile:
        """Copy it, so that a refresh of the copy leaves this one as it is; the probes are measured anew."""
        return replace(self)
