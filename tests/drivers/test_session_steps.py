"""A session exchange by exchange: an emulated instrument in the same process, behind a link that fails on demand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

import hwloop
from hwloop.chip.backend import Backend
from hwloop.drivers import session as sessions
from hwloop.drivers.session import SESSION_LIMITS, Session, _shown, _typed
from hwloop.errors import BadInputError, InstrumentError, LimitError, LinkError, MissingCapabilityError
from hwloop.scpi import dialect
from hwloop.scpi.blocks import sealed_block
from hwloop.scpi.calls import Answer, Call
from hwloop.scpi.codes import Code
from hwloop.sim_backend.server.instrument import Instrument
from tests.drivers.conftest import SMALL


class Wire:
    """Stands for a VisaLink: a connection to an instrument, which answers at once."""

    def __init__(self, instrument: Instrument, damage: list[Callable[[bytes], bytes]]) -> None:
        instrument.connected()
        self.instrument, self.damage, self.answers = instrument, damage, list[bytes]()
        self.bytes_moved, self.closed, self.remarks, self.sent = 0, 0, list[str](), list[bytes]()
        self.deadlines: list[float] = []

    def write(self, message: bytes, deadline: float) -> None:
        self.deadlines.append(deadline - time.monotonic())
        self.sent.append(message)
        self.bytes_moved += len(message)
        answer = self.instrument.process(message)
        if answer and self.damage:
            answer = self.damage.pop(0)(answer)
        if answer:
            self.answers.append(answer)

    def read_block(self, longest: int, deadline: float) -> bytes:
        if not self.answers:
            raise LinkError("no reply in time")
        block = self.answers.pop(0)
        self.bytes_moved += len(block)
        digits = int(block[1:2])
        assert int(block[2 : 2 + digits]) <= longest
        return block[2 + digits :]

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    def close(self) -> None:
        self.closed += 1


class Bench:
    """An instrument, the connections that were made to it, and what is to become of its next answers."""

    def __init__(self, chip: Backend) -> None:
        self.instrument = Instrument(chip)
        self.wires, self.damage = list[Wire](), list[Callable[[bytes], bytes]]()

    def connect(self) -> Wire:
        self.wires.append(Wire(self.instrument, self.damage))
        return self.wires[-1]

    def session(self, timeout: float = 2.0, *, reconnect: bool = True) -> Session:
        return Session(self.connect, timeout, reconnect=reconnect)  # type: ignore[arg-type]


@pytest.fixture
def bench() -> Iterator[Bench]:
    with hwloop.connect(SMALL) as chip:
        yield Bench(chip)


def kept(answer: bytes) -> bytes:
    return answer


def lost(answer: bytes) -> bytes:
    return b""


def bent(answer: bytes) -> bytes:
    return answer[:-3] + bytes([answer[-3] ^ 1]) + answer[-2:]


WAIT = dialect.WAIT.write(1.5)


def test_calls_are_numbered_and_bring_the_clock_and_their_response(bench: Bench) -> None:
    session = bench.session()
    assert session.call([WAIT, dialect.TIME_Q.write()]) == b"1.5"
    assert session.clock == 1.5
    assert session.call([WAIT]) == b""
    assert session.clock == 3.0
    wire = bench.wires[0]
    assert session.bytes_moved == wire.bytes_moved
    assert len(bench.wires) == 1


def test_an_exchange_may_take_the_timeout_and_what_it_is_allowed(bench: Bench) -> None:
    session = bench.session(timeout=2.0)
    session.call([WAIT])
    session.call([WAIT], allowance=7.0)
    opened, plain, longer = bench.wires[0].deadlines
    assert (round(opened), round(plain), round(longer)) == (2, 2, 9)


@pytest.mark.parametrize("failure", [lost, bent])
def test_a_call_whose_answer_is_lost_is_carried_out_once(bench: Bench, failure: Callable[[bytes], bytes]) -> None:
    session = bench.session()
    before = session.bytes_moved
    bench.damage[:] = [failure]
    assert session.call([WAIT, dialect.TIME_Q.write()]) == b"1.5"
    assert len(bench.wires) == 2
    assert bench.wires[0].closed == 1
    assert session.bytes_moved == sum(wire.bytes_moved for wire in bench.wires) > before


@pytest.mark.parametrize(("reconnect", "attempts"), [(True, 3), (False, 1)])
def test_a_link_that_keeps_failing_is_given_up_with_the_first_reason(
    bench: Bench, reconnect: bool, attempts: int
) -> None:
    session = bench.session(reconnect=reconnect)
    bench.damage[:] = [bent, kept, lost, kept, lost]
    said = (
        rf"^the link failed {attempts} time\(s\) in ':CHIP:WAIT 1\.5', first: a reply was damaged on its way: "
        ".*; whether the instrument carried it out is not known$"
    )
    with pytest.raises(LinkError, match=said):
        session.call([WAIT])
    assert len(bench.wires) == attempts
    assert [wire.closed for wire in bench.wires] == [1] * attempts


def test_an_instrument_that_was_used_by_someone_else_is_not_trusted(bench: Bench) -> None:
    session = bench.session()
    session.call([WAIT])
    bench.session()
    bench.damage[:] = [lost]
    with pytest.raises(
        LinkError, match="restarted or used by someone else meanwhile: the state of the chip is not kno"
    ):
        session.call([WAIT])


def test_a_session_is_gone_on_with_where_the_last_call_was_or_was_not_carried_out(bench: Bench) -> None:
    """The number that the instrument tells is that of this call, or of the one before."""
    session = bench.session()
    for number, last, trusted in ((0, 0, True), (5, 5, True), (5, 4, True), (5, 6, False), (5, 3, False)):
        session._drop()
        session._number = number
        bench.damage[:] = [lambda answer, last=last: sealed_block(session._key + b" %d" % last)]
        if trusted:
            assert session._ready_link() is bench.wires[-1]
            continue
        with pytest.raises(LinkError, match="restarted or used by someone else"):
            session._ready_link()


def test_an_answer_of_another_session_is_refused(bench: Bench) -> None:
    for key in (b"0123456789abcdef 0", b"nonsense"):
        bench.damage[:] = [lambda answer, key=key: sealed_block(key)]
        with pytest.raises(LinkError, match="the instrument answered with another session's key"):
            bench.session()
        assert bench.wires[-1].closed == 1


def test_answers_to_earlier_calls_are_passed_over_but_not_without_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = bench.session()
    old = sealed_block(Answer(7, 0, 0.0, b"old").encode())
    wire = bench.wires[0]
    wire.answers[:] = [old] * (SESSION_LIMITS.stale_answers - 1)
    assert session.call([WAIT, dialect.TIME_Q.write()]) == b"1.5"
    wire.answers[:] = [old] * SESSION_LIMITS.stale_answers
    with pytest.raises(LinkError, match=r"^only answers to other calls came$"):
        session._exchange(wire, Call(2, WAIT), 0.0)  # type: ignore[arg-type]
    wire.answers[:] = [sealed_block(Answer(Answer.UNREADABLE, 1, 0.0, b"").encode())]
    with pytest.raises(LinkError, match=r"^a call was damaged on its way$"):
        session._exchange(wire, Call(3, WAIT), 0.0)  # type: ignore[arg-type]
    wire.answers[:] = [sealed_block(b"none")]
    with pytest.raises(LinkError, match="an answer that is none"):
        session._exchange(wire, Call(3, WAIT), 0.0)  # type: ignore[arg-type]


def test_an_error_of_the_instrument_is_the_first_of_this_calls(bench: Bench) -> None:
    """Entries of messages that came before are not this call's."""
    session = bench.session()
    bench.instrument.process(b"NONSENSE")
    with pytest.raises(
        LimitError, match=r"^the instrument refused ':PULS 0,RESet,0,1000000000\.0,100\.0': device 0: pulse"
    ):
        session.call([dialect.PULSE_SINGLE.write(0, "RESet", 0, 1e9, 100.0)])
    assert len(bench.instrument.status.errors) == 0
    with pytest.raises(InstrumentError, match="an error was counted but is not in the queue"):
        raise session._refusal([WAIT], 1)


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (Code.OUT_OF_RANGE, LimitError, r"^the instrument refused 'X': too far$"),
        (Code.ILLEGAL_PARAMETER, BadInputError, r"^the instrument refused 'X': too far$"),
        (Code.HARDWARE_MISSING, MissingCapabilityError, r"^too far$"),
        (Code.SYSTEM_ERROR, InstrumentError, "too far"),
    ],
)
def test_errors_have_the_type_of_their_code(code: int, kind: type[Exception], said: str) -> None:
    error = _typed(code, "Some text;too far", "X")
    assert type(error) is kind
    with pytest.raises(kind, match=said):
        raise error
    assert "Some text" in str(_typed(Code.OUT_OF_RANGE, "Some text", "X"))


def test_closing_says_farewell_ends_the_session_and_releases_the_link(bench: Bench) -> None:
    session = bench.session()
    session.call([WAIT])
    session.close([dialect.IDLE.write()])
    wire = bench.wires[0]
    assert (wire.closed, wire.remarks) == (1, [])
    assert b"CHIP:IDLE" in wire.sent[-2]
    assert wire.sent[-1] == dialect.LINK_CLOSE.write()
    session.close([dialect.IDLE.write()])
    assert wire.closed == 1
    broken = bench.session()
    bench.damage[:] = [lost]
    broken.close([dialect.IDLE.write()])
    assert bench.wires[1].closed == 1
    assert bench.wires[1].remarks == ["the instrument could not be told to idle: no reply in time"]


def test_what_is_shown_of_a_call_is_its_end_without_blocks() -> None:
    assert _shown([b"DATA:APP #15abcde", b"PULS:FIRE 0"]) == "DATA:APP #...;PULS:FIRE 0"
    assert _shown([b"A" * 50, b"B" * 50]) == "A" * 9 + ";" + "B" * 50
    assert sessions.SESSION_LIMITS.shown == 60
