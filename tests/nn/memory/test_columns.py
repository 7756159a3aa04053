"""The cells below an explicit memory, against what the simulated devices hold and the law that they obey."""

from collections.abc import Iterator

import numpy as np
import pytest

import hwloop
from hwloop.nn.memory.columns import Columns
from hwloop.nn.memory.settings import MemorySettings

SMALL = "rows=32&columns=8"


@pytest.fixture
def ideal() -> Iterator[hwloop.Backend]:
    """A chip whose SET pulses all add what Nandakumar's law says, and nothing else."""
    with hwloop.connect(f"sim:pcm-ideal?seed=1&{SMALL}&adc_bits=16&dac_bits=12") as chip:
        yield chip


def after_set_pulses(count: int) -> float:
    """Conductance (uS) after so many SET pulses on an empty device of sim:pcm-90nm, by the law of docs/physics.md."""
    g = 0.05
    for number in range(1, count + 1):
        g += -0.084 * g + 0.88 + 1.4 * np.exp(-number / 2.4)
    return g


def test_cells_hold_what_the_law_of_accumulation_says(ideal: hwloop.Backend) -> None:
    columns = Columns(ideal, [0], 32, MemorySettings())
    wanted = np.zeros((2, 32), np.int64)
    wanted[0, :4], wanted[1, 4:8] = [1, 2, 5, 9], [1, 2, 5, 9]
    columns.erase(3)
    assert columns.accumulate(3, wanted) == 34
    columns.probe()
    grown = [after_set_pulses(n) - 0.05 for n in (1, 2, 5, 9)]
    assert columns.weights[:4, 3] == pytest.approx(grown, abs=0.05)
    assert columns.weights[4:8, 3] == pytest.approx([-g for g in grown], abs=0.05)
    assert columns.weights[8:, 3] == pytest.approx(np.zeros(24), abs=0.05)


def test_other_columns_receive_no_pulse(ideal: hwloop.Backend) -> None:
    columns = Columns(ideal, [0], 32, MemorySettings())
    columns.erase(3)
    columns.accumulate(3, np.ones((2, 32), np.int64))
    counts = ideal.pulse_counts(0)
    assert (counts[..., 3] == 2).all()
    assert not np.delete(counts, 3, axis=3).any()
    assert ideal.counts.device_reads == 0


def test_devices_of_one_polarity_take_turns_until_they_are_full() -> None:
    with hwloop.connect(f"sim:hermes-core?seed=1&{SMALL}") as chip:
        columns = Columns(chip, [0], 32, MemorySettings(most_pulses=3))
        wanted = np.zeros((2, 32), np.int64)
        wanted[0] = 5
        assert columns.accumulate(0, wanted) == 5 * 32
        assert sorted(chip.pulse_counts(0)[0, :, 0, 0].tolist()) == [2, 3]
        assert columns.room(0)[0].tolist() == [1] * 32
        assert columns.accumulate(0, wanted) == 32
        assert columns.full(0) == 0.5


def test_norms_hold_no_noise() -> None:
    with hwloop.connect(f"sim:pcm-ideal?seed=5&{SMALL}&adc_bits=8&dac_bits=12&adc_noise=20") as chip:
        columns = Columns(chip, [0], 32, MemorySettings())
        wanted = np.zeros((2, 32), np.int64)
        wanted[0, ::2], wanted[1, 1::2] = 1, 1
        columns.accumulate(0, wanted)
        found = []
        for _ in range(40):
            columns.probe()
            found.append((columns.norms[0], np.linalg.norm(columns.weights[:, 0])))
    true = np.sqrt(32) * (after_set_pulses(1) - 0.05)
    norms, noisy = np.array(found).T
    assert norms.mean() == pytest.approx(true, abs=4 * norms.std() / np.sqrt(40))
    assert noisy.mean() > true + 4 * noisy.std() / np.sqrt(40)


def test_an_example_longer_than_a_core_lies_on_several(ideal: hwloop.Backend) -> None:
    with hwloop.connect(f"sim:pcm-ideal?seed=1&cores=2&{SMALL}&adc_bits=16&dac_bits=12") as chip:
        columns = Columns(chip, [0, 1], 40, MemorySettings())
        wanted = np.zeros((2, 40), np.int64)
        wanted[0, 31:34] = [1, 2, 3]
        columns.accumulate(2, wanted)
        columns.probe()
        grown = [after_set_pulses(n) - 0.05 for n in (1, 2, 3)]
        assert columns.weights[31:34, 2] == pytest.approx(grown, abs=0.05)
        assert chip.pulse_counts(1)[0, :, :2, 2].sum() == 5
        x = np.zeros((1, 40))
        x[0, 31:34] = grown
        assert columns.similarities(x)[0, 2] == pytest.approx(1.0, abs=0.02)
