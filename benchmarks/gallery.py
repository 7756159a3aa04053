"""Renders everything that people look at into one folder, and says what is wrong with it.

    python benchmarks/gallery.py FOLDER

makes a small file of every kind, then for each its report (HTML), every picture for the screen and for a paper, and
the text of `hwloop show` at 80 columns. Where there is a Chromium, each report is photographed in light and dark at
widths from a phone's to a large desk's. The exit code is 1 where a line is too long, a picture is cut off at its edge,
or the browser finds a fault. `index.html` shows all of it. It takes about two minutes of one core.
"""

from __future__ import annotations

import argparse
import html
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from browser import Browser, browser, missing
from matplotlib.figure import Figure

import hwloop
from hwloop.pages.page import Page, Picture
from hwloop.pages.terminal import ALL, SCREENFUL, text_of
from hwloop.plot.style import PAPER, SCREEN, Style

ROOT = Path(__file__).resolve().parent.parent
CHIP = "sim:hermes-core?rows=64&columns=64&seed=1"
WIDTHS = (390, 768, 1280, 1920)
COLUMNS = 80
EDGE = 0.02
"""Share of a picture's size by which letters may stand over its edge: what is drawn there is hardly ink."""


def run(path: Path) -> None:
    """Program the digits network."""
    with hwloop.connect("sim:hermes-core?seed=1") as chip:
        hwloop.program(chip, ROOT / "data/digits_mlp.safetensors", hwloop.GDP(max_steps=12), out=path)


def large_run(path: Path) -> None:
    """Program a network of many tiles, as a simulated chip without pulses does at once."""
    rng = np.random.default_rng(1)
    weights = {f"encoder.layers.{n}.attention.output.weight": rng.standard_normal((128, 192)) for n in range(5)}
    with hwloop.connect("sim:hermes-64?rows=64&columns=64&cores=40&seed=1") as chip:
        hwloop.program(chip, weights, "exact", out=path)


def comparison(path: Path) -> None:
    """Compare methods."""
    weights = np.random.default_rng(0).standard_normal((48, 64))
    hwloop.compare(CHIP, weights, [hwloop.GDP(max_steps=12), "iterative", "exact"], repeats=2, out=path)


def drift(path: Path) -> None:
    """Let a run age."""
    hwloop.drift(path.with_name("run.h5"), None, ["1h", "1d", "1y"], ["none", "column", "refresh"], out=path)


def calibration(path: Path) -> None:
    """Calibrate a chip with faults."""
    with hwloop.connect(f"{CHIP}&stuck_rate=0.02") as chip:
        hwloop.calibrate(chip).save(path)


def measurement(path: Path) -> None:
    """Measure drift, and read noise."""
    with hwloop.connect(CHIP) as chip:
        hwloop.measure(chip, "drift", cells=600, levels=8, until="1d", out=path)
        hwloop.measure(chip, "read-noise", cells=16, levels=4, samples=256, out=path)


def network(path: Path) -> None:
    """Deploy a network of the zoo."""
    from hwloop.calibration.programming.exact import Exact
    from hwloop.jobs.deploy import Deployment
    from hwloop.jobs.deploy_files import NetworkFiles, deploy_files

    weights, data = ROOT / "data/digits_cnn.safetensors", ROOT / "data/digits.npz"
    files = NetworkFiles("hwloop.nn.zoo:digits_cnn", weights, data, images=64)
    with hwloop.connect("sim:hermes-core?seed=1") as chip:
        deploy_files(files, chip, Exact(), Deployment(out=str(path)))


FILES: dict[str, Callable[[Path], None]] = {
    "run.h5": run,
    "large_run.h5": large_run,
    "comparison.h5": comparison,
    "drift.h5": drift,
    "calibration.h5": calibration,
    "measurement.h5": measurement,
    "network.h5": network,
}
"""What makes each of the files that are shown, in order: a drift study needs its run."""


def faults_of_texts(page: Page, folder: Path, name: str) -> Iterator[str]:
    """Write the text of a page, short and whole, and tell of lines that are too long."""
    for kind, extent in (("short", SCREENFUL), ("all", ALL)):
        text = text_of(page, COLUMNS, extent)
        (folder / f"{name}-{kind}.txt").write_text(text, encoding="utf-8")
        yield from (f"{name}, {kind}: a line of {len(one)} letters" for one in text.splitlines() if len(one) > COLUMNS)


def faults_of_picture(picture: Picture, style: Style, path: Path) -> Iterator[str]:
    """Draw a picture, and tell where its texts stand over its edge."""
    with style.applied():
        figure = Figure(figsize=style.size, layout="constrained")
        picture.draw(figure.subplots())
        figure.savefig(path, dpi=110)
        box, (width, height) = figure.get_tightbbox(), style.size
    if box is not None:
        over = max(-box.x0 / width, -box.y0 / height, box.x1 / width - 1, box.y1 / height - 1)
        if over > EDGE:
            yield f"{path.name}: letters stand {over:.0%} over the edge"


def faults_in_browser(window: Browser, report: Path) -> Iterator[str]:
    """Photograph a report in all sizes, light and dark, and tell what is wrong with it."""
    for width in WIDTHS:
        for dark in (False, True):
            window.show(report, width, dark=dark)
            shade = "dark" if dark else "light"
            window.photograph(report.with_name(f"{report.stem}-{width}-{shade}.png"))
            found = (*window.faults(), *window.complaints(), *(f"asks for {one}" for one in window.requests()))
            yield from (f"{report.name}, {width} px, {shade}: {one}" for one in found)


def index(folder: Path, faults: list[str]) -> None:
    """Write a page with all of it."""
    parts = ["<!doctype html><meta charset='utf-8'><title>Gallery</title><h1>Gallery</h1>"]
    parts += [f"<p>{html.escape(one)}</p>" for one in faults or ["No fault was found."]]
    for path in sorted(folder.iterdir()):
        name = html.escape(path.name)
        if path.suffix == ".png":
            parts.append(f"<figure><img src='{name}' alt='{name}' style='max-width: 100%'><p>{name}</p></figure>")
        elif path.suffix == ".txt":
            parts.append(f"<h2>{name}</h2><pre>{html.escape(path.read_text(encoding='utf-8'))}</pre>")
        elif path.suffix == ".html" and path.name != "index.html":
            parts.append(f"<h2><a href='{name}'>{name}</a></h2>")
    (folder / "index.html").write_text("\n".join(parts), encoding="utf-8")


def main() -> None:
    """Make the gallery, and tell its faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    reports = []
    for file, make in FILES.items():
        path, name = folder / file, Path(file).stem
        if not path.exists():
            make(path)
        began = time.process_time()
        page = hwloop.report(path, folder / f"{name}.html", force=True)
        size = (folder / f"{name}.html").stat().st_size
        print(f"{name}: report of {size / 1e6:.2f} MB in {time.process_time() - began:.1f} s of CPU time")
        reports.append(folder / f"{name}.html")
        faults += faults_of_texts(page, folder, name)
        for picture in page.pictures:
            for kind, style in (("screen", SCREEN), ("paper", PAPER)):
                faults += faults_of_picture(picture, style, folder / f"{name}-{picture.name}-{kind}.png")
    if missing():
        print(f"not photographed: {missing()}")
    else:
        with browser() as window:
            for report in reports:
                faults += faults_in_browser(window, report)
    index(folder, faults)
    print("\n".join(faults) or "no fault was found")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
