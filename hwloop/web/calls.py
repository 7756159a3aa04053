"""Calls of hwloop's face as text: what is given of a form, as Python writes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hwloop.web.fields import Form, Role, Values
from hwloop.web.settings_form import texts_of

METHODS = {"gdp": "GDP", "iterative": "ProgramVerify", "sgd": "SGD", "exact": "Exact"}
"""Classes of the public face by the names of methods."""
NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
"""What is a number in Python as well."""


@dataclass(frozen=True)
class Given:
    """What is given of a form, as Python writes it."""

    form: Form
    values: Values

    def has(self, name: str) -> bool:
        """Tell whether a parameter is given, and not as by default."""
        if not self.values.get(name):
            return False
        field = self.form.field(name)
        return field.role is Role.FLAG or self.text(name) != field.default

    def text(self, name: str) -> str:
        """Return the text of a parameter, its default where it is not given."""
        known = [one for one in self.form.fields if one.name == name]
        return self.values.get(name, ("",))[-1] or (known[0].default if known else "")

    def python(self, name: str) -> str:
        """Write the value of a parameter."""
        field, texts = self.form.field(name), self.values.get(name, ())
        if field.role is Role.FLAG:
            return str(bool(texts))
        if field.several:
            return f"[{', '.join(map(literal if field.role is Role.WHOLE else repr, texts))}]"
        return literal(self.text(name)) if field.role in (Role.WHOLE, Role.NUMBER) else repr(self.text(name))

    def named(self, *names: str, words: Mapping[str, str] | None = None) -> list[str]:
        """Write those of some parameters that are given, as keyword arguments; some are other words there."""
        return [f"{(words or {}).get(name, name)}={self.python(name)}" for name in names if self.has(name)]

    def read(self, reader: str, name: str, word: str) -> list[str]:
        """Write a parameter, where it is given, as a keyword argument whose text is read by a function."""
        return [f"{word}={reader}({self.text(name)!r})"] if self.has(name) else []

    def settings(self, name: str = "settings") -> dict[str, str]:
        """Return settings by their keys."""
        return texts_of(self.values.get(name, ()))

    def listed(self, name: str) -> list[str]:
        """Return the parts of a text with commas."""
        return [one.strip() for one in self.text(name).split(",") if one.strip()]

    def made(
        self, kind: str, *names: str, option: str = "settings", also: Mapping[str, str] | None = None
    ) -> list[str]:
        """Write an object of settings: those of an option, and parameters that are settings by themselves.

        Nothing is written where none is given. Texts that are no numbers, such as durations, are read by its class.
        """
        texts = {**(also or {}), **self.settings(option)}
        durations = any(self.has(name) and self.form.field(name).role is Role.TEXT for name in names)
        if numbers(texts) and not durations:
            told = [*self.named(*names), *(f"{key}={text}" for key, text in texts.items())]
            return [f"{kind}({', '.join(told)})"] if told else []
        return [f"{kind}.parse({ {name: self.text(name) for name in names if self.has(name)} | texts!r})"]


@dataclass(frozen=True)
class Writer:
    """How a command is written in Python.

    Parameters
    ----------
    write
        Writes the call; '' for values to which none corresponds.
    without
        Parameters that the call does not have.
    """

    write: Callable[[Given], str]
    without: tuple[str, ...] = ()


def literal(text: str) -> str:
    """Write a number as it is and all else as a text, so that nothing in a form becomes code."""
    return text if re.fullmatch(NUMBER, text) else repr(text)


def numbers(settings: Mapping[str, str]) -> bool:
    """Tell whether settings are numbers by names, and may stand in a call as they are."""
    return all(re.fullmatch(NUMBER, text) and key.isidentifier() for key, text in settings.items())


def method(name: str, settings: Mapping[str, str]) -> str:
    """Write a programming method."""
    if not settings:
        return repr(name)
    if name not in METHODS or not numbers(settings):
        return f"method_from({name!r}, {dict(settings)!r})"
    told = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"hwloop.{METHODS[name]}({told})"


def mapping(given: Given) -> list[str]:
    """Write how weights become conductances, where that is not as by default."""
    parts = given.named("scale", "split", "clip")
    return [f"mapping=hwloop.MappingSettings({', '.join(parts)})"] if parts else []


def call(name: str, arguments: Sequence[str]) -> str:
    """Write a call, over several lines where it is long."""
    line = f"{name}({', '.join(arguments)})"
    return line if len(line) < 90 else f"{name}(\n    " + ",\n    ".join(arguments) + ",\n)"


def with_chip(given: Given, result: str, body: str, name: str = "backend") -> str:
    """Write a call on a chip that is open meanwhile; on none where none is given."""
    told = f"{result} = {body}"
    if not given.has(name):
        return told
    inner = "\n".join(f"    {line}" for line in told.splitlines())
    return f"with hwloop.connect({given.text(name)!r}) as chip:\n{inner}"


def saved(given: Given, name: str, method: str = "save", out: str = "out") -> str:
    """Write that a result is saved; '' where no file is asked for."""
    arguments = [repr(given.text(out)), *given.named("force")]
    return f"\n{name}.{method}({', '.join(arguments)})" if given.has(out) else ""
