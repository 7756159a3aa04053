"""Settings as fields of a form: names, kinds, bounds, defaults and sentences, as their classes have them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import click

from hwloop.calibration.settings import DURATION, Settings
from hwloop.durations import format_duration
from hwloop.errors import BadInputError
from hwloop.typing import Json


@dataclass(frozen=True)
class Setting:
    """One setting.

    Parameters
    ----------
    key
        As it stands before the equals sign.
    name, kind, default
        Of the field; 'whole', 'number', 'duration' or 'text'; and its default as a text.
    low, high
        Bounds; None where there are none.
    help
        What its class says of it.
    choices
        What a text may be, where its sentence lists that.
    """

    key: str
    name: str
    kind: str
    default: str
    low: float | None
    high: float | None
    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """The settings of one class.

    Parameters
    ----------
    option
        Name of the option that takes them.
    prefix, title
        What stands before their keys; and what the class is.
    settings
        The settings.
    """

    option: str
    prefix: str
    title: str
    settings: tuple[Setting, ...]

    def to_json(self) -> dict[str, Json]:
        """Give it as plain values."""
        return {**dataclasses.asdict(self), "settings": [dataclasses.asdict(one) for one in self.settings]}

    @classmethod
    def from_json(cls, told: Mapping[str, Json]) -> Group:
        """Make it of what `to_json` gave."""
        listed = told["settings"]
        assert isinstance(listed, Sequence)
        return cls(str(told["option"]), str(told["prefix"]), str(told["title"]), tuple(map(_setting, listed)))


def _setting(told: Json) -> Setting:
    assert isinstance(told, Mapping)
    low, high, choices = told["low"], told["high"], told["choices"]
    return Setting(
        key=str(told["key"]),
        name=str(told["name"]),
        kind=str(told["kind"]),
        default=str(told["default"]),
        low=float(low) if isinstance(low, int | float) else None,
        high=float(high) if isinstance(high, int | float) else None,
        help=str(told["help"]),
        choices=tuple(map(str, choices)) if isinstance(choices, list | tuple) else (),
    )


def groups_of(command: click.Command, values: Mapping[str, str]) -> list[Group]:
    """Find the settings that a command takes, given its other options; none where these name nothing that is known."""
    found = []
    for parameter in command.params:
        classes = getattr(parameter, "classes", None)
        if classes is None:
            continue
        with_defaults = {str(one.name): str(one.default) for one in command.params if isinstance(one.default, str)}
        try:
            by_prefix: Mapping[str, type[Settings]] = classes({**with_defaults, **values})
        except BadInputError:
            continue
        own = {str(one.name) for one in command.params}  # which are options by themselves
        for prefix, kind in by_prefix.items():
            found.append(_group(str(parameter.name), prefix, kind, () if prefix else own))
    return found


def _group(option: str, prefix: str, kind: type[Settings], apart: Collection[str]) -> Group:
    ranges, sentences = kind.field_bounds(), sentences_of(kind)
    settings = []
    for one in dataclasses.fields(kind):
        default = one.default
        if not isinstance(default, int | float | str) or isinstance(default, bool) or one.name in apart:
            continue
        told = sentences.get(one.name, "")
        low, high = ranges.get(one.name, (None, None))
        choices: tuple[str, ...] = ()
        if one.metadata.get(DURATION):
            sort, text = "duration", format_duration(float(default))
        elif isinstance(default, str):
            sort, text = "text", default
            choices = tuple(dict.fromkeys([default, *re.findall(r"'([\w-]+)'", told)]))
        else:
            sort, text = ("whole", str(default)) if isinstance(default, int) else ("number", f"{default:.12g}")
        key = f"{prefix}.{one.name}" if prefix else one.name
        settings.append(Setting(key, one.name.replace("_", " "), sort, text, low, high, told, choices))
    title = re.split(r"\.\s|;|\.$", " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split()))[0]
    return Group(option, prefix, title, tuple(settings))


def sentences_of(kind: type[Settings]) -> Mapping[str, str]:
    """Read what a class and its bases say below each field, or in the section of parameters of their docstring."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(one):
            continue
        found.update(_listed(inspect.getdoc(one) or ""))
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for field, after in itertools.pairwise(body):
            told = after.value if isinstance(after, ast.Expr) else None
            if isinstance(field, ast.AnnAssign) and isinstance(told, ast.Constant) and isinstance(told.value, str):
                found[ast.unparse(field.target)] = " ".join(told.value.split())
    return found


def _listed(text: str) -> Mapping[str, str]:
    """Read the section of parameters of a docstring in numpydoc form."""
    section = re.search(r"Parameters\n-+\n(.*?)(?=\n\n|\Z)", text, re.DOTALL)
    found = {}
    for names, told in re.findall(r"^(\w[\w, ]*)\n((?: +.*\n?)+)", section[1] if section else "", re.MULTILINE):
        found.update(dict.fromkeys(re.split(r", *", names), " ".join(told.split())))
    return found


def texts_of(values: Sequence[str]) -> dict[str, str]:
    """Read KEY=VALUE texts; the last of each key counts."""
    return {key: value for key, equals, value in (one.partition("=") for one in values) if equals}


def changed(group: Group, given: Mapping[str, str]) -> list[str]:
    """Write the settings of a group that are not as by default, as KEY=VALUE."""
    return [f"{one.key}={given[one.key]}" for one in group.settings if given.get(one.key, "") not in ("", one.default)]
