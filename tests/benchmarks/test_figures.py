"""Figures of the pages: numbers as a reader expects them, and tables in Markdown."""

from __future__ import annotations

import math

import figures
import pytest


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (0.06543, 2, "0.065"),
        (0.0995, 2, "0.1"),
        (0.0999, 2, "0.1"),
        (1.0, 2, "1"),
        (1.049, 2, "1"),
        (1.06, 2, "1.1"),
        (9.96, 2, "10"),
        (10.4, 2, "10"),
        (12.6, 2, "13"),
        (104.0, 2, "100"),
        (0.31416, 3, "0.314"),
        (3.1416, 3, "3.14"),
        (99.96, 3, "100"),
        (21504, 3, "21 500"),
        (1234567, 3, "1 230 000"),
        (-0.0654, 2, "-0.065"),
        (-12.6, 2, "-13"),
        (0.0, 2, "-"),
        (math.nan, 2, "-"),
        (0.0001234, 2, "0.00012"),
        (0.00001234, 2, "0.000012"),
        (-3.0e-7, 2, "-0.0000003"),
        (9.96e-6, 2, "0.00001"),
        (1.234e25, 2, "12 000 000 000 000 000 000 000 000"),
    ],
)
def test_numbers_are_rounded_to_significant_digits_without_an_exponent(value: float, digits: int, shown: str) -> None:
    assert figures.rounded(value, digits) == shown


def test_two_digits_are_usual() -> None:
    assert figures.rounded(0.1234) == "0.12"


def test_a_table_is_markdown() -> None:
    assert figures.table(("a", "b"), [("1", "2"), ("3", "4")]) == ("| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n")


def test_a_figure_in_a_page_is_found_by_its_name() -> None:
    page = "text\n<!-- figure demo -->\nold\n<!-- end -->\nmore\n"
    assert figures.BLOCK.sub(r"\1new\n\4", page) == page.replace("old", "new")
    assert [match[2] for match in figures.BLOCK.finditer(page)] == ["demo"]


def test_every_figure_of_a_page_can_be_made() -> None:
    """No page asks for a figure that the script does not know."""
    for name in figures.PAGES:
        path = figures.ROOT / name
        asked = (
            {match[2] for match in figures.BLOCK.finditer(path.read_text(encoding="utf-8"))} if path.exists() else set()
        )
        assert asked <= figures.FIGURES.keys(), name
