"""README.md and docs/ name only modules, files, options and pages that there are."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import math
import re
import shlex
import textwrap
import types
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import click
import pytest

import hwloop
from hwloop.calibration.programming.registry import METHODS
from hwloop.cli import COMMANDS, main
from hwloop.optim.rules import RULES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOMS = ("calibration", "drivers", "sim_backend")
GROUPS = {group for group in entry_points().groups if group.startswith("hwloop.")}
ELSEWHERE = {"docs/api_storage.rst"}
"""Paths in other projects' repositories."""


class Code(NamedTuple):
    """A piece of code on a page: a block, or words between backticks."""

    text: str
    block: bool


def parts(text: str) -> Iterator[Code]:
    """Code of a page: fenced and indented blocks, then what stands between backticks."""
    fenced = re.compile(r"^( *)```\w*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    for block in fenced.finditer(text):
        yield Code(textwrap.dedent(block[2]), True)
    rest = fenced.sub("", text)
    for block in re.finditer(r"(?<=\n\n)(?: {4,}.*\n|\n)* {4,}.*\n", rest):
        yield Code(textwrap.dedent(block[0]), True)
    for words in re.finditer(r"`([^`\n]+)`", rest):
        yield Code(words[1], False)


def command_lines(text: str) -> list[list[str]]:
    """Words of every command line that calls hwloop, up to a pipe, an ampersand or a comment."""
    found = []
    for code in parts(text):
        lines = code.text.replace("\\\n", " ").splitlines()
        for line in lines if code.block else [code.text]:
            begin = re.search(r"(?:^|[|`] ?|python -m )hwloop (?=[a-z-])", line)
            if begin:
                found.append(words_of(line[begin.end() :]))
    return [words for words in found if words]


def words_of(line: str) -> list[str]:
    """Words of a command line; a synopsis such as `[--figures DIR]` counts as the words in it."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = line.split()
    end = next((place for place, word in enumerate(words) if word in {"|", "&", ">"}), len(words))
    return [word.strip("[]") for word in words[:end]]


def all_commands() -> Iterator[click.Command]:
    """Every command, and the commands within a group."""
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield command
        if isinstance(command, click.Group):
            yield from command.commands.values()


def options(command: click.Command) -> set[str]:
    """Options of a command, `--help` among them, and of the commands within a group."""
    parameters = command.get_params(click.Context(command))
    own = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return own.union(*map(options, inner))


def called(words: list[str]) -> click.Command | None:
    """Find the command that a command line calls; None for what only looks like one, as `hwloop --help`."""
    command: click.Command = main
    for word in words:
        inner = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        if inner is None:
            break
        command = inner
    return None if command is main else command


def resolve(name: str) -> None:
    """Import a module or get an attribute of one by its dotted name."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        try:
            found: object = importlib.import_module(".".join(words[:count]))
        except ModuleNotFoundError:
            continue
        for word in words[count:]:
            found = getattr(found, word)
        return


def name_of(page: Path) -> str:
    """Return what tells a page from the others."""
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(params=PAGES, ids=name_of)
def text(request: pytest.FixtureRequest) -> str:
    page: Path = request.param
    return page.read_text(encoding="utf-8")


def test_dotted_names_are_modules_or_what_is_in_them(text: str) -> None:
    names = set(re.findall(r"(?<![\w./])hwloop(?:\.[A-Za-z_]\w*)+", text)) - GROUPS
    rooms = re.findall(rf"(?<![\w./-])(?:{'|'.join(ROOMS)})(?!\.md)(?:\.[A-Za-z_]\w*)+", text)
    unknown = []
    for name in sorted(names | {f"hwloop.{room}" for room in rooms}):
        try:
            resolve(name)
        except AttributeError:
            unknown.append(name)
    assert unknown == []


def test_python_on_a_page_imports_what_there_is(text: str) -> None:
    for code in parts(text):
        if not code.block or "import " not in code.text:
            continue
        try:
            tree = ast.parse(code.text)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hwloop"):
                for alias in node.names:
                    resolve(f"{node.module}.{alias.name}")


def test_paths_are_there(text: str) -> None:
    roots = "hwloop|calibration|drivers|sim_backend|tests|benchmarks|docs|data|examples|\\.ci"
    named = set(re.findall(rf"(?<![\w/.:-])((?:{roots})/[\w./-]*[\w/])", text)) - ELSEWHERE
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_command_lines_have_options_that_the_command_knows(text: str) -> None:
    unknown = []
    for words in command_lines(text):
        command = called(words)
        if command is None:
            if not words[0].startswith("-") and words[0].isalpha() and words[0].islower():
                unknown.append(" ".join(words))
            continue
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        unknown += [f"{command.name} {option}" for option in sorted(given - options(command))]
    assert unknown == []


def test_options_named_anywhere_are_options_of_a_command_or_benchmark(text: str) -> None:
    known = set().union(*map(options, all_commands()), options(main))
    for script in (ROOT / "benchmarks").glob("*.py"):
        known |= set(re.findall(r'add_argument\("(--[a-z-]+)"', script.read_text(encoding="utf-8")))
    own = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("docker "))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", own))
    assert sorted(named - known) == []


def test_scripts_named_with_options_take_them(text: str) -> None:
    for script, rest in re.findall(r"python (benchmarks/\w+\.py)([^`\n]*)", text):
        source = (ROOT / script).read_text(encoding="utf-8")
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in source, f"{script} {option}"


def test_links_lead_somewhere(request: pytest.FixtureRequest, text: str) -> None:
    page = request.node.callspec.params["text"]
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_name_of_the_face_is_in_the_reference() -> None:
    listed = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    named = set(re.findall(r"auto(?:class|function):: (\w+)", listed))
    modules = {name for name in hwloop.__all__ if isinstance(getattr(hwloop, name), types.ModuleType)}
    assert set(hwloop.__all__) - modules - named == set()
    figures = {name for name in hwloop.plot.__all__ if callable(getattr(hwloop.plot, name))}
    assert figures - named == set()


def test_settings_of_methods_are_there_with_their_defaults() -> None:
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| `(\w+)` \| ([\d.]+) \|", page, re.MULTILINE)
    assert rows
    for method, name, default in rows:
        fields = {field.name: field.default for field in dataclasses.fields(METHODS.find(method))}
        assert float(default) == pytest.approx(fields.get(name, math.nan), rel=1e-3), f"{method} {name}"


def test_settings_of_trainings_are_there_with_their_defaults() -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").partition("Settings of the algorithms")[2]
    told = {
        (name, row[1]): row[2]
        for row in re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \| `(\w+)` \| (\S+) \|", page, re.MULTILINE)
        for name in re.findall(r"`([\w-]+)`", row[0])
    }
    kinds = {**RULES, "training": hwloop.Training}
    are = {(name, one.name): str(one.default) for name, kind in kinds.items() for one in dataclasses.fields(kind)}
    assert told == are


def test_decisions_are_numbered_in_order() -> None:
    numbers = re.findall(r"^(\S+)\. ", (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]


def test_lines_fit() -> None:
    for page in (page for page in PAGES if page.name != "scpi.md"):  # that one is printed from its table
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            assert len(line) <= 120 or line.startswith(("|", "    ")), f"{page.name}:{number}"
