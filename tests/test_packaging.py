"""One import package, whichever way it is installed: nothing called `drivers` or `calibration` at the top level."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hwloop.calibration
import hwloop.sim_backend

ROOT = Path(__file__).parent.parent


DATA = (".npz", ".safetensors", ".h5", ".csv", "README.md")
"""Endings of the example data."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy: a build rewrites the metadata beside its sources, which other tests find their backends through.
    folder, copy = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("copy") / "hwloop"
    needless = shutil.ignore_patterns(".*", "*.egg-info", "build", "demo", "tests", "__pycache__")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=needless)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    subprocess.run(command, cwd=copy, check=True, timeout=120)
    return next(folder.glob("hwloop-*.whl"))


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    modules = [
        os.path.relpath(Path(folder) / name, ROOT)
        for folder, _, names in os.walk(ROOT / "hwloop", followlinks=True)
        for name in names
        if name.endswith((".py", ".pyi", "py.typed", ".html", ".css", ".js", ".svg", *DATA))
    ]
    with zipfile.ZipFile(wheel) as archive:
        held = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert sorted(held) == sorted(modules)


def test_the_wheel_works_where_the_repository_is_not(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = (
        "import hwloop, hwloop.cli.calibrate; c = hwloop.connect('sim:pcm-ideal'); print(hwloop.__file__, c.info.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "hwloop/__init__.py"), "sim:pcm-ideal"]


def test_the_editable_install_maps_the_root_folders_in() -> None:
    for package, folder in ((hwloop.calibration, "calibration"), (hwloop.sim_backend, "sim_backend")):
        assert Path(str(package.__file__)).resolve() == ROOT / folder / "__init__.py"


@pytest.mark.parametrize("name", ["calibration", "sim_backend", "drivers"])
def test_no_root_folder_is_a_package_of_its_own_elsewhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "path", [entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, ROOT / "benchmarks")]
    )
    assert importlib.util.find_spec(name) is None
