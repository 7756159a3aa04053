"""Evaluation: fresh inputs, and errors relative to what the outputs should be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.evaluation import (
    Evaluation,
    Outputs,
    computed_outputs,
    conductance_map,
    evaluate_tile,
    evaluate_with_inputs,
    measure_outputs,
    read_cells,
    relative_error,
)
from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.randomness import Purpose, generator
from hwloop.chip.info import Capability
from hwloop.chip.region import Place, Region
from hwloop.errors import BadInputError
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.tile import Tile
from tests.conftest import OpenChip, gaussian

pytestmark = pytest.mark.numerical

IDEAL = "sim:pcm-ideal?rows=16&columns=8"


class Recording(Region):
    """A region that keeps what is sent to it."""

    def mvm(self, x: np.ndarray) -> np.ndarray:
        self.sent = [*getattr(self, "sent", []), x]
        return super().mvm(x)


def placed(chip, gain: float = 1.0) -> tuple[Recording, Tile]:
    """A tile of an ideal chip whose cells conduct `gain` times their targets."""
    target = 5.0 * gaussian(16, 8)
    tile = Tile("w", Place(0, 0, 0, 16, 8), 0, 0, target, np.linspace(0.01, 0.03, 8), 200.0)
    region = Recording(chip, tile.place, tile.full_scale)
    region.place_exactly(gain * tile.device_targets(chip.info), age=1.0)
    chip.wait(1.0)
    return region, tile


def test_the_error_is_relative_to_the_reference() -> None:
    measured, reference = np.array([[3.0, 4.0]]), np.array([[0.0, 8.0]])
    assert relative_error(measured, reference) == pytest.approx(5.0 / 8.0)
    assert Outputs(measured, reference).mvm_error == pytest.approx(5.0 / 8.0)
    assert Outputs(reference, measured).mvm_error == pytest.approx(5.0 / 5.0)
    assert np.isnan(relative_error(measured, np.zeros((1, 2))))


def test_a_tile_is_evaluated_with_inputs_that_its_calibration_has_not_seen(open_chip: OpenChip) -> None:
    region, tile = placed(open_chip(IDEAL))
    correction, outputs = evaluate_tile(region, tile, seed=7, number=2)
    calibrated, evaluated = region.sent
    assert np.array_equal(calibrated, uniform_inputs(generator(7, 2, Purpose.CALIBRATE), 512, 16, 127))
    assert np.array_equal(evaluated, uniform_inputs(generator(7, 2, Purpose.EVALUATE), 1024, 16, 127))
    assert not np.array_equal(evaluated[:512], calibrated)
    assert outputs.reference == pytest.approx(evaluated / 127 @ tile.weights)
    assert outputs.measured == pytest.approx(outputs.reference, abs=1e-3)
    assert correction is not None


def test_the_gain_of_a_whole_column_is_no_error(open_chip: OpenChip) -> None:
    region, tile = placed(open_chip(IDEAL), gain=0.5)
    correction, outputs = evaluate_tile(region, tile, 0, 0)
    assert outputs.mvm_error < 1e-3
    assert correction.gain == pytest.approx(2.0 * tile.scale * region.step, rel=1e-3)
    # Without the correction fitted, half of the output is missing.
    plain = ColumnCorrection(tile.scale * region.step, np.zeros(8))
    half = measure_outputs(region, tile.weights, plain, np.random.default_rng(0), 200)
    assert half.mvm_error == pytest.approx(0.5, rel=1e-3)
    assert half.measured == pytest.approx(half.reference / 2, abs=1e-3)


def test_how_much_is_measured_can_be_set(open_chip: OpenChip) -> None:
    region, tile = placed(open_chip(IDEAL))
    settings = Evaluation(vectors=50, calibration_vectors=20, map_vectors=33)
    correction, outputs = evaluate_tile(region, tile, 0, 0, settings)
    assert outputs.measured.shape == (50, 8)
    conductance_map(region, tile, correction, np.random.default_rng(0), settings)
    assert [len(x) for x in region.sent] == [20, 50, 48]  # three designs of sixteen


@pytest.mark.parametrize(
    ("name", "least"), [("vectors", 1), ("calibration_vectors", 3), ("map_vectors", 1), ("read_averages", 1)]
)
def test_too_little_to_evaluate_is_refused(name: str, least: int) -> None:
    assert getattr(Evaluation(**{name: least}), name) == least
    with pytest.raises(BadInputError, match=f"{name}={least - 1} is outside"):
        Evaluation(**{name: least - 1})


def test_the_map_shows_the_cells_at_the_gain_of_their_targets(open_chip: OpenChip) -> None:
    chip = open_chip(IDEAL)
    region, tile = placed(chip)
    region.place_exactly(tile.device_targets(chip.info) * (1 + 0.1 * (np.arange(16) == 3)[:, None]), age=1.0)
    chip.wait(1.0)
    correction = ColumnCorrection(tile.scale * region.step, np.full(8, 0.0))
    expected = tile.target.copy()
    expected[3] *= 1.1
    found = conductance_map(region, tile, correction, np.random.default_rng(0))
    assert found == pytest.approx(expected, abs=0.01)
    assert np.abs(region.sent[-1]).max() == 73  # 127 / sqrt(3): the power of uniform inputs
    assert conductance_map(region, tile, None, np.random.default_rng(0)) is None


# ---- with the network's own inputs -------------------------------------------------------------------------------


def test_sample_inputs_are_split_in_those_that_fit_and_those_that_evaluate(open_chip: OpenChip) -> None:
    region, tile = placed(open_chip(IDEAL), gain=0.5)
    samples = np.abs(np.random.default_rng(1).normal(size=(300, 16)))
    outputs = evaluate_with_inputs(region, tile, samples)
    assert outputs.reference == pytest.approx(samples[150:] @ tile.weights)
    # What the chip gave, and not what it should have: equal but for the inputs' clipping and rounding.
    assert not np.array_equal(outputs.measured, outputs.reference)
    assert outputs.mvm_error < 0.05


def test_sample_inputs_show_a_cell_that_is_off(open_chip: OpenChip) -> None:
    chip = open_chip(IDEAL)
    region, tile = placed(chip)
    wrong = tile.device_targets(chip.info)
    wrong[0, :, 3, 2] += 10.0
    region.place_exactly(wrong, age=1.0)
    chip.wait(1.0)
    samples = np.random.default_rng(2).normal(size=(400, 16))
    outputs = evaluate_with_inputs(region, tile, samples)
    extra = outputs.measured - outputs.reference
    # Against the output that should be, the one measured is too high by the input times 10 uS.
    slope = np.polyfit(samples[200:, 3], extra[:, 2] / tile.scale[2], 1)[0]
    assert slope == pytest.approx(10.0, rel=0.15)


def test_nothing_is_evaluated_with_inputs_or_weights_of_zero(open_chip: OpenChip) -> None:
    region, tile = placed(open_chip(IDEAL))
    assert evaluate_with_inputs(region, tile, np.zeros((10, 16))) is None
    empty = Tile("w", tile.place, 0, 0, np.zeros((16, 8)), tile.scale, 200.0)
    assert evaluate_with_inputs(region, empty, np.ones((10, 16))) is None


# ---- chips without MVMs ------------------------------------------------------------------------------------------


def test_device_reads_give_the_signed_conductances_of_the_cells(open_chip: OpenChip) -> None:
    region, tile = placed(open_chip(IDEAL))
    assert read_cells(region, 4) == pytest.approx(tile.target, abs=0.05)


def test_a_chip_without_mvms_is_evaluated_by_its_reads(open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = open_chip(IDEAL)
    region, tile = placed(chip, gain=0.5)
    reads_alone = replace(chip.info, capabilities=frozenset({Capability.DEVICE_READ}))
    monkeypatch.setattr(type(chip), "info", property(lambda self: reads_alone))
    correction, outputs = evaluate_tile(region, tile, seed=3, number=0, settings=Evaluation(read_averages=2))
    assert correction is None
    assert outputs.measured.shape == (1024, 8)
    assert outputs.mvm_error == pytest.approx(0.5, abs=0.01)  # there is no column gain to take it away
    assert region.cost.device_reads == 2 * region.size
    fresh = uniform_inputs(generator(3, 0, Purpose.EVALUATE), 1024, 16, 127) / 127
    assert outputs.reference == pytest.approx(fresh @ tile.weights)
    assert conductance_map(region, tile, None, np.random.default_rng(0)) == pytest.approx(tile.target / 2, abs=0.05)


def test_computed_outputs_are_those_of_the_cells_in_weight_units() -> None:
    cells, weights, scale = np.array([[2.0, 4.0]]), np.array([[0.1, 0.3]]), np.array([0.1, 0.05])
    outputs = computed_outputs(cells, weights, scale, np.random.default_rng(0), 10, 127)
    assert outputs.measured[:, 0] == pytest.approx(2 * outputs.reference[:, 0])
    assert outputs.measured[:, 1] == pytest.approx(0.2 / 0.3 * outputs.reference[:, 1])
