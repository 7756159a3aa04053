"""The README's Python runs, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hwloop.cli import COMMANDS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_python_example_prints_what_it_promises(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)
    example = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert example is not None
    exec(compile(example[1], "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert re.match(r"MVM error 0\.0[67]\d\d\n", printed)
    assert printed.count("pulses per device") == 3


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"^    hwloop (\w+)", README, flags=re.MULTILINE))
    assert named
    assert named <= set(COMMANDS)
