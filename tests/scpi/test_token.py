"""Tokens: what may be one, and how it is proved to be known."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from hwloop.errors import BadInputError
from hwloop.scpi.token import answer, challenge, is_answer, token_from_environment, token_from_file

TOKEN = b"0123456789abcdef"


def test_an_answer_is_the_hmac_of_the_challenge():
    expected = hmac.new(TOKEN, b"abc", hashlib.sha256).hexdigest()
    assert answer(TOKEN, "abc") == expected
    assert is_answer(expected, TOKEN, "abc")
    assert not is_answer(expected, TOKEN, "abd")
    assert not is_answer("\xff", TOKEN, "abc")


def test_no_challenge_comes_twice():
    assert len({challenge() for _ in range(1000)}) == 1000


def test_a_token_is_the_first_line_of_a_private_file(tmp_path):
    file = tmp_path / "token"
    file.write_bytes(TOKEN + b"\r\nanything else\n")
    file.chmod(0o600)
    assert token_from_file(file) == TOKEN
    file.chmod(0o640)
    with pytest.raises(BadInputError, match="can be read by others; chmod 600"):
        token_from_file(file)


@pytest.mark.parametrize("content", [b"", b"short\n", b"x" * 2000])
def test_what_is_no_token_is_refused_and_not_shown(tmp_path, content):
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_bytes(content)
    with pytest.raises(BadInputError, match="holds no token of 16 to 1024 characters") as error:
        token_from_file(file)
    assert "short" not in str(error.value)


def test_a_missing_file_or_variable_is_named(tmp_path, monkeypatch):
    with pytest.raises(BadInputError, match="no such file"):
        token_from_file(tmp_path / "none")
    monkeypatch.delenv("LAB_TOKEN", raising=False)
    with pytest.raises(BadInputError, match="LAB_TOKEN, which should hold a token, is not set"):
        token_from_environment("LAB_TOKEN")
    monkeypatch.setenv("LAB_TOKEN", TOKEN.decode())
    assert token_from_environment("LAB_TOKEN") == TOKEN
