"""Speed and memory of imports and of measurement files.

python benchmarks/importing.py [MILLION_ROWS]

Every import runs in a process of its own, whose peak memory is its own; that of a process that imports ten rows is
taken off. Memory must not grow with the file. MILLION_ROWS is 10 unless it is given: some minutes.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine, verdict

from hwloop.files.measurement_reader import open_measurements
from hwloop.files.measurement_writer import MeasurementWriter
from hwloop.files.measurements import Cells, Experiment, Reads
from hwloop.importers.files import ImportOptions, import_file
from hwloop.importers.layout import TextOptions

COLUMNS = "cell,time[s],resistance[ohm],conductance[S],,level"
CELLS = 100_000
BLOCK = 100_000


def write_text(path: Path, rows: int, spoilt: float) -> None:
    """Rows of CELLS cells at rising times; a share of them is spoilt."""
    rng = np.random.default_rng(0)
    with path.open("w") as stream:
        for start in range(0, rows, BLOCK):
            number = np.arange(start, min(start + BLOCK, rows))
            g = rng.uniform(1e-6, 2e-5, number.size)
            cell, time_, level = number % CELLS, 1.5 * (number // CELLS), number % 16
            bad = rng.random(number.size) < spoilt
            columns = zip(
                cell.tolist(), time_.tolist(), (1 / g).tolist(), g.tolist(), bad.tolist(), level.tolist(), strict=True
            )
            stream.writelines(f"{c},{t},{r},{'oops' if b else s},x,{k}\n" for c, t, r, s, b, k in columns)


def one_import(path: str) -> None:
    """In a process of its own: seconds, seconds of CPU, rows and peak memory in bytes, on stdout."""
    began, worked = time.perf_counter(), time.process_time()
    report = import_file(path, f"{path}.h5", ImportOptions(TextOptions(COLUMNS)), "w")
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(time.perf_counter() - began, time.process_time() - worked, report.rows, peak)


def imported(path: Path) -> tuple[float, float, int, int]:
    run = subprocess.run([sys.executable, __file__, "--one", str(path)], capture_output=True, text=True, check=True)
    seconds, worked, rows, peak = run.stdout.split()
    return float(seconds), float(worked), int(rows), int(peak)


def importing(folder: Path, rows: int) -> None:
    small, clean, dirty = folder / "small.csv", folder / "clean.csv", folder / "dirty.csv"
    write_text(small, 10, 0.0)
    write_text(clean, rows, 0.0)
    write_text(dirty, rows // 4, 0.01)
    _, _, _, base = imported(small)
    for name, path in (("clean", clean), ("one row in a hundred spoilt", dirty)):
        seconds, worked, count, peak = imported(path)
        size = os.path.getsize(path)
        packed = os.path.getsize(f"{path}.h5")
        print(f"{name}: {count:,} rows, {size / 1e6:.0f} MB of text, in {seconds:.1f} s, {packed / 1e6:.0f} MB of HDF5")
        print(f"    {count / seconds / 1e6:.2f} million rows per second")
        verdict(f"memory of the import ({name}) over that of ten rows, MiB", (peak - base) / 2**20, 256.0, 0)
        verdict(f"memory of the import ({name}), MB", peak / 1e6, 400.0, 0)
        print(f"    {size / 1e6 / worked:.0f} MB of text per CPU second; at least 45 of clean text are wanted")


def files(folder: Path) -> None:
    """Append a million devices at twelve ages, commit at every age, and read them again."""
    path, cells = folder / "m.h5", 1_000_000
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    with MeasurementWriter(path) as writer:
        sink = writer.begin(Experiment.DRIFT, Cells.at(np.arange(cells)))
        for age in np.geomspace(1, 1e5, 12):
            times = np.full(cells, age) + rng.uniform(0, 1e-3, cells)
            reads = Reads(np.arange(cells, dtype=np.int32), times, rng.normal(5, 1, cells), np.full(cells, 300.0))
            sink.append(reads)
            writer.commit()
        writer.finish()
    wrote = time.perf_counter() - began
    began = time.perf_counter()
    with open_measurements(path) as [stored]:
        total = sum(len(chunk) for chunk in stored.chunks())
    read = time.perf_counter() - began
    size = os.path.getsize(path) / 1e6
    print(f"{total:,} reads, {size:.0f} MB: written with 12 commits in {wrote:.1f} s, read in {read:.1f} s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one_import(sys.argv[2])
    else:
        print(machine())
        with tempfile.TemporaryDirectory() as name:
            importing(Path(name), round(1e6 * float(sys.argv[1] if len(sys.argv) > 1 else 10)))
            files(Path(name))
