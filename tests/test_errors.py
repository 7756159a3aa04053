"""What errors have in common."""

from __future__ import annotations

from hwloop.errors import printable


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[31m\n\u202eb\tc") == "a\\x1b[31m\\n\\u202eb\\tc"
    assert printable("größe.weight") == "größe.weight"
