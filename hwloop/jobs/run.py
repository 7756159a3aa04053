"""A run in the user's hands: what was programmed, how well, and the chip that holds it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.use import calibration_of_run, region_of, use_calibration
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.opened import takes_open_chips
from hwloop.chip.region import Region
from hwloop.chip.registry import connect_recorded, same_chip
from hwloop.errors import BadInputError, ClosedError, printable
from hwloop.files import hdf5
from hwloop.files.run_writer import write_run
from hwloop.files.runs import FLEET, RunRecord, TileRecord
from hwloop.notebook.card import card
from hwloop.typing import FloatArray, Json

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes


class Run:
    """Weights that were programmed onto a chip, fresh from `hwloop.program` or loaded from a file.

    A fresh run knows the chip that holds it. A loaded one finds a simulated preset by itself when it is asked for
    something that needs it; any other chip is given with `attach`.
    """

    def __init__(
        self,
        record: RunRecord,
        chip: Backend | None = None,
        regions: Sequence[Region] = (),
        calibration: Calibration | None = None,
        *,
        compared: bool = False,
    ) -> None:
        """Wrap a record; `hwloop.program` and `hwloop.load` make runs.

        Parameters
        ----------
        record
            What is known of the run.
        chip, regions
            The open chip that holds it, and the cells of every tile, where they are at hand.
        calibration
            Through which outputs are read.
        compared
            Whether it is one of a comparison, after which the chip held something else.
        """
        self.record, self.chip, self.calibration, self.compared = record, chip, calibration, compared
        self._regions = list(regions)

    # ---- what it is ------------------------------------------------------------------------------------------

    @property
    def mvm_error(self) -> float:
        """Relative error of the matrix-vector product over all tensors, on fresh inputs; NaN where not measured."""
        return self.record.mvm_error

    @property
    def mvm_error_interval(self) -> tuple[float, float]:
        """Two ends between which another evaluation of the unchanged chip finds the error in 95 of 100 cases."""
        return self.record.mvm_error_interval

    @property
    def tiles(self) -> tuple[TileRecord, ...]:
        """Parts of the weights, one on each rectangle of cells."""
        return self.record.tiles

    @property
    def status(self) -> str:
        """'complete', 'interrupted', 'failed', 'running', or 'killed' where the process that wrote its file died."""
        return self.record.status

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end."""
        return self.record.status == "interrupted"

    @property
    def method(self) -> str:
        """Name of the programming method."""
        return self.record.method

    @property
    def age(self) -> float:
        """Seconds after the end of programming at which the error was measured."""
        return self.record.age

    def __repr__(self) -> str:
        tensors = len({tile.tile.tensor for tile in self.tiles})
        error = f"MVM error {self.mvm_error:.4f}" if np.isfinite(self.mvm_error) else f"status {self.status}"
        return printable(f"<Run {self.method} on {self.record.backend or 'a chip'}: {tensors} tensor(s), {error}>")

    def _repr_html_(self) -> str:
        rows = [
            (one.tile.tensor, one.tile.place.core, f"{one.tile.place.rows} x {one.tile.place.columns}",
             one.mvm_error, one.pulses_per_device)
            for one in self.tiles
        ]  # fmt: skip
        head = ("tensor", "core", "cells", "MVM error", "pulses per device")
        low, high = self.mvm_error_interval
        error = f"MVM error {self.mvm_error:.4f} ({low:.4f} to {high:.4f})"
        told = error if np.isfinite(self.mvm_error) else f"status {self.status}"
        return card(f"Run of {self.method} on {self.record.backend or 'a chip'}", told, head=head, rows=rows)

    def to_json(self) -> dict[str, Json]:
        """Summarise the run as the JSON object of `hwloop program`."""
        return self.record.to_json()

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each tile; needs the extra `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        return dataframe([tile.to_json() for tile in self.tiles])

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray dataset of all tiles by their cells, and of the method's steps; needs `hwloop[xarray]`."""
        from hwloop.files.datasets import dataset_of_run

        return dataset_of_run(self.record)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the error against the step of the method, on `ax` or new axes, and return them."""
        from hwloop.plot.runs import error_against_step

        return error_against_step([self.record], ax)

    # ---- files -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write a run file. Raises BadInputError when it exists (without force) or cannot be written."""
        record, chip = self.record, {}
        with contextlib.suppress(ClosedError):  # nothing can be asked of a closed chip
            chip = dict(self.chip.snapshot()) if self.chip is not None else {}
        with hdf5.WholeFileWriter(path, hdf5.RUN_FORMAT, force=force) as file:
            write_run(file.file, record, chip)
            file.commit()
        self.record = dataclasses.replace(record, name=str(path))

    # ---- the chip --------------------------------------------------------------------------------------------

    @takes_open_chips
    def attach(self, chip: Backend | None = None, calibration: Calibration | None = None) -> Backend:
        """Find the chip that holds the weights: a simulated one as the run left it, a real one as it is now.

        Parameters
        ----------
        chip
            The open chip; None for the one the run knows already, or for the simulated preset that it was made on.
        calibration
            Through which outputs are read; None for the run's own.

        Raises
        ------
        BadInputError
            For another chip than that of the run, where a real chip must be named, and for runs of a comparison and of
            a fleet.
        """
        if self.compared:
            raise BadInputError(
                "this run is one of a comparison, whose chip went on to other runs and kept nothing of it; "
                f"put its weights on a chip with hwloop.program(chip, weights, '{self.method}')"
            )
        if chip is None and self.chip is not None:
            return self.chip
        record = self.record
        if record.provenance.of_fleet:
            raise BadInputError(
                f"{record.name or 'this run'} lies on the chips of {record.backend.removeprefix(FLEET)}, which are not "
                "opened together: its errors when it was programmed are on file; to measure a chip again, or as it "
                "drifts, program what it shall hold by a run of its own, with --backend"
            )
        if chip is None:
            chip = connect_recorded(record.backend, record.name)
        if Capability.STATE in chip.info.capabilities:
            if not same_chip(record.backend, chip.uri):
                raise BadInputError(
                    f"{record.name or 'this run'} was programmed on {record.backend}; a simulated chip's state fits "
                    f"that chip alone, not {chip.uri}: leave --backend out"
                )
            record.restore(chip)
        if calibration is None and self.calibration is None:
            known = calibration_of_run(record, None)
            calibration = known and known[1]
        self.chip, self.calibration = chip, calibration or self.calibration
        if self.calibration is not None:
            use_calibration(self.calibration, chip)
        self._regions = [region_of(chip, tile.tile, self.calibration) for tile in self.tiles]
        return chip

    def matmul(self, x: ArrayLike, tensor: str | None = None) -> FloatArray:
        """Multiply by the programmed weights on the chip: y = x W, through its converters and column calibration.

        Parameters
        ----------
        x
            (batch, inputs) or (inputs,) finite numbers of any size; the largest of the batch drives a DAC fully.
        tensor
            Name of the matrix; None where there is one.

        Returns
        -------
        array
            (batch, outputs) or (outputs,).

        Raises
        ------
        BadInputError
            For inputs of another shape or that are not finite, and for a tensor that was not programmed.
        """
        self.attach()
        parts = self._parts(tensor)
        inputs, outputs = _size(parts)
        values = np.asarray(x, np.float64)
        batch = np.atleast_2d(values)
        if batch.ndim != 2 or batch.shape[1] != inputs or not np.all(np.isfinite(batch)):
            raise BadInputError(f"matmul: x must be finite, of the shape (batch, {inputs}), not {values.shape}")
        if not len(batch):
            return np.zeros((0, outputs))
        assert self.chip is not None
        top, largest = self.chip.info.input_max, float(np.abs(batch).max(initial=0.0)) or 1.0
        codes = np.rint(batch / largest * top).astype(np.int32)
        result = np.zeros((len(batch), outputs))
        for tile, region in parts:
            if tile.correction is None:
                raise BadInputError("matmul: the columns of this run were not calibrated; program again")
            rows, first = tile.tile.place.rows, tile.tile.first_input
            part = tile.correction.apply(region.mvm(codes[:, first : first + rows]))
            columns = slice(tile.tile.first_output, tile.tile.first_output + tile.tile.place.columns)
            result[:, columns] += tile.tile.in_output_order(part)
        return (result * largest)[0] if values.ndim == 1 else result * largest

    def _parts(self, tensor: str | None) -> list[tuple[TileRecord, Region]]:
        names = list(dict.fromkeys(tile.tile.tensor for tile in self.tiles))
        if tensor is None and len(names) > 1:
            raise BadInputError(f"this run holds {', '.join(names)}; say which tensor to multiply by")
        if tensor is not None and tensor not in names:
            raise BadInputError(f"no tensor '{tensor}' was programmed; there are {', '.join(names)}")
        wanted = tensor or names[0]
        pairs = zip(self.tiles, self._regions, strict=True)
        return [(tile, region) for tile, region in pairs if tile.tile.tensor == wanted]


def _size(parts: Sequence[tuple[TileRecord, Region]]) -> tuple[int, int]:
    tiles = [tile.tile for tile, _ in parts]
    return (
        max(tile.first_input + tile.place.rows for tile in tiles),
        max(tile.first_output + tile.place.columns for tile in tiles),
    )
