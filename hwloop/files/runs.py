"""Reads run files: what `program` left behind, as a record that later jobs go on from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np

from hwloop.chip.backend import Backend
from hwloop.chip.region import Place
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray, State

AS_PROGRAMMED, AS_STOPPED = "end of programming", "when it was stopped"
"""Moments of a run at which the state of a simulated chip is kept."""


@dataclass(frozen=True)
class TileRecord:
    """One tile of a run as it was left.

    Parameters
    ----------
    tile
        What was to be programmed, and where.
    correction
        Column calibration made after programming; None where the run was stopped before.
    pulse_age
        (2, K, rows, columns) seconds from each device's last pulse to the end of programming, NaN for a device without
        one; None in files that did not record it.
    amplitude
        (2, K, rows, columns) uA of that pulse, NaN unless it was a RESET; None in files that did not record it.
    reached
        (rows, columns) signed conductances in uS as MVMs showed them; None where they were not measured.
    mvm_error
        Relative MVM error of this tile; NaN where it was not measured.
    """

    tile: Tile
    correction: ColumnCorrection | None
    pulse_age: FloatArray | None
    amplitude: FloatArray | None
    reached: FloatArray | None
    mvm_error: float


@dataclass(frozen=True)
class RunRecord:
    """What a run left behind: enough to measure its chip again, to age it, and to go on.

    Parameters
    ----------
    name
        The file it was read from, for messages.
    status
        'complete', 'interrupted', 'failed' or 'running'.
    backend
        URI of the chip, as it was given. From elsewhere it is only shown; see `hwloop.chip.registry.connect_recorded`.
    method
        Name of the programming method.
    age
        Seconds after the end of programming at which the targets hold and the error was measured.
    mvm_error
        Relative MVM error over all tensors; NaN where it was not measured.
    tiles
        All tiles, in the order in which random numbers count them.
    programmed_at
        End of programming on the chip's clock, seconds; None for a run that was stopped before.
    programmed_utc
        The same moment by the calendar; None in files that did not record it.
    temperature
        Kelvin at the end of programming; None where the chip cannot measure it.
    state
        State of a simulated chip; None for a real one, and for a run that failed.
    state_moment
        When the state was taken: AS_PROGRAMMED or AS_STOPPED.
    state_age
        Seconds from the end of programming to that moment.
    calibration, calibration_sha256
        File of the calibration through which outputs are read, and its fingerprint; empty for none.
    """

    name: str
    status: str
    backend: str
    method: str
    age: float
    mvm_error: float
    tiles: tuple[TileRecord, ...]
    programmed_at: float | None
    programmed_utc: datetime | None
    temperature: float | None
    state: State | None
    state_moment: str
    state_age: float
    calibration: str
    calibration_sha256: str

    def restore(self, backend: Backend) -> None:
        """Bring a simulated chip to where the run left it: at the age at which its error was measured.

        Raises
        ------
        BadInputError
            For a run without a state.
        """
        backend.import_state(self.chip_state())
        if self.state_moment == AS_PROGRAMMED:
            backend.wait(self.age)

    def chip_state(self) -> State:
        """Give the state of the simulated chip. Raises BadInputError for a run without one."""
        if self.state is None:
            raise BadInputError(
                f"{self.name}: holds no chip state, because the run did not finish (status '{self.status}') or the "
                "chip was a real one; program again, or name the chip with --backend"
            )
        return self.state

    def end(self) -> float:
        """Give the end of programming on the chip's clock, seconds. Raises BadInputError for a run stopped before."""
        if self.programmed_at is None:
            raise BadInputError(
                f"{self.name}: does not say when programming ended (status '{self.status}'); program again"
            )
        return self.programmed_at


def read_run(path: str | Path) -> RunRecord:
    """Read a run file.

    Raises
    ------
    BadInputError
        For a file that is missing, truncated, of another format or version, or not whole.
    """
    with hdf5.open_file(path, hdf5.RUN_FORMAT) as file:
        try:
            return _record(file, str(path))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadInputError):
                raise
            raise BadInputError(f"{path} is not a whole run file ({error.args[0]}); program again") from None


def _record(file: h5py.File, name: str) -> RunRecord:
    attributes = file.attrs
    noted = file["provenance"].attrs if "provenance" in file else {}
    state = _read_state(file["chip_state"]) if "chip_state" in file else None
    age, status = float(attributes["age"]), str(attributes["status"])
    programmed_at, utc, state_age = None, None, 0.0
    if "programmed_at" in attributes:
        programmed_at = float(attributes["programmed_at"])
        utc = datetime.fromisoformat(str(attributes["programmed_utc"]))
    elif status == "complete" and state is not None:
        # A file of an earlier version keeps the state after the error was measured, one target age later.
        programmed_at, state_age = float(state["clock"][()]) - age, age
    return RunRecord(
        name=name,
        status=status,
        backend=str(attributes["backend"]),
        method=str(attributes["method"]),
        age=age,
        mvm_error=float(attributes.get("mvm_error", np.nan)),
        tiles=tuple(_read_tile(file["tiles"][tile]) for tile in sorted(file["tiles"])),
        programmed_at=programmed_at,
        programmed_utc=utc,
        temperature=float(attributes["temperature"]) if "temperature" in attributes else None,
        state=state,
        state_moment=str(file["chip_state"].attrs.get("moment", "")) if state is not None else "",
        state_age=state_age,
        calibration=str(noted.get("calibration", "")),
        calibration_sha256=str(noted.get("calibration_sha256", "")),
    )


def _read_tile(group: h5py.Group) -> TileRecord:
    def array(name: str, units: str) -> FloatArray | None:
        return hdf5.get(group, name, units).astype(np.float64) if name in group else None

    place = Place(**{key: int(group.attrs[key]) for key in ("core", "row", "column", "rows", "columns")})
    tile = Tile(
        tensor=str(group.attrs["tensor"]),
        place=place,
        first_input=int(group.attrs["first_input"]),
        first_output=int(group.attrs["first_output"]),
        target=hdf5.get(group, "target", "uS"),
        scale=hdf5.get(group, "scale", "1/uS"),
        full_scale=float(hdf5.get(group, "full_scale", "uS")),
        split=str(group.attrs["split"]),
        order=hdf5.get(group, "order", "1") if "order" in group else None,
        lean=array("lean", "uS"),
    )
    gain, offset = array("column_gain", "1"), array("column_offset", "1")
    return TileRecord(
        tile=tile,
        correction=ColumnCorrection(gain, offset) if gain is not None and offset is not None else None,
        pulse_age=array("age", "s"),
        amplitude=array("amplitude", "uA"),
        reached=array("reached", "uS"),
        mvm_error=float(group.attrs.get("mvm_error", np.nan)),
    )


def _read_state(group: h5py.Group) -> State:
    state: dict[str, np.ndarray] = {}

    def collect(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            state[name] = np.asarray(item[()])

    group.visititems(collect)
    return state
