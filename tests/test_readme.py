"""The README's Python runs, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hwloop.cli import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST, SECOND = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for what the examples write."""
    monkeypatch.chdir(tmp_path)


def test_the_first_example_prints_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data").symlink_to(ROOT / "data")
    exec(compile(FIRST, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert re.match(r"MVM error 0\.0[67]\d\d\n", printed)
    assert printed.count("pulses per device") == 3
    assert re.search(r"\n0\.0[67]\d+\n$", printed)


def test_the_second_example_makes_a_twin() -> None:
    Path("data").mkdir()  # a small matrix, chip and measurement: it is the calls that are tested
    save_file({"fc1.weight": np.random.default_rng(0).standard_normal((12, 16))}, "data/digits_mlp.safetensors")
    small = SECOND.replace("sim:hermes-core?", "sim:hermes-core?rows=32&columns=32&").replace("2_000", "300")
    assert small != SECOND
    found: dict[str, object] = {}
    exec(compile(small, "README.md", "exec"), found)
    assert Path("noise_model.py").stat().st_size > 1000
    assert {"known", "run", "study", "model", "comparison"} <= set(found)


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"^    hwloop (\w+)", README, flags=re.MULTILINE))
    assert named
    assert named <= set(COMMANDS)
