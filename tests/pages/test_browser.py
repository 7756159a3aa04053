"""Reports in a real browser: nothing is asked for, complained of, cut off or too faint, on a phone and on a desk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hwloop
from tests.pages.conftest import KINDS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from browser import browser, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

WIDTHS = (390, 768, 1280, 1920)


@pytest.fixture(scope="module")
def window() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_is_shown_without_a_fault(results: dict[str, Path], tmp_path: Path, window: Any, kind: str) -> None:
    path = tmp_path / "r.html"
    hwloop.report(results[kind], path)
    for width in WIDTHS:
        for dark in (False, True):
            window.show(path, width, dark=dark)
            assert window.faults() == [], (width, dark)
    assert window.complaints() == []
    assert window.requests() == []


BAD = """<!doctype html><html><head><title>bad</title></head><body style="margin: 0; background: white">
<p style="width: 900px; color: #bbbbbb">faint and wide</p>
<p style="width: 4em; overflow: hidden; white-space: nowrap">cut off in the middle of it</p>
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">
<img src="http://127.0.0.1:9/none.png" alt="none" width="5" height="5">
<script>undefined_thing()</script></body></html>"""


def test_what_a_page_does_wrong_is_found(tmp_path: Path, window: Any) -> None:
    path = tmp_path / "bad.html"
    path.write_text(BAD)
    window.show(path, 390)
    found = " ".join(window.faults())
    for fault in (
        "scrolls sideways",
        "no alternative",
        "without a size",
        "does not show",
        "contrast 1.9",
        "clipped: cut",
    ):
        assert fault in found, fault
    assert any("undefined_thing is not defined" in one for one in window.complaints())
    assert window.requests() == ["http://127.0.0.1:9/none.png"]
