"""What errors have in common."""

from __future__ import annotations

import pytest

from hwloop.errors import first_line, printable, said


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[31m\n\u202eb\tc") == "a\\x1b[31m\\n\\u202eb\\tc"
    assert printable("größe.weight") == "größe.weight"


@pytest.mark.parametrize(
    ("error", "whole", "first"),
    [
        (ValueError("a bad\n  shape\x1b[2J"), "a bad shape\\x1b[2J", "a bad"),
        (KeyError("descr"), "descr", "'descr'"),
        (MemoryError(), "MemoryError", "MemoryError"),
    ],
)
def test_an_exception_is_told_on_one_line(error: Exception, whole: str, first: str) -> None:
    assert (said(error), first_line(error)) == (whole, first)
