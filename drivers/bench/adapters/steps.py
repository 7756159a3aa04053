"""The steps of a map: assignments, calls and readings of an instrument object, which are parsed and never executed.

A step is one line such as ``source_voltage = 0``, ``measure_current(nplc, compliance, False)`` or ``ask('*OPC?')``. It
may name public attributes of the instrument, constants, and the words that its operation offers, which may stand in
texts as well, in braces; numbers may be added, subtracted, multiplied and divided. There is nothing else: no other
names, no calls on anything but the instrument.
"""

from __future__ import annotations

import ast
import operator
import string
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hwloop.drivers.bench.instrument import text
from hwloop.errors import BadInputError

Value: TypeAlias = str | int | float | bool | None
Words: TypeAlias = Mapping[str, Value]

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Attribute:
    """A name on the way through an object."""

    name: str


@dataclass(frozen=True)
class Item:
    """A key on the way through an object."""

    key: str | int


Path: TypeAlias = tuple[Attribute | Item, ...]


@dataclass(frozen=True)
class Step:
    """A step that was understood.

    Parameters
    ----------
    text
        As it stands in the map.
    path
        What it assigns, calls or reads.
    assigned
        The value that is assigned; nothing for a call or a reading.
    called
        Whether `path` is called.
    arguments, keywords
        What it is called with.
    words
        The words that occur in it.
    """

    text: str
    path: Path
    assigned: ast.expr | None = None
    called: bool = False
    arguments: tuple[ast.expr, ...] = ()
    keywords: tuple[tuple[str, ast.expr], ...] = ()
    words: frozenset[str] = frozenset()

    def value(self, words: Words) -> Value:
        """Return the value that is assigned, given the words."""
        assert self.assigned is not None
        return worth(self.assigned, words)


def understand(text: str, words: Collection[str]) -> Step:
    """Parse a step that may use these words.

    Raises
    ------
    BadInputError
        In one line, for anything that is no step.
    """
    try:
        statements = ast.parse(text.strip()).body
        if len(statements) != 1:
            raise _NoStepError("expected one assignment, call or attribute")
        return _step(text, statements[0], words)
    except (SyntaxError, ValueError, RecursionError, _NoStepError) as error:
        why = error.msg if isinstance(error, SyntaxError) else str(error)
        raise BadInputError(f"{ascii(text)[:80]} is no step: {why}") from None


class _NoStepError(Exception):
    """What a text has that no step has."""


def _step(text: str, statement: ast.stmt, words: Collection[str]) -> Step:
    match statement:
        case ast.Assign(targets=[target], value=value):
            return Step(text, _path(target), assigned=value, words=_used(value, words))
        case ast.Expr(value=ast.Call(func=func, args=arguments, keywords=given)):
            keywords = tuple((one.arg or "", one.value) for one in given)
            if not all(name for name, _ in keywords):
                raise _NoStepError("'**' is not understood")
            values = [*arguments, *(value for _, value in keywords)]
            used = frozenset[str]().union(*(_used(value, words) for value in values))
            return Step(text, _path(func), None, True, tuple(arguments), keywords, used)
        case ast.Expr(value=value):
            return Step(text, _path(value))
    raise _NoStepError("expected one assignment, call or attribute")


def _path(node: ast.expr) -> Path:
    path = _way(node)
    if isinstance(path[-1], Item):
        raise _NoStepError("an item of something cannot be read, set or called itself; name an attribute")
    return path


def _way(node: ast.expr) -> Path:
    match node:
        case ast.Name(id=name):
            return (_public(name),)
        case ast.Attribute(value=value, attr=name):
            return (*_way(value), _public(name))
        case ast.Subscript(value=value, slice=ast.Constant(value=str() | int() as key)):
            return (*_way(value), Item(key))
    raise _NoStepError("expected attributes of the instrument, such as source.voltage or channels[1].output")


def _public(name: str) -> Attribute:
    if name.startswith("_"):
        raise _NoStepError(f"'{name}' is not public")
    return Attribute(name)


def _used(node: ast.expr, words: Collection[str]) -> frozenset[str]:
    match node:
        case ast.Constant(value=str() as text):
            return frozenset().union(
                *(_word(name, words) for _, name, _, _ in string.Formatter().parse(text) if name is not None)
            )
        case ast.Constant(value=int() | float() | None):
            return frozenset()
        case ast.Name(id=name):
            return _word(name, words)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _used(operand, words)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _used(left, words) | _used(right, words)
    raise _NoStepError(
        "a value is a number, a text in quotes, True, False, None or a word, or a sum or product of them"
    )


def _word(name: str, words: Collection[str]) -> frozenset[str]:
    if name not in words:
        known = ", ".join(sorted(words)) or "none"
        raise _NoStepError(f"'{name}' is no word of this operation; known: {known}; texts stand in quotes")
    return frozenset({name})


def worth(node: ast.expr, words: Words) -> Value:
    """Return what a value of a step is, given its words; the step was understood with these."""
    match node:
        case ast.Constant(value=str() as value):
            return value.format(
                **{name: text(word) if isinstance(word, float) else word for name, word in words.items()}
            )
        case ast.Constant(value=int() | float() | None as value):
            return value
        case ast.Name(id=name):
            return words[name]
        case ast.UnaryOp(operand=operand):
            return -_number(worth(operand, words))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_number(worth(left, words)), _number(worth(right, words)))
    raise AssertionError("not a value that `understand` lets through")


def _number(value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInputError(f"{value!r} is no number to calculate with")
    return value
