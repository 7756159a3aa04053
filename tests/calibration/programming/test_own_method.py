"""docs/methods.md: its example, installed as a package of its own, programs a chip from the command line."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest

from hwloop.calibration.programming.registry import METHODS
from tests.conftest import gaussian

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


def hwloop(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{PAGE.parents[1]}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hwloop", *words]
    return subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True, timeout=120)


def test_the_example_programs_a_chip_from_the_command_line(site: Path) -> None:
    done = hwloop(
        site, "program", "w.npy", "--backend", CHIP, "--method", "redraw", "--set", "rounds=3", "--out", "run.h5",
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["method"], result["status"]) == ("redraw", "complete")
    assert 0.01 < result["mvm_error"] < 0.3
    core = result["cores"][0]
    assert 1.0 < core["pulses_per_device"] <= core["max_pulses_on_a_device"] == 4
    assert core["device_reads"] > 8 * core["devices"]
    with h5py.File(site / "run.h5") as file:
        assert dict(file["provenance/settings"].attrs) == {"rounds": 3, "tolerance": 0.6}


def test_it_is_compared_listed_and_its_settings_are_checked(site: Path) -> None:
    compared = hwloop(
        site, "compare", "w.npy", "--backend", CHIP, "--methods", "redraw,exact", "--out", "both.h5", "--json"
    )
    assert set(json.loads(compared.stdout)["methods"]) == {"redraw", "exact"}, compared.stderr
    refused = hwloop(
        site, "program", "w.npy", "--backend", CHIP, "--method", "redraw", "--set", "rounds=0", "--out", "no.h5"
    )
    assert "method redraw: setting rounds=0 is outside 1 to 1000" in refused.stderr
    unknown = hwloop(site, "program", "w.npy", "--backend", CHIP, "--method", "redrew", "--out", "no.h5")
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
