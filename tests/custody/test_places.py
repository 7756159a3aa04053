"""Where the ledger lies: as told, else by the customs of the system."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwloop.custody import places


def test_the_environment_names_the_ledger_and_locks_lie_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWLOOP_LEDGER", "/lab/shared/chips.sqlite")
    assert places.ledger_path() == Path("/lab/shared/chips.sqlite")
    assert places.lock_folder() == Path("/lab/shared/locks")


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "/home/ada/.local/share/hwloop"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/hwloop"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/home/ada/.local/share/hwloop"),
        ("darwin", {}, "/home/ada/Library/Application Support/hwloop"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/hwloop"),
    ],
)
def test_else_it_is_the_users_data_folder(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr(places.sys, "platform", platform)
    for name in ("HWLOOP_LEDGER", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert places.ledger_path() == Path(expected) / "ledger.sqlite"
