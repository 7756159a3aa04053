"""ProgramVerify program-and-verify: the published residual by itself, confirmed acceptance, cells left alone."""

from __future__ import annotations

import numpy as np
import pytest

import hwloop
from hwloop.calibration.programming.program_verify import ProgramVerify, ProgramVerifySettings
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.jobs.program import program
from hwloop.mapping.partition import map_weights
from tests.conftest import OpenChip, gaussian


def published_sigma_prog(g: np.ndarray) -> np.ndarray:
    """Joshi et al., Nature Communications 11, 2473 (2020): residual 25 s after programming, uS, g = G / 25 uS."""
    return 0.26348 + 1.9650 * g - 1.1731 * g**2


@pytest.mark.parametrize("seed", [1, 2])
def test_leaves_the_published_residual_on_the_million_device_array(open_chip: OpenChip, seed: int) -> None:
    chip = open_chip(f"sim:pcm-90nm?seed={seed}&adc_bits=12")
    weights = np.random.default_rng(seed).uniform(-1, 1, (256, 256))
    tile = map_weights(hwloop.matrices({"w": weights}), chip.info)[0]
    region = Region(chip, tile.place, tile.full_scale)
    for step in ProgramVerify(ProgramVerifySettings(averages=500)).steps(
        region, tile, 25.0, np.random.default_rng(seed)
    ):
        chip.wait(step.settle)
    chip.wait(25.0)

    target = tile.device_targets(chip.info).reshape(-1)
    loaded = np.flatnonzero(target > 0)
    residual = chip.read(0, loaded, 500) - target[loaded]

    g = target[loaded] / 25.0
    bins = np.minimum((10 * g).astype(int), 9)
    for k in range(10):
        here = bins == k  # about 6 500 devices: the standard error of a standard deviation is 0.9 %
        expected = np.sqrt(np.mean(published_sigma_prog(g[here]) ** 2))
        assert 0.75 < residual[here].std() / expected < 1.25, f"bin {k}"


def test_reads_more_and_ends_worse_than_the_floor_by_read_noise(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?seed=1&rows=64&columns=64")
    run = program(chip, hwloop.matrices({"w": gaussian(64, 64)}), "iterative")
    core = run.tiles[0].as_json()
    assert core["device_reads"] > 16 * core["devices"] / 2
    assert run.mvm_error < 0.7 * core["mvm_error_before"]


def test_a_cell_that_will_not_converge_is_recorded_and_not_hit_harder(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?seed=2&stuck_rate=0.05&rows=32&columns=32")
    settings = ProgramVerifySettings(max_pulses_per_device=6)
    run = program(chip, hwloop.matrices({"w": gaussian(32, 32)}), ProgramVerify(settings))
    core = run.tiles[0].as_json()
    assert core["max_pulses_on_a_device"] <= 6
    assert core["unconverged_cells"] > 0
    assert core["stuck_cells"] > 0


def test_a_tolerance_below_the_read_noise_is_refused_with_the_noise(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?rows=32&columns=32")
    with pytest.raises(BadInputError, match=r"tolerance=0.01 uS is below the read noise of 0\.\d+ uS"):
        program(chip, hwloop.matrices({"w": gaussian(32, 32)}), ProgramVerify(ProgramVerifySettings(tolerance=0.01)))
    assert chip.counts.pulses == 0


def test_negative_reads_never_cause_an_amplitude_beyond_the_limits(open_chip: OpenChip) -> None:
    # Converter noise of 20 LSB makes many reads of empty devices negative.
    chip = open_chip("sim:hermes-core?rows=32&columns=32&adc_noise=20")
    program(
        chip, hwloop.matrices({"w": gaussian(32, 32)}), ProgramVerify(ProgramVerifySettings(averages=1, tolerance=3.0))
    )
    assert chip.counts.pulses > 0  # the contract refuses any amplitude out of bounds, so coming here is the proof
