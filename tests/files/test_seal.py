"""Seals: a finished file tells by itself whether it is as it was written, before HDF5 looks at it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files import hdf5, seal, trial
from hwloop.files.reading import whole

CHANGED = "was changed or damaged since it was written"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    with hdf5.WholeFileWriter(path, hdf5.RUN_FORMAT) as writer:
        hdf5.put(writer.file, "reached", np.arange(600.0), "uS", "a small map")
        writer.commit()
    return path


def opened(path: Path) -> None:
    hdf5.open_file(path, hdf5.RUN_FORMAT).close()


def test_every_commit_is_sealed_and_plain_hdf5(written: Path) -> None:
    assert seal.check(written)
    with h5py.File(written) as file:
        assert file["reached"][-1] == 599.0


def test_any_changed_bit_is_noticed(written: Path) -> None:
    """Also those of the seal itself."""
    content, rng = written.read_bytes(), np.random.default_rng(0)
    places = [*rng.integers(0, 8 * len(content), 200), *range(8 * (len(content) - seal.SEAL_SIZE), 8 * len(content), 5)]
    for place in places:
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        written.write_bytes(changed)
        with pytest.raises(BadInputError, match=CHANGED):
            opened(written)


def test_any_missing_end_is_noticed(written: Path) -> None:
    content = written.read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 1, len(content) - seal.SEAL_SIZE + 30):
        written.write_bytes(content[:length])
        with pytest.raises(BadInputError, match=f"{CHANGED}|not a readable HDF5 file"):
            opened(written)


def test_a_file_that_is_cut_off_within_its_seal_is_refused(written: Path) -> None:
    content = written.read_bytes()
    whole = len(content) - seal.SEAL_SIZE
    for length in range(whole + 3, len(content)):
        written.write_bytes(content[:length])
        with pytest.raises(BadInputError, match=CHANGED):
            seal.check(written)
    for length in range(whole, whole + 3):  # nothing is lost, and nothing tells that there was a seal
        written.write_bytes(content[:length])
        assert not seal.check(written)


def test_a_file_that_is_changed_by_other_means_has_no_seal_any_more(written: Path) -> None:
    with h5py.File(written, "r+") as file:
        file["more"] = np.zeros(10_000)
    assert not seal.check(written)
    opened(written)


def test_a_grown_file_is_sealed_at_its_end(tmp_path: Path) -> None:
    path, copy = tmp_path / "grown", tmp_path / "copy"
    path.write_bytes(b"some content")
    assert not seal.check(path)
    seal.seal(path)
    assert seal.check(path)
    assert path.read_bytes() == seal.sealed(b"some content")
    seal.copy_without_seal(path, copy)
    assert copy.read_bytes() == b"some content"


def test_an_unsealed_file_that_crashes_or_hangs_hdf5_is_refused(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written.write_bytes(written.read_bytes()[: -seal.SEAL_SIZE])
    opened(written)

    def dies(command: list[str], **how: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, -11, b"", b"")

    monkeypatch.setattr(trial.subprocess, "run", dies)
    with pytest.raises(BadInputError, match=r"damaged \(HDF5 crashes on it \(signal 11\)\)"):
        opened(written)


def test_a_trial_is_given_up_in_time(written: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "sleeps.py"
    script.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(trial, "__file__", str(script))
    monkeypatch.setattr(trial, "LIMITS", trial.TrialLimits(seconds=0.2))
    begun = time.monotonic()
    assert "does not come to an end" in trial.trouble(written)
    assert time.monotonic() - begun < 5.0


def test_a_file_that_another_program_holds_is_not_called_damaged(written: Path) -> None:
    script = f"import h5py, sys; f = h5py.File({str(written)!r}, 'r+'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(BadInputError, match="held open by another program") as error:
            opened(written)
        assert "damaged" not in str(error.value)
        holder.communicate()
    opened(written)


def test_a_dataset_that_says_it_is_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = hdf5.RUN_FORMAT, 1
        file.create_dataset("x", (10**6, 10**6), np.float64, chunks=(100, 100))
    with pytest.raises(BadInputError, match="x says it takes 8000000000000 bytes"):
        opened(path)


@pytest.mark.parametrize("error", [KeyError("x"), MemoryError(), OverflowError("a\nb"), AttributeError("z")])
def test_whatever_fails_in_a_file_is_one_line_that_names_it(error: Exception) -> None:
    expected = r"^f\.h5 is not a whole run file \(.+\); program again$"
    with pytest.raises(BadInputError, match=expected) as caught, whole("f.h5", "run file", "program again"):
        raise error
    assert "\n" not in str(caught.value)
