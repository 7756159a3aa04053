"""Writes the figures that README.md and docs/ show, by running what they describe.

    python benchmarks/figures.py            every figure
    python benchmarks/figures.py --check    change nothing; exit with 1 where a page says something else

A page marks a figure with the line `<!-- figure NAME -->` before it and `<!-- end -->` behind it. Numbers are rounded
to the digits that are the same on every kind of CPU: a run repeats bit for bit on one kind, and statistically on
another. It takes some minutes, with `--check` as long.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

from programming import clipped_gaussian

import hwloop

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/drift.md", "docs/methods.md")
BLOCK = re.compile(r"(<!-- figure ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
SEEDS = range(101, 106)
"""Seeds that nothing was developed on."""


def rounded(value: float, digits: int = 2) -> str:
    """Write a number to so many significant digits, without an exponent."""
    if value == 0 or value != value:
        return "-"
    shown = Decimal(f"{value:.{digits}g}")
    return f"{shown:,.0f}".replace(",", " ") if abs(shown) >= 10 ** (digits - 1) else f"{shown.normalize():f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def devices_of(run: hwloop.Run) -> int:
    """Count the devices of all tiles."""
    return sum(tile.pulses.size for tile in run.tiles if tile.pulses is not None)


def per_method(comparison: hwloop.Comparison) -> list[list[str]]:
    """Give a row of figures for each method."""
    rows = []
    for name, (run, *_) in comparison.runs.items():
        error, floor = comparison.mvm_error(name), comparison.noise_floor
        devices = devices_of(run)
        pulses = sum(int(tile.pulses.sum()) for tile in run.tiles if tile.pulses is not None) / devices
        reads = sum(tile.steps.device_reads[-1] for tile in run.tiles) / devices
        vectors = sum(tile.steps.mvms[-1] for tile in run.tiles) / len({tile.tile.place.core for tile in run.tiles})
        seconds = max(tile.steps.chip_time[-1] for tile in run.tiles)
        rows.append(
            [
                name, rounded(error), rounded(error / floor), rounded(pulses), rounded(reads), rounded(vectors, 3),
                rounded(seconds, 3),
            ]
        )  # fmt: skip
    return rows


HEAD = ("method", "MVM error", "over the floor", "pulses per device", "reads per device", "MVM vectors", "chip seconds")


def demo() -> str:
    """Run what `make demo` runs."""
    comparison = hwloop.compare("sim:hermes-core?seed=1", str(ROOT / "data/digits_mlp.safetensors"))
    return table(HEAD, per_method(comparison))


def reached() -> str:
    """Program the standard matrix on fresh seeds and take medians."""
    methods = ("exact", "gdp", "iterative", "sgd")
    every: list[list[list[float]]] = []
    for seed in SEEDS:
        found = hwloop.compare(f"sim:hermes-core?seed={seed}", clipped_gaussian(256, 256, seed), methods, seed=seed)
        floor = found.noise_floor
        every.append(
            [
                [
                    found.mvm_error(name),
                    found.mvm_error(name) / floor,
                    run.tiles[0].pulses_per_device,
                    run.tiles[0].steps.device_reads[-1] / devices_of(run),
                    run.tiles[0].steps.mvms[-1],
                    run.tiles[0].steps.chip_time[-1],
                ]
                for name, (run,) in found.runs.items()
            ]
        )
    medians = [[statistics.median(column) for column in zip(*rows, strict=True)] for rows in zip(*every, strict=True)]
    digits = (2, 2, 2, 2, 3, 3)
    rows = [[name, *map(rounded, row, digits)] for name, row in zip(methods, medians, strict=True)]
    return table(HEAD, rows)


def year() -> str:
    """Let a programmed core age for a year with each compensation."""
    names = ("none", "global", "column", "predictive", "refresh")
    with tempfile.TemporaryDirectory() as folder, hwloop.connect("sim:hermes-core?seed=101") as chip:
        run = hwloop.program(chip, clipped_gaussian(256, 256, 101), seed=101, out=Path(folder) / "run.h5")
        study = hwloop.drift(run, chip, ["1h", "30d", "1y"], names)
    rows = [
        [name, *(rounded(error) for error in course.mvm_error), rounded(course.pulses[-1] / study.devices)]
        for name, course in study.courses.items()
    ]
    return table(("compensation", "1 h", "30 d", "1 y", "pulses per device"), rows)


FIGURES: dict[str, Callable[[], str]] = {"demo": demo, "reached": reached, "year": year}


def main() -> None:
    """Rewrite the figures of all pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check, made, stale = parser.parse_args().check, dict[str, str](), list[str]()

    def figure(match: re.Match[str]) -> str:
        name = match[2]
        made.setdefault(name, FIGURES[name]())
        if match[3] != made[name]:
            stale.append(name)
        return match[1] + made[name] + match[4]

    for page in PAGES:
        path = ROOT / page
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        fresh = BLOCK.sub(figure, text)
        if not check and fresh != text:
            path.write_text(fresh, encoding="utf-8")
    print(f"{', '.join(stale) or 'nothing'} {'is stale' if check else 'changed'}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
