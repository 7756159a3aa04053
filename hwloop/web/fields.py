"""Fields of a form, made of the parameters of a command: a new parameter appears by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import click

from hwloop.errors import BadInputError
from hwloop.registry import suggest

Values = Mapping[str, tuple[str, ...]]
"""Texts by the names of parameters, as a command line has them; a flag that is set has an empty one."""


class Role(StrEnum):
    """What a field is for."""

    TEXT = "text"
    WHOLE = "whole"
    NUMBER = "number"
    FLAG = "flag"
    CHOICE = "choice"
    ANY = "any"
    INPUT = "input"
    OUTPUT = "output"
    CHIP = "chip"
    NETWORK = "network"
    SETTINGS = "settings"


OUTPUTS = ("weights_out", "out", "plot", "figures", "folder", "log")
INPUTS = ("files",)
CHIPS = ("backend", "uri", "chip")
NEVER = ("debug", "as_json", "host", "stdio", "token_file", "scheduler", "visa_library", "log", "log_wire", "ledger")
"""Parameters that are not taken from a page: they open the server to others, load libraries or code, write elsewhere,
or change what a program prints."""
NO_FORM = ("web",)
"""Commands that are not composed."""


@dataclass(frozen=True)
class Field:
    """One field of a form.

    Parameters
    ----------
    name, label, option
        Of the parameter; how a person reads it; and as it is typed, empty for an argument.
    role
        What it is for.
    help
        One sentence.
    default
        Its default as a text; empty where there is none.
    choices
        What it may be, where that is known.
    low, high
        Bounds, where there are some.
    required, several
        Whether it must be given, and whether it may be given several times.
    """

    name: str
    label: str
    option: str
    role: Role
    help: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    required: bool = False
    several: bool = False

    @property
    def is_main(self) -> bool:
        """Whether most people look at it, or few."""
        first = ("seed", "epochs", "repeats", "cells", "levels", "until", "times", "port")
        return (
            self.required or self.role in (Role.CHIP, Role.CHOICE, Role.ANY, Role.NETWORK) or self.name in first
        ) and self.name not in ("resume", "decimal")

    @property
    def suffix(self) -> str:
        """Ending of the file that it names, as its sentence tells."""
        found = re.search(r"\((HDF5|JSON|HTML|\.\w+)\)", self.help)
        endings = {"HDF5": ".h5", "JSON": ".json", "HTML": ".html"}
        return endings.get(found[1], found[1]) if found else (".png" if self.name == "plot" else "")


@dataclass(frozen=True)
class Form:
    """A command as a form.

    Parameters
    ----------
    path
        Words that name the command.
    command
        The command.
    fields
        Its fields, in the order of the command's help.
    """

    path: tuple[str, ...]
    command: click.Command
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field:
        """Return a field by its name."""
        return next(one for one in self.fields if one.name == name)

    @property
    def title(self) -> str:
        """Words of the command."""
        return " ".join(self.path)

    @property
    def sentence(self) -> str:
        """First sentence of its help."""
        text = " ".join((self.command.help or "").split("\n\n")[0].split())
        return text

    @property
    def out(self) -> Field | None:
        """The field of the file that it writes; None where it writes none."""
        return next((one for one in self.fields if one.name == "out"), None)


def form_of(commands: click.Group, words: Sequence[str]) -> Form:
    """Find the command that words begin with, and make its form.

    Raises BadInputError for a command that there is not, or that is not composed on a page.
    """
    command: click.Command = commands
    path: list[str] = []
    for word in words:
        if not isinstance(command, click.Group):
            break
        context = click.Context(command)
        names = [one for one in command.list_commands(context) if path or one not in NO_FORM]
        if word not in names:
            raise BadInputError(f"there is no command '{' '.join([*path, word])}' on this page; {suggest(word, names)}")
        found = command.get_command(context, word)
        assert found is not None
        command, path = found, [*path, word]
    if isinstance(command, click.Group):
        inner = ", ".join(command.list_commands(click.Context(command))) if path else ""
        raise BadInputError(f"'{' '.join(path) or 'hwloop'}' needs a command: {inner}" if inner else "name a command")
    context = click.Context(command)
    fields = tuple(_field(one) for one in command.get_params(context) if one.name not in NEVER and _typed(one))
    return Form(tuple(path), command, fields)


def _typed(parameter: click.Parameter) -> bool:
    """Tell whether a parameter is of the job, and not of what is shown of it."""
    name = str(parameter.name)
    return name not in ("help", "verbose") and not name.startswith("_") and not getattr(parameter, "hidden", False)


def _field(parameter: click.Parameter) -> Field:
    """Make the field of a parameter."""
    argument = isinstance(parameter, click.Argument)
    name = str(parameter.name)
    option = "" if argument else max(parameter.opts, key=len)
    told = str(getattr(parameter, "help", None) or "")
    kind = parameter.type
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    choices = tuple(map(str, getattr(kind, "choices", ()))) or _choices_in(told)
    default = parameter.default
    return Field(
        name=name,
        label=(option or name).strip("-").replace("-", " ").replace("_", " "),
        option=option,
        role=_role(parameter, told, choices),
        help=re.sub(r"; repeatable\b", "", told),
        default=str(default) if isinstance(default, int | float | str) and not isinstance(default, bool) else "",
        choices=choices,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        required=parameter.required,
        several=bool(getattr(parameter, "multiple", False)) or parameter.nargs == -1,
    )


def _role(parameter: click.Parameter, told: str, choices: Sequence[str]) -> Role:
    name, kind = str(parameter.name), parameter.type
    if getattr(parameter, "is_flag", False):
        return Role.FLAG
    if hasattr(parameter, "classes"):
        return Role.SETTINGS
    if name in CHIPS:
        return Role.CHIP
    if name == "network":
        return Role.NETWORK
    if isinstance(kind, click.Path) or name in INPUTS:
        return Role.OUTPUT if name in OUTPUTS else Role.INPUT
    if choices:
        return Role.ANY if told.startswith("Any of") else Role.CHOICE
    if isinstance(kind, click.types.IntParamType):
        return Role.WHOLE
    return Role.NUMBER if isinstance(kind, click.types.FloatParamType) else Role.TEXT


def _choices_in(told: str) -> tuple[str, ...]:
    """Read the choices in a sentence such as 'One of gdp, iterative or exact.'."""
    found = re.match(r"(?:One|Any) of ((?:[\w-]+(?:, | or )?)+)", told)
    return tuple(re.split(r", | or ", found[1])) if found else ()


# ---- command lines -----------------------------------------------------------------------------------------------


def values_of(form: Form, words: Sequence[str]) -> Values:
    """Read the words behind the command's name as click does, without running anything.

    Raises
    ------
    BadInputError
        For words that the command does not take, and for options that are not taken from a page.
    """
    context = click.Context(form.command, info_name=form.title)
    try:
        given, rest, _ = form.command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        raise BadInputError(f"{form.title}: {error.format_message()}") from None
    if rest:
        raise BadInputError(f"{form.title}: unexpected words: {' '.join(rest)}")
    known = {one.name: one for one in form.fields}
    found: dict[str, tuple[str, ...]] = {}
    for name, value in given.items():
        if _is_nothing(value) or name in ("verbose", "as_json"):
            continue
        if name not in known:
            raise BadInputError(f"--{name.replace('_', '-')} is not taken from a page; use the command line for it")
        if known[name].role is Role.FLAG:
            found[name] = ("",)
        else:
            found[name] = tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)
    return found


def _is_nothing(value: object) -> bool:
    """Tell whether click's parser has found nothing for a parameter."""
    return value is None or value is False or type(value).__name__ == "Sentinel" or value in ((), [])


def words_of(form: Form, values: Values) -> tuple[str, ...]:
    """Write values as a command line, without the program's name; what is as by default is left out."""
    arguments: list[str] = []
    options: list[str] = []
    for field in form.fields:
        given = [one for one in values.get(field.name, ()) if one != "" or field.role is Role.FLAG]
        if not field.option:
            arguments += [one if not one.startswith("-") else f"./{one}" for one in given]
        elif field.role is Role.FLAG:
            options += [field.option] * bool(given)
        elif given and (given != [field.default] or field.required):
            for one in given:
                options += [f"{field.option}={one}"] if one.startswith("-") else [field.option, one]
    return (*form.path, *arguments, *options)


def check(form: Form, words: Sequence[str]) -> None:
    """Let the command itself look at its words, without running it. Raises BadInputError for what it refuses."""
    try:
        form.command.make_context(form.title, list(words[len(form.path) :])).close()
    except click.exceptions.Exit:
        raise BadInputError("this asks for help, and for no job") from None
    except click.ClickException as error:
        raise BadInputError(error.format_message().rstrip(".")) from None


Posted = Callable[[str], Sequence[str]]
"""Gives the texts of an input of a form by its name."""


def values_from(form: Form, posted: Posted) -> Values:
    """Read what a browser sends of a form."""
    found: dict[str, tuple[str, ...]] = {}
    for field in form.fields:
        texts = [one.strip() for one in posted(field.name)]
        if field.role is Role.FLAG:
            found[field.name] = ("",) if any(texts) else ()
        elif field.role is Role.ANY:
            found[field.name] = (",".join(one for one in texts if one),)
        elif field.several:
            lines = [line.strip() for text in texts for line in text.splitlines()]
            found[field.name] = tuple(line for line in lines if line)
        else:
            found[field.name] = tuple(texts[-1:])
    return {name: value for name, value in found.items() if any(value) or (value and form.field(name).role == "flag")}
