"""Instruments that answer *IDN? oddly, over real sockets: used where it is clear who they are, else named soon."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hwloop.drivers.identity import Identity, identify, read_identity
from hwloop.drivers.link import VisaLink, opener
from hwloop.errors import LinkError
from tests.drivers.conftest import resource

IDN = b"Keithley Instruments Inc.,MODEL 2450,04419396,1.7.12b"
GREETING = b"Welcome to the 33522A Waveform Generator\r\n33522A> "
KNOWN = Identity("Keithley Instruments Inc.", "MODEL 2450", "04419396", "1.7.12b")

Answer = Callable[[socket.socket], None]


@pytest.fixture
def answering() -> Iterator[Callable[..., int]]:
    """Start an instrument: what it does to a client at once, and when it is asked; gives its port."""
    with contextlib.ExitStack() as stack:

        def start(answer: Answer, greet: bytes = b"") -> int:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.settimeout(10.0)

            def run() -> None:
                with contextlib.suppress(OSError):
                    link, _ = listener.accept()
                    with link:
                        link.settimeout(10.0)
                        time.sleep(0.05)
                        link.sendall(greet)
                        while link.recv(100):
                            answer(link)

            thread = threading.Thread(target=run)
            thread.start()
            stack.callback(thread.join, 10)
            return int(listener.getsockname()[1])

        yield start


def says(content: bytes) -> Answer:
    return lambda link: link.sendall(content)


def slowly(link: socket.socket) -> None:
    for byte in IDN + b"\n":
        link.sendall(bytes([byte]))
        time.sleep(0.01)


def asked(port: int, timeout: float = 5.0) -> Identity:
    link = VisaLink.open(opener(resource(port), "@py"), "it", timeout)
    try:
        link.clear()
        return identify(link, "it", timeout)
    finally:
        link.close()


@pytest.mark.parametrize(
    "answer",
    [says(IDN + b"\n"), says(IDN + b"\r\n"), says(b"\0" + IDN + b"\0\n\0"), slowly],
    ids=["LF", "CR LF", "NUL", "slow"],
)
def test_these_are_understood(answering, answer: Answer) -> None:
    assert asked(answering(answer)) == KNOWN


@pytest.mark.parametrize(
    ("reply", "fields"),
    [
        ("LSCI,MODEL336,2.8", ("LSCI", "MODEL336", "", "2.8")),
        ("MAKER,Inc.,SMU 1,0042,1.0", ("MAKER, Inc.", "SMU 1", "0042", "1.0")),
        ("MAKER,MOD\xc9L,1,2", ("MAKER", "MOD\xc9L", "1", "2")),
        ("A\x1b[2J,B\x00,C,D", ("A\\x1b[2J", "B", "C", "D")),
    ],
)
def test_three_or_five_fields_and_foreign_letters(reply: str, fields: tuple[str, ...]) -> None:
    assert read_identity(reply, "it") == Identity(*fields)


@pytest.mark.parametrize(
    ("answer", "greet", "complaint"),
    [
        (says(IDN + b"\r"), b"", r"bytes came \(b'Keithley.*no newline: it ends lines with CR; set its terminator"),
        (says(IDN), b"", "no newline: does it end lines with CR, or not at all"),
        (says(IDN + b"\r\n33522A> "), GREETING, "greets with 'Welcome to the 33522A.*a port for people"),
        (says(b"33522A> " + IDN + b"\n"), b"", r"puts a prompt \('33522A>'\) before its answer"),
        (lambda link: link.close(), b"", "hung up"),
        (says(b"two,fields\n"), b"", "not an instrument of IEEE 488.2"),
    ],
    ids=["CR", "none", "banner", "prompt", "close", "two fields"],
)
def test_these_are_named_in_seconds(answering, answer: Answer, greet: bytes, complaint: str) -> None:
    begun = time.monotonic()
    with pytest.raises(LinkError, match=complaint):
        asked(answering(answer, greet))
    assert time.monotonic() - begun < 5.0


def test_a_block_without_its_newline_is_named(answering) -> None:
    port = answering(says(b"#15hello"))
    link = VisaLink.open(opener(resource(port), "@py"), "it", 5.0)
    link.write(b"DATA?", time.monotonic() + 5)
    with pytest.raises(LinkError, match="a block came whole, and no newline after it"):
        link.read_block(100, time.monotonic() + 0.5)
    link.close()
