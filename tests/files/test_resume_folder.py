"""The folder that a job goes on from: what it keeps, what it lets go, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.files.journal import Entry
from hwloop.files.resume_folder import ResumeFolder, folder_of


@pytest.fixture
def folder(tmp_path: Path) -> ResumeFolder:
    """Of a job with two arrays of weights and the state of its chip."""
    made = ResumeFolder(tmp_path / "run.h5")
    made.make({"seed": 3}, {"weights": [np.arange(3.0), np.ones(2)]}, state(1.0))
    return made


def state(value: float) -> list[tuple[str, np.ndarray]]:
    return [("g", np.full(3, value)), ("age", np.array([value]))]


def test_what_was_asked_for_comes_back(folder: ResumeFolder, tmp_path: Path) -> None:
    assert folder.path == folder_of(tmp_path / "run.h5") == tmp_path / "run.h5.resume"
    assert folder.exists
    assert folder.job()["seed"] == 3
    assert [one.tolist() for one in folder.arrays("weights")] == [[0.0, 1.0, 2.0], [1.0, 1.0]]
    assert folder.arrays("inputs") == []
    assert folder.states() == [0]


def test_earlier_states_go_when_a_new_one_is_whole_but_not_pinned_ones(folder: ResumeFolder) -> None:
    folder.keep_state(100, state(2.0), pinned=[0])
    folder.keep_state(250, state(3.0), pinned=[0])
    assert folder.states() == [250, 0]
    folder.keep_state(300, state(4.0))
    assert folder.states() == [300]
    found = folder.state(300)
    assert found is not None
    assert {name: array.tolist() for name, array in found.items()} == {"g": [4.0] * 3, "age": [4.0]}
    assert folder.state(250) is None


def test_a_state_that_is_not_whole_is_none(folder: ResumeFolder) -> None:
    file = folder.path / "state.0"
    file.write_bytes(file.read_bytes()[:-5])
    assert folder.state(0) is None
    file.write_bytes(b"")
    assert folder.state(0) is None

    def breaks() -> list[tuple[str, np.ndarray]]:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        folder.keep_state(100, (one for _ in range(1) for one in breaks()))
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "job.json", "state.0", "weights.0000.npy", "weights.0001.npy"
    ]  # fmt: skip


def test_records_have_files_of_their_own(folder: ResumeFolder) -> None:
    folder.keep_entry("part.7", Entry({"done": True}, (np.arange(2),)))
    found = folder.entry("part.7")
    assert found is not None
    assert (found.told, found.arrays[0].tolist()) == ({"done": True}, [0, 1])
    (folder.path / "part.7").write_bytes(b"not whole")
    assert folder.entry("part.7") is None
    assert folder.entry("part.8") is None


def test_only_what_is_of_hwloop_is_removed(folder: ResumeFolder) -> None:
    (folder.path / "notes.txt").write_text("mine")
    folder.remove()
    assert [path.name for path in folder.path.iterdir()] == ["notes.txt"]
    assert not folder.exists
    (folder.path / "notes.txt").unlink()
    folder.remove()
    assert not folder.path.exists()
    folder.remove()


def test_a_job_that_was_begun_anew_keeps_nothing_of_the_earlier_one(folder: ResumeFolder) -> None:
    folder.keep_state(100, state(2.0), pinned=[0])
    folder.make({"seed": 4}, {"weights": [np.zeros(1)]})
    assert (folder.states(), folder.job()["seed"], len(folder.arrays("weights"))) == ([], 4, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "is gone: another process has just ended the job"),
        ("{", "cannot be read"),
        ('{"format": "other", "format_version": 1}', "of another format or a newer version"),
        ('{"format": "hwloop-resume", "format_version": 0}', "of another format or a newer version"),
        ('{"format": "hwloop-resume", "format_version": 999}', "of another format or a newer version"),
        ('{"format": "hwloop-resume"}', "cannot be read"),
    ],
)
def test_a_job_that_cannot_be_read_is_begun_anew(folder: ResumeFolder, text: str | None, says: str) -> None:
    path = folder.path / "job.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(BadInputError, match=says):
        folder.job()


def test_files_of_a_job_must_be_there_as_they_were(folder: ResumeFolder, tmp_path: Path) -> None:
    model = tmp_path / "model.json"
    model.write_text("one")
    told = folder.job() | {"files": {"model": [str(model), fingerprint(model)]}}
    (folder.path / "job.json").write_text(json.dumps(told))
    assert folder.unchanged("model") == str(model)
    assert folder.unchanged("calibration") is None
    model.write_text("two")
    with pytest.raises(BadInputError, match=r"the model .*model\.json has changed; begin the job anew"):
        folder.unchanged("model")
    model.unlink()
    with pytest.raises(BadInputError, match=r"the model .*model\.json is gone; put it back"):
        folder.unchanged("model")


def test_an_output_is_replaced_only_while_it_is_the_one_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "run.h5").write_bytes(b"old")
    made = ResumeFolder(tmp_path / "run.h5")
    made.make({}, {})
    assert made.replaces(made.job())
    (tmp_path / "run.h5").write_bytes(b"of somebody else")
    assert not made.replaces(made.job())
    new = ResumeFolder(tmp_path / "new.h5")
    new.make({}, {})
    assert not new.replaces(new.job())


def test_a_disk_that_is_full_and_a_folder_that_is_gone_are_told_apart(folder: ResumeFolder) -> None:
    with (
        pytest.raises(BadInputError, match=r"cannot be written \(No space\); make room, then hwloop resume"),
        folder.writing(),
    ):
        raise OSError(28, "No space")
    folder.remove()
    with pytest.raises(BadInputError, match="was removed while the job ran"), folder.writing():
        raise OSError(2, "No such file")


def test_a_job_that_could_not_be_begun_leaves_nothing_to_go_on_with(tmp_path: Path) -> None:
    folder = ResumeFolder(tmp_path / "run.h5")
    folder.path.mkdir()
    (folder.path / "weights.0000.npy").touch()
    told = folder.unwritable(OSError("3 requested and 1 written"))  # as numpy has it, without a number
    assert str(told).endswith("run.h5 cannot be written (3 requested and 1 written); give another place")
    assert not folder.path.exists()


def test_a_folder_that_was_removed_has_no_states_and_says_so_when_it_is_written(folder: ResumeFolder) -> None:
    folder.remove()
    assert folder.states() == []
    with pytest.raises(BadInputError, match="was removed while the job ran"), folder.writing():
        folder.keep_state(1, state(2.0))
