"""The example of docs/compensations.md, installed as a package of its own, does what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import gaussian

ROOT = Path(__file__).resolve().parents[3]
CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"


def block(language: str) -> str:
    """Give the page's code block of a language."""
    page = (ROOT / "docs" / "compensations.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^ *```{language}\n(.*?)^ *```$", page, re.DOTALL | re.MULTILINE)
    return textwrap.dedent(found)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the example as an installer leaves it: a module, and a description with its entry points."""
    (tmp_path / "median_factor.py").write_text(block("python"), encoding="utf-8")
    groups = tomllib.loads(block("toml"))["project"]["entry-points"]
    information = tmp_path / "median_factor-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: median-factor\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in names.items()) for group, names in groups.items()]
    (information / "entry_points.txt").write_text("\n".join(lines))
    return tmp_path


def hwloop(folder: Path, *words: str) -> str:
    """Run a command in a process that finds what is installed in a folder; return what it shows."""
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "hwloop", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_runs_beside_the_others(installed: Path) -> None:
    np.save(installed / "w.npy", gaussian(32, 32))
    hwloop(installed, "program", "w.npy", "--backend", CHIP, "--set", "max_steps=6", "--out", "run.h5")
    words = ["--times", "1h,1y", "--compensation", "none,global,median,refresh+median", "--out", "drift.h5", "--json"]
    entries = json.loads(hwloop(installed, "drift", "run.h5", *words))["compensations"]
    assert list(entries) == ["none", "global", "median", "refresh+median"]
    for number in range(2):
        error = {name: entry["mvm_error"][number] for name, entry in entries.items()}
        assert error["median"] < error["none"]
        # A median of 32 columns scatters by some per cent more than least squares over all of them.
        assert error["median"] == pytest.approx(error["global"], rel=0.05)
    assert entries["refresh+median"]["mvm_error"][1] < 0.8 * entries["median"]["mvm_error"][1]
    assert entries["median"]["mvms"] == [256, 256]
    assert all(until > 3600.0 for until in entries["median"]["holds_until_s"])


def test_the_help_lists_it_after_those_of_hwloop(installed: Path) -> None:
    shown = " ".join(hwloop(installed, "drift", "--help").split())
    assert "none, global, column, predictive, batchnorm, refresh, median" in shown
