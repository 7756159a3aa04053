"""The example data comes with the package, and can be copied to where the examples of the command line are tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwloop import data
from hwloop.errors import BadInputError
from tests.cli.conftest import run_process


def test_every_file_is_told_of() -> None:
    told = data.path("README.md").read_text()
    assert all(name in told for name in data.names() if name != "README.md")


def test_a_name_that_is_none_is_answered_with_those_there_are() -> None:
    with pytest.raises(BadInputError, match=r"no example 'digits\.npy'; did you mean 'digits\.npz'"):
        data.path("digits.npy")


def test_copies_are_whole_and_replace_nothing_unasked(tmp_path: Path) -> None:
    written = data.copy_examples(tmp_path / "new")
    assert [path.name for path in written] == data.names()
    assert all(path.read_bytes() == data.path(path.name).read_bytes() for path in written)
    written[0].write_text("mine")
    with pytest.raises(BadInputError, match="exists; use --force"):
        data.copy_examples(tmp_path / "new")
    assert written[0].read_text() == "mine"
    data.copy_examples(tmp_path / "new", force=True)
    assert written[0].read_bytes() == data.path(written[0].name).read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match=r"file.data cannot be written"):
        data.copy_examples(tmp_path / "file")
    with pytest.raises(BadInputError, match="is where the examples come from"):
        data.copy_examples(data.FOLDER.parent, force=True)


def test_an_example_of_the_help_runs_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_process("examples", ".").returncode == 0
    words = ("data/digits_mlp.safetensors", "--tensor", "fc3.weight", "--method", "exact", "--out", "run.h5")
    done = run_process("program", *words, "--backend", "sim:hermes-core?seed=1")
    assert done.returncode == 0, done.stderr
