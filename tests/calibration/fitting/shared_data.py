"""Real measurements that lie beside the repository, not in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_file(name: str) -> Path:
    """Path of a shared file; the test is skipped where it is absent."""
    folder = Path(os.environ.get("HWLOOP_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
    if not (folder / name).is_file():
        pytest.skip(f"real measurements are not here: {folder / name} (set HWLOOP_SHARED_DATA)")
    return folder / name
