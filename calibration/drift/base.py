"""Compensation of drift: what is done to a tile's outputs, or to its cells, so that the weights hold.

A strategy looks at a `ProgrammedTile`, programmed some time ago, and makes a `Compensation`: a gain and an offset per
column, applied digitally to the outputs that the column calibration of programming gives, with its date, its
temperature, what it was measured with, and how long it should hold. Strategies follow one another: `a+b` makes b on
top of a.

The 'then' of every comparison with now is the column calibration made right after programming. It mapped the chip's
outputs onto X W, so X W of the probe inputs, through the gains and offsets that the run file keeps, is what the probes
gave then: no reading of that time needs to be kept, and any probes can be used.

Times called age are seconds after the end of programming; conductances are in uS, outputs in weight units.
"""

from __future__ import annotations

import abc
import itertools
import math
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

import h5py
import numpy as np

from hwloop.calibration.drift.forecast import Forecast
from hwloop.calibration.evaluation import relative_error
from hwloop.calibration.probes import uniform_inputs
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.errors import BadInputError, CalibrationWarning
from hwloop.files import hdf5
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray

PROBES = 256
"""Probe vectors from which gains are measured."""
GROWTH = 0.10
"""A compensation holds until drift is expected to make its error larger by this fraction."""
TEMPERATURE_TOLERANCE = 5.0
"""Kelvin. Conductances between RESET and SET change by about 0.5 % per kelvin, each by another amount: beyond this, the
spread that a gain cannot take away is no longer small beside a typical programming error."""
SAME_AGE = 1e-3
"""Ages that differ by this fraction are one age: drift over it is a ten-thousandth."""


class CompensationWarning(CalibrationWarning):
    """A compensation is used, or foretold, under other conditions than it holds for."""


def far_apart(then: float | None, now: float | None) -> bool:
    """Whether two temperatures, kelvin, are known to differ by more than a compensation stands."""
    return then is not None and now is not None and abs(now - then) > TEMPERATURE_TOLERANCE


@dataclass(frozen=True)
class Circumstances:
    """When, where and from what a compensation was made."""

    utc: datetime
    chip_clock: float
    """Seconds on the chip's own clock."""
    age: float
    """Seconds after the end of programming."""
    temperature: float | None
    """Kelvin; None where the chip cannot measure it."""
    inputs: str = "none"
    """Kind of the probe inputs."""
    vectors: int = 0
    """Probe MVMs."""
    seed: tuple[int, ...] = ()
    """Seed of numpy.random.default_rng that gives the probe inputs again."""


@dataclass(frozen=True)
class Compensation:
    """output = gain * (output of the column calibration of programming) + offset, (columns,) each.

    gain is a bare number, offset in weight units.
    """

    name: str
    gain: FloatArray
    offset: FloatArray
    made: Circumstances
    holds_until: float = math.inf
    """Age in seconds until which it should hold; infinite where nothing is known against it."""
    because: str = ""
    """Where `holds_until` comes from."""
    pulses: int = 0
    """Pulses that were spent on the cells."""
    mvms: int = 0
    """Input vectors that were spent, probes included."""

    def apply(self, outputs: FloatArray, temperature: float | None = None) -> FloatArray:
        """Compensated outputs (batch, columns) of `outputs` (batch, columns) in weight units.

        temperature: kelvin now, if known; far from that of the compensation it is applied with a CompensationWarning.
        """
        if outputs.shape[-1:] != self.gain.shape:
            raise BadInputError(f"{self.name}: made for {self.gain.size} columns, not for outputs {outputs.shape}")
        if far_apart(self.made.temperature, temperature):
            warnings.warn(
                f"compensation '{self.name}' was made at {self.made.temperature:g} K and the chip is at "
                f"{temperature:g} K, more than {TEMPERATURE_TOLERANCE:g} K away: conductances have changed with "
                "temperature; make it anew",
                CompensationWarning,
                stacklevel=2,
            )
        return outputs * self.gain + self.offset

    def save(self, group: h5py.Group) -> None:
        """Write into a group of an HDF5 file."""
        made = self.made
        hdf5.put(group, "gain", self.gain, "1", "factor on the outputs of each column")
        hdf5.put(group, "offset", self.offset, "1", "weight units to add to the outputs of each column")
        hdf5.put(group, "made_at_age", made.age, "s", "time from the end of programming until it was made")
        hdf5.put(group, "made_at_chip_clock", made.chip_clock, "s", "the chip's clock when it was made")
        hdf5.put(group, "holds_until", self.holds_until, "s", "age until which it should hold, from end of programming")
        if made.temperature is not None:
            hdf5.put(group, "temperature", made.temperature, "K", "temperature at which it was made")
        hdf5.put(group, "seed", np.array(made.seed, np.int64), "1", "seed of the probe inputs")
        values = {"compensation": self.name, "made_utc": made.utc.isoformat(), "holds_because": self.because}
        counts = {"inputs": made.inputs, "vectors": made.vectors, "pulses": self.pulses, "mvms": self.mvms}
        hdf5.put_attributes(group, values | counts)

    @classmethod
    def load(cls, group: h5py.Group) -> Self:
        """Read back what `save` wrote. Raises BadInputError for a group that is none."""
        attributes: dict[str, Any] = dict(group.attrs)
        needed = {"compensation", "made_utc", "holds_because", "inputs", "vectors", "pulses", "mvms"}
        if missing := sorted(needed - attributes.keys()):
            raise BadInputError(f"{group.file.filename}: {group.name} is no compensation (it lacks '{missing[0]}')")
        made = Circumstances(
            datetime.fromisoformat(attributes["made_utc"]),
            float(hdf5.get(group, "made_at_chip_clock", "s")),
            float(hdf5.get(group, "made_at_age", "s")),
            float(hdf5.get(group, "temperature", "K")) if "temperature" in group else None,
            str(attributes["inputs"]),
            int(attributes["vectors"]),
            tuple(hdf5.get(group, "seed", "1").tolist()),
        )
        gain, offset = hdf5.get(group, "gain", "1"), hdf5.get(group, "offset", "1")
        if gain.ndim != 1 or gain.shape != offset.shape or not np.all(np.isfinite([gain, offset])):
            raise BadInputError(f"{group.file.filename}: {group.name} needs one finite gain and offset per column")
        return cls(
            str(attributes["compensation"]),
            gain,
            offset,
            made,
            float(hdf5.get(group, "holds_until", "s")),
            str(attributes["holds_because"]),
            int(attributes["pulses"]),
            int(attributes["mvms"]),
        )


@dataclass(frozen=True)
class Pulsed:
    """What is known of a tile's devices from programming: all that a refresh can start from on a real chip.

    age        (2, K, rows, columns) seconds from a device's last pulse to the end of programming; NaN without a pulse
    amplitude  (2, K, rows, columns) uA of that pulse; NaN where unknown
    reached    (rows, columns) signed conductances in uS as MVMs showed them after programming, or None
    """

    age: FloatArray
    amplitude: FloatArray
    reached: FloatArray | None


@dataclass
class ProgrammedTile:
    """A tile programmed some time ago, on a chip whose time goes on.

    correction  column calibration of programming
    end         end of programming on the chip's clock, seconds
    calibrated  age in seconds at which the columns were calibrated and the targets hold
    seed        of the probe inputs, [seed, tile, purpose] as everywhere
    forecast    what the drift model foretells; None where nothing is known of the devices
    temperature kelvin at the calibration of the columns, where it is known
    since       age at which cells were pulsed last, by a refresh: from there they age anew
    base        gain (columns,) on top of `correction` at the moment from which the forecast starts
    """

    region: Region
    tile: Tile
    correction: ColumnCorrection
    end: float
    calibrated: float
    seed: tuple[int, ...]
    forecast: Forecast | None
    pulsed: Pulsed | None = None
    probes: int = PROBES
    temperature: float | None = None
    since: float = 0.0
    base: FloatArray | float = 1.0
    _probed: tuple[float, int, FloatArray, FloatArray] | None = field(default=None, repr=False)

    @property
    def age(self) -> float:
        """Seconds after the end of programming, now."""
        return self.region.backend.now() - self.end

    def outputs(self, x: np.ndarray[Any, np.dtype[np.int32]]) -> FloatArray:
        """Outputs (batch, columns) in weight units through the column calibration of programming."""
        return self.correction.apply(self.region.mvm(x))

    def probe(self) -> tuple[FloatArray, FloatArray]:
        """Outputs of the fixed probe inputs now, and X W, which they gave then, (probes, columns) each.

        Measured once for all who ask at about the same age with no pulse in between.
        """
        now, pulses = self.region.backend.now(), self.region.cost.pulses
        if (
            self._probed is None
            or self._probed[1] != pulses
            or now - self._probed[0] > SAME_AGE * (self.age - self.since)
        ):
            x = uniform_inputs(np.random.default_rng(self.seed), self.probes, self.tile.place.rows, self._top)
            self._probed = (now, pulses, self.outputs(x), (x / self._top) @ self.tile.weights)
        return self._probed[2:]

    def probe_error(self, made: Compensation) -> float:
        """Relative MVM error of the probes with a compensation."""
        outputs, then = self.probe()
        return relative_error(made.apply(outputs), then)

    def circumstances(self, *, probed: bool = False) -> Circumstances:
        """What a compensation made now is to remember."""
        backend = self.region.backend
        can = Capability.TEMPERATURE in backend.info.capabilities
        here = Circumstances(datetime.now(UTC), backend.now(), self.age, backend.temperature() if can else None)
        return replace(here, inputs="uniform integers", vectors=self.probes, seed=self.seed) if probed else here

    @property
    def _top(self) -> int:
        return self.region.backend.info.input_max


Steps = Generator[float | None, None, Compensation]
"""See `Strategy.steps`."""


class Strategy(abc.ABC):
    """A way to compensate drift. Origin of all ages: the end of programming."""

    name: str
    probed: bool = True
    """Whether it needs MVMs."""
    changes_chip: bool = False
    """Whether it pulses cells, so that nothing made before it holds afterwards."""

    def check(self, held: ProgrammedTile) -> None:
        """Raise, before anything is sent, when the chip or what is known of it does not allow this strategy."""
        if self.probed:
            held.region.backend.require(Capability.MVM, f"the compensation '{self.name}'")

    @abc.abstractmethod
    def make(self, held: ProgrammedTile, sofar: Compensation) -> Compensation:
        """The compensation to use from now on, on top of `sofar`."""

    def steps(self, held: ProgrammedTile, sofar: Compensation) -> Steps:
        """`make` in steps, so that tiles can rest together and are calibrated at the same age.

        Yields seconds that the chip shall rest, or None when all other tiles shall come this far first.
        """
        return self.make(held, sofar)
        yield  # makes this a generator

    def _made(
        self, held: ProgrammedTile, sofar: Compensation, gain: FloatArray | float, offset: FloatArray | float
    ) -> Compensation:
        """`sofar`, and then a gain and an offset of this strategy."""
        total, name = sofar.gain * gain, self.name if sofar.name == "none" else f"{sofar.name}+{self.name}"
        until, because = validity(held, total)
        return replace(
            sofar,
            name=name,
            gain=total,
            offset=sofar.offset * gain + offset,
            made=held.circumstances(probed=self.probed),
            holds_until=until,
            because=because,
            mvms=sofar.mvms + (held.probes if self.probed else 0),
        )


def validity(held: ProgrammedTile, gain: FloatArray | float) -> tuple[float, str]:
    """Age in seconds until which a gain chosen now should hold, and why."""
    if held.forecast is None:
        return math.inf, "no drift model: how long it holds is not known"
    until = held.forecast.holds_until(held.age, gain / held.base, GROWTH)
    return until, f"until the drift model's mean and spread raise the expected error by {GROWTH:.0%}"


def uncompensated(held: ProgrammedTile) -> Compensation:
    """The column calibration of programming, as it is."""
    columns = held.tile.place.columns
    until, because = validity(held, 1.0)
    return Compensation("none", np.ones(columns), np.zeros(columns), held.circumstances(), until, because)


class Chain(Strategy):
    """Strategies one after the other, each on top of what the earlier ones left."""

    def __init__(self, parts: Sequence[Strategy]) -> None:
        """It is named after its parts, and needs and does what any of them needs and does."""
        self.parts = tuple(parts)
        self.name = "+".join(part.name for part in parts)
        self.probed = any(part.probed for part in parts)
        self.changes_chip = any(part.changes_chip for part in parts)

    def check(self, held: ProgrammedTile) -> None:
        """Ask every part."""
        for part in self.parts:
            part.check(held)

    def make(self, held: ProgrammedTile, sofar: Compensation) -> Compensation:
        """Make every part in turn."""
        return drive(self.steps(held, sofar), held.region.backend)

    def steps(self, held: ProgrammedTile, sofar: Compensation) -> Steps:
        """The steps of every part in turn."""
        for part in self.parts:
            sofar = yield from part.steps(held, sofar)
        return sofar


def drive(steps: Steps, backend: Backend) -> Compensation:
    """Go through the steps of one tile, with its rests."""
    while True:
        try:
            backend.wait(next(steps) or 0.0)
        except StopIteration as done:
            made: Compensation = done.value
            return made


def chain(strategies: Sequence[Strategy]) -> Chain:
    """Strategies in a row. Raises BadInputError when a later one changes the chip under an earlier one."""
    for earlier, later in itertools.pairwise(strategies):
        if later.changes_chip:
            raise BadInputError(
                f"compensation '{earlier.name}+{later.name}': '{later.name}' changes the cells that '{earlier.name}' "
                f"was measured on; write '{later.name}+{earlier.name}'"
            )
    return Chain(strategies)
