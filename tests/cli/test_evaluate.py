"""`hwloop evaluate`: what the chip of a run holds now."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import pytest

from hwloop.jobs.evaluate_trained import TrainedEvaluation
from hwloop.nn.accuracy import Accuracy
from hwloop.sim_backend.chip import SimulatedChip
from tests.cli.conftest import BRIEF, CHIP, Command


@pytest.fixture
def run_file(command: Command) -> str:
    """A finished run of six steps."""
    assert command("program", "w.npy", *BRIEF, "--out", "run.h5").exit_code == 0
    return "run.h5"


def test_the_error_now_stands_beside_the_error_then(command: Command, run_file: str) -> None:
    result = command("evaluate", run_file)
    assert result.exit_code == 0, result.stderr
    words = " ".join(result.stdout.split())
    assert words.startswith(f"What run.h5 left on {CHIP} MVM error 0.0")
    assert re.search(r"MVM error 0\.0\d+ \(95 %: 0\.0\d+ to 0\.0\d+\) now; 0\.0", words)
    assert "when it was programmed, so there is no change beyond noise." in words


def test_json(command: Command, run_file: str) -> None:
    result = json.loads(command("evaluate", run_file, "--json").stdout)
    assert result.keys() == {
        "run", "backend", "method", "mvm_error", "mvm_error_from", "mvm_error_in_run",
        "mvm_error_interval", "mvm_error_interval_in_run", "moved",
        "calibration", "chip_clock_seconds", "cores", "hwloop_version",
    }  # fmt: skip
    assert (result["run"], result["backend"], result["method"]) == ("run.h5", CHIP, "gdp")
    assert result["mvm_error"] == pytest.approx(result["mvm_error_in_run"], rel=0.05)
    assert result["cores"] == [{"core": 0, "tensor": "w", "mvm_error": result["mvm_error"]}]
    with h5py.File(run_file) as file:
        assert result["mvm_error_in_run"] == file.attrs["mvm_error"]


def test_a_run_is_whole_without_its_weights(command: Command, run_file: str, folder: Path) -> None:
    Path("w.npy").unlink()
    (folder / "elsewhere").mkdir()
    shutil.move(run_file, "elsewhere/moved.h5")
    assert command("evaluate", "elsewhere/moved.h5").exit_code == 0


def test_other_inputs_by_seed(command: Command, run_file: str) -> None:
    errors = [json.loads(command("evaluate", run_file, "--seed", seed, "--json").stdout) for seed in (1, 1, 2)]
    assert errors[0] == errors[1]
    assert errors[0]["mvm_error"] != errors[2]["mvm_error"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def disown(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["temperature"] = [1.0, 2.0]


def modernise(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["format_version"] = 99


def hollow(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["tiles"]


def leave_unfinished(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["status"] = "running"
        del file["chip_state"]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (Path.unlink, "run.h5: no such file"),
        (truncate, "run.h5 is not a readable HDF5 file"),
        (disown, "run.h5 is no hwloop-run file"),
        (modernise, "run.h5 has format version 99; this hwloop reads up to 1: upgrade it"),
        (hollow, "run.h5 is not a whole run file"),
        (leave_unfinished, "run.h5: holds no chip state, because the run did not finish (status 'killed')"),
    ],
)
def test_a_file_that_is_no_finished_run(
    command: Command, run_file: str, spoil: Callable[[Path], object], complaint: str
) -> None:
    spoil(Path(run_file))
    result = command("evaluate", run_file)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_another_chip_is_refused(command: Command, run_file: str) -> None:
    result = command("evaluate", run_file, "--backend", "sim:hermes-core?seed=2")
    assert result.exit_code == 2
    assert "not sim:hermes-core?seed=2: leave --backend out" in result.stderr


def test_a_comparison_is_no_run(command: Command) -> None:
    command("compare", "w.npy", "--backend", CHIP, "--methods", "exact", "--out", "cmp.h5")
    result = command("evaluate", "cmp.h5")
    assert result.exit_code == 2
    assert (
        "cmp.h5 is no hwloop-run file, as hwloop program writes it (its format attribute is 'hwloop-comparison')"
        in result.stderr
    )


def test_ctrl_c_ends_without_a_traceback(command: Command, run_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def press_ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SimulatedChip, "_mvm", press_ctrl_c)
    result = command("evaluate", run_file)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "stopped\n")


def test_a_training_tells_its_accuracy_at_each_age(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 95 % interval of 80 right of 100 is 71.1 to 86.7 % (Wilson)."""
    asked: list[tuple[object, ...]] = []
    at_end: list[float | None] = [0.875, None, None]

    def evaluated(path: str, chip: object, times: Sequence[float], network: object) -> TrainedEvaluation:
        asked.append((path, chip, [*times], network))
        answers = tuple(Accuracy(80 - 30 * k, 100) for k in range(len(times)))
        return TrainedEvaluation(path, CHIP, tuple(times), answers, at_end.pop(0))

    monkeypatch.setattr("hwloop.evaluate_trained", evaluated)
    monkeypatch.setattr("hwloop.jobs.trained.is_training", lambda path: path == "t.h5")
    assert command("evaluate", "t.h5", "--times", "0,1h").stdout == (
        "      0s  80.0% (95 %: 71.1% to 86.7%) of 100 images\n"
        "      1h  50.0% (95 %: 40.4% to 59.6%) of 100 images\n"
        "87.5% at the end of the training.\n"
    )
    assert command("evaluate", "t.h5").stdout == "      0s  80.0% (95 %: 71.1% to 86.7%) of 100 images\n"
    assert json.loads(command("evaluate", "t.h5", "--json").stdout)["accuracy"] == [0.8]
    assert asked == [("t.h5", None, [0.0, 3600.0], None), *[("t.h5", None, [0.0], None)] * 2]
    refused = command("evaluate", "t.h5", "--calibration", "c.json")
    assert refused.exit_code == 2
    assert "a training is measured as its network answers: leave --calibration out" in refused.stderr
    for option in (["--times", "1h"], ["--network", "net.py"]):
        refused = command("evaluate", "w.h5", *option)
        assert "--times and --network are for trainings; w.h5 is none" in refused.stderr
