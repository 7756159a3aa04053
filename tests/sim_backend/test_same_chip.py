"""A seed is the same chip in every version: what a chip answers to a fixed story is written down as numbers.

Results that someone keeps name a seed; a change of the simulator that changes them is made on purpose, and its numbers
are written anew by `python -m tests.sim_backend.test_same_chip`. They hold on every CPU: processors differ in the last
bits, and converters here have so many that a code more or less does not count. A number is a mean, or a sum with
weights that are alike for no two places, so that nearly any change of any part shows in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.updates import PulseTrains

SMALL = "rows=12&columns=10&seed=5"
FINE = "adc_bits=20&dac_bits=9&adc_noise=20"
CHIPS = {
    "pcm": f"sim:pcm-90nm?{SMALL}&{FINE}&cores=2",
    "pcm, all faults": f"sim:pcm-90nm?{SMALL}&{FINE}&stuck_rate=0.1&weak_rate=0.2&current_error=0.1&pulse_noise=0.05"
    "&drift_onset=50&temperature=330&adc_nonlinearity=20&dac_nonlinearity=2&adc_gain_spread=0.1&adc_offset_spread=50",
    "wires": f"sim:pcm-90nm?{SMALL}&{FINE}&wire_resistance=5&series_resistance=200",
    "two devices": f"sim:hermes-core?{SMALL}&{FINE}",
    "fast mode": f"sim:hermes-core?{SMALL}&{FINE}&read_mode=one-phase",
    "rpu": f"sim:rpu-baseline?{SMALL}&{FINE}",
    "reram": f"sim:reram-es?{SMALL}&{FINE}&write_noise=2&leak=1000&leak_spread=0.2",
    "soft bounds": f"sim:reram-sb?{SMALL}&{FINE}&symmetry_point_mean=0.1&symmetry_point_spread=0.2&states=60",
    "ecram": f"sim:ecram?{SMALL}&{FINE}&up_down=0.1&up_down_spread=0.05",
    "ecram, oxide": f"sim:ecram-mo?{SMALL}&{FINE}",
    "capacitor": f"sim:capacitor?{SMALL}&{FINE}&bound_spread=0.2",
    "cmos": f"sim:cmos-rpu?{SMALL}&{FINE}&adc_nonlinearity=20&dac_nonlinearity=2",
    "pair": f"sim:pcm-pair?{SMALL}&{FINE}&step_spread=0.4",
    "power": f"sim:power-step?{SMALL}&{FINE}&cycle_spread=0.5",
}


def weighted(values: np.ndarray) -> list[float]:
    """Mean, and mean with weights between -1 and 1 that are alike for no two places."""
    flat = np.asarray(values, np.float64).ravel()
    return [float(flat.mean()), float(flat @ np.cos(1.0 + 0.7 * np.arange(flat.size)) / flat.size)]


def story(chip: Backend) -> Iterator[list[float]]:
    """Pulse, wait, read and multiply, in all ways that the chip has; tell what comes out each time."""
    info, rng = chip.info, np.random.default_rng(3)
    core = info.cores - 1
    every = np.arange(info.devices_per_core)
    some = every[1::3]
    x = rng.integers(-info.input_max, info.input_max + 1, (5, info.rows))
    x[:, 2:5] = 0
    chip.set_adc_range(core, info.adc_range[0] * 4)
    yield weighted(chip.read(core, every))
    top = info.limits.amplitude_max
    for kind, at, strength in ((PulseKind.RESET, every, 0.55), (PulseKind.SET, some, 0.25), (PulseKind.SET, some, 0.2)):
        width = 400.0 if kind is PulseKind.SET and strength == 0.2 else 100.0
        amplitude = strength * top * (1 + 0.3 * np.cos(np.arange(at.size)))
        chip.pulse(core, Pulses.make(kind, at, amplitude, width))
        chip.wait(3.0)
        yield weighted(chip.read(core, every))
    yield weighted(chip.mvm(core, x))
    yield weighted(chip.mvm(core, np.where(np.arange(info.rows) < 4, x, 0), slice(2, 7)))
    chip.wait(5e3)
    chip.set_trims(core, *(part + k for k, part in zip((2.0, 0.01), chip.trims(core), strict=True)))
    yield weighted(chip.mvm(core, np.tile(x, (40, 1))))
    chip.pulse(core, Pulses.make(PulseKind.RESET, every[::7], 0.6 * top, 100.0))
    yield weighted(chip.mvm(core, x))
    yield weighted(chip.read(core, every[::2], averages=6))
    chip.place(core, every, info.g_max * (0.1 + 0.8 * rng.random(every.size)), 25.0 if info.stepping is None else 1e-5)
    chip.wait(1e5)
    yield weighted(chip.mvm(core, x))
    if Capability.TRANSPOSED_MVM in info.capabilities:
        yield weighted(chip.mvm(core, x[:, : info.columns], transposed=True))
    if info.stepping is not None:
        for top, trains in ((info.stepping.levels, PulseTrains(10, 0.4, 0.6)), (7, PulseTrains(7, stochastic=False))):
            d = rng.integers(-top, top + 1, (30, info.columns))
            chip.update(core, rng.integers(-top, top + 1, (30, info.rows)), d, trains)
            yield weighted(chip.read(core, every))
            yield weighted(chip.pulse_counts(core))
        chip.wait(50.0)
        yield weighted(chip.read(core, every))
    state = chip.export_state()
    yield [float(len(state)), chip.now()]
    parts = [np.ravel(state[name]).astype(float) for name in sorted(state) if "generator" not in name]
    yield weighted(np.concatenate([part / (1.0 + np.abs(part).max()) for part in parts]))


WRITTEN = Path(__file__).with_name("same_chip.json")
"""What each chip answered when it was written down."""


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_answers_as_it_did(name: str) -> None:
    with hwloop.connect(CHIPS[name]) as chip:
        for seen, written in zip(story(chip), json.loads(WRITTEN.read_text())[name], strict=True):
            size = abs(written[0]) + abs(written[1])
            assert seen == pytest.approx(written, rel=1e-4, abs=1e-4 * size + 1e-3)


if __name__ == "__main__":
    rows = []
    for name, uri in CHIPS.items():
        with hwloop.connect(uri) as chip:
            answers = [[float(f"{one:.7g}") for one in pair] for pair in story(chip)]
            rows.append(f"{json.dumps(name)}: {json.dumps(answers)}")
    WRITTEN.write_text("{\n" + ",\n".join(rows) + "\n}\n")
