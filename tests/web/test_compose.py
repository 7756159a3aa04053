"""Forms are made of commands and settings; a command line becomes a form, and a form the same command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import quote

import click
import pytest

import hwloop
from hwloop.calibration.settings import Settings
from hwloop.cli import COMMANDS, main
from hwloop.errors import BadInputError
from hwloop.web.fields import Role, form_of, values_of, words_of
from hwloop.web.recipes import RECIPES
from hwloop.web.script import command_line, folded, python, words_from
from hwloop.web.settings_form import groups_of, sentences_of
from hwloop.web.site import Site
from tests.test_docs import all_commands
from tests.web.conftest import CHIP, Asker

PROGRAM = f"hwloop program w.npy --backend '{CHIP}' --set max_steps=6 --out run.h5"


def test_every_option_of_every_command_has_a_field() -> None:
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        inner = [(name, one) for one in command.commands] if isinstance(command, click.Group) else [(name,)]
        for path in [] if name == "web" else inner:
            form = form_of(main, path)
            assert form.path == path
            assert all(field.label for field in form.fields), path
            for field in form.fields:
                assert field.help or not field.option, (path, field.name)


def test_settings_have_bounds_and_sentences() -> None:
    """For every command that takes settings: nobody lists them, so nobody forgets one."""
    found = 0
    for command in all_commands():
        texts = {str(one.name): str(one.default) for one in command.params if isinstance(one.default, str)}
        for group in groups_of(command, texts):
            for setting in group.settings:
                found += 1
                assert setting.help, (command.name, setting.key)
                assert setting.kind == "text" or setting.low is not None, (command.name, setting.key)
    assert found > 300


def test_a_new_setting_appears_by_itself() -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Mine(Settings):
        """What is mine."""

        boldness: int = 3
        """How bold it is."""

        def __post_init__(self) -> None:
            self._require("boldness", 1, 9)

    assert Mine.field_bounds() == {"boldness": (1, 9)}
    assert sentences_of(Mine)["boldness"] == "How bold it is."


def test_choices_are_those_that_the_help_lists() -> None:
    methods = form_of(main, ["program"]).field("method")
    assert (methods.role, set(methods.choices)) == (Role.CHOICE, {"gdp", "iterative", "exact", "sgd"})
    compared = form_of(main, ["compare"]).field("methods")
    assert (compared.role, set(compared.choices)) == (Role.ANY, set(methods.choices))
    assert "mixed-precision" in form_of(main, ["train"]).field("algorithm").choices


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("web", "serve")])
def test_the_example_of_every_help_opens_as_a_form_and_comes_back(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    text = re.sub(r"\\\s*\n", " ", str(command.help))
    line = next(line.strip() for line in text.splitlines() if line.strip().startswith(f"hwloop {name}"))
    words = words_from(line)
    form = form_of(main, words)
    if "--visa-library" in words:
        return
    values = values_of(form, words[len(form.path) :])
    again = words_of(form, values)  # what is as by default is left out
    assert words_of(form, values_of(form, again[len(form.path) :])) == again
    assert words_from(folded(again)) == list(again)
    assert words_from(python(form, values, again)) == list(again)


def inputs(page: str) -> dict[str, list[str]]:
    """What a browser would send of the form on a page, buttons left out."""
    form = page[page.index('id="compose"') : page.index("</form>")]
    found: dict[str, list[str]] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r' value="([^"]*)"', tag)
        if name and ("checkbox" not in tag or " checked" in tag):
            found.setdefault(name[1], []).append(_plain(value[1]) if value else "")
    for name, body in re.findall(r'<select[^>]*name="([^"]*)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r"<option selected>([^<]*)", body)
        found.setdefault(name, []).append(_plain(chosen[1]) if chosen else "")
    for name, body in re.findall(r'<textarea[^>]*name="([^"]*)"[^>]*>(.*?)</textarea>', form, re.DOTALL):
        found.setdefault(name, []).append(_plain(body))
    return found


def _plain(text: str) -> str:
    return text.replace("&amp;", "&").replace("&#39;", "'").replace("&#34;", '"').replace("&lt;", "<")


def line_of(page: str) -> str:
    found = re.search(r"Command</h3>.*?<pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    assert found
    return command_line(words_from(_plain(found[1])))


def test_a_form_sends_back_what_it_was_opened_with(ask: Asker) -> None:
    opened = ask.get(f"/compose?line={quote(PROGRAM)}")
    assert opened.status == 200
    assert line_of(opened.text) == command_line(shlex.split(PROGRAM)[1:])
    again = ask.post("/compose", {**inputs(opened.text), "do": "update"})
    assert line_of(again.text) == line_of(opened.text)


def test_fields_change_settings_and_the_chip(ask: Asker) -> None:
    sent = inputs(ask.get(f"/compose?line={quote(PROGRAM)}").text)
    steps = next(name for name in sent if name.endswith(":max_steps"))
    changed = {**sent, steps: ["9"], "u:adc_bits": ["6"], "u:seed": ["4"], "do": "update"}
    line = line_of(ask.post("/compose", changed).text)
    assert "max_steps=9" in line
    assert "sim:hermes-core?rows=32&columns=32&seed=4&adc_bits=6" in line or "adc_bits=6" in line
    typed = {**changed, "backend": ["sim:pcm-ideal?seed=2"]}  # what is typed goes before the fields
    assert "sim:pcm-ideal?seed=2" in line_of(ask.post("/compose", typed).text)
    other = {**changed, "method": ["iterative"]}  # whose settings are others, though they have the same names
    assert "max_steps" not in line_of(ask.post("/compose", other).text)


def test_a_run_is_a_job_with_that_command_line(ask: Asker, site: Site) -> None:
    sent = inputs(ask.get(f"/compose?line={quote(PROGRAM)}").text)
    answer = ask.post("/compose", {**sent, "do": "run"})
    (job,) = site.queue.open_jobs()
    assert (answer.status, answer.headers["location"]) == (303, f"/jobs/{job.name}")
    assert command_line(job.asked.words) == command_line(shlex.split(PROGRAM)[1:])
    assert job.asked.chips == ("sim:hermes-core?columns=32&rows=32&seed=1",)
    again = ask.post("/compose", {**sent, "do": "run"})
    assert (again.status, "another job writes" in again.text) == (400, True)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"out": ["../x.h5"]}, "is no name of a file"),
        ({"out": ["w.npy"]}, "is there already"),
        ({"weights": ["none.npy"]}, "there is no such file"),
        ({"seed": ["-1"]}, "not in the range"),
        ({"seed": ["<b>"]}, "is not a valid integer"),
        ({"backend": ["nope:x"]}, "no backend for"),
        ({"backend": ["visa:x?visa_library=/x.so"]}, "a page loads no library"),
    ],
)
def test_what_cannot_be_run_is_said_and_the_form_kept(
    ask: Asker, site: Site, change: dict[str, list[str]], complaint: str
) -> None:
    sent = {**inputs(ask.get(f"/compose?line={quote(PROGRAM)}").text), "do": "run", **change}
    answer = ask.post("/compose", sent)
    assert answer.status == 400
    assert complaint in _plain(answer.text)
    assert "<b>" not in answer.text
    assert site.queue.open_jobs() == []


def test_an_argument_that_is_left_out_lends_its_place_to_no_other(ask: Asker, site: Site) -> None:
    answer = ask.post("/compose", {"command": "plot", "file": "", "picture": ".hwloop-web/a.h5", "do": "run"})
    assert answer.status == 400
    assert "is no name of a file in the data folder" in answer.text
    assert site.queue.open_jobs() == []


@pytest.mark.parametrize("page", ["/cost", "/compose"])
def test_nothing_is_rehearsed_that_may_not_be_run(
    ask: Asker, lab: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    started: list[object] = []
    monkeypatch.setattr("hwloop.web.costs.command_of", lambda words: started.append(words) or ["false"])
    sent = {**inputs(ask.get(f"/compose?line={quote(PROGRAM)}").text), "do": "cost"}
    for change in ({"weights": ["../w.npy"]}, {"backend": ["visa:x?visa_library=/x.so"]}, {"out": ["/tmp/x.h5"]}):
        ask.post(page, {**sent, **change})
    assert started == []
    ask.post(page, sent)
    assert len(started) == 1


def test_a_real_chip_is_only_asked_by_a_person_and_while_no_job_has_it(
    ask: Asker, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr("hwloop.web.costs.command_of", lambda words: started.append(words) or ["false"])
    line = PROGRAM.replace(CHIP, "visa:TCPIP::127.0.0.1::9::SOCKET")
    sent = {**inputs(ask.get(f"/compose?line={quote(line)}").text), "do": "cost"}
    assert "is asked for it when you press" in _plain(ask.post("/cost", sent).text)
    assert started == []
    ask.post("/compose", sent)
    assert len(started) == 1
    with site.queue.held(["visa:TCPIP::127.0.0.1::9::SOCKET"]):
        assert "is being asked already" in ask.post("/compose", sent).text
    assert len(started) == 1


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_opens_as_a_form(ask: Asker, lab: Path, recipe: object) -> None:
    hwloop.data.copy_examples(lab)
    answer = ask.get(f"/new/{recipe.name}")  # type: ignore[attr-defined]
    assert answer.status == 303
    from urllib.parse import unquote

    page = ask.get(unquote(answer.headers["location"]).replace(" ", "%20").replace("&seed", "%26seed"))
    assert page.status in (200, 400)


def opened(text: str) -> None:
    """Open a command line as a page does."""
    words = words_from(text)
    form = form_of(main, words)
    values_of(form, words[len(form.path) :])


@pytest.mark.parametrize("text", ["", "ls -la", "hwloop", "hwloop 'unclosed", "hwloop nope", "hwloop program --nope"])
def test_what_is_no_command_line_is_said(ask: Asker, text: str) -> None:
    with pytest.raises(BadInputError):
        opened(text)
    assert ask.get(f"/compose?line={quote(text)}").status in (200, 400)


def test_python_does_what_the_command_does(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab)
    words = words_from(PROGRAM)
    form = form_of(main, words)
    script = python(form, values_of(form, words[1:]), words)
    found: dict[str, object] = {}
    exec(compile(script, "script", "exec"), found)
    main([*words[:-1], "typed.h5"], standalone_mode=False)
    one, other = hwloop.load("run.h5"), hwloop.load("typed.h5")
    assert one.mvm_error == other.mvm_error
