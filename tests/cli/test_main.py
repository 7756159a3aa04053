"""The start of the command line: what is settled before anything heavy is loaded."""

from __future__ import annotations

import os
import sys

import pytest

import hwloop.__main__ as start


@pytest.mark.parametrize(("given", "then"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_the_user_has_it_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str | None, then: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    seen = []
    monkeypatch.setattr(start, "main", lambda prog_name: seen.append(os.environ["OMP_WAIT_POLICY"]))
    monkeypatch.setattr(sys, "argv", ["hwloop"])
    start.run()
    assert seen == [then]
