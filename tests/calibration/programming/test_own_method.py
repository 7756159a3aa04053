"""docs/methods.md: its example, installed as a package of its own, programs a chip from the command line."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest

from hwloop.calibration.programming.registry import METHODS
from tests.conftest import gaussian
from tests.one_process import Done, run_commands

PAGE = Path(__file__).parents[3] / "docs" / "methods.md"
CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"


def block(kind: str) -> str:
    (text,) = re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with the page's example in it, as pip would leave it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "redraw_method.py").write_text(block("python"), encoding="utf-8")
    points = tomllib.loads(block("toml"))["project"]["entry-points"]
    installed = folder / "redraw_method-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: redraw-method\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in points.items())
    )
    np.save(folder / "w.npy", gaussian(24, 32))
    return folder


ON_CHIP = ["program", "w.npy", "--backend", CHIP, "--method"]


@pytest.fixture(scope="module")
def commands(site: Path) -> list[Done]:
    """What the commands of these tests said."""
    return run_commands(
        site,
        [*ON_CHIP, "redraw", "--set", "rounds=3", "--out", "run.h5", "--json"],
        ["compare", "w.npy", "--backend", CHIP, "--methods", "redraw,exact", "--out", "both.h5", "--json"],
        [*ON_CHIP, "redraw", "--set", "rounds=0", "--out", "no.h5"],
        [*ON_CHIP, "redrew", "--out", "no.h5"],
        packages=site,
    )


def test_the_example_programs_a_chip_from_the_command_line(site: Path, commands: list[Done]) -> None:
    done = commands[0]
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["method"], result["status"]) == ("redraw", "complete")
    assert 0.01 < result["mvm_error"] < 0.3
    core = result["cores"][0]
    assert 1.0 < core["pulses_per_device"] <= core["max_pulses_on_a_device"] == 4
    assert core["device_reads"] > 8 * core["devices"]
    with h5py.File(site / "run.h5") as file:
        assert dict(file["provenance/settings"].attrs) == {"rounds": 3, "tolerance": 0.6}


def test_it_is_compared_listed_and_its_settings_are_checked(site: Path, commands: list[Done]) -> None:
    compared, refused, unknown = commands[1:]
    assert set(json.loads(compared.stdout)["methods"]) == {"redraw", "exact"}, compared.stderr
    assert "method redraw: setting rounds=0 is outside 1 to 1000" in refused.stderr
    assert "did you mean 'redraw'? known: exact, gdp, iterative, redraw, sgd" in unknown.stderr
    assert not (site / "no.h5").exists()


def test_the_page_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| ([\d.]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {(method, setting): float(default) for method, setting, default in rows}
    real = {
        (name, field.name): float(field.default)
        for name in METHODS.names()
        for field in dataclasses.fields(METHODS.find(name))
    }
    assert told == pytest.approx(real, abs=1e-3)
