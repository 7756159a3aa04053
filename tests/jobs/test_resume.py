"""A job that is killed or stopped at any moment is gone on with, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import hwloop
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.errors import BadInputError, ChipError
from hwloop.files.hdf5 import CommitTimer
from hwloop.files.resume_folder import ResumeFolder, folder_of
from hwloop.jobs.recording import JobOnFile, recorded, replayed
from hwloop.sim_backend.chip import SimulatedChip
from tests.conftest import OpenChip, gaussian
from tests.jobs.conftest import CHIP, FOUR_CORES, CtrlC, OpenWithout, failing_mvm
from tests.killing import killed_after

WEIGHTS = gaussian(12, 40)
"""Needs two tiles of a 32 x 32 core."""
METHODS = {
    "gdp": hwloop.GDP(max_steps=10),
    "sgd": hwloop.SGD(max_vectors=2500, batch=256),
    "iterative": hwloop.ProgramVerify(max_steps=4),
    "exact": hwloop.Exact(),
}


def programmed(out: Path, method: str = "gdp", **more: object) -> hwloop.Run:
    with hwloop.connect(FOUR_CORES) as chip:
        return hwloop.program(chip, WEIGHTS, METHODS[method], seed=3, out=out, **more)


def contents(path: Path) -> dict[str, np.ndarray]:
    """Everything in a run file that does not depend on the time of day."""
    found: dict[str, np.ndarray] = {}

    def take(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]
        found.update({f"{name}@{key}": value for key, value in item.attrs.items()})

    with h5py.File(path) as file:
        file.visititems(take)
        found.update({key: file.attrs[key] for key in ("mvm_error", "status", "programmed_at", "age")})
    found["cost@chip_seconds"] = np.float32(found["cost@chip_seconds"])  # a difference of two times
    return {name: value for name, value in found.items() if not name.startswith("provenance@")}


def assert_same(path: Path, other: Path) -> None:
    one, two = contents(path), contents(other)
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert np.array_equal(value, two[name], equal_nan=getattr(value, "dtype", None) in (float, "f4")), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run file of each method that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    for method in METHODS:
        programmed(folder / f"{method}.h5", method)
    return {method: folder / f"{method}.h5" for method in METHODS}


@pytest.fixture
def states_come_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """States of a chip are on file each hundredth of a second, and not each second or two."""
    monkeypatch.setattr(CommitTimer, "spent", lambda timer, _: setattr(timer, "_due", time.monotonic() + 0.01))


@pytest.mark.usefixtures("states_come_often")
@pytest.mark.parametrize("method", ["gdp", "iterative", "sgd"])
def test_killed_at_random_moments_a_run_ends_as_if_it_had_not_been(
    method: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    out, rng = tmp_path / "run.h5", np.random.default_rng(5)
    assert killed_after(0.08, lambda: programmed(out, method))
    for _ in range(3):  # and whoever goes on with it is killed, too
        if folder_of(out).exists():
            killed_after(rng.uniform(0.02, 0.1), lambda: hwloop.resume(out))
    if folder_of(out).exists():
        run = hwloop.resume(out)
        assert run.status == "complete"
    assert_same(out, whole[method])
    assert not folder_of(out).exists()


class Kill:
    """A progress report that kills its process once it was told of so many steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def __call__(self, done: int, total: int) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_run_says_so_and_holds_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run.h5"
    monkeypatch.setattr("hwloop.files.hdf5.CommitTimer.due", lambda timer: True)
    assert killed_after(60, lambda: programmed(out, progress=Kill(12)))
    run = hwloop.load(out)
    assert run.status == "killed"
    assert all(tile.pulses is not None and tile.pulses.sum() > 0 for tile in run.tiles)
    with h5py.File(out) as file:
        assert file["cost"].attrs["pulses"] == sum(tile.pulses.sum() for tile in run.tiles)


def test_a_stopped_run_goes_on(whole: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "run.h5"
    assert programmed(out, progress=CtrlC(5)).interrupted
    assert hwloop.load(out).status == "interrupted"
    assert hwloop.resume(out, progress=CtrlC(14)).interrupted
    assert hwloop.resume(out).status == "complete"
    assert_same(out, whole["gdp"])


def test_nothing_is_sent_to_a_simulated_chip_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, asked = tmp_path / "run.h5", []
    programmed(out, progress=CtrlC(14))
    pulse = SimulatedChip._pulse
    monkeypatch.setattr(
        SimulatedChip, "_pulse", lambda chip, core, pulses: (asked.append(core), pulse(chip, core, pulses))[1]
    )
    again = hwloop.resume(out)
    with h5py.File(out) as file:
        rounds = sum(int((tile["steps/pulses"][:] > 0).sum()) for tile in file["tiles"].values())
    assert 0 < len(asked) < rounds
    assert again.status == "complete"


def test_states_that_a_job_is_given_are_on_file_but_for_the_last(tmp_path: Path) -> None:
    """The last one is written with the next state that is due, or when the job stops; all come back."""
    out, given = tmp_path / "run.h5", []

    def study(chip: hwloop.Backend) -> list[dict[str, np.ndarray]]:
        states = []
        for core in range(3):
            chip.pulse(core, Pulses.make(PulseKind.SET, [1, 5], 100.0, 1000.0))
            states.append(chip.export_state())
        return states

    with hwloop.connect(FOUR_CORES) as chip, recorded(out, chip, JobOnFile("study", {}, {})):
        given = study(chip)
        assert len(ResumeFolder(out).states()) == 1 + 2, "the first of all, and those before the last"
    assert len(ResumeFolder(out).states()) == 1 + 3 + 1
    with hwloop.connect(FOUR_CORES) as chip, replayed(ResumeFolder(out), chip) as recording:
        again = study(chip)
        recording.complete()
    for one, other in zip(given, again, strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name], name)
    assert not folder_of(out).exists()


def test_a_chip_that_was_used_before_goes_on_from_there(open_chip: OpenChip, tmp_path: Path) -> None:
    def used() -> hwloop.Backend:
        chip = open_chip(FOUR_CORES)
        hwloop.program(chip, gaussian(8, 8), METHODS["gdp"])
        return chip

    hwloop.program(used(), WEIGHTS, METHODS["gdp"], out=tmp_path / "whole.h5")
    assert hwloop.program(used(), WEIGHTS, METHODS["gdp"], out=tmp_path / "run.h5", progress=CtrlC(10)).interrupted
    hwloop.resume(tmp_path / "run.h5")
    assert_same(tmp_path / "run.h5", tmp_path / "whole.h5")


# ---- real chips --------------------------------------------------------------------------------------------------


def test_a_real_chip_is_asked_again_and_its_pulses_count_once(open_without: OpenWithout, tmp_path: Path) -> None:
    out, chip = tmp_path / "run.h5", open_without(FOUR_CORES, Capability.STATE)
    assert hwloop.program(chip, WEIGHTS, METHODS["gdp"], out=out, progress=CtrlC(14)).interrupted
    before = [chip.pulse_counts(core) for core in range(4)]
    run = hwloop.resume(out, chip)
    assert run.status == "complete"
    assert run.mvm_error < 0.2
    after = [chip.pulse_counts(core) for core in range(4)]
    assert sum(tile.pulses.sum() for tile in run.tiles) == np.sum(after)
    assert np.all(np.array(after) >= before)


def test_a_link_that_failed_is_tried_again(
    open_without: OpenWithout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, chip = tmp_path / "run.h5", open_without(FOUR_CORES, Capability.STATE)
    with monkeypatch.context() as broken:
        failing_mvm(broken, 9)
        with pytest.raises(ChipError) as caught:
            hwloop.program(chip, WEIGHTS, METHODS["gdp"], out=out)
    assert "hwloop resume" in "".join(caught.value.__notes__)
    assert hwloop.load(out).status == "failed"
    assert hwloop.resume(out, chip).status == "complete"


def test_pulses_are_on_file_before_they_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    journal = folder_of(tmp_path / "run.h5") / "journal"
    pulse = SimulatedChip._pulse

    def look(chip: SimulatedChip, core: int, pulses: Pulses) -> None:
        sizes.append((journal.read_bytes().count(b'"ask":"pulse"'), len(sizes) + 1))
        pulse(chip, core, pulses)

    monkeypatch.setattr(SimulatedChip, "_pulse", look)
    programmed(tmp_path / "run.h5")
    assert sizes
    assert all(found == sent for found, sent in sizes)


# ---- what cannot be gone on with ---------------------------------------------------------------------------------


def test_a_complete_run_says_so(whole: dict[str, Path]) -> None:
    with pytest.raises(BadInputError, match=r"gdp.h5 is complete"):
        hwloop.resume(whole["gdp"])


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that was stopped in its middle."""
    programmed(tmp_path / "run.h5", progress=CtrlC(10))
    return tmp_path / "run.h5"


def test_a_file_whose_folder_is_gone_says_so(stopped: Path) -> None:
    folder_of(stopped).rename(stopped.with_name("elsewhere"))
    with pytest.raises(BadInputError, match=r"run.h5.resume is gone"):
        hwloop.resume(stopped)


def test_no_file_at_all_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        hwloop.resume(tmp_path / "absent.h5")


def test_another_chip_is_named(stopped: Path, open_chip: OpenChip) -> None:
    with pytest.raises(BadInputError, match=r"serial simulated-2.*another chip"):
        hwloop.resume(stopped, open_chip(FOUR_CORES.replace("seed=1", "seed=2")))


def test_a_chip_that_could_do_harm_is_not_opened_from_the_file(stopped: Path) -> None:
    job = folder_of(stopped) / "job.json"
    told = json.loads(job.read_text()) | {"chip": "visa:ASRL1?visa_library=./evil.so"}
    job.write_text(json.dumps(told))
    with pytest.raises(BadInputError, match="name the chip with --backend"):
        hwloop.resume(stopped)


@pytest.mark.parametrize("gone", ["weights.0000.npy", "job.json"])
def test_what_is_gone_is_named(stopped: Path, gone: str) -> None:
    (folder_of(stopped) / gone).unlink()
    with pytest.raises(BadInputError, match=r"begin|gone"):
        hwloop.resume(stopped)


@pytest.mark.parametrize("other", ["run", "measurement", "damaged"])
def test_a_file_of_another_job_is_not_replaced(
    stopped: Path, whole: dict[str, Path], tmp_path: Path, open_chip: OpenChip, other: str
) -> None:
    stopped.unlink()
    if other == "measurement":
        hwloop.measure(open_chip(CHIP), "read-noise", cells=8, samples=4, out=stopped)
    else:
        shutil.copy(whole["exact"], stopped)
    if other == "damaged":
        os.truncate(stopped, 1000)
    before = stopped.read_bytes()
    with pytest.raises(BadInputError, match=r"is not of the job.*would be replaced"):
        hwloop.resume(stopped)
    assert stopped.read_bytes() == before
    stopped.rename(tmp_path / "kept.h5")
    assert hwloop.resume(stopped).status == "complete"


def test_a_run_that_went_on_is_still_the_same_run(stopped: Path) -> None:
    """So whoever adds its pulses to a ledger, before and after, counts them once."""
    other = stopped.with_name("other.sqlite")
    assert hwloop.ledger(FOUR_CORES, path=other, merge=[stopped]).pulses > 0
    hwloop.resume(stopped)
    life = hwloop.ledger(FOUR_CORES, path=other, merge=[stopped])
    assert life.merged_runs == 1
    assert life.pulses == sum(int(tile.pulses.sum()) for tile in hwloop.load(stopped).tiles)


def test_a_job_that_takes_another_way_is_refused(stopped: Path) -> None:
    job = folder_of(stopped) / "job.json"
    job.write_text(json.dumps(json.loads(job.read_text()) | {"seed": 4}))
    with pytest.raises(BadInputError, match="does not take the way that is on file"):
        hwloop.resume(stopped)


def test_what_is_refused_before_the_first_pulse_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInputError), hwloop.connect(CHIP) as chip:
        hwloop.program(chip, gaussian(100, 100), out=tmp_path / "run.h5")  # too large for one core
    assert not list(tmp_path.iterdir())
