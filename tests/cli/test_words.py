"""Words of command lines become settings, or are refused at the bound of what they may be."""

from __future__ import annotations

import signal
import threading
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwloop.calibration.certificate.use import CalibrationWarning
from hwloop.cli import common, serve
from hwloop.cli.calibrate import _plan
from hwloop.cli.common import STOPS, _show_warning, stopped_by, with_example
from hwloop.cli.import_ import ImportCommandOptions, _age, _character, _parsed, _show
from hwloop.cli.options import layouts_from
from hwloop.cli.predict import _window
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment
from hwloop.importers.checks import BACKWARDS, ImportReport

# ---- import --------------------------------------------------------------------------------------------------


def asked(**more: Any) -> ImportCommandOptions:
    made = dict.fromkeys(ImportCommandOptions.__dataclass_fields__) | {
        "files": ("a.csv",), "out": "a.h5", "comment": "#", "skip": 0, "where": (), "keep_non_positive": False,
        "reverse_current": False, "append": False, "force": False, "as_json": False,
    }  # fmt: skip
    return ImportCommandOptions(**made | more)


def test_an_import_takes_what_it_is_told() -> None:
    found = _parsed(
        asked(
            columns="cell,time[s]", code_step=0.5, sample_rate=10.0, delimiter="tab", comment="%", skip=3,
            decimal="comma",
            where=("a=1",), start_age="1min", interval="0.5s", read_voltage=0.2, shunt=100.0, reverse_current=True,
            experiment="drift", split_by="temperature", keep_non_positive=True,
        )
    )  # fmt: skip
    text = found.text
    assert (text.columns, text.code_step, text.sample_rate, text.delimiter) == ("cell,time[s]", 0.5, 10.0, "\t")
    assert (text.comment, text.skip, text.decimal, text.where) == ("%", 3, ",", ("a=1",))
    assert (text.read_voltage, text.shunt, text.reverse_current) == (0.2, 100.0, True)
    assert (found.experiment, found.split_by, found.keep_non_positive) == (Experiment.DRIFT, "temperature", True)
    assert (found.start, found.interval) == (60.0, 0.5)


def test_an_import_without_words() -> None:
    found = _parsed(asked())
    assert (found.experiment, found.start, found.interval, found.text.decimal) == (None, None, None, None)
    assert _parsed(asked(decimal="point")).text.decimal == "."


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"comment": ""}, "--comment must not be empty"),
        ({"sample_rate": 0.0}, "--sample-rate 0: expected a positive number of samples per second"),
        ({"code_step": -1.0}, "--code-step -1: expected a positive number of uS"),
        ({"shunt": float("nan")}, "--shunt nan: expected a positive number of ohm"),
        ({"split_by": "colour"}, "--split-by colour: expected one of"),
        ({"interval": "0s"}, "--interval 0s: rows must be some time apart"),
        ({"experiment": "drif"}, "--experiment drif: expected one of programming-curve, "),
    ],
)
def test_words_of_an_import_that_cannot_be_right(words: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadInputError, match=f"^{complaint}"):
        _parsed(asked(**words))


@pytest.mark.parametrize(
    ("text", "mark"),
    [(None, None), ("", None), ("tab", "\t"), ("\\t", "\t"), ("comma", ","), ("semicolon", ";"), ("|", "|")],
)
def test_marks_between_columns_have_names(text: str | None, mark: str | None) -> None:
    assert _character(text) == mark


def test_what_came_of_an_import(capsys: pytest.CaptureFixture[str]) -> None:
    report = ImportReport(rows=2000, cells=10, notes=["columns taken as x"])
    report.take(np.array([0.0, 60.0]), np.array([1.0, 20.0]))
    report.drop(BACKWARDS, np.array([7, 5]))
    report.ask("age over 10 years?", np.array([3]))
    _show(report, "a.h5")
    shown = capsys.readouterr().out.splitlines()
    assert shown[:5] == [
        "2 reads of 10 cells from 2,000 rows, in a.h5",
        "conductances from 1 to 20 uS, ages from 0s to 1min",
        f"left out: 2 rows, {BACKWARDS} (first in line 5)",
        "question: 1 reads, age over 10 years? (first in line 3)",
        "note: columns taken as x",
    ]
    assert "--split-by temperature" in "\n".join(shown)
    assert (_age(0.0), _age(60.0)) == ("0s", "1min")


# ---- words of other commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((), None), (("outputs-first",), {"": "outputs-first"}),
        (("inputs-first", "a=outputs-first", "b=c=x"), {"": "inputs-first", "a": "outputs-first", "b=c": "x"}),
    ],
)  # fmt: skip
def test_layouts_are_of_all_tensors_or_of_one(given: tuple[str, ...], found: dict[str, str] | None) -> None:
    assert layouts_from(given) == found


@pytest.mark.parametrize(("given", "name"), [(("a=x", "a=y"), "'a'"), (("x", "y"), r"'\*'")])
def test_a_layout_is_given_once(given: tuple[str, ...], name: str) -> None:
    with pytest.raises(BadInputError, match=f"a layout of {name} is given twice"):
        layouts_from(given)


def test_a_window_has_two_ends() -> None:
    assert _window(None) is None
    assert _window("10uS,0.1 mS") == (10.0, pytest.approx(100.0))
    for text in ("10uS", "1,2,3", ""):
        with pytest.raises(BadInputError, match="expected LOW,HIGH, such as 10uS,14uS"):
            _window(text)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("lab.local", False),
    ],
)
def test_addresses_of_this_machine(host: str, here: bool) -> None:
    assert serve._is_loopback(host) is here


def test_other_machines_need_a_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.delenv(serve.VARIABLE, raising=False)

    def options(**more: object) -> Any:
        return SimpleNamespace(**{"token_file": None, "stdio": False, "host": "127.0.0.1"} | more)

    assert serve._token(options()) is None
    assert serve._token(options(host="10.0.0.1", stdio=True)) is None
    with pytest.raises(BadInputError, match=r"--host 10\.0\.0\.1 lets other machines use the chip; give a token"):
        serve._token(options(host="10.0.0.1"))
    assert capsys.readouterr().err == ""
    monkeypatch.setenv(serve.VARIABLE, "a-token-of-the-environment-0123456789")
    assert serve._token(options(host="10.0.0.1")) == b"a-token-of-the-environment-0123456789"
    assert "warning: the chip can be reached at 10.0.0.1 by whoever knows the token" in capsys.readouterr().err
    file = tmp_path / "token"
    file.write_text("a-token-of-the-file-0123456789\n")
    file.chmod(0o600)
    assert serve._token(options(token_file=str(file))) == b"a-token-of-the-file-0123456789"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("data/digits_mlp.safetensors: no such file", "; hwloop examples . copies it here"),
        ("data/none.npy: no such file", ""),
        ("other/digits_mlp.safetensors: no such file", ""),
        ("data/digits_mlp.safetensors: no such file or folder", ""),
    ],
)
def test_an_example_that_is_missing_can_be_copied(text: str, more: str) -> None:
    assert with_example(text) == text + more


# ---- signals and warnings ------------------------------------------------------------------------------------


def test_signals_are_heard_meanwhile_but_for_those_that_are_ignored() -> None:
    first, *rest = STOPS
    before = {number: signal.getsignal(number) for number in STOPS}

    def handler(number: int, frame: object) -> None:
        """Hear."""

    signal.signal(first, signal.SIG_IGN)
    try:
        with stopped_by(handler):
            assert signal.getsignal(first) is signal.SIG_IGN
            assert all(signal.getsignal(number) is handler for number in rest)
        assert signal.getsignal(first) is signal.SIG_IGN
        assert all(signal.getsignal(number) is before[number] for number in rest)
    finally:
        signal.signal(first, before[first])


def test_other_threads_hear_no_signals() -> None:
    seen: list[object] = []
    before = signal.getsignal(STOPS[0])

    def work() -> None:
        with stopped_by(lambda number, frame: None):
            seen.append(signal.getsignal(STOPS[0]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_only_warnings_of_hwloop_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(common, "say", said.append)
    _show_warning(CalibrationWarning("it is old"), CalibrationWarning, "a.py", 1)
    _show_warning("noise of a library", DeprecationWarning, "a.py", 1)
    assert said == ["warning: it is old"]
    assert warnings.showwarning is not _show_warning


# ---- calibrations --------------------------------------------------------------------------------------------


def of_part(**more: object) -> Any:
    made = {"settings": (), "weights": None, "tensor": None, "inputs": None, "age": None, "layout": ()}
    return SimpleNamespace(**made | more)


def test_a_plan_has_the_age_and_the_matrix_that_are_asked_for(tmp_path: Any) -> None:
    np.save(tmp_path / "w.npy", np.ones((3, 4)))
    assert _plan(of_part(age="1h"), ["devices"]).age == 3600.0
    plan = _plan(of_part(weights=str(tmp_path / "w.npy")), ["ranges"])
    assert plan.weights is not None
    assert (plan.weights.values.shape, plan.inputs) == ((4, 3), None)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"tensor": "a"}, "--tensor a: give the file that holds it with --weights"),
        ({"inputs": "x.npy"}, "--inputs x.npy: sample inputs need the weights they belong to"),
    ],
)
def test_a_plan_needs_the_weights_of_what_it_names(words: dict[str, str], complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        _plan(of_part(**words), ["devices"])


def test_a_plan_is_of_one_matrix(tmp_path: Any) -> None:
    np.savez(tmp_path / "w.npz", a=np.ones((3, 4)), b=np.ones((2, 2)))
    with pytest.raises(BadInputError, match=r"has the matrices a, b; choose one with --tensor"):
        _plan(of_part(weights=str(tmp_path / "w.npz")), ["ranges"])
