"""The example of docs/backends.md is installed as a stranger's package would be, and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Code of one language on the page, in its order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a Python that has the example installed."""
    source, site = tmp_path_factory.mktemp("toychip"), tmp_path_factory.mktemp("site")
    (source / "toychip.py").write_text(blocks("python")[0])
    (source / "pyproject.toml").write_text(blocks("toml")[0])
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, timeout=120)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "OMP_NUM_THREADS": "1"}


def run(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], env=environment, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_passes_the_conformance_suite(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "test_toy.py").write_text(blocks("python")[1])
    summary = run(installed, tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "test_toy.py")
    assert int(re.search(r"(\d+) passed", summary)[1]) > 60


def test_the_example_is_listed_and_programmed(installed: dict[str, str], tmp_path: Path) -> None:
    assert "a toy crossbar without physics" in run(installed, tmp_path, "hwloop", "backends")
    np.save(tmp_path / "weights.npy", np.random.default_rng(0).standard_normal((24, 48)))
    command = re.search(r"`hwloop (program weights\.npy --backend toy: .*? --out run\.h5)`", PAGE)[1].split()
    printed = run(installed, tmp_path, "hwloop", *command, "--goal", "0.1")
    assert "MVM error" in printed
    assert (tmp_path / "run.h5").is_file()


def test_the_page_names_every_hook() -> None:
    from hwloop.chip.driver import Driver

    hooks = {name for name in vars(Driver) if name.startswith("_") and not name.startswith(("__", "_abc"))}
    for hook in hooks - {"_undeclared"}:
        assert hook in PAGE, hook
