"""Looks at the site that `make docs` has built: every link within it leads somewhere, and it needs no network.

    python benchmarks/site.py build/site                    links and resources
    python benchmarks/site.py build/site --photos FOLDER    also every page in a browser, on a phone and on a desk

The exit code is 1 where something is wrong. Photographs need a Chromium; some pages are kept as pictures in FOLDER.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from browser import browser, missing

WIDTHS = (390, 1024, 1920)
KEPT = ("index", "start/bench", "tutorials/bring-up", "gallery", "commands", "options", "api/programming", "scpi")
"""Pages that are kept as pictures."""

OF_THE_THEME = (": Search", ": Ctrl+K")
"""Ends of what is said of the theme's own parts: its search field fades in."""


@dataclass
class Seen(HTMLParser):
    """What a page links to, asks for, and can be linked to by.

    Parameters
    ----------
    path
        The page.
    """

    path: Path
    links: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Note an element."""
        told = {name: value or "" for name, value in attrs}
        self.anchors.update(told[name] for name in ("id", "name") if name in told)
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        asked = told.get("src") or (told.get("href") if tag == "link" and told.get("rel") != "canonical" else None)
        if asked and not asked.startswith("data:"):
            self.asked.append(asked)


def pages_of(site: Path) -> list[Path]:
    """List the pages; the theme leaves templates of its own among its files."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.relative_to(site).parts]


def faults_of_links(site: Path) -> Iterator[str]:
    """Tell of links that lead nowhere, and of what a page would fetch from elsewhere."""
    pages = {path.resolve(): Seen(path) for path in pages_of(site)}
    for page in pages.values():
        where = page.path.relative_to(site)
        for asked in page.asked:
            if urlsplit(asked).scheme or asked.startswith("//"):
                yield f"{where}: fetches {asked}"
        for link in dict.fromkeys([*page.links, *page.asked]):
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (page.path.parent / unquote(address.path)).resolve() if address.path else page.path.resolve()
            if not target.exists():
                yield f"{where}: {link} leads nowhere"
            elif address.fragment and target in pages and unquote(address.fragment) not in pages[target].anchors:
                yield f"{where}: {link} names a place that is not there"


def faults_of_pictures(site: Path) -> Iterator[str]:
    """Tell of pages that are run and show no picture."""
    for path in (*sorted(site.glob("tutorials/*.html")), site / "gallery.html"):
        if path.stem != "index" and not any("_images" in one for one in Seen(path).asked):
            yield f"{path.relative_to(site)}: shows no picture"


def faults_in_browser(site: Path, folder: Path) -> Iterator[str]:
    """Show every page in a browser, light and dark, and tell what is wrong with it."""
    folder.mkdir(parents=True, exist_ok=True)
    with browser() as window:
        for path in pages_of(site):
            name = path.relative_to(site).with_suffix("").as_posix()
            for width in WIDTHS:
                for dark in (False, True):
                    window.show(path, width, dark=dark)
                    shade = "dark" if dark else "light"
                    if name in KEPT:
                        window.photograph(folder / f"{name.replace('/', '-')}-{width}-{shade}.png")
                    found = [one for one in window.faults() if not one.endswith(OF_THE_THEME)]
                    yield from (f"{name}, {width} px, {shade}: {one}" for one in dict.fromkeys(found))
            yield from (f"{name}: {one}" for one in window.complaints() if not one.startswith("INFO"))
            yield from (f"{name}: asks for {one}" for one in window.requests())


def main() -> None:
    """Look at a site, and tell its faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="Show every page in a browser.")
    asked = parser.parse_args()
    faults = [*faults_of_links(asked.site), *faults_of_pictures(asked.site)]
    if asked.photos and missing():
        sys.exit(missing())
    if asked.photos:
        faults += faults_in_browser(asked.site, asked.photos)
    pages = len(pages_of(asked.site))
    print("\n".join(faults) or f"{pages} pages, every link leads somewhere, and nothing is fetched from elsewhere")
    sys.exit(1 if faults or not pages else 0)


if __name__ == "__main__":
    main()
