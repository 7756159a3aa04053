"""Small pieces of text that pages have in common."""

from __future__ import annotations

import shlex

PLURALS = {"matrix": "matrices"}


def counted(number: int, what: str) -> str:
    """Write a number of things: '1 core', '3,000 cells'."""
    return f"{number:,} {what if number == 1 else PLURALS.get(what, f'{what}s')}"


def quoted(name: str) -> str:
    """Write the name of a file as a shell takes it."""
    return shlex.quote(name)
