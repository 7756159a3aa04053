"""Small parts of the pages: curves point by point, what is gathered from events, costs, fields, and ages in words."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace

import click
import pytest

from hwloop.errors import BadInputError
from hwloop.web import site
from hwloop.web.costs import Cost, _facts, _without, rehearsals
from hwloop.web.curve import Curve, Mark, _steps, _values, curve_of
from hwloop.web.feed import Feed, Live, Point, _is_row, whole_lines
from hwloop.web.fields import Form, Role, _choices_in, _field, form_of, values_from, words_of
from hwloop.web.settings import SETTINGS

# ---- curves --------------------------------------------------------------------------------------------------


def test_a_curve_goes_from_axis_to_edge_and_down_by_decades() -> None:
    points = [Point(0.0, 1.0, 1.0, 1.0), Point(5.0, 0.1, 0.05, 0.5), Point(10.0, 0.01, 0.01, 0.02)]
    curve = curve_of({"gdp": points, "none": points[:1]})
    assert curve is not None
    (line,) = curve.lines
    assert line.path == "56.0,14.0 342.0,118.0 628.0,222.0"  # two decades over 208 pixels
    assert line.band == "56.0,14.0 342.0,45.3 628.0,190.7 628.0,222.0 342.0,149.3 56.0,14.0"
    assert (line.name, line.number, line.last) == ("gdp", 0, "0.0100")
    assert [one.text for one in curve.marks] == ["0", "2", "4", "6", "8", "10"]
    assert curve.marks[0] == Mark(56.0, "0")
    assert curve.marks[-1] == Mark(628.0, "10")
    assert [(one.at, one.text) for one in curve.rising][:2] == [(222.0, "0.01"), (172.4, "0.03")]


def test_curves_that_are_flat_or_begin_at_nothing_have_a_scale() -> None:
    flat = curve_of({"": [Point(0.0, 0.1, 0.0, 0.1), Point(0.0, 0.1, 0.1, 0.1), Point(1.0, 0.0, 0.0, 0.0)]})
    assert flat is not None
    assert flat.lines[0].name == "MVM error"
    assert flat.lines[0].path == "56.0,118.0 56.0,118.0"
    assert flat.lines[0].band.split()[2:] == ["56.0,118.0", "56.0,222.0"]
    five = curve_of({str(n): [Point(0.0, 0.1, 0.1, 0.1), Point(2.0, 0.2, 0.2, 0.2)] for n in range(5)})
    assert five is not None
    assert [one.number for one in five.lines] == [0, 1, 2, 3, 0]
    assert (Curve((), (), ()).width, Curve((), (), ()).height) == (640, 260)


@pytest.mark.parametrize(
    ("last", "steps"),
    [
        (0.0, [0]), (1.0, [0, 1]), (5.0, [0, 1, 2, 3, 4, 5]), (6.0, [0, 2, 4, 6]), (10.0, [0, 2, 4, 6, 8, 10]),
        (11.0, [0, 5, 10]), (25.0, [0, 5, 10, 15, 20, 25]), (26.0, [0, 10, 20]), (400.0, [0, 100, 200, 300, 400]),
    ],
)  # fmt: skip
def test_steps_are_marked_at_round_numbers(last: float, steps: list[float]) -> None:
    assert _steps(last) == steps


def test_errors_are_marked_at_six_round_values_at_most() -> None:
    assert _values(0.01, 0.1) == [0.01, 0.02, 0.05, 0.1] or len(_values(0.01, 0.1)) <= 6
    assert _values(0.1, 0.2) == [0.1, 0.15, 0.2]
    assert _values(0.02, 0.03) == [0.02, 0.03]
    assert len(_values(1e-4, 1.0)) <= 6


# ---- events --------------------------------------------------------------------------------------------------


def test_how_far_a_job_is_follows_its_events() -> None:
    live = Live()
    live.take({"event": "began", "at": 100.0})
    live.take({"event": "step", "at": 101.0, "done": 1, "total": 4, "phase": "gdp: programming, step 1"})
    live.take({"event": "step", "at": 102.0, "done": 0, "total": 4})
    live.take({"event": "said", "at": 103.0, "text": "hello"})
    live.take({"event": "odd"})
    assert (live.began, live.at, live.share, live.phase, live.part) == (
        100.0, 103.0, 0.25, "gdp: programming, step 1", "gdp",
    )  # fmt: skip
    live.take({"event": "step", "phase": "measuring", "done": 9, "total": 4})
    assert (live.share, live.part, list(live.said), live.code) == (1.0, "", ["hello"], None)
    assert live.left(103.0) is not None
    live.take({"event": "ended", "at": 104.0, "code": 1})
    assert (live.code, live.left(104.0)) == (1, None)


@pytest.mark.parametrize(("code", "share", "kept"), [(0, 1.0, 0), (1, 0.5, 1), ("x", 0.5, None)])
def test_only_what_ended_well_is_full(code: object, share: float, kept: int | None) -> None:
    live = Live()
    live.take({"event": "step", "done": 1, "total": 2})
    live.take({"event": "ended", "code": code})  # type: ignore[dict-item]
    assert (live.share, live.code) == (share, kept)


def tiles(done: float, error: float | None = 0.1, **more: object) -> dict[str, object]:
    return {"event": "step", "tiles": {"number": 2, "pulses": 1.5, "done": done, "error": error, **more}}


def test_a_curve_has_a_point_for_each_step_and_begins_anew_with_another_run() -> None:
    live = Live()
    for done, error in ((2, 0.5), (4, 0.4), (4, 0.3), (6, None), (8, 0.2)):
        live.take(tiles(done, error))  # type: ignore[arg-type]
    assert live.curves[""] == [Point(1.0, 0.5, 0.5, 0.5), Point(2.0, 0.3, 0.3, 0.3), Point(4.0, 0.2, 0.2, 0.2)]
    assert (live.tiles, live.pulses) == (2, 1.5)
    live.take(tiles(2, 0.1, smallest=0.05, largest=0.2))  # type: ignore[arg-type]
    assert live.curves[""] == [Point(1.0, 0.1, 0.05, 0.2)]


def test_a_long_curve_loses_every_second_point_but_its_ends() -> None:
    live = Live()
    for done in range(SETTINGS.points + 1):
        live.take(tiles(2.0 * done))  # type: ignore[arg-type]
    steps = [one.step for one in live.curves[""]]
    assert (steps[0], steps[1], steps[-1]) == (0.0, 2.0, SETTINGS.points)
    assert len(steps) <= SETTINGS.points // 2 + 2


@pytest.mark.parametrize(
    ("row", "good"),
    [
        ([0, "w", 1, 2, 0.1, 3.0], True), ([0, "w", 1, 2, None, 3.0], True), ([0, "w", 1, 2, 0.1], False),
        ([0, 1, 1, 2, 0.1, 3.0], False), ([None, "w", 1, 2, 0.1, 3.0], False), ([0, "w", 1, 2, 0.1, None], False),
        ([0, "w", "x", 2, 0.1, 3.0], False),
    ],
)  # fmt: skip
def test_rows_of_tiles_are_six_values(row: list[object], good: bool) -> None:
    assert _is_row(row) is good  # type: ignore[arg-type]
    live = Live()
    live.take(tiles(1.0, worst=[row, "x"]))  # type: ignore[arg-type]
    assert live.rows == ((tuple(row),) if good else ())


def test_only_whole_lines_are_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    job = SimpleNamespace(events=tmp_path / "e")
    assert whole_lines(job, 0) == ([], 0)
    job.events.write_bytes(b'{"event": "said", "text": "a"}\n{"event"')
    assert whole_lines(job, 0) == ([b'{"event": "said", "text": "a"}'], 31)
    assert whole_lines(job, 31) == ([], 31)
    assert whole_lines(job, 1000) == ([], 1000)
    feed = Feed(job)  # type: ignore[arg-type]
    assert [feed.read(), feed.read()] == [True, False]
    assert list(feed.live.said) == ["a"]


# ---- costs and fields ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ((), ""),
        ((61.0,), "the last job of this kind took 1min 1s on this computer"),
        ((10.0, 30.0, 100.0), "the last 3 jobs of this kind took 30s on this computer, as a rule"),
    ],
)
def test_what_is_known_from_before(before: tuple[float, ...], told: str) -> None:
    assert Cost((), before).history == told


def test_options_are_left_out_with_their_values() -> None:
    words = ["w.npy", "--set", "a=1", "--methods=x", "--seed", "3", "--set", "b=2", "--settle=1"]
    assert _without(words, "--methods", "--set") == ["w.npy", "--seed", "3", "--settle=1"]


def test_what_a_rehearsal_tells() -> None:
    told = {"chip_seconds": 90.0, "pulses_per_device": 12.5, "memory_bytes": 2.5e6, "file_bytes": 1000, "other": 1}
    assert _facts(told) == (  # type: ignore[arg-type]
        ("chip time", "up to 1.5min"), ("pulses a device", "up to 12.5"), ("memory", "up to 2.5 MB"),
        ("file", "up to 1 kB"),
    )  # fmt: skip


def composed(path: tuple[str, ...], names: tuple[str, ...], *words: str, methods: str = "") -> SimpleNamespace:
    form = SimpleNamespace(path=path, fields=[SimpleNamespace(name=name) for name in names])
    return SimpleNamespace(form=form, words=(*path, *words), text=lambda name: methods)


def test_commands_are_rehearsed_as_they_can() -> None:
    one = composed(("program",), ("dry_run", "out"), "w.npy", "--dry-run")
    assert rehearsals(one) == [("", ("program", "w.npy", "--dry-run", "--json"))]  # type: ignore[arg-type]
    assert rehearsals(composed(("program",), ("dry_run",), "w.npy")) == []  # type: ignore[arg-type]
    both = composed(("compare",), ("out",), "w.npy", "--methods", "gdp,,exact", "--repeats=3", methods="gdp,,exact")
    assert rehearsals(both) == [  # type: ignore[arg-type]
        (name, ("program", "w.npy", "--method", name, "--dry-run", "--json")) for name in ("gdp", "exact")
    ]
    assert asyncio.iscoroutinefunction(rehearsals) is False


@pytest.mark.parametrize(
    ("told", "choices"),
    [
        ("One of gdp, iterative or exact.", ("gdp", "iterative", "exact")), ("Any of a or b-c; x", ("a", "b-c")),
        ("Some of a, b", ()), ("", ()),
    ],
)  # fmt: skip
def test_choices_are_read_from_a_sentence(told: str, choices: tuple[str, ...]) -> None:
    assert _choices_in(told) == choices


@pytest.mark.parametrize(
    ("option", "role"),
    [
        (click.Option(["--fast"], is_flag=True), Role.FLAG), (click.Option(["--backend"]), Role.CHIP),
        (click.Option(["--network"]), Role.NETWORK), (click.Option(["--out"], type=click.Path()), Role.OUTPUT),
        (click.Option(["--inputs"], type=click.Path()), Role.INPUT), (click.Argument(["files"], nargs=-1), Role.INPUT),
        (click.Option(["--parts"], help="Any of a, b"), Role.ANY),
        (click.Option(["--how"], help="One of a, b"), Role.CHOICE),
        (click.Option(["--seed"], type=int), Role.WHOLE), (click.Option(["--lr"], type=float), Role.NUMBER),
        (click.Option(["--name"]), Role.TEXT), (click.Option(["--mode"], type=click.Choice(["a"])), Role.CHOICE),
    ],
)  # fmt: skip
def test_parameters_have_roles(option: click.Parameter, role: Role) -> None:
    assert _field(option).role is role


def test_a_field_has_the_bounds_and_the_default_of_its_parameter() -> None:
    field = _field(
        click.Option(["-n", "--most-cells"], type=click.IntRange(1, 9), default=3, help="How many; repeatable.")
    )
    assert (field.option, field.label, field.low, field.high, field.default) == (
        "--most-cells",
        "most cells",
        1,
        9,
        "3",
    )
    assert (field.help, field.several, field.required) == ("How many.", False, False)
    several = _field(click.Option(["--set"], multiple=True, required=True))
    assert (several.several, several.required, several.default, several.low) == (True, True, "", None)
    argument = _field(click.Argument(["some_files"], nargs=-1))
    assert (argument.option, argument.label, argument.several) == ("", "some files", True)
    assert _field(click.Option(["--fast"], is_flag=True, default=False)).default == ""


@pytest.mark.parametrize(
    ("option", "suffix"),
    [
        (click.Option(["--out"], help="Where to (HDF5)."), ".h5"), (click.Option(["--out"], help="(JSON)"), ".json"),
        (click.Option(["--out"], help="A page (HTML)"), ".html"), (click.Option(["--out"], help="(.npz) file"), ".npz"),
        (click.Option(["--plot"], help="x"), ".png"), (click.Option(["--out"], help="x"), ""),
    ],
)  # fmt: skip
def test_a_file_has_the_ending_that_its_sentence_tells(option: click.Option, suffix: str) -> None:
    assert _field(option).suffix == suffix


@pytest.mark.parametrize(
    ("option", "main"),
    [
        (click.Option(["--backend"]), True), (click.Option(["--seed"], type=int), True),
        (click.Option(["--age"]), False),
        (click.Option(["--age"], required=True), True), (click.Option(["--resume"], required=True), False),
        (click.Option(["--how"], help="One of a, b"), True), (click.Option(["--decimal"], help="One of a, b"), False),
    ],
)  # fmt: skip
def test_most_people_look_at_few_fields(option: click.Option, main: bool) -> None:
    assert _field(option).is_main is main


def form(*parameters: click.Parameter) -> Form:
    command = click.Command("work", params=list(parameters))
    return Form(("work",), command, tuple(map(_field, parameters)))


FORM = form(
    click.Argument(["files"], nargs=-1), click.Option(["--seed"], type=int, default=1),
    click.Option(["--fast"], is_flag=True),
    click.Option(["--set"], multiple=True), click.Option(["--parts"], help="Any of a, b"),
    click.Option(["--must"], default="x", required=True),
)  # fmt: skip


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ("work",)),
        ({"files": ("a", "-b", "")}, ("work", "a", "./-b")),
        ({"seed": ("1",), "must": ("x",)}, ("work", "--must", "x")),
        ({"seed": ("-2",), "fast": ("",)}, ("work", "--seed=-2", "--fast")),
        ({"fast": (), "set": ("a=1", "b=2")}, ("work", "--set", "a=1", "--set", "b=2")),
    ],
)
def test_values_are_words(values: dict[str, tuple[str, ...]], words: tuple[str, ...]) -> None:
    assert words_of(FORM, values) == words


def test_what_a_browser_sends_is_read() -> None:
    sent = {
        "files": [" a \n\nb"], "seed": ["1", " 2 "], "fast": ["on"], "set": ["x=1\ny=2", "z=3"],
        "parts": ["a", "", "b"],
    }  # fmt: skip
    assert values_from(FORM, lambda name: sent.get(name, [])) == {
        "files": ("a", "b"), "seed": ("2",), "fast": ("",), "set": ("x=1", "y=2", "z=3"), "parts": ("a,b",),
    }  # fmt: skip
    assert values_from(FORM, lambda name: [""]) == {}


def test_a_form_knows_its_fields() -> None:
    assert FORM.field("seed").role is Role.WHOLE
    assert (FORM.title, FORM.sentence, FORM.out) == ("work", "", None)
    with pytest.raises(BadInputError, match="name a command"):
        form_of(click.Group("hwloop"), [])


@pytest.mark.parametrize(
    ("passed", "told"),
    [
        (0.5, "just now"), (1.0, "1 s ago"), (59.9, "59 s ago"), (60.0, "1 min ago"), (3599.0, "59 min ago"),
        (3600.0, "1 h ago"), (86399.0, "23 h ago"), (86400.0, "1 d ago"), (1e6, "11 d ago"),
    ],
)  # fmt: skip
def test_ages_in_words(monkeypatch: pytest.MonkeyPatch, passed: float, told: str) -> None:
    monkeypatch.setattr(site.time, "time", lambda: 2e9)
    assert site.ago(2e9 - passed) == told
    assert site.duration(59.6) == "1min"
    assert not math.isnan(passed)
