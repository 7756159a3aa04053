"""Fuzzes the emulated instrument under the guidance of coverage: inputs that reach new code are kept and built upon.

    pip install atheris
    python benchmarks/scpi_coverage.py [--inputs 1000000] [--seed 1] [--corpus FOLDER]

atheris (libFuzzer for Python; Linux, CPython) instruments the lexer, the dialect and the instrument. Each input is
checked by tests/sim_backend/server/fuzz_target.py. One that breaks a rule, takes 5 s or 2 GiB ends the run and is
written to a file crash-*, timeout-* or oom-* here. How long it took is printed; interrupt it whenever it is enough.

    python benchmarks/scpi_coverage.py --corpus FOLDER --smallest tests/sim_backend/server/fuzz_corpus.txt

keeps of a grown corpus the shortest inputs that together reach every line after line that it reaches, for the tests.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import random
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

import atheris
from machine import machine

sys.path.insert(0, str(Path(__file__).parents[1]))  # the target is one of the tests' tools
with atheris.instrument_imports(include=["hwloop.scpi", "hwloop.sim_backend.server.instrument", "hwloop.chip.backend"]):
    from tests.sim_backend.server.fuzz_target import NUMBERS, WORDS, FuzzTarget, seeds

LONGEST_INPUT = 320
SECONDS = 5
MEGABYTES = 2048
TRACED = ("lexer.py", "dialect.py", "instrument.py", "arrays.py", "blocks.py", "calls.py", "status.py", "codes.py")


_TOKEN = re.compile(rb"[A-Za-z0-9*.+-]+|[^A-Za-z0-9*.+-]", re.DOTALL)


def mutate(data: bytes, longest: int, seed: int) -> bytes:
    """Make the next input: half the time libFuzzer's damage to bytes, else a token replaced, inserted or left out."""
    rng = random.Random(seed)
    tokens = _TOKEN.findall(data)
    if not tokens or rng.random() < 0.5:
        return bytes(atheris.Mutate(data, longest))
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(tokens) + 1)
        old = tokens[at : at + rng.choice((0, 1, 1))]
        if old and old[0][-1:].isdigit():
            new = [rng.choice(NUMBERS)]
        else:
            new = rng.choice(([rng.choice(WORDS)], tokens[at : at + rng.randint(1, 6)], []))
        tokens[at : at + len(old)] = new
    return b"".join(tokens)[:longest]


def keep_smallest(corpus: Path, out: Path) -> None:
    """One line for each input that reaches a step from line to line which no shorter one reaches."""
    target, kept = FuzzTarget(), list[bytes]()
    seen: set[tuple[str, int, int]] = set()
    for data in sorted((path.read_bytes() for path in corpus.iterdir()), key=lambda data: (len(data), data)):
        steps = _steps(target, data)
        if steps - seen:
            seen |= steps
            kept.append(data)
    out.write_bytes(b"".join(data.decode("latin-1").encode("unicode_escape") + b"\n" for data in kept))
    print(f"{len(kept)} inputs, {len(seen)} steps from line to line")


def _steps(target: FuzzTarget, data: bytes) -> set[tuple[str, int, int]]:
    """Record steps from line to line in the traced modules while an input is taken."""
    steps: set[tuple[str, int, int]] = set()
    last: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, _: object) -> Any:
        name = frame.f_code.co_filename
        if not name.endswith(TRACED):
            return None
        steps.add((name, last.get(frame, 0), frame.f_lineno))
        last[frame] = frame.f_lineno
        return trace

    sys.settrace(trace)
    try:
        target.take(data)
    finally:
        sys.settrace(None)
    return steps


def main() -> None:
    """Fuzz, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder of inputs, kept and grown [default: a temporary one]")
    parser.add_argument("--smallest", type=Path, help="write the useful inputs of the corpus to this file; no fuzzing")
    options = parser.parse_args()
    if options.smallest:
        keep_smallest(options.corpus, options.smallest)
        return
    print(machine(), flush=True)
    corpus = options.corpus or Path(tempfile.mkdtemp(prefix="scpi-corpus-"))
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number:03d}").write_bytes(seed)
    target, begin = FuzzTarget(), time.monotonic()

    def report() -> None:
        print(f"{options.inputs} inputs in {time.monotonic() - begin:.0f} s; {len(list(corpus.iterdir()))} in {corpus}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory {peak:.0f} MiB, corpus included; {len(gc.get_objects())} objects live at the end")
        for code, count in sorted(target.tally.items(), reverse=True):
            print(f"{count:9d}  {code}")

    atexit.register(report)
    flags = [f"-atheris_runs={options.inputs}", f"-seed={options.seed}", f"-max_len={LONGEST_INPUT}"]
    limits = [f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *flags, *limits, str(corpus)], target.take, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
