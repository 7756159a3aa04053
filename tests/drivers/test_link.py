"""Bytes of a link one at a time, on a resource that gives and takes what a test says."""

from __future__ import annotations

import logging
import math
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pyvisa
from pyvisa import constants

from hwloop.drivers import link as links
from hwloop.drivers.link import SIZES, LinkSizes, VisaLink, _reason, _SocketGuard, opener
from hwloop.errors import BadInputError, LinkError
from hwloop.scpi.wire_log import WireLog

TIMEOUT = pyvisa.errors.VisaIOError(constants.StatusCode.error_timeout)


class Resource:
    """A VISA resource that answers with prepared pieces, and takes so many bytes at a time."""

    def __init__(self, *pieces: bytes, takes: int = 10**9, clears: BaseException | None = None) -> None:
        self.pieces, self.takes, self.clears = list(pieces), takes, clears
        self.sent, self.asked, self.timeouts, self.closed = [], [], [], 0
        self.visalib, self.session, self.termchar = SimpleNamespace(sessions=None), 1, None

    @property
    def timeout(self) -> int:
        return self.timeouts[-1]

    @timeout.setter
    def timeout(self, milliseconds: int) -> None:
        self.timeouts.append(milliseconds)

    def set_visa_attribute(self, name: Any, state: bool) -> None:
        assert name is constants.ResourceAttribute.termchar_enabled
        self.termchar = state

    def write_raw(self, message: bytes) -> int:
        self.sent.append(message[: self.takes])
        return len(self.sent[-1])

    def read_bytes(self, count: int, chunk_size: int, break_on_termchar: bool) -> bytes:
        assert (chunk_size, break_on_termchar) == (count, self.termchar)
        self.asked.append(count)
        if not self.pieces:
            raise TIMEOUT
        piece, rest = self.pieces[0][:count], self.pieces[0][count:]
        self.pieces[:1] = [rest] if rest else []
        return piece

    def clear(self) -> None:
        if self.clears is not None:
            raise self.clears

    def close(self) -> None:
        self.closed += 1


def soon() -> float:
    return time.monotonic() + 5.0


def linked(*pieces: bytes, owned: bool = True, log: WireLog | None = None, **how: Any) -> tuple[VisaLink, Resource]:
    resource = Resource(*pieces, **how)
    return VisaLink(resource, owned=owned, log=log), resource  # type: ignore[arg-type]


# ---- text ----------------------------------------------------------------------------------------------------


def test_lines_come_one_by_one_however_they_are_cut() -> None:
    link, resource = linked(b"one\ntw", b"o\r\nthr", b"ee\n")
    assert [link.read_line(soon()) for _ in range(3)] == [b"one", b"two", b"three"]
    assert link.bytes_moved == 15
    assert resource.termchar is True
    assert set(resource.asked) == {SIZES.piece}
    assert 4000 < resource.timeout <= 5000


def test_a_line_without_end_is_refused_beyond_its_length() -> None:
    link, _ = linked(b"a" * SIZES.line, b"b", b"c\n")
    with pytest.raises(LinkError, match=r"^no newline in the first 1024 bytes of a reply$"):
        link.read_line(soon())
    whole, _ = linked(b"a" * SIZES.line, b"\n")
    assert len(whole.read_line(soon())) == SIZES.line


@pytest.mark.parametrize(
    ("came", "said"),
    [
        (b"", r"^no reply: .*Timeout"),
        (b"\0\0", r"^no reply: .*Timeout"),
        (b"OK\r", r"bytes came \(b'OK\\r'\), no newline: it ends lines with CR; set its terminator to LF \(no reply"),
        (b"OK", r"bytes came \(b'OK'\), no newline: does it end lines with CR, or not at all\?"),
        (b"x" * 80, r"bytes came \(b'" + "x" * 60 + r"'\), no newline"),
    ],
)
def test_a_line_that_does_not_end_says_what_came(came: bytes, said: str) -> None:
    link, _ = linked(*([came] if came else []))
    with pytest.raises(LinkError, match=said):
        link.read_line(soon())


def test_a_link_falls_quiet_sooner_once_a_byte_has_come() -> None:
    """Timeouts in milliseconds: all that is left for the first byte, then the quiet time; at least one."""
    link, resource = linked(b"OK")
    with pytest.raises(LinkError, match="no newline"):
        link.read_line(soon(), quiet=0.2)
    first, then = resource.timeouts
    assert 4000 < first <= 5000
    assert 100 < then <= 200
    late, resource = linked()
    with pytest.raises(LinkError):
        late.read_line(time.monotonic() - 3.0)
    assert resource.timeouts == [1]


# ---- blocks --------------------------------------------------------------------------------------------------


def test_a_block_is_read_to_its_newline_and_no_further() -> None:
    link, resource = linked(b"#21", b"2abc\ndefghijk\n", b"next\n")
    assert link.read_block(12, soon()) == b"abc\ndefghijk"
    assert resource.termchar is False
    assert link.read_line(soon()) == b"next"
    assert linked(b"#10\n")[0].read_block(0, soon()) == b""


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"12345", r"expected a block, got b'12'"),
        (b"#05", r"expected a block, got b'#0'"),
        (b"#:5", r"expected a block, got b'#:'"),
        (b"#2x1abc", r"a block announces b'x1' bytes where at most 4 can be"),
        (b"#15abcde\n", r"a block announces b'5' bytes where at most 4 can be"),
        (b"#14abcdX", r"a block is longer than it announced"),
        (b"#14abcd", r"a block came whole, and no newline after it \(no reply"),
        (b"#14ab", r"^no reply"),
    ],
)
def test_what_is_no_block_is_named(reply: bytes, said: str) -> None:
    with pytest.raises(LinkError, match=said):
        linked(reply)[0].read_block(4, soon())


# ---- sending, clearing, closing ------------------------------------------------------------------------------


def test_a_message_goes_out_in_pieces_with_its_newline() -> None:
    link, resource = linked()
    message = bytes(range(256)) * 300
    link.write(message, soon())
    assert [len(piece) for piece in resource.sent] == [SIZES.piece, len(message) + 1 - SIZES.piece]
    assert b"".join(resource.sent) == message + b"\n"
    assert link.bytes_moved == len(message) + 1
    with pytest.raises(LinkError, match="the link took only a part of a message"):
        linked(takes=3)[0].write(b"*RST", soon())


def test_a_failure_to_send_is_a_link_error(monkeypatch: pytest.MonkeyPatch) -> None:
    link, resource = linked()
    monkeypatch.setattr(
        resource, "write_raw", lambda message: (_ for _ in ()).throw(ConnectionResetError(104, "reset"))
    )
    with pytest.raises(LinkError, match=r"^sending failed: reset$"):
        link.write(b"*RST", soon())


def test_a_clear_forgets_what_came_and_a_link_without_one_says_so(caplog: pytest.LogCaptureFixture) -> None:
    link, _ = linked(b"old\nstale", b"new\n")
    assert link.read_line(soon()) == b"old"
    link.clear()
    assert link.read_line(soon()) == b"new"
    unsupported = pyvisa.errors.VisaIOError(constants.StatusCode.error_nonsupported_operation)
    with caplog.at_level(logging.WARNING):
        linked(clears=NotImplementedError())[0].clear()
        linked(clears=unsupported)[0].clear()
    assert [record.getMessage() for record in caplog.records] == [
        "link: this VISA library has no device clear", "link: this link has no device clear",
    ]  # fmt: skip
    for wrong in (TIMEOUT, OSError(5, "broken")):
        with pytest.raises(LinkError, match=r"^device clear failed: "):
            linked(clears=wrong)[0].clear()


def test_only_an_own_resource_is_closed_and_once() -> None:
    for owned in (True, False):
        link, resource = linked(owned=owned)
        link.close()
        link.close()
        assert resource.closed == int(owned)


def test_the_wire_log_tells_every_message_with_its_direction(tmp_path: Path) -> None:
    with WireLog(tmp_path / "wire.log") as log:
        link, resource = linked(b"1\n#13abc\n", log=log)
        link.write(b"*IDN?", soon())
        link.read_line(soon())
        link.read_block(3, soon())
        resource.close = lambda: (_ for _ in ()).throw(OSError(5, "gone"))  # type: ignore[method-assign]
        link.close()
    lines = [line.split(None, 3) for line in (tmp_path / "wire.log").read_text().splitlines()[1:]]
    assert [(way, int(size)) for _, way, size, _ in lines] == [(">", 5), ("<", 1), ("<", 6), ("!", 20)]
    assert lines[-1][3] == "closing failed: gone"


def test_reasons_are_those_of_the_system_or_what_the_error_says() -> None:
    assert _reason(OSError(111, "Connection refused")) == "Connection refused"
    assert _reason(ValueError("no such\n thing")) == "no such thing"
    assert _reason(OSError("plain")) == "plain"


def test_names_and_libraries_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(BadInputError, match="'nowhere' is not a VISA resource name, such as TCPIP"):
        opener("nowhere", "@py")
    with pytest.raises(
        BadInputError, match=r"the VISA library '@none' cannot be used .* the default @py needs no vendor"
    ):
        opener("GPIB0::8::INSTR", "@none")


def test_a_resource_that_takes_no_messages_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, other = {}, Resource()

    def open_resource(name: str, **how: Any) -> Resource:
        asked[name] = how
        return other

    manager = SimpleNamespace(open_resource=open_resource)
    monkeypatch.setattr(links.pyvisa, "ResourceManager", lambda library: manager)
    opens = opener("GPIB0::8::INSTR", "@py")
    for seconds, milliseconds in ((2.5, 2500), (0.0, 1)):
        with pytest.raises(
            BadInputError, match=r"^GPIB0::8::INSTR is not message based: it cannot take SCPI commands$"
        ):
            opens(seconds)
        assert asked["GPIB0::8::INSTR"] == {"open_timeout": milliseconds}
    assert other.closed == 2


def test_a_resource_that_cannot_be_opened_is_named() -> None:
    def fails(seconds: float) -> Any:
        raise Exception(f"nobody there within {seconds:g} s")

    with pytest.raises(LinkError, match=r"^the chip cannot be opened: nobody there within 3 s$"):
        VisaLink.open(fails, "the chip", 3.0)
    link = VisaLink.open(lambda seconds: Resource(b"hello\n"), "the chip", 3.0)  # type: ignore[arg-type,return-value]
    assert (link.name, link.read_line(soon())) == ("the chip", b"hello")


# ---- sockets -------------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: the library's end and the instrument's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours, theirs:
        yield ours, theirs


def test_a_guard_looks_at_the_socket_of_a_session_alone(pair: tuple[socket.socket, socket.socket]) -> None:
    resource = Resource()
    assert _SocketGuard.of(resource) is None  # type: ignore[arg-type]
    for interface, guarded in ((pair[0], True), ("no socket", False)):
        resource.visalib.sessions = {1: SimpleNamespace(interface=interface)}
        assert (_SocketGuard.of(resource) is not None) is guarded  # type: ignore[arg-type]


def test_a_guard_waits_for_bytes_and_sees_a_peer_that_hung_up(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    guard = _SocketGuard(ours, SimpleNamespace())
    with pytest.raises(LinkError, match=r"^no reply in time$"):
        guard.wait_readable(10, time.monotonic() + 0.02)
    theirs.sendall(b"abcdef")
    assert select.select([ours], [], [], 5.0)[0]
    assert guard.wait_readable(4, soon()) == 4
    assert guard.wait_readable(40, soon()) == 6
    assert ours.recv(10) == b"abcdef"  # it only looked
    theirs.close()
    with pytest.raises(LinkError, match=r"^the instrument hung up$"):
        guard.wait_readable(1, soon())


def test_a_connected_session_reads_larger_pieces(pair: tuple[socket.socket, socket.socket]) -> None:
    session = SimpleNamespace(max_recv_size=4096)
    guard = _SocketGuard(pair[0], session)
    assert guard._piece == SIZES.socket_piece
    guard.prepare()
    assert session.max_recv_size == guard._piece == SIZES.piece
    assert pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    with socket.socket() as unconnected, pytest.raises(OSError, match="not connected"):
        _SocketGuard(unconnected, session).prepare()


def test_a_drained_socket_has_nothing_left_even_in_the_library(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    pending = bytearray(b"read ahead")
    theirs.sendall(b"x" * 1000)
    assert select.select([ours], [], [], 5.0)[0]
    _SocketGuard(ours, SimpleNamespace(_pending_buffer=pending)).drain()
    assert not pending
    assert not select.select([ours], [], [], 0.0)[0]


def test_a_socket_is_corked_for_the_time_of_a_message(pair: tuple[socket.socket, socket.socket]) -> None:
    cork = getattr(socket, "TCP_CORK", None)
    if cork is None:
        pytest.skip("the system holds nothing back")
    guard = _SocketGuard(pair[0], SimpleNamespace())
    with guard.corked():
        assert pair[0].getsockopt(socket.IPPROTO_TCP, cork)
    assert not pair[0].getsockopt(socket.IPPROTO_TCP, cork)


def test_pieces_are_as_large_as_the_buffer_of_the_system_takes(pair: tuple[socket.socket, socket.socket]) -> None:
    """A large piece goes where four times what would then be queued fits in; a full socket is waited for in vain."""
    ours, theirs = pair
    guard = _SocketGuard(ours, SimpleNamespace())
    room = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    assert guard.wait_writable(soon()) == (SIZES.piece if 4 * SIZES.piece <= room else SIZES.socket_piece)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * SIZES.socket_piece)
    assert guard.wait_writable(soon()) == SIZES.socket_piece
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    ours.setblocking(False)
    for _ in range(10_000):
        try:
            ours.send(b"x" * 65536)
        except BlockingIOError:
            break
    with pytest.raises(LinkError, match=r"^the instrument takes no more data \(timeout\)$"):
        guard.wait_writable(time.monotonic() + 0.05)


def test_sizes_are_those_of_the_libraries() -> None:
    """As the manuals of pyvisa-py and of sockets have them: a change here is meant."""
    assert LinkSizes() == LinkSizes(piece=65536, socket_piece=4096, line=1024, drained=1024)
    assert links._left(math.inf) == math.inf
    assert links._left(0.0) == 0.0
