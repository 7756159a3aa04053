"""GDP and program-and-verify on matrices and chips that neither was tuned on: who is how far from the noise floor.

    python benchmarks/programming_table.py [--quick] [--rows PATTERN] [--seeds N] [--workers N] [--results FILE]

A row is a matrix on a chip at an age. Each seed makes a chip and a matrix of its own, on which both methods and
`exact`, the floor, run at their defaults. The ratio of GDP's error to that of program-and-verify comes with its 95 %
interval over seeds; the worst rows come first, and a star marks those that are worse than 1.03 by their interval.
With --results every run is appended to a JSON-lines file, and what is in it already is not run again.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import json
import math
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from machine import machine, verdict
from scipy.stats import t as student

METHODS = ("gdp", "iterative", "exact")
"""Methods of a row; the last one is the floor."""
SMALL = 1000
"""Cells below which a tile is small: its error scatters from seed to seed, and it takes no time."""
LARGE_SHAPE, QUICK_SHAPE = (128, 96), (48, 32)
"""Rows and columns of a matrix that has no shape of its own."""
LIMIT = 1.03
"""Ratio of GDP to program-and-verify that no row should exceed."""

Draw = Callable[[np.random.Generator, int, int], np.ndarray]


def _gaussian(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return np.clip(rng.standard_normal((rows, columns)), -3, 3)


def _sparse(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return _gaussian(rng, rows, columns) * (rng.random((rows, columns)) < 0.05)


def _rank_one(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.standard_normal((rows, 1)) * rng.standard_normal((1, columns))


def _outlier(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    weights = _gaussian(rng, rows, columns)
    weights[rows // 3, columns // 3] = 50.0
    return weights


MATRICES: dict[str, tuple[Draw, tuple[int, int] | None]] = {
    "gaussian": (_gaussian, None),
    "uniform": (lambda rng, rows, columns: rng.uniform(-1, 1, (rows, columns)), None),
    "positive": (lambda rng, rows, columns: rng.uniform(0, 1, (rows, columns)), None),
    "sparse": (_sparse, None),
    "rank-1": (_rank_one, None),
    "outlier": (_outlier, None),
    "constant": (lambda rng, rows, columns: np.full((rows, columns), 0.7), None),
    "equal-columns": (lambda rng, rows, columns: np.repeat(_gaussian(rng, rows, 1), columns, 1), None),
    "identity": (lambda rng, rows, columns: np.eye(min(rows, columns)), None),
    "student-t": (lambda rng, rows, columns: rng.standard_t(3, (rows, columns)), None),
    "3x256": (_gaussian, (3, 256)),
    "256x1": (_gaussian, (256, 1)),
    "17x5": (_gaussian, (17, 5)),
    "1x1": (_gaussian, (1, 1)),
}
"""Matrix (rows, columns) by name, and the shape of those that have one of their own."""

PRESETS = ("hermes-core", "pcm-90nm")
AGES = (None, 3600.0)
"""Target ages in seconds; None is the chip's own."""
OPTIONS: dict[str, tuple[float, ...]] = {
    "adc_bits": (4, 6, 8, 10, 12),
    "wire_resistance": (0.5, 2, 10),
    "stuck_rate": (0, 0.005, 0.02, 0.05),
    "read_noise": (0.3, 2, 5),
    "adc_noise": (4,),
    "current_error": (-0.2, -0.15, -0.1, -0.05, 0.05, 0.1, 0.15, 0.2),
}
"""Chip options, each tried alone."""
QUICK = ("gaussian", "sparse", "17x5", "1x1")
QUICK_OPTIONS = {"adc_bits": (4,), "stuck_rate": (0.02,), "current_error": (-0.2, 0.2)}


@dataclass(frozen=True)
class Row:
    """A matrix on a chip at an age."""

    matrix: str
    preset: str
    age: float | None
    option: str
    """As in a chip's URI, such as 'adc_bits=4'; empty for none."""
    shape: tuple[int, int]

    @property
    def name(self) -> str:
        """What identifies the row, in tables, patterns and files."""
        rows, columns = self.shape
        age = "target age" if self.age is None else f"{self.age:g} s"
        return " ".join(filter(None, [self.matrix, f"{rows}x{columns}", self.preset, age, self.option]))

    @property
    def small(self) -> bool:
        """Whether the tile has so few cells that many seeds are needed."""
        return self.shape[0] * self.shape[1] < SMALL

    def weights(self, seed: int) -> np.ndarray:
        """Draw the matrix (outputs, inputs) of a seed."""
        return MATRICES[self.matrix][0](np.random.default_rng([seed, 77]), *self.shape).T

    def backend(self, seed: int) -> str:
        """Give the URI of the chip of a seed: as large as the tile, within reason."""
        rows, columns = (max(size, 32) for size in self.shape)
        return f"sim:{self.preset}?seed={seed}&rows={rows}&columns={columns}" + f"&{self.option}" * bool(self.option)


def table_rows(*, quick: bool = False) -> list[Row]:
    """List all rows of the table; few and small ones for a quick look."""

    def row(matrix: str, preset: str, age: float | None, option: str = "") -> Row:
        shape = MATRICES[matrix][1] or (QUICK_SHAPE if quick else LARGE_SHAPE)
        if matrix == "identity":
            shape = (min(shape), min(shape))
        return Row(matrix, preset, age, option, shape)

    plain = itertools.product(QUICK if quick else MATRICES, PRESETS, AGES)
    options = QUICK_OPTIONS if quick else OPTIONS
    alone = [f"{name}={value:g}" for name, values in options.items() for value in values]
    chosen = itertools.product(("gaussian",) if quick else ("gaussian", "sparse"), PRESETS, alone)
    return [row(*each) for each in plain] + [row(matrix, preset, None, option) for matrix, preset, option in chosen]


@dataclass(frozen=True)
class Summary:
    """A row over its seeds."""

    name: str
    seeds: int
    gdp: float
    """Median error over that of the floor."""
    verify: float
    """The same of program-and-verify."""
    ratio: float
    """Geometric mean of GDP's error over that of program-and-verify."""
    low: float
    high: float
    """Its 95 % interval."""
    pulses: float
    """Mean pulses per device of GDP."""

    def __str__(self) -> str:
        star = "*" if self.low > LIMIT else " "
        return (
            f"{self.ratio:6.3f} {self.low:6.3f} to {self.high:6.3f} {star} {self.gdp:7.3f} {self.verify:7.3f}"
            f"  {self.seeds:>3}  {self.pulses:5.2f}  {self.name}"
        )


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, float, float]:
    """Compute the geometric mean of ratios and its 95 % interval, by Student's t on their logarithms.

    Pairs that are not both positive numbers are left out. The ends are 0 and infinity for a single pair, and all is NaN
    for none.

    Parameters
    ----------
    numerators, denominators
        One pair for each seed.

    Returns
    -------
    tuple
        Mean, low end and high end.
    """
    pairs = [(a, b) for a, b in zip(numerators, denominators, strict=True) if 0 < a < math.inf and 0 < b < math.inf]
    if not pairs:
        return math.nan, math.nan, math.nan
    logs = np.log([a / b for a, b in pairs])
    mean = float(logs.mean())
    if len(logs) == 1:
        return math.exp(mean), 0.0, math.inf
    half = float(student.ppf(0.975, len(logs) - 1) * logs.std(ddof=1)) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def summarise(name: str, runs: Sequence[dict[str, float]]) -> Summary:
    """Summarise the runs of a row, one dictionary of errors by method for each seed."""
    gdp, verify, floor = ([run[method] for run in runs] for method in METHODS)

    def over_floor(errors: Sequence[float]) -> float:
        known = [a / b for a, b in zip(errors, floor, strict=True) if b > 0 and math.isfinite(a)]
        return statistics.median(known) if known else math.nan

    ratio, low, high = ratio_interval(gdp, verify)
    pulses = statistics.fmean(run["pulses"] for run in runs)
    return Summary(name, len(runs), over_floor(gdp), over_floor(verify), ratio, low, high, pulses)


def worst_first(summaries: Iterable[Summary]) -> list[Summary]:
    """Sort by the ratio, the highest first; rows without one come last."""
    return sorted(summaries, key=lambda one: -one.ratio if math.isfinite(one.ratio) else math.inf)


def run_row(row: Row, seed: int) -> dict[str, float]:
    """Program one matrix on one chip with all methods; return errors by method, and GDP's pulses per device."""
    import hwloop

    weights, found = hwloop.matrices({row.matrix: row.weights(seed)}), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a method warns of is its own business: its error is shown
        for method in METHODS:
            with hwloop.connect(row.backend(seed)) as chip:
                done = hwloop.program(chip, weights, method, age=row.age, seed=seed)
            found[method] = done.mvm_error
            if method == "gdp":
                found["pulses"] = done.tiles[0].pulses_per_device
    return found


def read_results(path: Path | None) -> dict[tuple[str, int], dict[str, float]]:
    """Read what was run before, by row and seed; a last line that was cut off is left out."""
    results = {}
    for line in path.read_text().splitlines() if path is not None and path.exists() else []:
        try:
            one = json.loads(line)
        except json.JSONDecodeError:
            continue
        results[one.pop("row"), one.pop("seed")] = one
    return results


def append_result(path: Path | None, row: str, seed: int, found: dict[str, float]) -> None:
    """Append one run to the file, on a line of its own also where the last one was cut off."""
    if path is not None:
        cut = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("a") as file:
            file.write("\n" * cut + json.dumps({"row": row, "seed": seed, **found}) + "\n")


def run_all(
    work: Sequence[tuple[Row, int]], path: Path | None, workers: int
) -> dict[tuple[str, int], dict[str, float]]:
    """Run what is not on file yet, and return all that was asked for."""
    known = read_results(path)
    left = [one for one in work if (one[0].name, one[1]) not in known]
    if workers > 1 and left:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for (row, seed), found in zip(left, pool.map(run_row, *zip(*left, strict=True)), strict=True):
                append_result(path, row.name, seed, found)
                known[row.name, seed] = found
    else:
        for row, seed in left:
            known[row.name, seed] = run_row(row, seed)
            append_result(path, row.name, seed, known[row.name, seed])
    return {(row.name, seed): known[row.name, seed] for row, seed in work}


def main() -> None:
    """Run the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows of small tiles, under two minutes")
    parser.add_argument("--rows", default="*", help="only rows whose name has this, or matches this pattern")
    parser.add_argument("--seeds", type=int, help="seeds of each row; 40 and 4 by default, 8 and 2 with --quick")
    parser.add_argument("--first-seed", type=int, default=101)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--results", type=Path, help="JSON-lines file to append to and to go on from")
    arguments = parser.parse_args()
    rows = [row for row in table_rows(quick=arguments.quick) if fnmatch.fnmatch(row.name, f"*{arguments.rows}*")]
    small, large = (8, 2) if arguments.quick else (40, 4)

    def seeds(row: Row) -> range:
        count = arguments.seeds or (small if row.small else large)
        return range(arguments.first_seed, arguments.first_seed + count)

    begin = time.perf_counter()
    # Seed by seed, so that a run that is stopped has something of every row.
    work = sorted(((row, seed) for row in rows for seed in seeds(row)), key=lambda one: one[1])
    results = run_all(work, arguments.results, arguments.workers)
    summaries = [summarise(row.name, [results[row.name, seed] for seed in seeds(row)]) for row in rows]
    print(machine(), "\n")
    print(" GDP over program-and-verify   over the floor")
    print(" ratio  95 % interval              GDP  verify seeds pulses  row")
    for summary in worst_first(summaries):
        print(summary)
    print(f"\n{time.perf_counter() - begin:.0f} s for {len(work)} runs of {len(rows)} rows")
    verdict("rows worse than 1.03 by their interval", sum(one.low > LIMIT for one in summaries), 0, 0)


if __name__ == "__main__":
    main()
