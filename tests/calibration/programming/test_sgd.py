"""Plain SGD programming, the published form."""

from __future__ import annotations

import numpy as np
import pytest

import hwloop
from hwloop.calibration.programming.sgd import SGD
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.jobs.program import program
from hwloop.mapping.partition import map_weights
from tests.conftest import OpenChip, gaussian


def test_improves_on_the_open_loop_without_a_device_read(open_chip: OpenChip) -> None:
    run = program(open_chip("sim:hermes-core?seed=1"), hwloop.matrices({"w": gaussian(128, 128)}), "sgd")
    core = run.tiles[0].to_json()
    assert core["device_reads"] == 0
    assert run.mvm_error < 0.85 * core["mvm_error_before"]


def test_stays_in_its_budget_of_vectors_and_spends_it(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?rows=32&columns=32")
    run = program(chip, hwloop.matrices({"w": gaussian(32, 32)}), SGD(max_vectors=2000, batch=256, settle=0.5), age=8.0)
    # Seven batches: five steps, of which the first and the last calibrate the columns before.
    assert run.tiles[0].to_json()["mvms"] == 7 * 256
    steps = run.tiles[0].steps
    assert steps.mvms.tolist() == [0, 512, 768, 1024, 1280, 1792]
    np.testing.assert_allclose(np.diff(steps.chip_time), 4.0, atol=0.2)
    assert steps.pulses[0] == run.tiles[0].to_json()["devices"]
    assert not steps.unconverged_cells.any()


def test_a_budget_that_allows_no_step_is_refused_before_a_pulse(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?rows=32&columns=32")
    matrices = hwloop.matrices({"w": gaussian(32, 32)})
    with pytest.raises(BadInputError, match=r"max_vectors=511 allows no step, which takes 512 vectors: batch=256"):
        program(chip, matrices, SGD(max_vectors=511, batch=256))
    assert chip.counts.pulses == 0
    run = program(chip, matrices, SGD(max_vectors=512, batch=256))
    assert run.tiles[0].to_json()["mvms"] == 512


class Pulsed(Region):
    """A region that keeps the RESET pulses sent to it: devices and amplitudes."""

    def pulse(self, kind: PulseKind, devices: np.ndarray, amplitude: np.ndarray, width: float) -> None:
        assert kind is PulseKind.RESET
        self.sent = [*getattr(self, "sent", []), (devices, amplitude)]
        super().pulse(kind, devices, amplitude, width)


def test_cells_off_target_beyond_the_threshold_are_stepped_along_the_curve(open_chip: OpenChip) -> None:
    # An ideal chip, put off target by hand after the open-loop pass: three cells in a column, in steps of g_max / 10.
    chip = open_chip("sim:pcm-ideal?rows=32&columns=8")
    (tile,) = map_weights(hwloop.matrices({"w": gaussian(8, 32)}), chip.info)
    region = Pulsed(chip, tile.place, tile.full_scale)
    method = SGD(batch=4096, max_vectors=20_000, learning_rate=0.5, threshold=8.0, final_threshold=8.0)
    steps = method.steps(region, tile, 1.0, np.random.default_rng(0))
    next(steps)
    target = tile.device_targets(chip.info)
    off, largest = np.zeros(target.shape), chip.info.g_max
    carrier = np.argmax(target.reshape(2, 32, 8), axis=0)
    for row, column, error in ((3, 1, 0.2), (9, 4, -0.2), (20, 6, 0.05)):
        off[carrier[row, column], 0, row, column] = error * largest
    region.place_exactly(np.maximum(target + off, 0.0), age=1e-3)
    chip.wait(1e-3)
    next(steps)

    devices, amplitude = region.sent[-1]
    pulsed = dict(zip(zip(*np.unravel_index(devices, target.shape), strict=True), amplitude, strict=True))
    expected = {(carrier[3, 1], 0, 3, 1): 0.2, (carrier[9, 4], 0, 9, 4): -0.2}  # the third is below the threshold
    assert set(pulsed) == set(expected)
    curve = chip.info.device_model.curve
    for device, error in expected.items():
        at = target[device]
        aim = np.clip(at - 0.5 * error * largest, curve.g_min, largest)
        step = curve.amplitude(aim) - curve.amplitude(at)
        assert pulsed[device] - curve.amplitude(at) == pytest.approx(step, rel=0.2)
