"""`program` on a chip that programs targets by itself: handed over, measured, kept on file, and stopped in between."""

import numpy as np
import pytest

import hwloop
from hwloop.calibration.programming.targets import programmer
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import map_weights
from hwloop.mapping.sharing import MappingSettings

URI = "sim:hermes-core?rows=32&columns=24&seed=3&level=statistical"
WEIGHTS = {"a": np.random.default_rng(1).normal(size=(10, 32)), "b": np.random.default_rng(2).normal(size=(14, 20))}


@pytest.fixture
def chip():
    with hwloop.connect(URI) as opened:
        yield opened


def test_a_run_is_measured_and_goes_on_from_its_file(chip, tmp_path):
    run = hwloop.program(chip, WEIGHTS, "exact", out=tmp_path / "run.h5")
    assert run.status == "complete"
    assert 0.02 < run.mvm_error < 0.12
    assert chip.counts.pulses == chip.counts.device_reads == 0
    assert [tile.pulses.sum() for tile in run.tiles] == [0, 0]
    loaded = hwloop.load(tmp_path / "run.h5")
    low, high = hwloop.evaluate(loaded).mvm_error_interval
    assert low <= run.mvm_error <= high
    y = loaded.matmul(np.eye(32)[:4], "a")
    assert np.corrcoef(y.ravel(), WEIGHTS["a"].T[:4].ravel())[0, 1] > 0.95


def test_a_refresh_without_pulses_is_refused_in_words(chip):
    run = hwloop.program(chip, WEIGHTS, "exact")
    with pytest.raises(BadInputError, match="'refresh' starts from the pulses of programming"):
        hwloop.drift(run, chip, ["1d"], ["refresh"])


def test_stopping_the_rehearsal_stops_the_run():
    told = []

    def stop(done, total):
        told.append((done, total))
        if len(told) == 3:
            raise KeyboardInterrupt

    with hwloop.connect(URI + "&adc_bits=7") as chip:
        run = hwloop.program(chip, WEIGHTS, hwloop.GDP(max_steps=5), progress=stop)
        assert run.interrupted
        assert not chip.conductances(0).any()
    assert told == sorted(told)


def test_what_is_rehearsed_has_the_method_its_settings_and_the_split():
    with hwloop.connect("sim:hermes-core?rows=32&columns=24") as chip:
        (tile,) = map_weights([Matrix("w", WEIGHTS["a"].T)], chip.info)
        (even,) = map_weights([Matrix("w", WEIGHTS["a"].T)], chip.info, MappingSettings(split="even"))
        again = map_weights([Matrix("v", WEIGHTS["b"].T)], chip.info)[0]
        assert Capability.TARGETS not in chip.info.capabilities
        keys = [
            programmer(method, one).key
            for method, one in ((hwloop.GDP(), tile), (hwloop.GDP(max_steps=9), tile), (hwloop.GDP(), even))
        ]
        assert len(set(keys)) == 3
        assert programmer(hwloop.GDP(), again).key == keys[0]
        by, target = programmer(hwloop.GDP(max_steps=3), tile), np.full((32, 24), 5.0)
        by.program(chip, target, 200.0)
        assert chip.counts.pulses > target.size
