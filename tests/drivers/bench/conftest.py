"""An emulated bench."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.bench.emulated import Rig, rig


@pytest.fixture
def emulated(tmp_path: Path) -> Iterator[Rig]:
    """Three instruments on sockets and the bench file for them."""
    with rig(tmp_path) as made:
        yield made
