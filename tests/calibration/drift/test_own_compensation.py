"""The example of docs/compensations.md, installed as a package of its own, does what the page says."""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import gaussian
from tests.one_process import run_commands

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


def test_the_example_runs_beside_the_others_and_is_listed_after_them(installed: Path) -> None:
    np.save(installed / "w.npy", gaussian(32, 32))
    words = ["--times", "1h,1y", "--compensation", "none,global,median,refresh+median", "--out", "drift.h5", "--json"]
    programmed, aged, told = run_commands(
        installed,
        ["program", "w.npy", "--backend", CHIP, "--set", "max_steps=6", "--out", "run.h5"],
        ["drift", "run.h5", *words],
        ["drift", "--help"],
        packages=installed,
    )
    assert (programmed.returncode, aged.returncode) == (0, 0), programmed.stderr + aged.stderr
    assert "none, global, column, predictive, batchnorm, refresh, median" in " ".join(told.stdout.split())
    entries = json.loads(aged.stdout)["compensations"]
    assert list(entries) == ["none", "global", "median", "refresh+median"]
    for number in range(2):
        error = {name: entry["mvm_error"][number] for name, entry in entries.items()}
        assert error["median"] < error["none"]
        # A median of 32 columns scatters by some per cent more than least squares over all of them.
        assert error["median"] == pytest.approx(error["global"], rel=0.05)
    assert entries["refresh+median"]["mvm_error"][1] < 0.8 * entries["median"]["mvm_error"][1]
    assert entries["median"]["mvms"] == [256, 256]
    assert all(until > 3600.0 for until in entries["median"]["holds_until_s"])
