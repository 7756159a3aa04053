"""Plain SGD programming, the published form."""

from __future__ import annotations

import hwloop
from hwloop.calibration.programming.sgd import SGD, SGDSettings
from hwloop.jobs.program import program
from tests.conftest import OpenChip, gaussian


def test_improves_on_the_open_loop_without_a_device_read(open_chip: OpenChip) -> None:
    run = program(open_chip("sim:hermes-core?seed=1"), hwloop.matrices({"w": gaussian(128, 128)}), "sgd")
    core = run.tiles[0].as_json()
    assert core["device_reads"] == 0
    assert run.mvm_error < 0.85 * core["mvm_error_before"]


def test_stays_in_its_budget_of_vectors(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?rows=32&columns=32")
    run = program(chip, hwloop.matrices({"w": gaussian(32, 32)}), SGD(SGDSettings(max_vectors=2000, batch=256)))
    assert run.tiles[0].as_json()["mvms"] <= 2000
