"""What fuzzers do with one input: feed it to a fresh instrument, and check all that may be said about any input.

An input is a stream of bytes as a client may send it, in a notation that lets a fuzzer get past the checksums: what
stands between \\x01 and \\x02 becomes a block with the right CRC-32, blocks within blocks included.
"""

from __future__ import annotations

import re

import hwloop
from hwloop.scpi.blocks import sealed_block
from hwloop.scpi.codes import Code, ScpiError, read_entry
from hwloop.scpi.dialect import DIALECT
from hwloop.scpi.lexer import MessageFramer
from hwloop.sim_backend.server.instrument import Instrument, Sizes

CHIP = "sim:hermes-core?rows=4&columns=4&seed=1"
SIZES = Sizes(buffer=4096, memory=16_384)
INPUTS_PER_CHIP = 10_000
NUMBERS = [
    *(str(n).encode() for n in (0, 1, 2, 31, 32, 255, 65_536, 2**31 - 1, 2**31, 2**63, 10**40, -1)),
    *(b"240UA", b".1", b"1E12", b"1E308", b"1E400", b"1e-400", b"-0", b".", b"#HFFFFFFFF", b"#Q7", b"NAN", b"INF"),
]
"""Numbers that a fuzzer can hardly guess."""
WORDS = [
    *sorted({node.encode() for command in DIALECT.commands for node in re.findall(r"[A-Z*]+", command.header)}),
    *(b";:", b"#0", b"#9999999999", b"#10", b"\x01", b"\x02", b"''", b'"', b"\n", b"\x011 ", b"\x012 ", b"[" * 90),
    *(b"Infinity", b'"<f8"', b'"<u8"', b'"|O"', b"[-1]", b'"ledger/0"', b'"core0/g"', b'"clock"'),
]
"""Mnemonics, and openings of strings, blocks and states."""
_SEALED = re.compile(rb"\x01([^\x01\x02]*)\x02", re.DOTALL)


def stream(data: bytes) -> bytes:
    """The bytes that a client sends for an input."""
    while (sealed := _SEALED.sub(lambda found: sealed_block(found[1]), data)) != data:
        data = sealed
    return data + b"\n"


def seeds() -> list[bytes]:
    """Right uses of every command, in the notation of inputs."""
    plain = [command.example.encode() for command in DIALECT.commands if "#" not in command.example]
    session = b"LINK:OPEN? \x010123456789abcdef\x02\n"
    return [
        *plain,
        b"DATA:CLE;APP \x010123\x02;SIZE?;:DATA? 0,4",
        b"DATA:APP \x01\0\0\0\0\x02;:READ:DEV 0,1,2;:DATA? 0,8",
        b"DATA:APP \x01\0\0\0\0\0\0\0\0\0\0i@\0\0\0\0\0\0Y@\x02;:PULS:FIRE 0,RES,1;:PULS:COUN 0",
        b"DATA:APP \x01\0\x7f\x81\0\x02;:MVM:RUN 0,1;:DATA? 0,4",
        b"DATA:APP \x01\0\0\0\0\0\0\0\0\0\0\x10@\x02;:PLAC 0,1,20",
        b'DATA:APP \x01\x14\0\0\0[["clock","<f8",[]]]\0\0\0\0\0\0\0\0\x02;:MEM:STAT:LOAD',
        b"CONV:TRIM:SAVE 0;LOAD 0;:CONV:TRIM? 0,3",
        b'MVM:MODE 0,"one-phase";MODE? 0',
        b"READ? 0,17,65536",
        b"MEM:STAT:SAVE;:DATA:SIZE?;:MEM:STAT:LOAD",
        b"LINK:ECHO? \x01anything\x02",
        session + b"LINK:CALL? \x011 *OPC?\x02\nLINK:CALL? \x011 *OPC?\x02\nLINK:CLOS",
        session + b"LINK:CALL? \x011 DATA:APP \x01\0\0\0\0\x02;:READ:DEV 0,1,1;:DATA? 0,8\x02",
        session + b"LINK:CALL? \x011 CHIP:WAIT 1;TIME?;NONSENSE\x02\nCHIP:WAIT 1\nLINK:CALL? \x013 *OPC?\x02",
        b"PULS 0,SET,#H1F,.24MA,1E-7S;:SYST:ERR?",
        b"LINK:ECHO? #0indefinite",
        b"*ESE 60;*SRE 32;*STB?;*ESR?;*OPC;STAT:OPER:ENAB 1;ENAB?",
    ]


class FuzzTarget:
    """Takes one input after the other; each meets an instrument of its own, and the chip that earlier ones left."""

    def __init__(self) -> None:
        """Make a chip."""
        self._inputs = 0
        self._chip = hwloop.connect(CHIP)
        self.tally: dict[int, int] = {}
        """How often each error code was reported."""

    def take(self, data: bytes) -> None:
        """Carry out an input.

        Raises AssertionError when the stream is cut into other messages than when it comes in pieces, a response is
        not what its query says, an error has no standard code, or the instrument met an error of its own (-310).
        """
        if self._inputs % INPUTS_PER_CHIP == 0 and self._inputs:
            self._chip.close()
            self._chip = hwloop.connect(CHIP)
        self._inputs += 1
        sent = stream(data)
        instrument = Instrument(self._chip, sizes=SIZES)
        messages, refused = _messages([sent])
        assert (messages, refused) == _messages([sent[k : k + 5] for k in range(0, len(sent), 5)]), (
            "framing hangs on pieces"
        )
        for message in messages:
            response = instrument.process(message)
            assert b"\n" not in response or b"#" in response, "a newline inside a response without a block"
        self._drain(instrument)

    def _drain(self, instrument: Instrument) -> None:
        while code := read_entry(instrument.process(b"SYST:ERR?").decode("ascii"))[0]:
            assert code in set(Code), f"code {code} is not in the table"
            assert code != Code.SYSTEM_ERROR, "the instrument met an error that it has no code for"
            self.tally[code] = self.tally.get(code, 0) + 1


def _messages(pieces: list[bytes]) -> tuple[list[bytes], int]:
    """Messages of a stream that comes in pieces, and the code of the error that ends it (0: none)."""
    framer = MessageFramer(SIZES.buffer)
    found: list[bytes] = []
    try:
        for piece in pieces:
            framer.feed(piece)
            while (message := framer.next_message()) is not None:
                found.append(message)
    except ScpiError as error:
        return found, error.code
    return found, 0
