"""A headless Chromium, driven by chromedriver over HTTP: what a reader of a page would meet.

Nothing but the standard library is needed. Where there is no Chromium, `missing()` says so.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
"""So that a browser of root's starts, and asks the network for nothing of its own."""

FAULTS = """
const faults = [], page = document.documentElement, width = arguments[0];
if (page.scrollWidth > width) faults.push(`the page scrolls sideways: ${page.scrollWidth} px`);
for (const image of document.images) {
  const told = image.getAttribute('alt');
  if (!told || /[.](png|svg|jpg)$/.test(told)) faults.push(`no alternative: ${image.src.slice(0, 60)}`);
  if (!(image.getAttribute('width') > 0 && image.getAttribute('height') > 0)) faults.push('an image without a size');
  if (!(image.complete && image.naturalWidth > 0)) faults.push('an image that does not show');
}
const parse = text => { const n = text.match(/[0-9.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour[3] > 0.99) return colour;
  }
  return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
};
for (const element of document.body.querySelectorAll('*')) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  if (!own || style.visibility === 'hidden' || box.width === 0) continue;
  const [one, other] = [luminance(parse(style.color)), luminance(behind(element))].sort((a, b) => b - a);
  const contrast = (one + 0.05) / (other + 0.05), text = element.textContent.trim().slice(0, 40);
  if (contrast < 4.5) faults.push(`contrast ${contrast.toFixed(1)}: ${text}`);
  let scrolls = false;
  for (let e = element; e && e !== document.body; e = e.parentElement)
    scrolls ||= /auto|scroll/.test(getComputedStyle(e).overflowX) && e.getBoundingClientRect().right <= width + 1;
  if (box.right > width + 1 && !scrolls) faults.push(`out of the window: ${text}`);
  if (element.scrollWidth > element.clientWidth + 1 && style.overflowX === 'hidden') faults.push(`clipped: ${text}`);
}
return faults;
"""
"""Collects what is wrong with a page: overflow, clipping, contrast below 4.5 to 1 (WCAG 2.1, AA), poor images."""


def missing() -> str:
    """Say what is missing for a browser; empty where nothing is."""
    names = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and no '.join(names)} here (Debian: apt-get install chromium chromium-driver)" if names else ""


class Browser:
    """A window that shows one page at a time."""

    def __init__(self, address: str, session: str) -> None:
        self._root = f"{address}/session/{session}"
        self._width = 0

    def _call(self, path: str, values: Mapping[str, Any] | None = None) -> Any:
        return call(f"{self._root}/{path}", {} if values is None else values)

    def show(self, page: Path, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Open a file in a window of a size."""
        self.resize(width, height, dark=dark)
        self.visit(page.resolve().as_uri())

    def resize(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Make the window as large, and its colours light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._control("Emulation.setDeviceMetricsOverride", size)
        self._control("Emulation.setEmulatedMedia", {"features": scheme})
        self._width = width

    def visit(self, address: str) -> None:
        """Open an address."""
        self._call("url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page, and give what it returns."""
        return self._call("execute/sync", {"script": script, "args": list(arguments)})

    @property
    def address(self) -> str:
        """Where the window is."""
        return str(self.run("return location.href"))

    def text(self, selector: str = "body") -> str:
        """Return the text that the first element of a CSS selector shows; empty for none."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def click(self, text: str, selector: str = "a, button, summary") -> None:
        """Click, as a hand does, on the first element that is shown and whose text begins with a text."""
        script = (
            "return [...document.querySelectorAll(arguments[1])].find(one => one.offsetParent !== null"
            " && one.innerText.trim().startsWith(arguments[0])) ?? null"
        )
        element = self.run(script, text, selector)
        if element is None:
            raise LookupError(f"nothing to click on that begins with '{text}' at {self.address}")
        (identity,) = element.values()
        self._call(f"element/{identity}/click")

    def type(self, selector: str, text: str) -> None:
        """Empty a field and type into it."""
        (identity,) = self.run("return document.querySelector(arguments[0])", selector).values()
        self._call(f"element/{identity}/clear")
        self._call(f"element/{identity}/value", {"text": text})

    def press(self, keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        downs = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": downs}]})

    def another_window(self) -> str:
        """Open another window and go there; returns the name of the one before."""
        before = str(call(f"{self._root}/window", None))
        opened = self._call("window/new", {"type": "window"})["handle"]
        self.go_to_window(opened)
        return before

    def go_to_window(self, name: str) -> None:
        """Go to a window by its name."""
        self._call("window", {"handle": name})

    def _control(self, command: str, values: Mapping[str, Any]) -> Any:
        return self._call("goog/cdp/execute", {"cmd": command, "params": values})

    def faults(self) -> list[str]:
        """List what is wrong with the page that is shown."""
        return list(self._call("execute/sync", {"script": FAULTS, "args": [self._width]}))

    def complaints(self) -> list[str]:
        """List what the console has said since it was asked last."""
        return [f"{one['level']}: {one['message']}" for one in self._call("se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """List the addresses that pages have asked for since this was called last, but those of their own files."""
        events = [json.loads(one["message"])["message"] for one in self._call("se/log", {"type": "performance"})]
        asked = [one["params"] for one in events if one["method"] == "Network.requestWillBeSent"]
        by_pages = [one["request"]["url"] for one in asked if one["documentURL"].startswith("file:")]
        return [url for url in by_pages if not url.startswith(("data:", "file:"))]

    def photograph(self, path: Path, *, whole: bool = True) -> None:
        """Write a picture of the page, or of what the window shows of it."""
        values = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            size = self._control("Page.getLayoutMetrics", {})["cssContentSize"]
            values["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        path.write_bytes(base64.b64decode(self._control("Page.captureScreenshot", values)["data"]))


DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine itself, whatever proxy is set."""


def call(address: str, values: Mapping[str, Any] | None) -> Any:
    """Ask chromedriver to do something, or with None to tell something."""
    content = None if values is None else json.dumps(values).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    with DIRECT.open(request, timeout=60) as answer:
        return json.loads(answer.read())["value"]


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it."""
    command = ["chromedriver", "--port=0"]
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver,
    ):
        assert driver.stdout is not None
        try:
            port = next(found[1] for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
            address = f"http://127.0.0.1:{port}"
            options = {"binary": shutil.which("chromium"), "args": [*SWITCHES, f"--user-data-dir={profile}"]}
            logs = {"browser": "ALL", "performance": "ALL"}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
            session = call(f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            yield Browser(address, session)
            delete = urllib.request.Request(f"{address}/session/{session}", method="DELETE")
            DIRECT.open(delete, timeout=60).close()
        finally:
            driver.terminate()
