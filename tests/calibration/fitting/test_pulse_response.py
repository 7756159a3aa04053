"""From ramps of pulses to piecewise linear steps, and from those to a twin."""

from dataclasses import replace

import numpy as np
import pytest

import hwloop
from hwloop.calibration.experiments.pulse_response import PulseResponseExperiment
from hwloop.calibration.fitting.pulse_response import PulseResponse, PulseResponseSettings
from hwloop.errors import BadInputError, MissingCapabilityError
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads
from hwloop.files.models import Model
from hwloop.sim_backend.options import SimOptions
from hwloop.sim_backend.stepping.chip import SteppingChip
from hwloop.sim_backend.stepping.law import Devices
from hwloop.sim_backend.stepping.presets import chip_of
from tests.calibration import bounds
from tests.sim_backend.stepping.conftest import laws

BRIEF = PulseResponseExperiment(cells=300, pulses=300, read_every=3)


def measured(law, tmp_path, experiment=BRIEF, seed=1):
    chip = SteppingChip(replace(chip_of("made", law, "test"), cores=1, rows=16, columns=16), SimOptions(seed=seed))
    hwloop.measure(chip, experiment, out=tmp_path / "m.h5", seed=seed)
    return hwloop.load(tmp_path / "m.h5")[0]


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """Ramps of exponential devices."""
    return measured(laws()["exponential"], tmp_path_factory.mktemp("ramps"))


def test_the_steps_of_every_kind_lie_within_their_band(tmp_path):
    """Step against weight within its 95 % band at 95 % of the points, counted over all kinds, less 3 standard errors.

    Bands of one kind stand or fall together, so no kind may lie outside at more than a fifth of its points.
    """
    within, points = [], []
    for name, law in laws().items():
        folder = tmp_path / name
        folder.mkdir()
        fitted, table = PulseResponse().fit(measured(law, folder, replace(BRIEF, pulses=150)))
        nominal, held = Devices.nominal(law), []
        for row in fitted.record.parameters[:-3]:
            side, _, k = row.name.partition(".")
            weight = (table.nodes[int(k)] - 30) / 10
            if row.low is not None and row.high is not None and law.low < weight < law.high:
                true = 10 * nominal.mean_step(np.array([weight]), side == "up")[0]
                held.append(row.low <= true <= row.high)
        within.append(np.mean(held))
        points.append(len(held))
    assert min(points) >= 15
    assert min(within) >= 0.8
    assert np.average(within, weights=points) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / sum(points))


def test_noise_of_steps_and_of_reads_and_the_spread_of_devices_are_told_apart(tmp_path):
    law = replace(laws()["linear"], step_spread=0.2)
    record = PulseResponse().fit(measured(law, tmp_path))[0].record
    step = 10 * law.step
    assert record.value("step_noise") == pytest.approx(0.3 * step, rel=0.1)
    assert record.value("step_spread") == pytest.approx(0.2, rel=0.15)
    assert record.value("seen_noise") == pytest.approx(1.275 * 60 / 255 / 2, rel=0.15)  # of the converter, 4 averages
    assert record.conductance_range[0] == pytest.approx(30 + 10 * law.low, abs=0.5)


def test_a_fitted_chip_has_a_twin_that_steps_alike(ramps, tmp_path):
    law = laws()["exponential"]
    fitted, table = PulseResponse().fit(ramps)
    Model({"pulse-response": fitted.record}, {"chip": "sim:reram-es"}, {}, "2026-01-01T00:00:00").save(
        tmp_path / "model.json"
    )
    with hwloop.connect(f"sim:{tmp_path}/model.json?rows=16&columns=16&seed=5") as twin:
        rows = {row.name: row for row in twin.parameters()}
        assert rows["device.up_nodes"].source == "fitted, model.json"
        assert rows["unit"].source
        devices = Devices.nominal(twin._chip.device)
        inner = (table.nodes[2:-2] - 30) / 10
        for up in (True, False):
            found = [devices.mean_step(np.array([w]), up)[0] for w in inner]
            true = [Devices.nominal(law).mean_step(np.array([w]), up)[0] for w in inner]
            assert found == pytest.approx(true, rel=0.06)
        twin.update(0, np.full((1, 16), 50), np.full((1, 16), 50), hwloop.PulseTrains(50, stochastic=False))
        assert twin.read(0, np.arange(256), 4).mean() > 31
    with pytest.raises(BadInputError, match="base=none: expected one of"):
        hwloop.connect(f"sim:{tmp_path}/model.json?base=none")


def test_reads_that_do_not_tell_their_pulses_are_refused(ramps):
    silent = replace(ramps, attributes={})
    with pytest.raises(BadInputError, match="does not tell which pulses"):
        PulseResponse().fit(silent)


def test_devices_that_do_not_answer_are_left_out_or_refused(ramps):
    reads = ramps.reads
    still = replace(reads, conductance=np.where(reads.cell < 5, 30.0, reads.conductance))
    record = PulseResponse().fit(replace(ramps, reads=still))[0].record
    assert (record.cells.stuck, record.cells.used) == (5, 295)
    flat = replace(reads, conductance=np.full_like(reads.conductance, 30.0))
    with pytest.raises(BadInputError, match="no device answers"):
        PulseResponse().fit(replace(ramps, reads=flat))


@pytest.mark.parametrize(("side", "ends"), [("up", (40.0, 20.0)), ("down", (20.0, 40.0))])
def test_devices_that_are_at_their_ends_at_once_are_refused(ramps, side, ends):
    """One side of the ramps is a single jump; the other one goes on as it was measured."""
    reads, ramp = ramps.reads, ramps.attributes["pulses"] // ramps.attributes["read_every"]
    number = np.repeat(np.arange(1 + 2 * ramp), len(np.unique(reads.cell)))
    jumping = (number <= ramp) if side == "up" else (number > ramp)
    rising = 20 + 20 * np.minimum(number, 2 * ramp - number) / ramp
    jumped = np.where(number == 0, 20.0, ends[0])
    conductance = np.where(jumping, jumped if side == "up" else 20.0, rising)
    with pytest.raises(BadInputError, match=rf"moves {side} tell no steps.* fewer --pulses"):
        PulseResponse().fit(replace(ramps, reads=replace(reads, conductance=conductance)))


def test_ramps_that_go_the_other_way_are_refused(ramps):
    turned = replace(ramps.reads, conductance=60 - ramps.reads.conductance)
    with pytest.raises(BadInputError, match="other way"):
        PulseResponse().fit(replace(ramps, reads=turned))


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("sim:hermes-core?rows=8&columns=8", MissingCapabilityError, "train on a chip of devices that step"),
        ("sim:pcm-pair?rows=8&columns=8", BadInputError, "step up alone"),
    ],
)
def test_chips_without_ramps_are_refused(uri, error, message, tmp_path):
    with hwloop.connect(uri) as chip, pytest.raises(error, match=message):
        hwloop.measure(chip, "pulse-response", out=tmp_path / "m.h5", cells=4)


def test_a_ramp_must_be_a_whole_number_of_reads():
    with pytest.raises(BadInputError, match="whole number of reads"):
        PulseResponseExperiment(pulses=105, read_every=10)


def test_a_measurement_is_drawn(ramps):
    assert ramps.experiment is Experiment.PULSE_RESPONSE
    axes = hwloop.plot.main_figure(ramps)
    assert axes.get_xlabel() == "pulses since the first read"


BOUNDS: bounds.Bounds = {
    PulseResponseSettings: {
        "nodes": (2, 13, 100),
        "before": (1, 3, 1000),
        "rounds": (1, 4, 100),
        "arrived": (0.0, 0.15, 0.4),
        "still": (0.0, 0.02, 1.0),
    },
}


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(kind, name, low, default, high):
    bounds.check(kind, name, low, default, high)


def noisy_ramps(spread: float, seed: int, cells: int = 400) -> Measurement:
    """Soft-bound devices whose steps differ by `spread`, with reads that scatter by eighty steps."""
    rng = np.random.default_rng(seed)
    own, g = 1 + spread * rng.standard_normal(cells), np.full(cells, 10.0)
    reads = [g + rng.standard_normal(cells)]
    for sign in (1.0, -1.0):
        for _ in range(100):
            for _ in range(10):
                step = 0.012 * (1 - sign * (g - 20) / 40)
                g = np.clip(g + sign * own * step * (1 + 2 * rng.standard_normal(cells)), 0, 40)
            reads.append(g + rng.standard_normal(cells))
    count, told = len(reads), {"read_every": 10, "pulses": 1000, "cycles": 1}
    time, values = np.repeat(np.arange(1.0, count + 1), cells), np.concatenate(reads)
    cell = np.tile(np.arange(cells, dtype=np.int32), count)
    table = Reads(cell, time, values, np.full(values.size, np.nan))
    return Measurement(Experiment.PULSE_RESPONSE, Cells.at(np.arange(cells)), table, told)


def test_noise_does_not_hide_that_devices_differ():
    record = PulseResponse().fit(noisy_ramps(0.3, seed=0))[0].record
    assert 0.15 < record.value("step_spread") < 0.4  # reads scatter by eighty steps, and pulses by two
    assert not any("step_spread" in warning for warning in record.warnings)


def test_where_devices_hardly_differ_it_is_said():
    record = PulseResponse().fit(noisy_ramps(0.0, seed=0))[0].record
    assert any("step_spread: devices step alike, or noise hides" in warning for warning in record.warnings)
