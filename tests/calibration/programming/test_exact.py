"""Exact placement and the noise floor."""

from __future__ import annotations

import numpy as np
import pytest

import hwloop
from hwloop.calibration.programming.exact import Exact
from hwloop.jobs.inputs import weights_from
from hwloop.jobs.program import Programming, Task, program
from hwloop.jobs.progress import silent
from tests.conftest import OpenChip, gaussian


def test_an_ideal_chip_has_no_floor_but_its_input_and_output_steps(open_chip: OpenChip) -> None:
    run = program(open_chip("sim:pcm-ideal"), hwloop.matrices({"w": gaussian(64, 64)}), "exact")
    assert run.mvm_error < 1e-5  # float32 sums of 64 terms


def test_floor_of_quantisation_alone_is_the_closed_form(open_chip: OpenChip) -> None:
    chip = open_chip("sim:pcm-ideal?adc_bits=6")
    work = Programming(Task(weights_from(gaussian(64, 64)), Exact()), chip)
    work.run(silent)
    (item,) = work.tiles
    in_uS = item.outputs.reference / item.tile.scale
    expected = np.linalg.norm(np.full(in_uS.shape, item.region.step / np.sqrt(12)) * item.tile.scale)
    # 65 536 rounding errors, uniform: the rms is known to 0.2 %; the fitted gain takes away a little more.
    assert work.record().mvm_error == pytest.approx(expected / np.linalg.norm(item.outputs.reference), rel=0.03)


def test_targets_hold_at_the_stated_age(open_chip: OpenChip) -> None:
    # No read noise: on target at that age, whatever each device's drift, and off target later.
    chip = open_chip("sim:hermes-core?read_noise=0&rows=64&columns=64&adc_bits=16&adc_noise=0")
    run = program(chip, hwloop.matrices({"w": gaussian(64, 64)}), "exact", age=3600.0)
    assert run.mvm_error < 1e-3
