"""Examples in docstrings that look like a session are one: they give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from tests.house import ROOT, sources

SESSIONS = [path for path in sources() if ">>> " in path.read_text(encoding="utf-8")]


def module_of(path: Path) -> str:
    """Return the name by which a source is imported."""
    words = path.relative_to(ROOT).with_suffix("").parts
    words = words if words[0] == "hwloop" else ("hwloop", *words)
    return ".".join(words).removesuffix(".__init__")


@pytest.mark.parametrize("path", SESSIONS, ids=module_of)
def test_sessions_give_what_they_say(path: Path) -> None:
    failed, tried = doctest.testmod(importlib.import_module(module_of(path)))
    assert tried > 0
    assert failed == 0


def test_there_are_some() -> None:
    assert len(SESSIONS) >= 4
