"""An instrument object of another package behind the steps of a map: every error told, every queue read."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyvisa.errors import VisaIOError

from hwloop.drivers.bench.adapters.maps import WORDS, AnyMap, on_channel
from hwloop.drivers.bench.adapters.packages import PACKAGES, Foreign, Package, Place
from hwloop.drivers.bench.adapters.steps import Path, Step, Value, Words, understand
from hwloop.drivers.identity import Identity
from hwloop.errors import ChipError, HwloopError, InstrumentError, LinkError, first_line, printable

NOTHING: Words = {}


@dataclass(frozen=True)
class Agreement:
    """When a number that is read back is the one that was set.

    Parameters
    ----------
    relative
        Difference, of the number: instruments keep to the digits that they have.
    absolute
        Difference, in V, A or s.
    entries
        Of an error queue that are read at most.
    """

    relative: float = 0.02
    absolute: float = 1e-12
    entries: int = 64


AGREEMENT = Agreement()
"""That of every instrument."""


class Adapted:
    """The instrument, and what its package makes of it."""

    bytes_moved = 0
    """Not known: other packages do not count what they move."""

    def __init__(self, package: Package, instrument: Foreign, name: str, given: AnyMap, channel: str) -> None:
        """Take over an instrument, and close it in the end; `name` is for messages.

        Raises
        ------
        LinkError
            For an instrument of another model.
        """
        self.name = name
        self.identity = Identity("", "", "", "")
        self._package, self._instrument, self._map, self._channel = package, instrument, given, channel
        self._failed = False
        self._errors = self.reading("errors") if given.errors else None
        if given.model:
            self._identify(given.model)
        self._forget_errors()

    def reading(self, field: str) -> Step:
        """Return the reading that a field of the map holds."""
        text = on_channel(getattr(self._map, field), self._channel)
        assert isinstance(text, str)
        return understand(text, ())

    def steps(self, field: str) -> list[Step]:
        """Return the steps that a field of the map holds."""
        words = WORDS[type(self._map)].get(field, ())
        return [understand(text, words) for text in on_channel(getattr(self._map, field), self._channel)]

    def do(self, steps: Sequence[Step], words: Words = NOTHING, checked: bool = False) -> None:
        """Take steps, then read the error queue.

        Parameters
        ----------
        steps, words
            The steps, and what their words stand for.
        checked
            Whether numbers that are assigned are read back.

        Raises
        ------
        ChipError
            For whatever a step raises, and a number that is not kept.
        InstrumentError
            For an entry of the error queue.
        """
        self._take(steps, words, checked)
        self._check_errors("; ".join(step.text for step in steps))

    def put(self, quantity: Step, *values: float) -> None:
        """Set an attribute to one number after the other; the last one is read back. Raises as `do` does."""
        for value in values:
            self._assign(quantity, quantity.path, value)
        self._agree(quantity, values[-1])
        self._check_errors(f"{quantity.text} = {values[-1]:g}")

    def ask(self, reading: Step, words: Words = NOTHING) -> Foreign:
        """Return what a reading returns. Raises ChipError for whatever it raises."""
        answer = self._read(reading, words)
        self._check_errors(reading.text)
        return answer

    def number(self, reading: Step) -> float:
        """Return a number. Raises ChipError for an answer that is none."""
        return self._number(reading, self.ask(reading))

    def recover(self, zero: Step | None, steps: Sequence[Step]) -> None:
        """Set an attribute to 0 and take steps, whatever happened before.

        Where something has failed, they are taken at once, and again when no answer is on its way any more.
        """
        if self._failed:
            with contextlib.suppress(HwloopError):
                if zero is not None:
                    self._assign(zero, zero.path, 0.0)
            with contextlib.suppress(HwloopError):
                self._take(steps, NOTHING, False)
            self._package.drain(self._instrument)
            self._failed = False
        self._forget_errors()
        if zero is not None:
            self.put(zero, 0.0)
        self.do(steps)

    def close(self) -> None:
        """Release the link; safe to call twice."""
        with contextlib.suppress(Exception):  # nothing can be done about it, and outputs are off by now
            self._package.close(self._instrument)

    # ---- one exchange ---------------------------------------------------------------------------------------

    def _take(self, steps: Sequence[Step], words: Words, checked: bool) -> None:
        for step in steps:
            if step.assigned is None:
                self._read(step, words)
                continue
            with self._told(step.text):
                value = step.value(words)
            self._assign(step, step.path, value)
            if checked and isinstance(value, int | float) and not isinstance(value, bool):
                self._agree(step, value)

    def _assign(self, step: Step, path: Path, value: Value) -> None:
        with self._told(step.text):
            self._package.assign(self._instrument, path, value)

    def _read(self, step: Step, words: Words = NOTHING) -> Foreign:
        with self._told(step.text):
            return self._package.read(self._instrument, step, words)

    def _agree(self, step: Step, value: float) -> None:
        kept = self._number(step, self._read(step))
        if not math.isclose(kept, value, rel_tol=AGREEMENT.relative, abs_tol=AGREEMENT.absolute):
            raise ChipError(f"{self.name}: '{step.text}' was set to {value:g}, and {kept:g} is read back")

    def _number(self, step: Step, answer: Foreign) -> float:
        try:
            return float(answer)
        except (TypeError, ValueError):
            self._failed = True
            raise ChipError(f"{self.name}: '{step.text}' returned {ascii(answer)[:40]}, not a number") from None

    @contextlib.contextmanager
    def _told(self, text: str) -> Iterator[None]:
        """Whatever the other package raises becomes one line."""
        try:
            yield
        except HwloopError:
            self._failed = True
            raise
        except Exception as error:
            self._failed = True
            kind = LinkError if isinstance(error, VisaIOError | OSError) else ChipError
            raise kind(f"{self.name}: '{text}': {type(error).__name__}: {first_line(error)}") from error

    # ---- who answers, and what it complains of --------------------------------------------------------------

    def _identify(self, model: str) -> None:
        with self._told("*IDN?"):
            self.identity = self._package.identify(self._instrument, self.name)
        if not re.fullmatch(model, self.identity.model, re.I):
            raise LinkError(
                f"{self.name} is '{printable(self.identity.model)}' by '{printable(self.identity.maker)}', not a "
                f"'{model}'; check the bench file"
            )

    def _forget_errors(self) -> None:
        self._entries()

    def _check_errors(self, commands: str) -> None:
        if entries := self._entries():
            code, message = entries[0]
            raise InstrumentError(code, f"{message} ({self.name})", commands)

    def _entries(self) -> list[tuple[int, str]]:
        """Read the error queue until it is empty."""
        found: list[tuple[int, str]] = []
        if self._errors is None:
            return found
        for _ in range(AGREEMENT.entries):
            new = _entries_of(self._read(self._errors), self.name, self._errors.text)
            if not new:
                break
            found += new
        return found


def _entries_of(answer: Foreign, name: str, text: str) -> list[tuple[int, str]]:
    """Read what a class returns of an error queue: nothing, one entry (code and text, or a line), or a list of them."""
    if answer is None or (isinstance(answer, Sequence) and not answer):
        return []
    try:
        one = isinstance(answer, str) or isinstance(answer[0], int | float | str)
        read = [_entry(entry) for entry in ([answer] if one else answer)]
    except (TypeError, ValueError, IndexError, KeyError):
        raise ChipError(f"{name}: '{text}' returned {ascii(answer)[:80]}, no entry of an error queue") from None
    return [(code, message) for code, message in read if code]


def _entry(entry: Foreign) -> tuple[int, str]:
    code, message, *_ = re.split("[,\t]", entry, maxsplit=1) if isinstance(entry, str) else entry
    return int(float(code)), printable(str(message).strip(' "\r\n'))


def open_adapted(driver: tuple[str, str, str], place: Place, given: AnyMap, channel: str) -> Adapted:
    """Import the class of a driver (package, module, name) and open its instrument. Raises BadInputError, LinkError."""
    package = PACKAGES[driver[0]]
    instrument = package.open(package.find(*driver[1:]), place)
    try:
        return Adapted(package, instrument, f"{place.role} {place.resource}", given, channel)
    except BaseException:
        with contextlib.suppress(Exception):
            package.close(instrument)
        raise
