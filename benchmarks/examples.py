"""Runs every example of every command's help as a newcomer would: from a wheel, in an empty folder, at 80 columns.

    python benchmarks/examples.py hwloop-0.1.0-py3-none-any.whl FOLDER
    python benchmarks/examples.py hwloop-0.1.0-py3-none-any.whl FOLDER --packages .venv/lib/python3.11/site-packages
    python benchmarks/examples.py hwloop-0.1.0-py3-none-any.whl FOLDER --only search,fit

installs the wheel in FOLDER/venv (with --packages its requirements are taken from there, else from the package index)
and runs, with FOLDER/work as the only folder, what stands in the help of every command, in the order of `hwloop
--help`. What is printed goes to FOLDER/shown, a text for each example, to be read. The exit code is 1 where an example
fails, shows a traceback, or prints a line, of help or of result, that is wider than 80 letters. `serve` and `web` run
beside the others and are stopped at the end. It takes about half an hour of one core, a third of it the search.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COLUMNS = 80
LIMIT = 7200.0
"""Seconds after which an example is given up."""
UNTIL_STOPPED = ("serve", "web")
"""Commands that run until they are stopped."""
STOP = "# press Ctrl-C"
"""What a help writes behind a line that is to be interrupted."""
WAIT = 6.0
"""Seconds until that is done: a command has begun its work by then."""


@dataclass(frozen=True)
class Example:
    """A line of a help.

    Parameters
    ----------
    command
        Whose help it stands in, such as 'calibrate all'.
    line
        As it stands there, on one line.
    """

    command: str
    line: str

    @property
    def words(self) -> list[str]:
        """Its words, without the comment."""
        return shlex.split(self.line, comments=True)


@dataclass
class Newcomer:
    """Who has installed a wheel, and nothing else.

    Parameters
    ----------
    folder
        Of all that is installed and written.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.work, self.shown = self.folder / "work", self.folder / "shown"
        for one in (self.work, self.shown):
            shutil.rmtree(one, ignore_errors=True)
            one.mkdir(parents=True)
        home = self.folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        self.environment = {
            "PATH": f"{self.folder / 'venv/bin'}:/usr/bin:/bin", "HOME": str(home), "COLUMNS": str(COLUMNS),
            "LANG": "C.UTF-8", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }  # fmt: skip

    def install(self, wheel: Path, packages: Path | None) -> None:
        """Make the environment of a wheel."""
        shutil.rmtree(self.folder / "venv", ignore_errors=True)
        venv.create(self.folder / "venv", with_pip=packages is None)
        place = next((self.folder / "venv/lib").glob("python*/site-packages"))
        pip = [sys.executable, "-m", "pip", "--python", str(self.folder / "venv/bin/python"), "install", "-q"]
        if packages is not None:
            (place / "packages.pth").write_text(f"{packages.resolve()}\n", encoding="utf-8")
            pip += ["--no-deps", "--no-index"]
        wanted = str(wheel.resolve()) + ("" if packages is not None else "[search,web]")
        subprocess.run([*pip, wanted], check=True)

    def begin(self, words: list[str], out: Path) -> subprocess.Popen[bytes]:
        """Start a command whose texts go into a file."""
        with out.open("ab") as file:
            return subprocess.Popen(
                words, cwd=self.work, env=self.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    def text(self, *words: str) -> str:
        """Give what a short command prints."""
        done = subprocess.run(
            words, cwd=self.work, env=self.environment, capture_output=True, text=True, timeout=LIMIT, check=True
        )
        return done.stdout


def main() -> None:
    """Run the examples, and tell their faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", type=Path, help="site-packages with the requirements, in place of an index")
    parser.add_argument("--only", default="", help="commands, separated by commas")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    one = Newcomer(given.folder.resolve())
    one.install(given.wheel, given.packages)
    faults = list(run_all(one, [name for name in given.only.split(",") if name]))
    print("\n".join(faults) or "no fault was found")
    sys.exit(1 if faults else 0)


def run_all(one: Newcomer, only: list[str]) -> Iterator[str]:
    """Run the examples of all commands, and tell what is wrong."""
    helps = dict(helps_of(one))
    for command, text in helps.items():
        yield from (f"hwloop {command} --help: {fault}" for fault in faults_in(text))
        if command and not examples_in(command, text):
            yield f"hwloop {command} --help: no example"
    one.text("hwloop", "examples", ".")
    found = [example for command, text in helps.items() for example in examples_in(command, text)]
    found = [example for example in found if not only or example.command.split(" ")[0] in only]
    found.sort(key=lambda example: example.command not in UNTIL_STOPPED)  # `discover` finds what `serve` serves
    serving: list[tuple[Example, subprocess.Popen[bytes], Path]] = []
    done: set[str] = set()
    for number, example in enumerate(found):
        out = one.shown / f"{number:02d}-{example.command.replace(' ', '-')}.txt"
        if example.line in done:
            continue
        done.add(example.line)
        out.write_text(f"$ {example.line}\n\n", encoding="utf-8")
        if example.command in UNTIL_STOPPED:
            serving.append((example, one.begin(example.words, out), out))
            time.sleep(WAIT)
        elif example.words[0] == "cd":
            one.work = one.work / example.words[1]
            continue
        else:
            yield from ran(one, example, out)
            if example.command == "examples" and example.words[0] == "hwloop" and example.words[1] == "program":
                one.work = one.work.parent
    for example, process, out in serving:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
        yield from (f"{example.line}: {fault}" for fault in faults_in(shown_in(out), code))


def ran(one: Newcomer, example: Example, out: Path) -> Iterator[str]:
    """Run an example to its end, and tell what is wrong."""
    began, stopped = time.monotonic(), STOP in example.line
    process = one.begin(example.words, out)
    if stopped:
        time.sleep(WAIT)
        process.send_signal(signal.SIGINT)
    try:
        code = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    print(f"{time.monotonic() - began:6.1f} s, exit code {code}: {example.line}", flush=True)
    expected = 1 if stopped else 0
    yield from (f"{example.line}: {fault}" for fault in faults_in(shown_in(out), code, expected))


def helps_of(one: Newcomer) -> Iterator[tuple[str, str]]:
    """Give the help of every command and of every command below one, by its name."""
    names = [""]
    while names:
        name = names.pop(0)
        text = one.text("hwloop", *name.split(), "--help")
        yield name, text
        below = text.partition("\nCommands:\n")[2]
        names[0:0] = [f"{name} {word}".strip() for word in re.findall(r"^  ([a-z][a-z-]*)  ", below, re.MULTILINE)]


def examples_in(command: str, text: str) -> list[Example]:
    """Find the lines of a help that can be typed."""
    found = []
    for block in re.findall(r"^  (?:Examples?|Then):\n((?:    .*\n)+)", text, re.MULTILINE):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if not line.strip().startswith("#"):
                found.append(Example(command, line.strip()))
    return found


def shown_in(out: Path) -> str:
    """Read what an example has printed, below the line itself."""
    return out.read_text(encoding="utf-8", errors="replace").partition("\n\n")[2]


def faults_in(text: str, code: int = 0, expected: int = 0) -> Iterator[str]:
    """Tell what is wrong with a text and an exit code."""
    if code != expected:
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "it printed nothing")
        yield f"exit code {code} in place of {expected}: {last}"
    if "Traceback (most recent call last)" in text:
        yield "a traceback"
    yield from (f"{len(line)} letters: {line}" for line in text.splitlines() if len(line) > COLUMNS)


if __name__ == "__main__":
    main()
