"""What a session does on its own: the farewell that makes an instrument idle, and the time it allows a waiting chip."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import hwloop
from hwloop.chip.backend import Backend
from hwloop.drivers.visa_chip import LINK, VisaChip
from hwloop.errors import LinkError
from hwloop.scpi import dialect
from hwloop.sim_backend.chip import SimulatedChip
from hwloop.sim_backend.options import apply_options
from hwloop.sim_backend.presets import PRESETS
from hwloop.sim_backend.server.instrument import Instrument
from hwloop.sim_backend.server.server import serving
from tests.drivers.conftest import SMALL, resource


class Noting(Instrument):
    """An instrument that notes which rows of the dialect it carried out."""

    def __init__(self, chip: Backend, *, virtual_clock: bool = True) -> None:
        super().__init__(chip, virtual_clock=virtual_clock)
        self.done: list[str] = []
        for command, handler in self._handlers.items():
            self._handlers[command] = self._noted(command.header, handler)

    def _noted(self, header: str, handler: Callable[..., object]) -> Callable[..., object]:
        def note(*values: object) -> object:
            self.done.append(header)
            return handler(*values)

        return note


class OnABench(SimulatedChip):
    """A simulated chip on whose clock waiting takes real time, as on a bench."""

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds)
        super()._wait(seconds)


def test_closing_makes_the_instrument_idle_before_it_ends_the_session() -> None:
    with hwloop.connect(SMALL) as chip:
        instrument = Noting(chip)
        with serving(chip, instrument=instrument) as port:
            VisaChip.open(resource(port)).close()
            _until(lambda: dialect.LINK_CLOSE.header in instrument.done)
        assert instrument.done.count(dialect.IDLE.header) == 1
        assert instrument.done[-2:] == [dialect.IDLE.header, dialect.LINK_CLOSE.header]


def test_an_error_in_the_middle_of_the_work_makes_it_idle_too() -> None:
    with hwloop.connect(SMALL) as chip:
        instrument = Noting(chip)
        with serving(chip, instrument=instrument) as port:
            with pytest.raises(ZeroDivisionError, match="of the user"), VisaChip.open(resource(port)):
                raise ZeroDivisionError("of the user")
            _until(lambda: dialect.LINK_CLOSE.header in instrument.done)
        assert dialect.IDLE.header in instrument.done


def test_a_chip_that_describes_itself_badly_is_left_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwloop.sim_backend.server.instrument.encode", lambda description: b"{}")
    with hwloop.connect(SMALL) as chip:
        instrument = Noting(chip)
        with serving(chip, instrument=instrument) as port:
            with pytest.raises(LinkError, match="does not describe its chip"):
                VisaChip.open(resource(port))
            _until(lambda: dialect.LINK_CLOSE.header in instrument.done)
        assert instrument.done[-2:] == [dialect.IDLE.header, dialect.LINK_CLOSE.header]


@pytest.fixture
def bench() -> OnABench:
    return OnABench(*apply_options(PRESETS["pcm-ideal"](), {"rows": "4", "columns": "4"}))


def test_waiting_longer_than_the_timeout_on_a_real_clock_is_no_failure(bench: OnABench) -> None:
    """The driver allows for the wait: one call, one connection, and the time has passed once."""
    with bench as chip:
        instrument = Noting(chip, virtual_clock=False)
        with serving(chip, instrument=instrument) as port, VisaChip.open(resource(port), timeout=0.25) as client:
            begin = time.monotonic()
            client.wait(0.6)
            assert 0.6 <= time.monotonic() - begin < 1.2
            assert instrument.done.count(dialect.WAIT.header) == 1
            assert instrument.done.count(dialect.LINK_OPEN_Q.header) == 1


def test_what_a_wait_may_take_is_the_wait_and_its_margin(bench: OnABench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And on a virtual clock, which moves at once, nothing beyond the timeout."""
    allowed = []
    for virtual_clock in (False, True):
        instrument = Instrument(bench, virtual_clock=virtual_clock)
        with serving(bench, instrument=instrument) as port, VisaChip.open(resource(port)) as client:
            monkeypatch.setattr(client, "_done", lambda commands, allowance=0.0: allowed.append(allowance))
            client._wait(7.0)
            monkeypatch.undo()
    assert allowed == [pytest.approx(7.0 * (1 + LINK.clock_margin)), 0.0]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5.0
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
