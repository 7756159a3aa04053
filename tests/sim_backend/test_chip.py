"""The simulated chip as a backend: seeds, cores, clock, state."""

import itertools

import numpy as np
import pytest
import torch

from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError

SMALL = "rows=24&columns=16"


def history(chip, core=0):
    """Pulses, time, MVMs and reads; everything that came back, in one array."""
    rng = np.random.default_rng(7)
    devices = rng.permutation(chip.info.devices_per_core)[:500]
    chip.pulse(core, Pulses.make(PulseKind.RESET, devices, rng.uniform(180, 400, devices.size), 100.0))
    chip.pulse(core, Pulses.make(PulseKind.SET, devices[:50], 100.0, 100.0))
    chip.wait(1e-3)
    codes = chip.mvm(core, rng.integers(-127, 128, (20, chip.info.rows)))
    reads = chip.read(core, devices[:100], averages=3)
    return np.concatenate([codes.ravel(), reads])


# ---- seeds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["pcm-90nm", "hermes-core"])
def test_the_same_seed_gives_the_same_result(preset):
    results = []
    for _ in range(2):
        with connect(f"sim:{preset}?{SMALL}&seed=4&stuck_rate=0.05") as chip:
            results.append(history(chip))
    assert np.array_equal(*results)


def test_another_seed_gives_another_chip():
    results = []
    for seed in (4, 5):
        with connect(f"sim:pcm-90nm?{SMALL}&seed={seed}") as chip:
            results.append(history(chip))
    assert not np.array_equal(*results)


def test_cores_do_not_care_in_which_order_they_are_used():
    results = {}
    for order in itertools.permutations(range(3)):
        # Without drift and read noise, for which a core that is used later is older.
        with connect(f"sim:pcm-90nm?{SMALL}&cores=3&drift=0&read_noise=0") as chip:
            results[order] = {core: history(chip, core) for core in order}
    first = results[0, 1, 2]
    for order, result in results.items():
        for core in range(3):
            assert np.array_equal(result[core], first[core]), f"core {core} in the order {order}"
    assert not np.array_equal(first[0], first[1])


def test_a_core_does_not_notice_what_happens_on_another():
    """With all noise: only the time that the other core took matters."""
    uri = f"sim:pcm-90nm?{SMALL}&cores=2"
    with connect(uri) as busy:
        history(busy, 0)
        then = busy.now()
        beside_work = history(busy, 1)
    with connect(uri) as idle:
        idle.wait(then)
        assert np.array_equal(history(idle, 1), beside_work)


def test_other_random_numbers_are_left_alone():
    """Neither torch's nor numpy's global generator is used or seeded."""
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with connect(f"sim:hermes-core?{SMALL}") as chip:
        first = history(chip)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    torch.manual_seed(12)
    with connect(f"sim:hermes-core?{SMALL}") as chip:
        assert np.array_equal(history(chip), first)


# ---- time -------------------------------------------------------------------------------------------------------


def test_every_operation_takes_its_time():
    with connect("sim:pcm-90nm?rows=300&columns=200") as chip:
        p = {row.name: row.value for row in chip.parameters()}

        def seconds(act):
            start = chip.now()
            act()
            return chip.now() - start

        def pulse(n, width):
            return lambda: chip.pulse(0, Pulses.make(PulseKind.RESET, np.arange(n), 200.0, width))

        assert chip.now() == 0.0
        assert seconds(lambda: chip.wait(12.5)) == 12.5
        assert seconds(lambda: chip.mvm(0, np.zeros((9, 300), np.int32))) == pytest.approx(9 * p["mvm_seconds"])
        # 256 devices share a pulse slot, and a slot lasts at least as long as its longest pulse.
        assert seconds(pulse(256, 100.0)) == pytest.approx(p["pulse_seconds"])
        assert seconds(pulse(257, 100.0)) == pytest.approx(2 * p["pulse_seconds"])
        assert seconds(pulse(1, 15_000.0)) == pytest.approx(15e-6)
        # Reads go row by row, all columns at once.
        t_read = p["device.read_noise.t_read"]
        assert seconds(lambda: chip.read(0, np.arange(200), 4)) == pytest.approx(4 * t_read)
        assert seconds(lambda: chip.read(0, np.arange(201), 4)) == pytest.approx(8 * t_read)
        assert chip.counts.chip_seconds == pytest.approx(chip.now())


def test_time_passes_for_all_cores_at_once():
    with connect(f"sim:pcm-ideal?{SMALL}&cores=2&drift=1") as chip:
        for core in (0, 1):
            chip.place(core, [0], [10.0], age=20.0)
        chip.wait(20.0)
        chip.mvm(0, np.zeros((1000, 24), np.int32))
        chip.wait(1e6)
        assert max(chip.read(core, [0])[0] for core in (0, 1)) < 9.0


# ---- state ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["pcm-90nm", "hermes-core"])
def test_a_chip_goes_on_in_another_process_as_it_would_have_here(preset):
    """Exported, sent through plain arrays, imported into a chip made afresh: the same codes from there on."""
    uri = f"sim:{preset}?{SMALL}&seed=4&cores=2&temperature=310&wire_resistance=1&adc_bits=16"
    with connect(uri) as here:
        history(here, 1)
        here.set_adc_range(1, 100.0)
        state = {name: np.array(array) for name, array in here.export_state().items()}
        continued = [history(here, core) for core in (1, 0)]
    with connect(uri) as there:
        there.import_state(state)
        assert there.adc_range(1) == 100.0
        for core, expected in zip((1, 0), continued, strict=True):
            assert np.array_equal(history(there, core), expected), f"core {core}"


def test_what_the_saved_chip_had_in_its_cache_is_restored_too():
    """Drift over a time that does not matter is not computed anew, before and after the state is saved: to 24 bits."""
    uri = f"sim:pcm-90nm?{SMALL}&adc_bits=24"
    x = np.full((1, 24), 30)
    with connect(uri) as here, connect(uri) as there:
        here.pulse(0, Pulses.make(PulseKind.RESET, np.arange(384), 250.0, 100.0))
        here.wait(100.0)
        here.mvm(0, x)
        here.wait(5e-3)
        there.import_state(here.export_state())
        assert np.array_equal(there.mvm(0, x), here.mvm(0, x))


def test_an_untouched_core_costs_no_state():
    with connect(f"sim:hermes-64?{SMALL}") as chip:
        chip.mvm(7, np.zeros((1, 24), np.int32))
        assert {name.split("/")[0] for name in chip.export_state() if name.startswith("core")} == {"core7"}


@pytest.mark.parametrize("other", ["rows=24&columns=17", "rows=24&columns=16&devices_per_polarity=2"])
def test_the_state_of_another_chip_is_refused_and_changes_nothing(other):
    with connect(f"sim:pcm-90nm?{other}") as stranger, connect(f"sim:pcm-90nm?{SMALL}") as chip:
        history(stranger)
        history(chip)
        before = chip.export_state()
        for state in (stranger.export_state(), {}, {"core0/g": np.zeros(3)}):
            with pytest.raises(BadInputError, match="saved"):
                chip.import_state(state)
        after = chip.export_state()
        assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_state_of_a_core_that_does_not_exist_is_refused():
    with connect(f"sim:pcm-90nm?{SMALL}&cores=3") as many, connect(f"sim:pcm-90nm?{SMALL}") as one:
        history(many, 2)
        with pytest.raises(BadInputError, match="the saved"):
            one.import_state(many.export_state())


def test_the_snapshot_follows_the_chip():
    with connect(f"sim:pcm-90nm?{SMALL}&seed=3&temperature=310") as chip:
        chip.wait(5.0)
        chip.set_adc_range(0, 77.0)
        snapshot = chip.snapshot()
    assert snapshot["seed"] == 3
    assert snapshot["temperature"] == 310.0
    assert snapshot["now"] == 5.0
    assert snapshot["core0.adc_range"] == 77.0
    assert snapshot["limits.amplitude_max"] == 500.0


# ---- MVM --------------------------------------------------------------------------------------------------------


def test_polarities_subtract_and_devices_add():
    """Two devices per polarity, distinct values: W = (G00 + G01) - (G10 + G11)."""
    with connect("sim:pcm-ideal?rows=1&columns=1&devices_per_polarity=2") as chip:
        chip.place(0, [0, 1, 2, 3], [20.0, 7.0, 3.0, 11.0], age=1.0)
        for x in (127, -127, 50):
            code = chip.mvm(0, [[x]])[0, 0]
            assert code / chip.info.code_max * chip.adc_range(0) == pytest.approx(x / 127 * (20 + 7 - 3 - 11), rel=1e-5)


def test_reads_in_parts_are_the_same_reads(monkeypatch):
    """More samples than fit in memory are read in parts, each at its own time; nothing is lost or doubled."""
    monkeypatch.setattr("hwloop.sim_backend.chip.SimulatedChip.reads_at_once", 64)
    with connect(f"sim:pcm-ideal?{SMALL}") as chip:
        target = np.linspace(0, 25, chip.info.devices_per_core)
        chip.place(0, np.arange(target.size), target, age=1.0)
        assert chip.read(0, np.arange(target.size), averages=5) == pytest.approx(target, rel=1e-4, abs=1e-4)
        assert chip.counts.device_reads == 5 * target.size


@pytest.mark.parametrize("rows", [[], [5], [4, 5, 6], [1, 9, 30], list(range(0, 31, 2)), list(range(32))])
def test_rows_that_are_not_driven_may_be_left_out(rows, monkeypatch):
    found = []
    for share in (0.75, 0.0):
        monkeypatch.setattr("hwloop.sim_backend.chip.SimulatedChip.driven_share", share)
        with connect("sim:hermes-core?rows=32&columns=8&seed=2") as chip:
            devices = chip.info.devices_per_core
            chip.place(0, range(devices), np.linspace(0.0, 20.0, devices), age=1.0)
            x = np.zeros((3, 32), np.int32)
            x[:, rows] = np.random.default_rng(2).integers(1, 100, (3, len(rows)))
            found.append(chip.mvm(0, x))
    assert np.abs(found[0] - found[1]).max() <= 1  # which of two codes is for the last digits to decide


def test_what_is_switched_off_is_announced():
    with connect(f"sim:hermes-core?{SMALL}&drift=0") as chip:
        model, g = chip.info.device_model, np.array([1.0, 5.0])
        assert model.drift.factor(g, 1e6).tolist() == [1.0, 1.0]
        assert (model.read_noise.relative_sigma(g, 1.0) > 0).all()
    with connect(f"sim:hermes-core?{SMALL}&read_noise=0") as chip:
        model = chip.info.device_model
        assert (model.drift.factor(g, 1e6) < 1).all()
        assert not model.read_noise.relative_sigma(g, 1.0).any()
