"""Reads run files: the tiles of a run, the state in which it left a simulated chip, and when it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hwloop.chip.backend import Backend
from hwloop.chip.region import Place
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.mapping.tile import Tile

AS_PROGRAMMED, AS_STOPPED = "end of programming", "when it was stopped"
"""Moments of a run at which the state of a simulated chip is kept."""


def read_tiles(group: h5py.Group) -> list[Tile]:
    """The tiles of a run."""
    tiles = []
    for name in sorted(group["tiles"]):
        part = group["tiles"][name]
        place = Place(**{key: int(part.attrs[key]) for key in ("core", "row", "column", "rows", "columns")})
        tiles.append(
            Tile(
                tensor=str(part.attrs["tensor"]),
                place=place,
                first_input=int(part.attrs["first_input"]),
                first_output=int(part.attrs["first_output"]),
                target=hdf5.get(part, "target", "uS"),
                scale=hdf5.get(part, "scale", "1/uS"),
                full_scale=float(hdf5.get(part, "full_scale", "uS")),
                split=str(part.attrs["split"]),
                order=hdf5.get(part, "order", "1") if "order" in part else None,
                lean=hdf5.get(part, "lean", "uS") if "lean" in part else None,
            )
        )
    return tiles


def read_state(group: h5py.Group) -> dict[str, NDArray[Any]]:
    """The state of the simulated chip that a run left. Raises BadInputError when the run was not finished."""
    if "chip_state" not in group:
        raise BadInputError(
            f"{group.file.filename}: holds no chip state, because the run did not finish (status "
            f"'{group.attrs.get('status')}') or the chip was a real one; program again, or name the chip with --backend"
        )
    state: dict[str, NDArray[Any]] = {}

    def collect(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            state[name] = np.asarray(item[()])

    group["chip_state"].visititems(collect)
    return state


@dataclass(frozen=True)
class Origin:
    """Where the time of a run counts from: the end of programming."""

    clock: float
    """Seconds on the chip's clock at the end of programming."""
    utc: datetime | None
    """The same moment by the calendar; None in files that did not record it."""
    state_age: float
    """Seconds after that moment at which the kept state of a simulated chip was taken."""


def read_origin(group: h5py.Group) -> Origin:
    """When programming ended. Raises BadInputError for a run that was stopped before.

    A file of an earlier version keeps the state after the error was measured, one target age later.
    """
    if "programmed_at" in group.attrs:
        utc = datetime.fromisoformat(str(group.attrs["programmed_utc"]))
        return Origin(float(group.attrs["programmed_at"]), utc, 0.0)
    if group.attrs["status"] != "complete" or "chip_state" not in group:
        raise BadInputError(
            f"{group.file.filename}: does not say when programming ended (status '{group.attrs['status']}'); "
            "program again"
        )
    age = float(group.attrs["age"])
    return Origin(float(group["chip_state/clock"][()]) - age, None, age)


def restore(backend: Backend, group: h5py.Group) -> None:
    """Bring a simulated chip to where the run left it: at the age at which its error was measured."""
    backend.import_state(read_state(group))
    if group["chip_state"].attrs.get("moment") == AS_PROGRAMMED:
        backend.wait(float(group.attrs["age"]))
