"""A compensation: a gain and an offset per column, with when, where and from what they were made.

They act digitally on the outputs that the column calibration of programming gives. Times called age are seconds after
the end of programming; conductances are in uS, outputs in weight units.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import h5py
import numpy as np

from hwloop.errors import BadInputError, CalibrationWarning
from hwloop.files import hdf5
from hwloop.typing import FloatArray

TEMPERATURE_TOLERANCE = 5.0
"""Kelvin. Conductances between RESET and SET change by about 0.5 % per kelvin, each by another amount: beyond this, the
spread that a gain cannot take away is no longer small beside a typical programming error."""


class CompensationWarning(CalibrationWarning):
    """A compensation is used, or predicted, under other conditions than it is valid for."""


def far_apart(then: float | None, now: float | None) -> bool:
    """Tell whether two temperatures differ by more than a compensation stands.

    Parameters
    ----------
    then, now
        Kelvin; None where unknown, which is never far apart.

    Returns
    -------
    bool
    """
    return then is not None and now is not None and abs(now - then) > TEMPERATURE_TOLERANCE


@dataclass(frozen=True)
class Circumstances:
    """When, where and from what a compensation was made."""

    utc: datetime
    """The moment by the calendar."""
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


@dataclass(frozen=True, repr=False)
class Compensation:
    """A digital correction: output = gain * (output of the column calibration of programming) + offset."""

    name: str
    """Name of the strategy that made it; several in a row are joined by plus signs."""
    gain: FloatArray
    """(columns,), a bare number."""
    offset: FloatArray
    """(columns,) in weight units."""
    made: Circumstances
    """When, where and from what it was made."""
    valid_until: float = math.inf
    """Age in seconds until which it should be valid; infinite where nothing is known against it."""
    because: str = ""
    """Where `valid_until` comes from."""
    pulses: int = 0
    """Pulses that were spent on the cells."""
    mvms: int = 0
    """Input vectors that were spent, probes included."""

    def __repr__(self) -> str:
        return f"<Compensation {self.name}: {self.gain.size} columns, mean gain {self.gain.mean():.4g}>"

    def apply(self, outputs: FloatArray, temperature: float | None = None) -> FloatArray:
        """Compensate outputs of the chip.

        Parameters
        ----------
        outputs
            (batch, columns) in weight units, from the column calibration of programming.
        temperature
            Kelvin now, if known. Far from that of the compensation it is applied with a CompensationWarning.

        Returns
        -------
        FloatArray
            (batch, columns) in weight units.

        Raises
        ------
        BadInputError
            For outputs of another number of columns.
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
        """Write it into a group of an HDF5 file.

        Parameters
        ----------
        group
            Empty group, which `load` reads back.
        """
        made = self.made
        hdf5.put(group, "gain", self.gain, "1", "factor on the outputs of each column")
        hdf5.put(group, "offset", self.offset, "1", "weight units to add to the outputs of each column")
        hdf5.put(group, "made_at_age", made.age, "s", "time from the end of programming until it was made")
        hdf5.put(group, "made_at_chip_clock", made.chip_clock, "s", "the chip's clock when it was made")
        hdf5.put(group, "holds_until", self.valid_until, "s", "age until which it should hold, from end of programming")
        if made.temperature is not None:
            hdf5.put(group, "temperature", made.temperature, "K", "temperature at which it was made")
        hdf5.put(group, "seed", np.array(made.seed, np.int64), "1", "seed of the probe inputs")
        values = {"compensation": self.name, "made_utc": made.utc.isoformat(), "holds_because": self.because}
        counts: dict[str, hdf5.Attribute] = {
            "inputs": made.inputs,
            "vectors": made.vectors,
            "pulses": self.pulses,
            "mvms": self.mvms,
        }
        hdf5.put_attributes(group, {**values, **counts})

    @classmethod
    def load(cls, group: h5py.Group) -> Self:
        """Read back what `save` wrote.

        Parameters
        ----------
        group
            Group of an open HDF5 file.

        Returns
        -------
        Compensation

        Raises
        ------
        BadInputError
            For a group that holds none, or one whose gains and offsets do not fit each other.
        """
        attributes = group.attrs
        needed = {"compensation", "made_utc", "holds_because", "inputs", "vectors", "pulses", "mvms"}
        if missing := sorted(needed - set(attributes)):
            raise BadInputError(f"{group.file.filename}: {group.name} is no compensation (it lacks '{missing[0]}')")
        gain, offset = hdf5.get(group, "gain", "1"), hdf5.get(group, "offset", "1")
        if gain.ndim != 1 or gain.shape != offset.shape or not np.all(np.isfinite([gain, offset])):
            raise BadInputError(f"{group.file.filename}: {group.name} needs one finite gain and offset per column")
        made = Circumstances(
            utc=datetime.fromisoformat(str(attributes["made_utc"])),
            chip_clock=float(hdf5.get(group, "made_at_chip_clock", "s")),
            age=float(hdf5.get(group, "made_at_age", "s")),
            temperature=float(hdf5.get(group, "temperature", "K")) if "temperature" in group else None,
            inputs=str(attributes["inputs"]),
            vectors=int(attributes["vectors"]),
            seed=tuple(hdf5.get(group, "seed", "1").tolist()),
        )
        return cls(
            name=str(attributes["compensation"]),
            gain=gain,
            offset=offset,
            made=made,
            valid_until=float(hdf5.get(group, "holds_until", "s")),
            because=str(attributes["holds_because"]),
            pulses=int(attributes["pulses"]),
            mvms=int(attributes["mvms"]),
        )
