"""Fuzzes the emulated instrument: damaged messages by the million, to a server that must not crash, hang or grow.

    python benchmarks/scpi_fuzz.py [--inputs 1000000] [--seed 0]

Inputs are made by damaging and splicing the examples of the manual, and go through framer, parser and instrument. An
input that takes a second, an error without a standard code, a system error or growing memory ends the benchmark.
A million inputs take some minutes; how long is printed.
"""

from __future__ import annotations

import argparse
import random
import resource
import time

from machine import machine

import hwloop
from hwloop.scpi.blocks import sealed_block
from hwloop.scpi.codes import Code, ScpiError, read_entry
from hwloop.scpi.dialect import DIALECT
from hwloop.scpi.lexer import MessageFramer
from hwloop.sim_backend.server.instrument import Instrument, Sizes

CHIP = "sim:pcm-ideal?rows=4&columns=4"
BATCH = 20_000
GROWTH = 20 * 2**20
"""Bytes that the process may grow by after the first batches."""
TOKENS = [
    b";",
    b":",
    b",",
    b" ",
    b"\n",
    b'"',
    b"'",
    b"#0",
    b"#15",
    b"#9999999999",
    b"?",
    b"*",
    b"1e400",
    b"-1",
    b"\xff",
]


def seeds() -> list[bytes]:
    """Right uses of every command."""
    plain = [command.example.encode() for command in DIALECT.commands if "#" not in command.example]
    blocks = [b"DATA:APP ", b"LINK:ECHO? ", b"LINK:OPEN? ", b"LINK:CALL? "]
    contents = [b"", b"0123456789abcdef", b"1 *OPC?", b"2 CHIP:WAIT 1;TIME?"]
    return plain + [head + sealed_block(content) for head in blocks for content in contents]


def damaged(rng: random.Random, corpus: list[bytes]) -> bytes:
    """One input: one to three seeds, some bytes changed, cut or inserted."""
    text = bytearray(b";".join(rng.choices(corpus, k=rng.randint(1, 3))))
    for _ in range(rng.randint(0, 4)):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(4):
            case 0:
                text[at:at] = rng.choice(TOKENS)
            case 1:
                del text[at : at + rng.randint(1, 8)]
            case 2:
                text[at : at + 1] = rng.randbytes(1)
            case 3:
                text[at:at] = text[: rng.randint(0, 12)]
    return bytes(text) + b"\n"


def peak_memory() -> int:
    """Largest resident size of this process so far, bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Print how many inputs went through and what errors they made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(machine())
    rng, corpus = random.Random(options.seed), seeds()
    sizes = Sizes(buffer=4096, memory=65_536)
    tally: dict[int, int] = {}
    longest, settled, begin = 0.0, 0, time.monotonic()
    for first in range(0, options.inputs, BATCH):
        with hwloop.connect(CHIP) as chip:
            instrument, framer = Instrument(chip, sizes=sizes), MessageFramer(sizes.buffer)
            for _ in range(min(BATCH, options.inputs - first)):
                start = time.monotonic()
                framer.feed(damaged(rng, corpus))
                try:
                    while (message := framer.next_message()) is not None:
                        instrument.process(message)
                except ScpiError as error:
                    instrument.reject(error)
                    framer = MessageFramer(sizes.buffer)
                    instrument.connected()
                for _ in range(len(instrument.status.errors)):
                    code = read_entry(instrument.process(b"SYST:ERR?").decode("ascii"))[0]
                    assert code in set(Code)
                    assert code != Code.SYSTEM_ERROR
                    tally[code] = tally.get(code, 0) + 1
                longest = max(longest, time.monotonic() - start)
                assert longest < 1.0
        if first == BATCH:
            settled = peak_memory()
        assert not settled or peak_memory() < settled + GROWTH, "memory grows"
    print(f"{options.inputs} inputs in {time.monotonic() - begin:.0f} s, the slowest {1e3 * longest:.1f} ms")
    texts = {int(code): code.text for code in Code}
    for code, count in sorted(tally.items(), reverse=True):
        print(f"{count:9d}  {code} {texts[code]}")


if __name__ == "__main__":
    main()
