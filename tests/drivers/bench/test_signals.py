"""Ctrl-C, `kill` and a closed terminal on a bench: it is left idle, and the file says what happened."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.drivers.bench.emulated import rig
from tests.drivers.bench.stopping import stopped_by


@pytest.mark.parametrize(
    ("number", "command"), [(signal.SIGTERM, "measure"), (signal.SIGHUP, "program"), (signal.SIGINT, "calibrate")]
)
def test_a_signal_leaves_the_bench_idle_and_a_file_that_says_so(
    number: signal.Signals, command: str, tmp_path: Path
) -> None:
    with rig(tmp_path) as bench:
        found = stopped_by(number, command, bench, tmp_path, lines=100)
        assert bench.idle
        assert not bench.crossbar.violations
    assert found.code == 1, found.said
    assert "Traceback" not in found.said
    assert f"hwloop resume {command}.h5" in found.said
    assert found.on_file == "interrupted"
