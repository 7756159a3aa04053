"""A report is one HTML file that needs nothing else, and shows whatever it is told as text."""

from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import hwloop
from hwloop.errors import BadInputError
from hwloop.pages.html import html_of
from hwloop.pages.page import Fact
from tests.pages.conftest import KINDS


class Reader(HTMLParser):
    """What a browser would meet."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_asks_for_nothing_beyond_itself(results: dict[str, Path], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "r.html"
    page = hwloop.report(results[kind], path)
    text = path.read_text()
    read = Reader(text)
    assert not read.of("script") + read.of("link") + read.of("iframe")
    sources = [str(image["src"]) for image in read.of("img")]
    assert len(sources) == len(page.pictures)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    words = re.sub(r"base64,[\w+/=]+|http-equiv", "", text)  # letters of pictures may spell anything
    assert not re.findall(r"url\(|@import|http", words)
    assert len(text) < 5_000_000


def test_pictures_have_sizes_and_words_for_who_does_not_see_them(results: dict[str, Path]) -> None:
    page = hwloop.page_of(results["run"])
    for image, picture in zip(Reader(html_of(page)).of("img"), page.pictures, strict=True):
        content = base64.b64decode(str(image["src"]).partition(",")[2])
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
        assert (2 * int(image["width"] or 0), 2 * int(image["height"] or 0)) == (width, height)  # for fine screens
        assert image["alt"] == f"{picture.title}. {picture.caption}"


def test_all_that_the_page_says_is_there(results: dict[str, Path]) -> None:
    page = hwloop.page_of(results["comparison"])
    words = Reader(html_of(page)).words
    assert {page.title, page.verdict, *(fact.text for fact in page.facts + page.provenance)} <= set(words)
    for table in page.tables:
        for row in table.rows:
            assert {column.write(cell) for column, cell in zip(table.columns, row, strict=True)} <= set(words)


def test_foreign_texts_stay_texts(results: dict[str, Path]) -> None:
    page = dataclasses.replace(
        hwloop.page_of(results["model"]),
        title="<script>alert(1)</script>",
        warnings=('"><img src=x onerror=alert(1)>', "a\x1b[31mred\u202eder"),
        facts=(Fact("<b>", "{{ 7 * 7 }}"),),
        pictures=(),
    )
    read = Reader(html_of(page))
    assert not read.of("script") + read.of("img") + read.of("b")
    assert {"<script>alert(1)</script>", "{{ 7 * 7 }}", r"a\x1b[31mred\u202eder"} <= set(read.words)


def test_a_report_replaces_nothing_unasked(results: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    hwloop.report(results["model"], path)
    with pytest.raises(BadInputError, match="exists; use --force"):
        hwloop.report(results["model"], path)
    hwloop.report(results["model"], path, force=True)
    with pytest.raises(BadInputError, match=r"r\.pdf: a report is a \.html file"):
        hwloop.report(results["model"], tmp_path / "r.pdf")
