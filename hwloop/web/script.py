"""A composed experiment as a command line and as Python, to copy; and either of them read back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from hwloop.errors import BadInputError
from hwloop.web import calls_files, calls_networks
from hwloop.web.calls import Given, Writer
from hwloop.web.fields import Form, Values
from hwloop.web.settings import SETTINGS

WRITERS: Mapping[str, Writer] = {**calls_files.WRITERS, **calls_networks.WRITERS}
"""What writes the call of a command."""
HOMES = {
    "Experiment": "hwloop.files.measurements",
    "ImportOptions": "hwloop.importers.files",
    "Levels": "hwloop.calibration.experiments.cells",
    "ListedLevels": "hwloop.calibration.experiments.cells",
    "NetworkFile": "hwloop.jobs.drift_asked",
    "NetworkNames": "hwloop.nn.settings",
    "PARTS": "hwloop.calibration.certificate.plan",
    "TextOptions": "hwloop.importers.layout",
    "counted": "hwloop.search.settings",
    "method_from": "hwloop.calibration.programming.registry",
    "network_from": "hwloop.nn.factory",
    "network_of": "hwloop.jobs.noise",
    "parse_conductance": "hwloop.units",
    "parse_duration": "hwloop.durations",
    "parse_durations": "hwloop.durations",
    "plan_from": "hwloop.jobs.calibrate",
    "read_dataset": "hwloop.nn.datasets",
    "read_input_ranges": "hwloop.nn.learnt_ranges",
    "rule_from": "hwloop.jobs.train",
    "seeded": "hwloop.optim.training",
}
"""Where names live that calls use and that `hwloop` itself does not show."""


def command_line(words: Sequence[str]) -> str:
    """Write a command line, to be pasted into a shell."""
    return shlex.join(["hwloop", *words])


def folded(words: Sequence[str], width: int = 90) -> str:
    """Write a command line over several lines, broken before options."""
    lines, line = [], "hwloop"
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("-") or not groups or not groups[-1][0].startswith("-") or len(groups[-1]) > 1:
            groups.append([word])
        else:
            groups[-1].append(word)
    for group in groups:
        text = shlex.join(group)
        if len(line) + len(text) + 1 > width:
            lines.append(line)
            line = f"    {text}"
        else:
            line = f"{line} {text}"
    return " \\\n".join([*lines, line])


def words_from(text: str) -> list[str]:
    """Read a command line back, or a script that was copied from a page, whose first line has it.

    Raises
    ------
    BadInputError
        For a text that is neither.
    """
    if len(text) > SETTINGS.line:
        raise BadInputError("this is too long for a command line")
    lines = [line.strip() for line in re.sub(r"\\\s*\n", " ", text).splitlines() if line.strip()]
    found = next((line for line in lines if re.match(r"(#\s*|\$\s*)?hwloop\s", f"{line} ")), None)
    if found is None:
        raise BadInputError("there is no line that begins with 'hwloop'")
    try:
        words = shlex.split(re.sub(r"^[#$]\s*", "", found), comments=True)[1:]
    except ValueError as error:
        raise BadInputError(f"the command line cannot be read: {error}") from None
    if not words or len(words) > SETTINGS.words:
        raise BadInputError("name a command behind 'hwloop'" if not words else "this has too many words")
    return words


def python(form: Form, values: Values, words: Sequence[str]) -> str:
    """Write Python that does the same; its first line is the command line, by which a page opens it again."""
    writer, given = WRITERS.get(form.path[0]), Given(form, values)
    unlike = [form.field(name).option for name in writer.without if given.has(name)] if writer is not None else []
    body = writer.write(given) if writer is not None and not unlike else ""
    first = f"# {command_line(words)}\n"
    if body:
        used = {name: home for name, home in HOMES.items() if re.search(rf"(?<![\w.'\"]){name}\b[(,.]", body)}
        lines = [f"from {home} import {name}\n" for name, home in sorted(used.items(), key=lambda one: one[::-1])]
        return f"{first}import hwloop\n{''.join(lines)}\n{body}\n"
    listed = "\n".join(f"    {word!r}," for word in words)
    what = f"call with {' and '.join(unlike)}" if unlike else "call for this"
    return (
        f"{first}# Python has no {what}, so it runs the command line.\nfrom hwloop.cli import main\n\n"
        f"main([\n{listed}\n], standalone_mode=False)\n"
    )
