"""Shared by all tests: one thread per process, and small chips that are quick to program."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

import hwloop

# Tests run in parallel processes; threads of torch on top of that wait for each other.
torch.set_num_threads(1)

# The same commit always meets the same examples, and a busy machine is no failure. Random ones, by the million, are the
# business of benchmarks/scpi_coverage.py.
settings.register_profile("hwloop", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hwloop")


@pytest.fixture(scope="session", autouse=True)
def place_of_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The ledger and the locks of chips, away from the user's own, for processes that tests start as well."""
    before, path = os.environ.get("HWLOOP_LEDGER"), tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    os.environ["HWLOOP_LEDGER"] = str(path)
    yield path
    if before is None:
        del os.environ["HWLOOP_LEDGER"]
    else:
        os.environ["HWLOOP_LEDGER"] = before


@pytest.fixture(autouse=True)
def ledger_of_this_test(place_of_ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins with new chips; the file is made when a chip receives its first pulse."""
    monkeypatch.setenv("HWLOOP_LEDGER", str(place_of_ledger.with_name(secrets.token_hex(8)) / "ledger.sqlite"))


@pytest.fixture
def ledger_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of the test's own, which does not exist yet."""
    path = tmp_path / "lab" / "ledger.sqlite"
    monkeypatch.setenv("HWLOOP_LEDGER", str(path))
    return path


OpenChip = Callable[..., hwloop.Backend]


@pytest.fixture
def open_chip() -> Iterator[OpenChip]:
    """Open chips by URI; all are closed after the test."""
    chips: list[hwloop.Backend] = []

    def open_one(uri: str) -> hwloop.Backend:
        chips.append(hwloop.connect(uri))
        return chips[-1]

    yield open_one
    for chip in chips:
        chip.close()


def gaussian(outputs: int, inputs: int, seed: int = 0) -> np.ndarray:
    """Normal weights clipped at three sigma, (outputs, inputs)."""
    return np.clip(np.random.default_rng(seed).standard_normal((outputs, inputs)), -3, 3)
