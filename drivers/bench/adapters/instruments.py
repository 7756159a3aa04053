"""The three roles of a bench, played by instruments of other packages."""

from __future__ import annotations

from collections.abc import Sequence

from hwloop.drivers.bench.adapters.adapted import Adapted
from hwloop.drivers.bench.adapters.maps import MatrixMap, PulserMap, SourceMap
from hwloop.drivers.bench.adapters.packages import Foreign
from hwloop.drivers.bench.adapters.steps import Value
from hwloop.drivers.bench.instrument import text
from hwloop.drivers.bench.pulse_generator import CheckedPulseGenerator
from hwloop.drivers.bench.roles import MatrixRating
from hwloop.drivers.bench.source_meter import TRIPPED, CheckedSourceMeter
from hwloop.drivers.bench.switch_matrix import CheckedMatrix
from hwloop.errors import ChipError


class AdaptedSourceMeter(CheckedSourceMeter):
    """A source meter; levels and compliance are read back, because some classes cut off what is too large."""

    def __init__(
        self, adapted: Adapted, model: str, given: SourceMap, compliance: float, ramp_step: float, nplc: float
    ) -> None:
        """Set up to 0 V with the output off; the parameters are those of `CommandSourceMeter`."""
        super().__init__(adapted.name, model, given.rating, compliance, ramp_step)
        self._adapted, self._last = adapted, 0.0
        self._at, self._most = adapted.reading("level"), adapted.reading("compliance")
        self._reading = adapted.reading("current")
        self._held = adapted.reading("limiting") if given.limiting else None
        self._on, self._off = adapted.steps("on"), adapted.steps("off")
        for step in adapted.steps("setup"):
            adapted.do([step], {"compliance": compliance, "nplc": nplc})
        adapted.do(self._off)
        adapted.put(self._at, 0.0)
        adapted.put(self._most, compliance)

    def limiting(self) -> bool:
        """Tell whether the source is in compliance; where the class cannot, whether the last reading was there."""
        if self._held is None:
            return abs(self._last) >= (1 - self.AGREEMENT) * self._compliance
        answer = self._adapted.ask(self._held)
        told = answer.strip() if isinstance(answer, str) else str(int(answer)) if answer in (0, 1) else ""
        if told not in TRIPPED:
            raise ChipError(f"{self._name}: '{self._held.text}' returned {ascii(answer)[:40]}; expected 0 or 1")
        return TRIPPED[told]

    def _limit(self, amps: float) -> None:
        self._adapted.put(self._most, amps)

    def _kept(self) -> float:
        return self._adapted.number(self._most)

    def _levels(self, volts: list[float]) -> None:
        self._adapted.put(self._at, *volts)

    def _connect(self) -> None:
        self._adapted.put(self._at, 0.0)
        self._adapted.do(self._on)

    def _disconnect(self) -> None:
        self._adapted.do(self._off)

    def _current(self) -> float:
        self._last = self._adapted.number(self._reading)
        return self._last

    def _recover(self) -> None:
        self._adapted.recover(self._at, self._off)


class AdaptedPulseGenerator(CheckedPulseGenerator):
    """A pulse generator; what a pulse is set to is read back before it can be made."""

    def __init__(self, adapted: Adapted, given: PulserMap, volts_max: float, width_max: float, edge: float) -> None:
        """Set up for single pulses, output off; the parameters are those of `CommandPulseGenerator`."""
        super().__init__(adapted.name, given.rating, volts_max, width_max)
        self._adapted, self._done = adapted, adapted.reading("done")
        self._on, self._off = adapted.steps("on"), adapted.steps("off")
        self._set, self._fire = adapted.steps("shape"), adapted.steps("trigger")
        seconds = {"width_max": 1e-9 * width_max, "period": 2e-9 * width_max + 1e-7, "edge": 1e-9 * edge}
        for step in adapted.steps("setup"):
            adapted.do([step], {"volts_max": volts_max, **seconds})
        adapted.do(self._off)

    def on(self) -> None:
        """Connect the output, which rests at 0 V."""
        self._adapted.do(self._on)

    def trigger(self) -> None:
        """Make one pulse and wait until it is over; never repeated."""
        self._adapted.do(self._fire)
        answer = self._adapted.ask(self._done)
        if str(answer).strip() not in ("1", "+1", "1.0", "True"):
            raise ChipError(f"{self._name}: '{self._done.text}' returned {ascii(answer)[:40]} after a pulse")

    def off(self) -> None:
        """Disconnect the output."""
        self._adapted.do(self._off)

    def idle(self) -> None:
        """Switch the output off, whatever happened before."""
        self._adapted.recover(None, self._off)

    def _shape(self, volts: float, width: float) -> None:
        self._adapted.do(self._set, {"volts": float(text(volts)), "width": float(text(1e-9 * width))}, checked=True)


class AdaptedMatrix(CheckedMatrix):
    """A switch matrix; every relay opens before one closes."""

    def __init__(self, adapted: Adapted, given: MatrixMap) -> None:
        """Open every relay."""
        super().__init__(adapted.name)
        self._adapted, self._map = adapted, given
        self._ours = {self._called(one): one for one in _crosspoints(given.rating)}
        self._closing, self._opening = adapted.steps("close"), adapted.steps("open_all")
        self._state = adapted.reading("closed")
        adapted.do(self._opening)
        for step in adapted.steps("setup"):
            adapted.do([step])
        self.open_all()

    def _close(self, crosspoints: Sequence[str]) -> None:
        self._open()
        names = ",".join(self._called(one) for one in crosspoints)
        if any("names" in step.words for step in self._closing):
            self._adapted.do(self._closing, {"names": names})
            return
        for one in crosspoints:
            self._adapted.do(self._closing, {**_parts(one, self._map), "name": self._called(one)})

    def _open(self) -> None:
        self._adapted.do(self._opening)

    def _closed(self) -> frozenset[str]:
        """Ask which crosspoints are closed, by the names that the bench has for them where it has any."""
        return frozenset(self._ours.get(name, name) for name in _names(self._adapted.ask(self._state)))

    def _recover(self) -> None:
        self._adapted.recover(None, self._opening)

    def _called(self, crosspoint: str) -> str:
        return self._map.name.format(**_parts(crosspoint, self._map))


def _crosspoints(rating: MatrixRating) -> list[str]:
    """List all crosspoints by the names that the bench has for them, such as 1A05."""
    slots, columns = range(1, rating.slots + 1), range(1, rating.columns + 1)
    return [f"{slot}{row}{column:02}" for slot in slots for row in rating.rows for column in columns]


def _parts(crosspoint: str, given: MatrixMap) -> dict[str, Value]:
    """Return slot, row and column of a crosspoint of the bench, such as 1A05."""
    row = crosspoint[1]
    number = given.rating.rows.index(row) + 1
    return {"slot": int(crosspoint[0]), "row": row, "row_number": number, "column": int(crosspoint[2:])}


def _names(answer: Foreign) -> set[str]:
    """Read names of closed crosspoints: nothing, one text with separators, or texts and pairs of numbers."""
    if answer is None:
        return set()
    if isinstance(answer, str):
        text = answer.strip().strip('"')
        parts = text.replace(";", ",").split(",")
        return set() if text in ("", "nil") else {part.strip() for part in parts if part.strip()}
    return {",".join(map(str, one)) if isinstance(one, tuple | list) else str(one).strip() for one in answer}
