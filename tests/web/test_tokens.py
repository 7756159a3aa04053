"""Tokens come from files that nobody else can read, and the one of a data folder is made at random."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hwloop.cli.web import WebOptions, _tokens
from hwloop.errors import BadInputError
from hwloop.web.tokens import kept_token, tokens_from
from tests.web.conftest import TOKEN

posix = pytest.mark.skipif(os.name != "posix", reason="files have no such permissions")


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_token_of_a_folder_stays_over_a_restart(tmp_path: Path) -> None:
    first = kept_token(tmp_path / "token")
    assert kept_token(tmp_path / "token") == first
    assert len(first.known[0][1]) == 43  # 32 bytes


@posix
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_token_that_others_can_read_or_have_put_there_is_replaced(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "token", TOKEN, mode)
    assert kept_token(path).name_of(TOKEN) is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_short_token_is_replaced(tmp_path: Path) -> None:
    assert kept_token(written(tmp_path / "token", "short")).name_of("short") is None


def test_names_stand_before_tokens(tmp_path: Path) -> None:
    found = tokens_from(written(tmp_path / "tokens", f"anna {TOKEN}\n\n{TOKEN}2\n"))
    assert (found.name_of(TOKEN), found.name_of(f"{TOKEN}2"), found.name_of("")) == ("anna", "token 2", None)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (f"anna {TOKEN}", 0o644, "can be read by others"),
        ("anna short", 0o600, "line 1: expected TOKEN or NAME TOKEN"),
        (f"anna of the lab {TOKEN}", 0o600, "line 1: expected TOKEN or NAME TOKEN"),
        ("\n", 0o600, "holds no token"),
        ("\u00e9" * 20, 0o600, "cannot be read"),
    ],
)
def test_what_is_no_file_of_tokens_is_said(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        tokens_from(written(tmp_path / "tokens", text, mode))


def options(data: Path, token_file: Path | None, host: str = "127.0.0.1") -> WebOptions:
    return WebOptions(host, 0, data, token_file, no_open=True, as_json=False, reader=False)


def test_tokens_are_not_kept_where_pages_show_files(tmp_path: Path) -> None:
    data = tmp_path / "lab"
    data.mkdir()
    with pytest.raises(BadInputError, match="is in the data folder"):
        _tokens(options(data, written(data / "tokens", TOKEN)))
    assert _tokens(options(data, written(tmp_path / "tokens", TOKEN))) is not None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "bench.example", ""])
def test_others_are_let_in_with_a_file_of_tokens_alone(tmp_path: Path, host: str) -> None:
    with pytest.raises(BadInputError, match="--token-file FILE"):
        _tokens(options(tmp_path, None, host))
