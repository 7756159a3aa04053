"""Damages files of every kind that hwloop reads, and reads them: none may crash, hang, or be an unexpected error.

    python benchmarks/damage.py [--files 10000] [--commands 200] [--seed 0] [--kinds run,inputs]

Each file is one that hwloop wrote, or a small foreign one, with one bit changed, its end cut off, a piece overwritten,
or a number in its first bytes made absurd. They are read in this process as the commands do; `--commands` more go to a
real `hwloop` process. A file that hwloop seals must be refused; a foreign one may be read where nothing can be known.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from machine import machine

import hwloop
import hwloop.data
from hwloop.chip.lifetime import entry_of
from hwloop.cli import main
from hwloop.custody.ledger import Ledger
from hwloop.errors import BadInputError, LedgerError
from hwloop.files.activations import activations_from
from hwloop.files.model_file import load_model
from hwloop.files.seal import SEAL_SIZE
from hwloop.files.weights import load_weights
from hwloop.jobs.train import TrainingJob

CHIP = "sim:pcm-ideal?rows=16&columns=16&seed=1"
FLEET = """[[chip]]
backend = "sim:pcm-ideal?rows=16&columns=16&seed=1"

[[chip]]
backend = "sim:pcm-ideal?rows=16&columns=16&seed=2"
"""
BENCH = """name = "damaged"

[source]
driver = "keithley-2450"
resource = "TCPIP::127.0.0.1::9::SOCKET"
high = "A"
low = "B"
read_voltage = 0.2
compliance = 1e-4

[pulser]
driver = "keysight-33600a"
resource = "TCPIP::127.0.0.1::9::SOCKET"
high = "C"
low = "D"
load = 5000.0

[matrix]
driver = "keithley-707b"
resource = "TCPIP::127.0.0.1::9::SOCKET"

[array]
row_pins = ["101", "102"]
positive_pins = [["105", "106"]]
negative_pins = [["109", "110"]]
g_max = 25.0

[limits]
amplitude_max = 500.0
width_min = 20.0
width_max = 20000.0
pulses_per_device = 10000
"""
WIDE = "sim:hermes-core?rows=64&columns=64&cores=16&seed=1"
SLOW = 10.0
"""Seconds of CPU that reading a file may take."""


@dataclass(frozen=True)
class Kind:
    """A kind of file: one whole one, what reads it, the command that does, and whether all damage must be noticed."""

    name: str
    path: Path
    read: Callable[[Path], object]
    command: tuple[str, ...]
    sealed: bool


def kinds(folder: Path) -> list[Kind]:
    """Make a whole file of each kind."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((8, 8)).astype(np.float32)
    matrices = hwloop.matrices({"layer": weights})
    with hwloop.connect(CHIP) as chip:
        run = hwloop.program(chip, {"layer": weights}, "iterative", out=folder / "run.h5")
        hwloop.drift(run, chip, ["1h"], ["none", "column"], out=folder / "drift.h5")
    hwloop.compare(CHIP, {"layer": weights}, ["iterative", "exact"], out=folder / "compare.h5")
    with hwloop.connect(CHIP) as chip:
        hwloop.calibrate(chip, ["devices"]).save(folder / "cal.h5")
    with hwloop.connect("sim:hermes-core?rows=16&columns=16&seed=1") as chip:
        hwloop.measure(chip, "drift", out=folder / "meas.h5", cells=240, levels=4, until=1000.0)
    hwloop.fit(folder / "meas.h5", family="log-clip").save(folder / "model.json")
    np.save(folder / "w.npy", weights)
    np.savez_compressed(folder / "w.npz", layer=weights)
    np.save(folder / "x.npy", rng.standard_normal((64, 8)))
    np.savez(folder / "x.npz", layer=rng.standard_normal((64, 8)))
    from safetensors.numpy import save_file

    save_file({"layer.weight": weights}, folder / "w.safetensors")
    rows = [f"{cell},{age},{20 * age**-0.05:.4f}" for cell in range(5) for age in (1, 10, 100)]
    (folder / "t.csv").write_text("cell,time_s,conductance_uS\n" + "\n".join(rows) + "\n")
    unsealed = folder / "unsealed.h5"
    unsealed.write_bytes((folder / "run.h5").read_bytes()[:-SEAL_SIZE])

    def inputs(path: Path) -> object:
        return activations_from(path, matrices)

    def imported(path: Path) -> object:
        return hwloop.import_measurement(path, columns="auto", out=folder / "out.h5", force=True)

    evaluate, program = ("evaluate", "{}"), ("program", "{}", "--backend", CHIP, "--out", "o.h5", "--force")
    given = ("program", "w.npy", "--backend", CHIP, "--out", "o.h5", "--force", "--inputs", "{}")
    calibrated = ("program", "w.npy", "--backend", CHIP, "--out", "o.h5", "--force", "--calibration", "{}")
    rows_: list[Row] = [
        ("run", "run.h5", hwloop.load, evaluate, True),
        ("comparison", "compare.h5", hwloop.load, evaluate, True),
        ("drift", "drift.h5", hwloop.load, evaluate, True),
        ("calibration", "cal.h5", hwloop.load, calibrated, True),
        ("measurement", "meas.h5", hwloop.load, ("fit", "{}", "--out", "o.json", "--force"), True),
        ("model", "model.json", load_model, ("info", "sim:{}"), True),
        ("unsealed run", "unsealed.h5", hwloop.load, evaluate, False),
        ("inputs.npy", "x.npy", inputs, given, False),
        ("inputs.npz", "x.npz", inputs, given, False),
        ("weights.npy", "w.npy", load_weights, program, False),
        ("weights.npz", "w.npz", load_weights, program, False),
        ("weights.safetensors", "w.safetensors", load_weights, program, False),
        ("text", "t.csv", imported, ("import", "{}", "--columns", "auto", "--out", "o.h5", "--force"), False),
    ]
    rows_ += more_kinds(folder)
    return [Kind(name, folder / file, read, command, sealed) for name, file, read, command, sealed in rows_]


Row = tuple[str, str, Callable[[Path], object], tuple[str, ...], bool]
"""Name, file, reader, command and whether all damage must be noticed, of a kind."""


def more_kinds(folder: Path) -> list[Row]:
    """Make a whole file of each kind that networks, trainings, fleets, benches and ledgers have."""
    from torch import nn

    from hwloop.drivers.bench.config import load as load_bench
    from hwloop.fleet.chips import Fleet

    rng, show = np.random.default_rng(1), ("show", "{}")
    images = rng.standard_normal((32, 8)).astype(np.float32), rng.integers(0, 3, 32)
    with hwloop.connect("sim:reram-sb?rows=16&columns=16&cores=4&seed=1") as chip:
        job = TrainingJob(hwloop.Training(epochs=1, reference_epochs=0), out=folder / "train.h5")
        hwloop.train(nn.Sequential(nn.Linear(8, 3)), images, chip, "sgd", job)
    words = ["deploy", "--network", "hwloop.nn.zoo:digits_mlp", "--backend", WIDE, "--method", "exact"]
    for option, name in (("--weights", "digits_mlp.safetensors"), ("--dataset", "digits.npz")):
        words += [option, str(hwloop.data.path(name))]
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())), contextlib.suppress(SystemExit):
        main([*words, "--out", str(folder / "net.h5")], "hwloop")
    (folder / "fleet.toml").write_text(FLEET)
    (folder / "bench.toml").write_text(BENCH)
    with hwloop.connect(CHIP) as chip, Ledger(folder / "ledger.sqlite") as book:
        number = book.enter(entry_of("chip", CHIP, chip.info))
        book.begin("session", number)
        book.ahead("session", 0, np.arange(40), chip.info.devices_per_core)
        book.settle(number)
    fleet = ("program", "w.npy", "--fleet", "{}", "--out", "o.h5", "--force", "--dry-run")
    return [
        ("training", "train.h5", hwloop.load, show, True),
        ("network", "net.h5", hwloop.load, show, True),
        ("fleet", "fleet.toml", Fleet.read, fleet, False),
        ("bench", "bench.toml", load_bench, ("info", "bench:{}"), False),
        ("ledger", "ledger.sqlite", lambda path: hwloop.ledger("chip", path=path), ("ledger", "--ledger", "{}"), False),
    ]


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Change one bit, cut the end off, overwrite a piece, or make a number at the beginning absurd."""
    changed, size = bytearray(content), len(content)
    match rng.choices(range(4), (6, 2, 1, 1))[0]:
        case 0:
            place = rng.randrange(8 * size)
            changed[place // 8] ^= 1 << place % 8
        case 1:
            del changed[rng.randrange(size) :]
        case 2:
            at = rng.randrange(size)
            changed[at : at + 64] = rng.randbytes(min(64, size - at))
        case 3:
            at = rng.randrange(min(size, 512))
            piece = rng.choice([b"\xff" * 8, b"\0" * 8, b"9" * 12])
            changed[at : at + len(piece)] = piece
    return bytes(changed)


def outcome(kind: Kind, path: Path) -> str:
    """Read a damaged file in this process, and say what came of it."""
    begin = cpu()
    try:
        kind.read(path)
        found = "read" if not kind.sealed else "SEALED AND READ"
    except (BadInputError, LedgerError) as error:
        found = "refused" if "\n" not in str(error) else "MORE THAN ONE LINE"
    except Exception as error:  # what the benchmark is for
        found = f"UNEXPECTED {type(error).__name__}: {str(error)[:60]}"
    return found if cpu() - begin < SLOW else "SLOW"


def cpu() -> float:
    """Return the seconds of CPU that this process and its children have taken: a busy computer counts for nothing."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def same(kind: Kind, one: bytes, other: bytes) -> bool:
    """Tell whether nothing is damaged: of JSON the text may differ, as 1e-5 and 1E-5 do."""
    if one != other and kind.path.suffix == ".json":
        try:
            return bool(json.loads(one) == json.loads(other))
        except ValueError:
            return False
    return one == other


def by_command(kind: Kind, path: Path) -> str:
    """Give a damaged file to a real command, and say what came of it."""
    words = [word.format(path) for word in kind.command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hwloop", *words]
    try:
        done = subprocess.run(
            command, cwd=kind.path.parent, env=environment, capture_output=True, timeout=60 * SLOW, check=False
        )
    except subprocess.TimeoutExpired:
        return "SLOW"
    one_line = done.stderr.decode().splitlines()[-1:] and b"Traceback" not in done.stderr
    if done.returncode in (2, 3) and one_line and b"fault of hwloop" not in done.stderr:  # 3 of a ledger
        return "refused"
    if done.returncode in (0, 1) and not kind.sealed:
        return "read"
    return f"UNEXPECTED code {done.returncode}: {done.stderr.decode()[-80:]!r}"


def benchmark() -> None:
    """Print a table of what came of the files, and fail where something must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--commands", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine())
    rng, tally, kept = random.Random(options.seed), Counter[tuple[str, str]](), Path(tempfile.mkdtemp())
    with tempfile.TemporaryDirectory() as name:
        chosen = [kind for kind in kinds(Path(name)) if not options.kinds or kind.name in options.kinds.split(",")]
        for number in range(options.files + options.commands):
            kind = chosen[number % len(chosen)]
            path = kind.path.with_name(f"damaged{kind.path.suffix}")
            content = kind.path.read_bytes()
            while same(kind, changed := damaged(rng, content), content):
                pass  # such as zeros in the place of zeros
            path.write_bytes(changed)
            found = outcome(kind, path) if number < options.files else by_command(kind, path)
            tally[kind.name, found] += 1
            if found.isupper() or found.split()[0].isupper():
                path.rename(kept / f"{number}{path.suffix}")
    for (kind_name, found), count in sorted(tally.items()):
        print(f"{kind_name:<20} {count:>6}  {found}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bad = sum(count for (_, found), count in tally.items() if found.split()[0].isupper())
    print(json.dumps({"files": sum(tally.values()), "bad": bad, "peak_mb": round(peak), "kept": str(kept)}))
    sys.exit(bad > 0)


if __name__ == "__main__":
    benchmark()
