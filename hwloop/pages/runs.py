"""Pages of programming runs and of comparisons of methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwloop import plot
from hwloop.durations import format_duration, format_elapsed
from hwloop.files.hdf5 import Attribute
from hwloop.files.runs import RunRecord, TileRecord
from hwloop.pages.page import Column, Fact, Page, Picture, Table
from hwloop.pages.texts import counted, quoted
from hwloop.units import finite

if TYPE_CHECKING:
    from hwloop.jobs.compare import Comparison

UNFINISHED = {
    "interrupted": "The run was stopped before its end; hwloop resume goes on with it.",
    "failed": "The run failed before its end; what was done is here, and hwloop resume goes on with it.",
    "killed": "The run was killed; what was done until the last commit is here, and hwloop resume goes on with it.",
    "running": "The run is still going on; what was done until the last commit is here.",
}
"""What to say of a run by its status."""
NO_MVM = "computed from device reads, without converters and wires, as the chip has no MVM"
"""How the error of a chip without MVM comes about."""


def page_of_run(run: RunRecord) -> Page:
    """Make the page of a run."""
    return Page(
        kind="run",
        title=f"{run.method} on {run.backend}",
        verdict=verdict_of(run),
        facts=facts_of(run),
        tables=tables_of_tiles(run.tiles),
        pictures=pictures_of_run(run),
        warnings=warnings_of(run),
        provenance=provenance_of(run),
        onward=onward_of(run),
    )


def onward_of(run: RunRecord) -> tuple[Fact, ...]:
    """Say how to go on with the file of a run."""
    if not run.name:
        return ()
    if run.status != "complete":
        return (Fact(f"hwloop resume {quoted(run.name)}", "goes on where it stopped"),)
    again = Fact(f"hwloop evaluate {quoted(run.name)}", "measures it again")
    return (
        *(() if run.provenance.of_fleet else (again,)),
        Fact(f"hwloop show {quoted(run.name)} --verbose", "shows all, with settings"),
        Fact(f"hwloop report {quoted(run.name)} --out report.html", "makes a page with pictures"),
    )


def verdict_of(run: RunRecord) -> str:
    """Say how well the weights sit, in a sentence."""
    error = finite(run.mvm_error)
    if run.status != "complete" or error is None:
        return UNFINISHED.get(run.status, "The error was not measured.")
    low, high = run.mvm_error_interval
    between = f" (95 %: {low:.4f} to {high:.4f})" if finite(low) is not None and finite(high) is not None else ""
    how = "" if run.mvm_error_from == "mvm" else f", {NO_MVM}"
    return f"MVM error {error:.4f}{between}{how}, {format_duration(run.age)} after programming."


def facts_of(run: RunRecord) -> tuple[Fact, ...]:
    """Sum up what the run took."""
    tiles = run.tiles
    devices = sum(tile.pulses.size for tile in tiles if tile.pulses is not None)
    pulses = sum(int(tile.pulses.sum()) for tile in tiles if tile.pulses is not None)
    told = [tile.to_json() for tile in tiles]
    cores = {tile.tile.place.core for tile in tiles}
    stuck = [tile.stuck_devices for tile in tiles if tile.stuck_devices is not None]
    given_up = sum(int(tile.unconverged.sum()) for tile in tiles if tile.unconverged is not None)
    chip_time = max((float(str(one["chip_seconds"])) for one in told), default=0.0)
    facts = [
        Fact(
            "weights", f"{Path(run.provenance.weights).name}, {counted(len({t.tile.tensor for t in tiles}), 'matrix')}"
        ),
        Fact("placed on", f"{counted(len(tiles), 'tile')} of {counted(len(cores), 'core')}"),
        Fact("pulses", f"{pulses:,}, {pulses / devices:.2f} a device" if devices else "none counted"),
        Fact("MVM vectors", f"{sum(int(str(one['mvms'])) for one in told):,}"),
        Fact("device reads", f"{sum(int(str(one['device_reads'])) for one in told):,}"),
        Fact("chip time", format_elapsed(chip_time)),
        Fact("computer time", format_elapsed(run.wall_seconds)),
        Fact("cells given up", f"{given_up:,}"),
    ]
    if stuck:
        facts.append(Fact("stuck devices", f"{sum(int(one.sum()) for one in stuck):,}"))
    if run.temperature is not None:
        facts.append(Fact("chip temperature", f"{run.temperature:.1f} K"))
    sampled = {t.tile.tensor: t.mvm_error_inputs for t in tiles if finite(t.mvm_error_inputs) is not None}
    if sampled:
        errors = ", ".join(f"{name} {error:.4f}" for name, error in sampled.items())
        facts.append(Fact("MVM error with sample inputs", errors))
    if run.provenance.calibration:
        parts = ", ".join(part.replace("_", " ") for part in run.calibration_parts)
        created = run.calibration_created[:16]
        facts.append(Fact("calibration", f"{run.provenance.calibration} of {created} UTC: {parts}"))
    return tuple(facts)


def warnings_of(run: RunRecord) -> tuple[str, ...]:
    """Say what a reader must know of a run."""
    found = [f"{tile.tile.tensor}: {tile.tile.clipping}." for tile in run.tiles if tile.tile.clipping is not None]
    error = finite(run.mvm_error)
    if error is not None and error >= 1.0:
        found.append(f"An MVM error of {error:.3g} is no better than an output of zero.")
    return tuple(found)


def provenance_of(run: RunRecord) -> tuple[Fact, ...]:
    """Say what was asked for: enough to do it again."""
    asked = run.provenance
    settings = ", ".join(f"{name}={_brief(value)}" for name, value in asked.settings.items())
    facts = [
        Fact("file", run.name or "none"),
        Fact("chip", asked.backend),
        Fact("method", f"{asked.method} with {settings}" if settings else asked.method),
        Fact("weights", f"{asked.weights}, SHA-256 {asked.weights_sha256}"),
        Fact("seed", str(asked.seed)),
        Fact("status", run.status),
    ]
    if run.programmed_utc is not None:
        facts.append(Fact("end of programming", f"{run.programmed_utc:%Y-%m-%d %H:%M} UTC"))
    return tuple(facts)


def _brief(value: Attribute) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


TILE_COLUMNS = (
    Column("tensor", names=True),
    Column("core"),
    Column("cells"),
    Column("first error", style=".4f"),
    Column("MVM error", style=".4f"),
    Column("pulses", "a device", ".2f"),
    Column("cells given up"),
    Column("stuck cells"),
    Column("MVM vectors"),
)


def tables_of_tiles(tiles: Sequence[TileRecord]) -> tuple[Table, ...]:
    """Make the table of a run's tiles, below one of its matrices where these are in several tiles."""
    rows = []
    for tile in tiles:
        told, place = tile.to_json(), tile.tile.place
        counts = tuple(int(str(told[name])) for name in ("unconverged_cells", "stuck_cells", "mvms"))
        size = f"{place.rows} x {place.columns}"
        errors = (finite(tile.mvm_error_before), finite(tile.mvm_error))
        rows.append((tile.tile.tensor, str(place.core), size, *errors, tile.pulses_per_device, *counts))
    several = len({tile.tile.tensor for tile in tiles}) < len(tiles)
    note = "The first error is what the first pass left, as the method saw it."
    each = Table("Tiles", TILE_COLUMNS, tuple(rows), note, detail=several)
    return (_table_of_matrices(tiles), each) if several else (each,)


MATRIX_COLUMNS = (
    Column("tensor", names=True),
    Column("tiles"),
    Column("cores"),
    Column("cells"),
    Column("MVM error", style=".4f"),
    Column("worst tile", style=".4f"),
    Column("pulses", "a device", ".2f"),
    Column("cells given up"),
)


def _table_of_matrices(tiles: Sequence[TileRecord]) -> Table:
    """Sum up the tiles of each matrix."""
    rows = []
    for name in dict.fromkeys(tile.tile.tensor for tile in tiles):
        own = [tile for tile in tiles if tile.tile.tensor == name]
        cells = [tile.tile.target.size for tile in own]
        known = [
            (tile.mvm_error**2, size) for tile, size in zip(own, cells, strict=True) if math.isfinite(tile.mvm_error)
        ]
        error = math.sqrt(sum(one * size for one, size in known) / sum(size for _, size in known)) if known else None
        worst = max((tile.mvm_error for tile in own if math.isfinite(tile.mvm_error)), default=None)
        pulses = [tile.pulses for tile in own if tile.pulses is not None]
        devices = sum(one.size for one in pulses)
        a_device = sum(int(one.sum()) for one in pulses) / devices if devices else None
        given_up = sum(int(str(tile.to_json()["unconverged_cells"])) for tile in own)
        cores = len({tile.tile.place.core for tile in own})
        rows.append((name, len(own), cores, sum(cells), error, worst, a_device, given_up))
    note = "The error of a matrix is the root mean square over its tiles, by their cells."
    return Table("Matrices", MATRIX_COLUMNS, tuple(rows), note)


def pictures_of_run(run: RunRecord) -> tuple[Picture, ...]:
    """List what can be drawn of a run; maps are those of its largest tile."""
    if not run.tiles:
        return ()
    tile = run.largest_tile
    where = f"{tile.tile.tensor} on core {tile.tile.place.core}"
    course = Picture(
        "error-vs-step",
        "Error against step",
        f"The error that {run.method} saw of {where} should fall and level off{_second_rise([run])}; the star is "
        "what was measured afterwards, with fresh inputs.",
        lambda ax: plot.error_against_step([run], ax),
    )
    return (
        *([course] if np.isfinite(tile.steps.mvm_error).any() else ()),  # 'exact' takes no steps
        *(_maps(tile, where) if tile.reached is not None else ()),
        *_counts(tile),
        Picture(
            "occupancy",
            "Cores",
            "Which cells of which core each matrix takes.",
            lambda ax: plot.occupancy(run.tiles, ax),
        ),
    )


def _second_rise(runs: Sequence[RunRecord]) -> str:
    """Explain what is seen of program-and-verify with several devices per polarity."""
    several = any(one.method == "iterative" and one.tiles[0].pulses is not None for one in runs)
    if not several or all(one.tiles[0].pulses.shape[1] == 1 for one in runs if one.tiles[0].pulses is not None):
        return ""
    return "; program-and-verify rises once, where it begins with the next device of each polarity"


def _maps(tile: TileRecord, where: str) -> tuple[Picture, ...]:
    """List the pictures of what a tile reached."""
    return (
        Picture(
            "target",
            "Targets",
            f"The conductances that {where} was to reach.",
            lambda ax: plot.target_map(tile, ax),
        ),
        Picture(
            "reached",
            "Reached",
            "The same as MVMs showed it: it should look like the targets.",
            lambda ax: plot.reached_map(tile, ax),
        ),
        Picture(
            "difference",
            "Difference",
            "Reached minus target: stripes are columns or rows that are wrong as a whole, dots are single cells.",
            lambda ax: plot.difference_map(tile, ax),
        ),
        Picture(
            "error-by-conductance",
            "Error by conductance",
            "How far cells are off by what they were to be: a mean away from zero is an error in common.",
            lambda ax: plot.error_by_conductance(tile, ax),
        ),
        Picture(
            "outputs",
            "Outputs against ideal",
            "Outputs that the reached conductances give, over those of the targets: points should lie on the line.",
            lambda ax: plot.outputs_against_ideal(tile, ax),
        ),
    )


def _counts(tile: TileRecord) -> list[Picture]:
    """List the pictures of what programming a tile took and gave up, as far as it is known."""
    found = []
    if tile.pulses is not None and tile.pulses.any():  # 'exact' sends none
        caption = "How many pulses devices took: a long tail are devices that were hard to set."
        found.append(Picture("pulses", "Pulses", caption, lambda ax: plot.pulse_histogram(tile, ax)))
    if tile.unconverged is not None and tile.stuck is not None:
        caption = "Cells that did not reach their targets, and those with a stuck device."
        found.append(Picture("given-up", "Cells given up", caption, lambda ax: plot.fault_map(tile, ax)))
    return found


# ---- comparisons ---------------------------------------------------------------------------------------------


def page_of_comparison(comparison: Comparison) -> Page:
    """Make the page of a comparison of methods."""
    known = {name: comparison.mvm_error(name) for name in comparison.runs}
    reached = {name: error for name, error in known.items() if finite(error) is not None and name != "exact"}
    best = min(reached, key=lambda name: reached[name], default=None)
    floor = finite(comparison.noise_floor)
    over = f", {reached[best] / floor:.3f} times the noise floor" if best and floor else ""
    verdict = f"{best} is best: MVM error {reached[best]:.4f}{over}." if best else "No method was finished."
    records = [[run.record for run in each] for each in comparison.runs.values()]
    firsts = [each[0] for each in records if each]
    pictures = [
        Picture(
            "results",
            "Results",
            "The error of each method beside the noise floor, the error with every conductance on target; dots are "
            "repeats.",
            lambda ax: plot.results_of_methods(records, ax, floor=floor),
        ),
        Picture(
            "error-vs-step",
            "Error against step",
            f"How fast each method comes down to the noise floor{_second_rise(firsts)}.",
            lambda ax: plot.error_against_step(firsts, ax, floor=floor),
        ),
        Picture(
            "error-by-conductance",
            "Error by conductance",
            "Where each method leaves its errors, by what cells were to be.",
            lambda ax: plot.errors_by_conductance(firsts, ax),
        ),
    ]
    stopped = "The comparison was stopped before its end; the table has what was finished."
    unfinished = () if comparison.status == "complete" else (stopped,)
    return Page(
        kind="comparison",
        title=f"{', '.join(comparison.runs)} on {comparison.backend}",
        verdict=verdict,
        facts=(
            Fact("weights", Path(comparison.weights).name),
            Fact("repeats", str(max((len(each) for each in comparison.runs.values()), default=0))),
            Fact("noise floor", "not measured; the method exact does" if floor is None else f"{floor:.4f}"),
        ),
        tables=(_table_of_methods(comparison),),
        pictures=tuple(pictures) if firsts else (),
        warnings=unfinished,
        provenance=(
            Fact("file", comparison.name or "none"),
            Fact("chip", comparison.backend),
            Fact("status", comparison.status),
            *(Fact(f"method {run.method}", provenance_of(run)[2].text) for run in firsts),
        ),
        onward=_onward_of_comparison(comparison),
    )


def _onward_of_comparison(comparison: Comparison) -> tuple[Fact, ...]:
    """Say how to go on with the file of a comparison."""
    if not comparison.name:
        return ()
    if comparison.status != "complete":
        return (Fact(f"hwloop resume {quoted(comparison.name)}", "goes on where it stopped"),)
    return (
        Fact(f"hwloop plot {quoted(comparison.name)} results --out fig.pdf", "draws the errors"),
        Fact(f"hwloop report {quoted(comparison.name)} --out report.html", "makes a page with pictures"),
    )


def _table_of_methods(comparison: Comparison) -> Table:
    floor = finite(comparison.noise_floor)
    columns = (
        Column("method"),
        Column("MVM error", style=".4f"),
        Column("95 % interval"),
        Column("over the floor", style=".3f"),
        Column("pulses", "a device", ".2f"),
        Column("reads", "a device", ".1f"),
        Column("MVM vectors", "a core"),
        Column("chip time", "s", ".1f"),
    )
    rows = []
    for name, runs in comparison.runs.items():
        error, (low, high) = finite(comparison.mvm_error(name)), comparison.mvm_error_interval(name)
        tiles = runs[0].tiles
        devices = sum(tile.pulses.size for tile in tiles if tile.pulses is not None)
        pulses = sum(int(tile.pulses.sum()) for tile in tiles if tile.pulses is not None)
        told = [tile.to_json() for tile in tiles]
        reads = sum(int(str(one["device_reads"])) for one in told)
        seconds = max((float(str(one["chip_seconds"])) for one in told), default=None)
        between = f"{low:.4f} to {high:.4f}" if finite(low) is not None and finite(high) is not None else None
        over = error / floor if error is not None and floor else None
        shares = (pulses / devices, reads / devices) if devices else (None, None)
        cores = len({tile.tile.place.core for tile in tiles})
        vectors = round(sum(int(str(one["mvms"])) for one in told) / cores) if cores else None
        rows.append((name, error, between, over, *shares, vectors, seconds))
    return Table("Methods", columns, tuple(rows), _how_measured(comparison))


def _how_measured(comparison: Comparison) -> str:
    """Say what the errors of a comparison are."""
    record = next((runs[0].record for runs in comparison.runs.values() if runs), None)
    if record is None:
        return ""
    how = "after periphery calibration" if record.mvm_error_from == "mvm" else NO_MVM
    return f"Errors are measured {format_duration(record.age)} after programming with fresh inputs, {how}."
