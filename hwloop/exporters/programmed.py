"""What a run has put on a chip, as arrays and tables that a chip's own tools read: npz, safetensors, CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

import numpy as np

from hwloop.errors import BadInputError, printable
from hwloop.exporters.tables import write_table
from hwloop.files.output import write_in_parts
from hwloop.files.runs import RunRecord, TileRecord
from hwloop.mapping.split import split_devices
from hwloop.registry import suggest
from hwloop.typing import AnyArray, Json

UNITS = {
    "target": ("uS", "signed conductance target of each cell (row, column) at the target age"),
    "reached": ("uS", "signed conductance of each cell as MVMs, or device reads, showed it (row, column)"),
    "device_target": ("uS", "target of each device (polarity, device, row, column), as devices that all work share it"),
    "pulses": ("1", "pulses that each device received (polarity, device, row, column)"),
    "last_pulse_age": ("s", "from a device's last pulse to the end of programming; NaN without a pulse"),
    "last_reset": ("uA", "peak current of that pulse; NaN unless it was a RESET"),
    "stuck_devices": ("1", "devices that do not answer (polarity, device, row, column)"),
    "stuck": ("1", "cells with a device that does not answer (row, column)"),
    "unconverged": ("1", "cells given up (row, column)"),
    "lean": ("uS", "part of the targets that weights do not ask for (row, column)"),
    "input": ("1", "row of the matrix that each row of the tile is"),
    "output": ("1", "column of the matrix, an output, that each column of the tile computes"),
    "scale": ("1/uS", "weight per uS of each column"),
    "column_gain": ("1", "weight units per output code, of each column"),
    "column_offset": ("1", "weight units, of each column"),
}
"""Array of a tile -> unit and meaning."""


@dataclass(frozen=True)
class ProgrammedExport:
    """What was written of a run."""

    run: str
    """Its file, or the name that it has."""
    to: str
    """Format of the file."""
    out: str
    """File that was written."""
    tensors: tuple[str, ...]
    """Tensors that are in it."""
    tiles: int
    """Parts of them, each on a rectangle of cells."""
    devices: int
    """Devices of these cells."""
    arrays: tuple[str, ...]
    """Arrays of `UNITS` that every tile has."""

    def to_json(self) -> dict[str, Json]:
        """Return what `hwloop export --json` prints."""
        return {
            "run": self.run,
            "to": self.to,
            "out": self.out,
            "tensors": list(self.tensors),
            "tiles": self.tiles,
            "devices": self.devices,
            "arrays": list(self.arrays),
        }


@dataclass(frozen=True)
class ProgrammedTile:
    """A tile of a run as it is exported."""

    record: TileRecord
    """The tile."""
    arrays: dict[str, AnyArray]
    """Its arrays by their names in `UNITS`; those that nobody has measured are absent."""

    def about(self) -> dict[str, Json]:
        """Say where the tile lies, on the chip and in its matrix."""
        tile, place = self.record.tile, self.record.tile.place
        return {
            "tensor": tile.tensor,
            "core": place.core,
            "row": place.row,
            "column": place.column,
            "rows": place.rows,
            "columns": place.columns,
            "first_input": tile.first_input,
            "first_output": tile.first_output,
            "split": tile.split,
            "full_scale_uS": tile.full_scale,
            "mvm_error": self.record.mvm_error if math.isfinite(self.record.mvm_error) else None,
        }


def export_programmed(
    record: RunRecord, to: str, out: str | Path, *, tensor: tuple[str, ...] = (), force: bool = False
) -> ProgrammedExport:
    """Write what a run has programmed, tile by tile.

    Parameters
    ----------
    record
        The run.
    to
        One of `FORMATS`; the ending of the file need not say it.
    out
        File to write.
    tensor
        Names or patterns of the tensors to write; all where there is none.
    force
        Replace a file that exists.

    Raises
    ------
    BadInputError
        For an unknown format, a tensor that the run does not have, and a file that cannot be written.
    """
    if to not in FORMATS:
        raise BadInputError(f"unknown format '{to}'; {suggest(to, list(FORMATS))}")
    tiles = [programmed_tile(record, tile) for tile in _chosen(record, tensor)]
    write_in_parts(out, lambda stream: FORMATS[to](record, tiles, stream), force=force)
    return ProgrammedExport(
        run=record.name,
        to=to,
        out=str(out),
        tensors=tuple(dict.fromkeys(tile.record.tile.tensor for tile in tiles)),
        tiles=len(tiles),
        devices=sum(math.prod(_device_shape(record, tile.record)) for tile in tiles),
        arrays=tuple(name for name in UNITS if all(name in tile.arrays for tile in tiles)),
    )


def _chosen(record: RunRecord, names: tuple[str, ...]) -> list[TileRecord]:
    """Take the tiles of the tensors that are asked for."""
    known = list(dict.fromkeys(tile.tile.tensor for tile in record.tiles))
    for name in names:
        if not any(fnmatchcase(one, name) or one == name for one in known):
            shown = printable(name)
            raise BadInputError(f"{record.name}: no tensor '{shown}'; {suggest(shown, [printable(k) for k in known])}")
    asked = {one for one in known if not names or any(fnmatchcase(one, name) or one == name for name in names)}
    return [tile for tile in record.tiles if tile.tile.tensor in asked]


def programmed_tile(record: RunRecord, tile: TileRecord) -> ProgrammedTile:
    """Gather the arrays of a tile of a run."""
    asked, place = tile.tile, tile.tile.place
    order = np.arange(place.columns) if asked.order is None else asked.order
    shape, g_max = _device_shape(record, tile), record.provenance.g_max
    shared = None
    if math.isfinite(g_max):
        shared = split_devices(asked.target, np.full(shape, g_max), asked.split, asked.table)
    found = {
        "target": asked.target,
        "reached": tile.reached,
        "device_target": shared,
        "pulses": tile.pulses,
        "last_pulse_age": _single(tile.pulse_age),
        "last_reset": _single(tile.amplitude),
        "stuck_devices": tile.stuck_devices,
        "stuck": tile.stuck,
        "unconverged": tile.unconverged,
        "lean": asked.lean,
        "input": asked.first_input + np.arange(place.rows),
        "output": asked.first_output + order,
        "scale": asked.scale,
        "column_gain": tile.correction.gain if tile.correction is not None else None,
        "column_offset": tile.correction.offset if tile.correction is not None else None,
    }
    return ProgrammedTile(tile, {name: np.asarray(array) for name, array in found.items() if array is not None})


def _single(values: AnyArray | None) -> AnyArray | None:
    """Take off the digits that run files do not keep, of a fresh run too."""
    return None if values is None else values.astype(np.float32)


def _device_shape(record: RunRecord, tile: TileRecord) -> tuple[int, int, int, int]:
    """Give the shape of a tile's devices. Raises BadInputError where the run does not tell how many a cell has."""
    noted, place = record.provenance.device_shape, tile.tile.place
    if tile.pulses is None and len(noted) != 5:
        raise BadInputError(
            f"{record.name}: does not tell how many devices a cell has (status '{record.status}'); program again"
        )
    devices = tile.pulses.shape[1] if tile.pulses is not None else noted[2]
    return 2, devices, place.rows, place.columns


def _about(record: RunRecord, tiles: list[ProgrammedTile]) -> str:
    """Say what the arrays are, as JSON text."""
    asked = record.provenance
    told: dict[str, Json] = {
        "format": "hwloop-programmed",
        "run": record.name or None,
        "backend": asked.backend,
        "weights": asked.weights,
        "weights_sha256": asked.weights_sha256,
        "method": asked.method,
        "status": record.status,
        "age_s": record.age,
        "g_max_uS": asked.g_max if math.isfinite(asked.g_max) else None,
        "device_shape": list(asked.device_shape),
        "tiles": [tile.about() for tile in tiles],
        "arrays": {name: {"unit": unit, "meaning": meaning} for name, (unit, meaning) in UNITS.items()},
    }
    return json.dumps(told, allow_nan=False)


def _named(tiles: list[ProgrammedTile]) -> Iterator[tuple[str, AnyArray]]:
    """Name every array by the number of its tile."""
    for number, tile in enumerate(tiles):
        for name, array in tile.arrays.items():
            yield f"tile{number}/{name}", array


def _npz(record: RunRecord, tiles: list[ProgrammedTile], stream: IO[bytes]) -> None:
    np.savez_compressed(stream, allow_pickle=False, about=np.array(_about(record, tiles)), **dict(_named(tiles)))


def _safetensors(record: RunRecord, tiles: list[ProgrammedTile], stream: IO[bytes]) -> None:
    from safetensors.numpy import save

    plain = {name: np.ascontiguousarray(array) for name, array in _named(tiles)}
    stream.write(save(plain, metadata={"about": _about(record, tiles)}))


def _csv(record: RunRecord, tiles: list[ProgrammedTile], stream: IO[bytes]) -> None:
    for number, tile in enumerate(tiles):
        place, shape = tile.record.tile.place, _device_shape(record, tile.record)
        write_table(stream, tile.about(), (place.row, place.column), tile.arrays, shape, header=number == 0)


FORMATS: dict[str, Callable[[RunRecord, list[ProgrammedTile], IO[bytes]], None]] = {
    "npz": _npz,
    "csv": _csv,
    "safetensors": _safetensors,
}
"""Name of a format -> what writes it."""
