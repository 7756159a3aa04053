"""Several commands in one fresh process: starting Python and importing what hwloop needs takes seconds each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SCRIPT = """
import json, sys
from click.testing import CliRunner
from hwloop.cli import main
done = [CliRunner().invoke(main, words, prog_name="hwloop") for words in json.load(sys.stdin)]
print(json.dumps([(one.exit_code, one.stdout, one.stderr) for one in done]))
"""


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run_commands(folder: Path, *commands: list[str], packages: Path | None = None) -> list[Done]:
    """Run commands one after the other in a process of their own.

    Parameters
    ----------
    folder
        The working folder.
    commands
        Words of each, after `hwloop`.
    packages
        Folder of packages that are installed for this process alone.
    """
    root = str(Path(__file__).parents[1])
    paths = [str(packages)] * (packages is not None) + [root, os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"},
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [Done(*one) for one in json.loads(done.stdout.splitlines()[-1])]
