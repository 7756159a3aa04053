"""Pages of programming runs and of comparisons of methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwloop import plot
from hwloop.durations import format_duration
from hwloop.files.hdf5 import Attribute
from hwloop.files.runs import RunRecord, TileRecord
from hwloop.mapping.names import shortened
from hwloop.pages.page import Column, Fact, Page, Picture, Table
from hwloop.pages.texts import counted
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


def page_of_run(run: RunRecord) -> Page:
    """Make the page of a run."""
    return Page(
        kind="run",
        title=f"{run.method} on {run.backend}",
        verdict=verdict_of(run),
        facts=facts_of(run),
        tables=(table_of_tiles(run.tiles),),
        pictures=pictures_of_run(run),
        warnings=warnings_of(run),
        provenance=provenance_of(run),
    )


def verdict_of(run: RunRecord) -> str:
    """Say how well the weights sit, in a sentence."""
    error = finite(run.mvm_error)
    if run.status != "complete" or error is None:
        return UNFINISHED.get(run.status, "The error was not measured.")
    low, high = run.mvm_error_interval
    between = f" (95 %: {low:.4f} to {high:.4f})" if finite(low) is not None and finite(high) is not None else ""
    how = "" if run.mvm_error_from == "mvm" else ", computed from device reads"
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
        Fact("chip time", format_duration(chip_time)),
        Fact("computer time", format_duration(run.wall_seconds)),
        Fact("cells given up", f"{given_up:,}"),
    ]
    if stuck:
        facts.append(Fact("stuck devices", f"{sum(int(one.sum()) for one in stuck):,}"))
    if run.temperature is not None:
        facts.append(Fact("chip temperature", f"{run.temperature:.1f} K"))
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
    if asked.calibration:
        facts.append(Fact("calibration", f"{asked.calibration} of {run.calibration_created[:16]} UTC"))
    if run.programmed_utc is not None:
        facts.append(Fact("end of programming", f"{run.programmed_utc:%Y-%m-%d %H:%M} UTC"))
    return tuple(facts)


def _brief(value: Attribute) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


TILE_COLUMNS = (
    Column("tensor"),
    Column("core"),
    Column("cells"),
    Column("first error", style=".4f"),
    Column("MVM error", style=".4f"),
    Column("pulses", "a device", ".2f"),
    Column("cells given up"),
    Column("stuck cells"),
    Column("MVM vectors"),
)


def table_of_tiles(tiles: Sequence[TileRecord]) -> Table:
    """Make the table of a run's tiles."""
    names = shortened([tile.tile.tensor for tile in tiles], 24)
    rows = []
    for tile in tiles:
        told, place = tile.to_json(), tile.tile.place
        counts = tuple(int(str(told[name])) for name in ("unconverged_cells", "stuck_cells", "mvms"))
        size = f"{place.rows} x {place.columns}"
        errors = (finite(tile.mvm_error_before), finite(tile.mvm_error))
        rows.append((names[tile.tile.tensor], str(place.core), size, *errors, tile.pulses_per_device, *counts))
    return Table(
        "Tiles", TILE_COLUMNS, tuple(rows), "The first error is what the first pass left, as the method saw it."
    )


def pictures_of_run(run: RunRecord) -> tuple[Picture, ...]:
    """List what can be drawn of a run; maps are those of its largest tile."""
    if not run.tiles:
        return ()
    tile = run.largest_tile
    where = f"{tile.tile.tensor} on core {tile.tile.place.core}"
    return (
        Picture(
            "error-vs-step",
            "Error against step",
            f"The error that {run.method} saw of {where} should fall and level off{_second_rise([run])}; the star is "
            "what was measured afterwards, with fresh inputs.",
            lambda ax: plot.error_against_step([run], ax),
        ),
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
    if tile.pulses is not None:
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
    unfinished = () if comparison.status == "complete" else (UNFINISHED["interrupted"],)
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
    )


def _table_of_methods(comparison: Comparison) -> Table:
    floor = finite(comparison.noise_floor)
    columns = (
        Column("method"),
        Column("MVM error", style=".4f"),
        Column("over the floor", style=".3f"),
        Column("pulses", "a device", ".2f"),
        Column("reads", "a device", ".1f"),
        Column("chip time", "s", ".1f"),
        Column("95 % interval"),
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
        rows.append((name, error, over, *shares, seconds, between))
    return Table("Methods", columns, tuple(rows))
