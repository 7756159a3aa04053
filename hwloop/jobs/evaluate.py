"""Measures the MVM error of what the chip of a run holds now."""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import dataclass
from pathlib import Path

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.use import region_of
from hwloop.calibration.error_interval import error_interval, weight_noise
from hwloop.calibration.evaluation import evaluate_tile, overall_error
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError
from hwloop.files.run_reader import read_run
from hwloop.jobs.exclusive import exclusive
from hwloop.jobs.inputs import UsedCalibration, calibration_from
from hwloop.jobs.program import warn_of_useless
from hwloop.jobs.run import Run
from hwloop.notebook.card import Cell, card
from hwloop.typing import Json
from hwloop.units import finite, finite_interval


@dataclass(frozen=True)
class TileEvaluation:
    """MVM error of one tile."""

    core: int
    tensor: str
    mvm_error: float

    def to_json(self) -> dict[str, Json]:
        """Give one entry of `cores` in the JSON of `hwloop evaluate`."""
        return {"core": self.core, "tensor": self.tensor, "mvm_error": finite(self.mvm_error)}


@dataclass(frozen=True)
class Evaluation:
    """What a chip holds now, beside what it held when it was programmed.

    Parameters
    ----------
    run, backend, method
        File of the run, URI of the chip, and the method that programmed it.
    mvm_error
        Relative MVM error over all tensors now, with fresh column gains and fresh inputs.
    mvm_error_interval
        Two ends between which another evaluation of the unchanged chip finds it in 95 of 100 cases; NaN where unknown.
    mvm_error_from
        'mvm', or 'device-reads' on a chip that has no MVM.
    mvm_error_in_run
        The error when it was programmed; NaN for a run that was stopped before.
    mvm_error_interval_in_run
        Its interval; NaN in files that did not record it.
    chip_clock
        The chip's clock, seconds.
    calibration
        File of the calibration through which outputs were read; empty for none.
    tiles
        Tile by tile.
    """

    run: str
    backend: str
    method: str
    mvm_error: float
    mvm_error_from: str
    mvm_error_in_run: float
    chip_clock: float
    calibration: str
    tiles: tuple[TileEvaluation, ...]
    mvm_error_interval: tuple[float, float] = (math.nan, math.nan)
    mvm_error_interval_in_run: tuple[float, float] = (math.nan, math.nan)

    @property
    def moved(self) -> bool | None:
        """Whether the error lies outside the run's interval, by more than inputs and noise; None where unknown."""
        low, high = self.mvm_error_interval_in_run
        known = all(map(math.isfinite, (low, high, self.mvm_error)))
        return not low <= self.mvm_error <= high if known else None

    def to_json(self) -> dict[str, Json]:
        """Summarise as the JSON object of `hwloop evaluate`."""
        return {
            "run": self.run,
            "backend": self.backend,
            "method": self.method,
            "calibration": self.calibration or None,
            "mvm_error": finite(self.mvm_error),
            "mvm_error_interval": finite_interval(self.mvm_error_interval),
            "mvm_error_from": self.mvm_error_from,
            "mvm_error_in_run": finite(self.mvm_error_in_run),
            "mvm_error_interval_in_run": finite_interval(self.mvm_error_interval_in_run),
            "moved": self.moved,
            "chip_clock_seconds": self.chip_clock,
            "cores": [tile.to_json() for tile in self.tiles],
            "hwloop_version": importlib.metadata.version("hwloop"),
        }

    def _repr_html_(self) -> str:
        facts: dict[str, Cell] = {
            "MVM error now": self.mvm_error, "when it was programmed": self.mvm_error_in_run, "method": self.method,
        }  # fmt: skip
        told = {None: "", True: "the chip has moved", False: "within what it was"}[self.moved]
        return card(f"Evaluation on {self.backend}", told, facts)

    def __repr__(self) -> str:
        return f"<Evaluation on {self.backend}: MVM error {self.mvm_error:.4f}, was {self.mvm_error_in_run:.4f}>"


@exclusive
def evaluate(
    run: Run | str | Path,
    chip: Backend | None = None,
    *,
    seed: int = 1,
    calibration: Calibration | UsedCalibration | str | Path | None = None,
) -> Evaluation:
    """Measure the MVM error of what the chip of a run holds now, with fresh column gains and fresh inputs.

    Parameters
    ----------
    run
        A run, or its file.
    chip
        The open chip that holds it; None for the one that a fresh run knows, or the simulated preset of a file. A
        simulated chip other than the run's own is brought back to the state in which the run left it; a real chip is
        measured as it is.
    seed
        Of probes and inputs.
    calibration
        Through which outputs are read; None for the run's own.

    Raises
    ------
    BadInputError
        For a run without a state, another chip, and a calibration that cannot be found.
    """
    run = load_run(run)
    used = calibration_from(calibration)
    if chip is not None and chip is run.chip:
        chip = None
    backend = run.attach(chip, used.calibration if used else None)
    known = used.calibration if used else run.calibration
    tiles = [tile.tile for tile in run.tiles]
    regions = [region_of(backend, tile, known) for tile in tiles]
    outputs = [
        (tile, evaluate_tile(region, tile, seed, number)[1])
        for number, (region, tile) in enumerate(zip(regions, tiles, strict=True))
    ]
    since = backend.now() - run.record.programmed_at if run.record.programmed_at is not None else run.age
    noise = [weight_noise(*both, max(since, run.age)) for both in zip(regions, tiles, strict=True)]
    error = overall_error(outputs)
    warn_of_useless(error)
    return Evaluation(
        run=run.record.name,
        backend=backend.uri or run.record.backend,
        method=run.method,
        mvm_error=error,
        mvm_error_from="mvm" if Capability.MVM in backend.info.capabilities else "device-reads",
        mvm_error_in_run=run.mvm_error,
        chip_clock=backend.now(),
        calibration=used.name if used else calibration_name(run),
        mvm_error_interval=error_interval(outputs, noise),
        mvm_error_interval_in_run=run.mvm_error_interval,
        tiles=tuple(TileEvaluation(tile.place.core, tile.tensor, found.mvm_error) for tile, found in outputs),
    )


def load_run(run: Run | str | Path) -> Run:
    """Take a run as it is, or read its file. Raises BadInputError for a file that is none."""
    if isinstance(run, Run):
        return run
    if isinstance(run, str | Path):
        return Run(read_run(run))
    raise BadInputError(f"{type(run).__name__} is no run; give what hwloop.program returns, or a run file")


def calibration_name(run: Run) -> str:
    """Name the calibration that was found beside the run; empty where there is none."""
    used = run.record.provenance.calibration
    return str(Path(run.record.name).parent / Path(used).name) if used and run.calibration is not None else ""
