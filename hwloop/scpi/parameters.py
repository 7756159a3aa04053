"""Parameters of commands: what may be sent for one, and how it is written."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwloop.scpi.blocks import sealed_block, unseal
from hwloop.scpi.codes import Code, ScpiError
from hwloop.scpi.lexer import Argument, ArgumentKind
from hwloop.scpi.limits import LIMITS

Value = int | float | str | bytes

SUFFIXES = {
    "uA": {"A": 1e6, "MA": 1e3, "UA": 1.0, "NA": 1e-3},
    "ns": {"S": 1e9, "MS": 1e6, "US": 1e3, "NS": 1.0},
    "s": {"S": 1.0, "MS": 1e-3, "US": 1e-6, "NS": 1e-9},
    "uS": {"SIE": 1e6, "MSIE": 1e3, "USIE": 1.0, "NSIE": 1e-3},
}
"""Suffixes a number may carry, by the unit it has without one (siemens are written SIE, as IEEE 488.2 has it)."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a command.

    form  'integer', 'number', 'word', 'string' or 'block'
    """

    name: str
    form: str
    meaning: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    words: tuple[str, ...] = ()
    default: Value | None = None
    """Value when the parameter is left out; None: it must be given."""

    def bind(self, argument: Argument) -> Value:
        """Return the value that was sent: uS, uA, ns or s; words in long form, upper case; content of a sealed block.

        Raises ScpiError for another kind of data or a value out of range; nothing is ever clamped or rounded.
        """
        if self.form == "block":
            self._expect(argument, ArgumentKind.BLOCK)
            return unseal(argument.data)
        if self.form == "string":
            self._expect(argument, ArgumentKind.STRING)
            return argument.text
        if self.form == "word":
            self._expect(argument, ArgumentKind.WORD)
            return self._word(argument.text)
        self._expect(argument, ArgumentKind.NUMBER)
        value = self._integer(argument) if self.form == "integer" else self._number(argument)
        if not self.low <= value <= self.high:
            raise ScpiError(Code.OUT_OF_RANGE, f"{self.name} {value:g} is outside {self.low:g} to {self.high:g}")
        return value

    def write(self, value: Value) -> bytes:
        """Write a value as program data, in the parameter's own unit."""
        if isinstance(value, bytes):
            return sealed_block(value)
        if isinstance(value, str):
            return (
                ('"' + value.replace('"', '""') + '"').encode("ascii")
                if self.form == "string"
                else value.encode("ascii")
            )
        return str(int(value)).encode() if self.form == "integer" else repr(float(value)).encode()

    def _expect(self, argument: Argument, kind: ArgumentKind) -> None:
        if argument.kind is not kind:
            raise ScpiError(Code.DATA_TYPE_ERROR, f"{self.name} must be a {kind.value}, not a {argument.kind.value}")

    def _word(self, text: str) -> str:
        for word in self.words:
            if text in forms(word):
                return word.upper()
        raise ScpiError(Code.INVALID_WORD, f"{self.name} must be one of {', '.join(self.words)}, not {text}")

    def _integer(self, argument: Argument) -> int:
        if argument.suffix:
            raise ScpiError(Code.SUFFIX_NOT_ALLOWED, f"{self.name} takes no suffix")
        if len(argument.text) > LIMITS.integer:
            raise ScpiError(Code.OUT_OF_RANGE, f"{self.name} has more than {LIMITS.integer} digits")
        try:
            return int(argument.text)
        except ValueError:
            raise ScpiError(Code.INVALID_NUMBER, f"{self.name} must be a whole number") from None

    def _number(self, argument: Argument) -> float:
        value = float(argument.text)
        if argument.suffix:
            known = SUFFIXES.get(self.unit)
            if known is None:
                raise ScpiError(Code.SUFFIX_NOT_ALLOWED, f"{self.name} takes no suffix")
            if argument.suffix not in known:
                raise ScpiError(Code.INVALID_SUFFIX, f"{self.name}: {argument.suffix} is not one of {', '.join(known)}")
            value *= known[argument.suffix]
        if not math.isfinite(value):
            raise ScpiError(Code.EXPONENT_TOO_LARGE, self.name)
        return value


def forms(mnemonic: str) -> set[str]:
    """Return the long and short form of a mnemonic in SCPI notation, upper case."""
    return {mnemonic.upper(), "".join(c for c in mnemonic if not c.islower())}
