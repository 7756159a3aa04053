"""The process that looks into files and classes for the server: what takes long, or may fail badly, does so here.

It reads a request a line from standard input and answers each with a line. It ends when the server does.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

import click

from hwloop.errors import HwloopError, printable, said
from hwloop.typing import Json
from hwloop.web.fields import form_of
from hwloop.web.settings_form import groups_of

Ask = Callable[[Mapping[str, Json]], Json]
"""Answers one kind of request."""


def serve(commands: click.Group) -> None:
    """Answer requests until there are no more."""
    os.nice(10)  # the jobs come first
    requests, answers = sys.stdin, os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    known = asks_of(commands)
    for line in requests:
        _answer(known, line, answers)


def asks_of(commands: click.Group) -> Mapping[str, Ask]:
    """Return what can be asked."""
    return {**ASKS, "settings": lambda asked: _settings(commands, asked)}


def _answer(known: Mapping[str, Ask], line: str, answers: TextIO) -> None:
    asked = json.loads(line)
    try:
        told: dict[str, Json] = {"told": known[asked["ask"]](asked["about"])}
    except HwloopError as error:
        told = {"error": str(error)}
    except Exception as error:  # of any file that comes from anywhere: the server goes on
        told = {"error": f"{type(error).__name__}: {said(error)}"}
    answers.write(json.dumps(told) + "\n")
    answers.flush()


def _settings(commands: click.Group, asked: Mapping[str, Json]) -> Json:
    words, values = asked["words"], asked["values"]
    assert isinstance(words, list)
    assert isinstance(values, dict)
    form = form_of(commands, list(map(str, words)))
    return [one.to_json() for one in groups_of(form.command, {key: str(value) for key, value in values.items()})]


def _chip_options(asked: Mapping[str, Json]) -> Json:
    """Tell the options of a simulated preset, with what the chip that a URI names makes of them."""
    from hwloop.chip.registry import connect
    from hwloop.sim_backend.options import options_of
    from hwloop.sim_backend.presets import PRESETS
    from hwloop.sim_backend.stepping.presets import STEPPING_PRESETS

    target = str(asked["target"])
    if target not in PRESETS and target not in STEPPING_PRESETS:
        return []
    options = options_of(PRESETS[target]() if target in PRESETS else STEPPING_PRESETS[target]())
    with connect(f"sim:{target}") as chip:
        known = {row.name: row for row in chip.parameters()}
    told: list[Json] = []
    for one in options:
        row = known.get(one.name)
        told.append(
            {
                **dataclasses.asdict(one),
                "default": "0" if one.name == "seed" else "" if row is None else str(row.value),
                "unit": "" if row is None or row.unit == "1" else row.unit,
                "help": "which specimen of the chip" if one.name == "seed" else "" if row is None else row.meaning,
            }
        )
    return told


def _chip_of(asked: Mapping[str, Json]) -> Json:
    """Tell which chip a file names; an empty text where it names none."""
    from hwloop.files import hdf5

    path = Path(str(asked["path"]))
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return ""
    with hdf5.open_any(path) as file:
        for place in (file, file.get("run"), file.get("experiments")):
            if place is not None and "backend" in place.attrs:
                return str(place.attrs["backend"])
    return ""


def _page(asked: Mapping[str, Json]) -> Json:
    """Tell what is on the page of a file."""
    from hwloop.pages import page_of

    page = page_of(str(asked["path"]))
    return {
        "kind": page.kind,
        "title": page.title,
        "verdict": page.verdict,
        "warnings": list(page.warnings),
        "facts": [[one.name, one.text] for one in page.facts],
        "tables": [
            {
                "title": table.title,
                "note": table.note,
                "detail": table.detail,
                "columns": [[one.title, one.unit, table.is_number(at)] for at, one in enumerate(table.columns)],
                "rows": [[one.write(cell) for one, cell in zip(table.columns, row, strict=True)] for row in table.rows],
            }
            for table in page.tables
        ],
        "pictures": [[one.name, one.title, one.caption] for one in page.pictures],
        "provenance": [[one.name, one.text] for one in page.provenance],
    }


def _picture(asked: Mapping[str, Json]) -> Json:
    """Draw a picture of a file into another."""
    from matplotlib.figure import Figure

    from hwloop.pages import page_of
    from hwloop.plot.style import SCREEN, save_figure

    page, out = page_of(str(asked["path"])), Path(str(asked["out"]))
    with SCREEN.applied():
        figure = Figure(figsize=SCREEN.size, layout="constrained")
        name = str(asked["name"]) or (page.pictures[0].name if page.pictures else "")
        page.picture(name).draw(figure.subplots())
        save_figure(figure, out)
    return out.name


def _report(asked: Mapping[str, Json]) -> Json:
    """Write the report of a file."""
    from hwloop.pages.html import report

    return report(str(asked["path"]), str(asked["out"]), force=True).title


def _table(asked: Mapping[str, Json]) -> Json:
    """Write the numbers of a file as a table of commas, as its Python object gives it."""
    import pandas

    from hwloop.errors import BadInputError
    from hwloop.jobs.load import load

    found = load(Path(str(asked["path"])))
    rows = getattr(found, "to_dataframe", None)
    frame = rows() if rows is not None else None
    if not isinstance(frame, pandas.DataFrame):
        raise BadInputError("this kind of file has no table")
    frame.to_csv(str(asked["out"]))
    return len(frame)


def _words(asked: Mapping[str, Json]) -> Json:
    """Tell the command line that makes a file like this one, from what is stored in it."""
    from hwloop.web.stored import words_of_file

    return list(words_of_file(Path(str(asked["path"]))))


ASKS: Mapping[str, Ask] = {
    "chip options": _chip_options,
    "chip of": _chip_of,
    "page": _page,
    "picture": _picture,
    "report": _report,
    "table": _table,
    "words": _words,
    "hello": lambda asked: printable("hello"),
}
"""What can be asked, besides settings."""
