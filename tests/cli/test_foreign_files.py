"""A file that came from elsewhere is data: reading it opens, runs, writes, connects and hashes nothing beside it."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import hwloop.chip.registry
from hwloop.files.model_file import save_model
from hwloop.files.models import Fit, Form, Model
from tests.cli.conftest import BRIEF, CHIP, Command
from tests.files.test_models import fitted_drift


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that the tests of this file damage copies of."""
    from click.testing import CliRunner

    from hwloop.cli import main
    from tests.conftest import gaussian

    folder = tmp_path_factory.mktemp("run")
    np.save(folder / "w.npy", gaussian(12, 16))
    words = ["program", str(folder / "w.npy"), *BRIEF, "--out", str(folder / "run.h5")]
    assert CliRunner().invoke(main, words, prog_name="hwloop").exit_code == 0
    return folder / "run.h5"


@pytest.fixture
def run_file(finished: Path, folder: Path) -> Path:
    """A copy of the run in the working folder."""
    return Path(shutil.copy(finished, folder / "run.h5"))


GO_ON = pytest.mark.parametrize(
    "words",
    [("evaluate", "run.h5"), ("drift", "run.h5", "--times", "1h", "--out", "drift.h5")],
    ids=lambda words: words[0],
)
"""The commands that go on with what a run file says."""


URIS = [
    "visa:TCPIP::127.0.0.1::{port}::SOCKET",
    "visa:TCPIP::127.0.0.1::{port}::SOCKET?log=victim.txt",
    "visa:TCPIP::127.0.0.1::{port}::SOCKET?visa_library=./helper.dat",
    "visa:TCPIP::127.0.0.1::{port}::INSTR",
    "visa:ASRL/dev/ttyS0::INSTR",
    "visa:ASRLvictim.txt::INSTR",
    "bench:bench.toml",
    "bench:/dev/zero",
    "sim:model.json",
    "sim:victim.txt",
    "sim:/dev/zero",
    "sim:../run/model.json?base=pcm-90nm",
    "SIM:hermes-core",
    "sim :hermes-core",
    "evil:hermes-core",
    "hermes-core",
    "",
    "?",
    "sim:",
    "sim:hermes-core\n?seed=1",
    "\x1b[2Jsim:hermes-core",
]


@GO_ON
@pytest.mark.parametrize("uri", URIS)
def test_no_uri_but_that_of_a_simulated_preset_is_followed(
    command: Command, run_file: Path, words: tuple[str, ...], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("victim.txt").write_text("precious")
    Path("helper.dat").write_bytes(b"\x7fELF")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        with h5py.File(run_file, "r+") as file:
            file.attrs["backend"] = uri.format(port=listening.getsockname()[1])
        opened: list[str] = []
        monkeypatch.setattr(hwloop.chip.registry, "connect", lambda uri: opened.append(uri))
        result = command(*words)
        assert result.exit_code == 2
        assert "from a file alone only simulated presets are opened" in result.stderr
        assert "--backend" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert "\x1b" not in result.stderr
        with pytest.raises(BlockingIOError, match=os.strerror(errno.EAGAIN)):
            listening.accept()
    assert opened == []
    assert Path("victim.txt").read_text() == "precious"
    assert not Path("drift.h5").exists()


@pytest.mark.parametrize("option", ["log=victim.txt", "visa_library=./helper.dat", "base=pcm-90nm"])
def test_options_that_load_or_write_are_unknown_to_a_preset(command: Command, run_file: Path, option: str) -> None:
    Path("victim.txt").write_text("precious")
    with h5py.File(run_file, "r+") as file:
        file.attrs["backend"] = f"{CHIP}&{option}"
    result = command("evaluate", run_file)
    assert result.exit_code == 2
    assert f"unknown option '{option.partition('=')[0]}' of sim:" in result.stderr
    assert Path("victim.txt").read_text() == "precious"


def test_a_user_who_names_the_chip_is_obeyed(command: Command, run_file: Path) -> None:
    with h5py.File(run_file, "r+") as file:
        file.attrs["backend"] = "visa:TCPIP::127.0.0.1::1::SOCKET"
    result = command("evaluate", run_file, "--backend", CHIP)
    assert "a simulated chip's state fits that chip alone" in result.stderr


def link_outside(file: h5py.File) -> None:
    del file["tiles"]
    file["tiles"] = h5py.ExternalLink("other.h5", "/tiles")


def link_deep_inside(file: h5py.File) -> None:
    file["tiles/0000"]["extra"] = h5py.ExternalLink("/dev/zero", "/")


def raw_values(file: h5py.File) -> None:
    file.create_dataset("loot", (4,), "u1", external=[("victim.txt", 0, 4)])


def put_together(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("other.h5", "loot", (4,))
    file.create_virtual_dataset("loot", layout)


@GO_ON
@pytest.mark.parametrize("damage", [link_outside, link_deep_inside, raw_values, put_together])
def test_parts_in_other_files_are_not_followed(
    command: Command, run_file: Path, words: tuple[str, ...], damage: Callable[[h5py.File], None]
) -> None:
    shutil.copy(run_file, "other.h5")
    Path("victim.txt").write_text("precious")
    with h5py.File(run_file, "r+") as file:
        damage(file)
    result = command(*words)
    assert result.exit_code == 2
    assert "has parts in other files" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_nor_are_those_of_a_measurement_from_elsewhere(command: Command) -> None:
    with h5py.File("h5ds.h5", "w") as file:
        file["crosspoints"] = h5py.ExternalLink("/dev/zero", "/")
    result = command("import", "h5ds.h5", "--out", "meas.h5")
    assert result.exit_code == 2
    assert "has parts in other files" in result.stderr


def of_another_kind(path: Path) -> None:
    path.write_bytes(b"secret")


def endless(path: Path) -> None:
    os.mkfifo(path)


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(80 * 2**30)


@GO_ON
@pytest.mark.parametrize("make", [of_another_kind, endless, sparse])
@pytest.mark.parametrize("place", ["chip.cal.h5", "elsewhere/chip.cal.h5"])
def test_a_calibration_is_read_only_if_it_is_one_and_beside(
    command: Command, run_file: Path, words: tuple[str, ...], make: Callable[[Path], None], place: str
) -> None:
    Path(place).parent.mkdir(exist_ok=True)
    make(Path(place))
    with h5py.File(run_file, "r+") as file:
        file["provenance"].attrs["calibration"] = str(Path(place).resolve())
        file["provenance"].attrs["calibration_sha256"] = "0" * 64
    result = command(*words)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    beside = place == "chip.cal.h5" and make is not endless
    said = "chip.cal.h5 is not a readable HDF5 file" if beside else "pass it with --calibration"
    assert said in result.stderr


ABSURD: dict[str, Callable[[Fit], Fit]] = {
    "no-settings": lambda fit: replace(fit, settings={}),
    "no-age": lambda fit: replace(fit, experiment="programming"),
    "no-parameters": lambda fit: replace(fit, parameters=()),
    "no-forms": lambda fit: replace(fit, forms={}),
    "largest": lambda fit: replace(fit, settings=dict.fromkeys(fit.settings, 1e30), conductance_range=(1e30, 1e30)),
    "negative": lambda fit: replace(fit, settings=dict.fromkeys(fit.settings, -1.0)),
    "parameters": lambda fit: replace(fit, parameters=tuple(replace(one, value=-1e30) for one in fit.parameters)),
    "bends": lambda fit: replace(fit, forms={name: Form("knots", (0.0, 0.0)) for name in fit.forms}),
}
"""Changes of a fit that no fit of hwloop makes."""


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")  # of those who calculate with them
@pytest.mark.parametrize("change", ABSURD)
def test_a_model_made_up_of_absurd_values_is_no_fault_of_hwloop(command: Command, folder: Path, change: str) -> None:
    fit = ABSURD[change](fitted_drift())
    save_model(
        Model({fit.experiment: fit}, {"chip": "sim:pcm-90nm", "rows": 16, "columns": 16}, {}, "2026"), folder / "m.json"
    )
    for words in (
        ("predict", "m.json", "--time", "1h", "--level", "10"),
        ("export", "m.json", "--to", "aihwkit", "--out", "a.py"),
        ("export", "m.json", "--to", "crosssim", "--out", "c.py"),
        ("program", "w.npy", "--backend", "sim:m.json", "--method", "exact", "--out", "o.h5"),
        ("show", "m.json"),
        ("plot", "m.json", "--out", "m.png"),
        ("report", "m.json", "--out", "m.html"),
    ):
        result = command(*words)
        assert result.exit_code in (0, 1, 2), result.stderr
        assert result.exit_code < 2 or len(result.stderr.splitlines()) == 1
