"""The presets carry the published numbers, typed here from the publications."""

import dataclasses
import math

import numpy as np
import pytest

from hwloop.chip.info import Parameter, PulseLimits, TrimLimits
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError
from hwloop.sim_backend.presets import PRESETS


@pytest.mark.parametrize(
    ("uri", "cores", "k", "g_max"),
    [
        ("sim:pcm-90nm", 1, 1, 25.0),
        ("sim:hermes-core", 1, 2, 10.35),
        ("sim:hermes-64", 64, 2, 10.35),
        ("sim:pcm-ideal", 1, 1, 25.0),
    ],
)
def test_geometry(uri, cores, k, g_max):
    with connect(uri) as chip:
        info = chip.info
    assert (info.cores, info.rows, info.columns, info.devices_per_polarity) == (cores, 256, 256, k)
    assert (info.input_bits, info.g_max) == (8, g_max)
    assert info.name == uri


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(BadInputError, match="unknown simulated chip 'sim:pcm-45nm'") as caught:
        connect("sim:pcm-45nm")
    assert all(name in str(caught.value) for name in PRESETS)


def test_every_parameter_says_where_it_comes_from():
    """A publication or 'assumed'; nothing is left unsaid."""
    for preset in PRESETS:
        with connect(f"sim:{preset}") as chip:
            rows = chip.parameters()
        assert len(rows) > 40
        for row in rows:
            assert isinstance(row, Parameter)
            assert row.source, row.name


def test_published_numbers_are_credited():
    with connect("sim:pcm-90nm") as chip:
        sources = {row.name: row.source for row in chip.parameters()}
    assert "Joshi" in sources["device.drift.t0"]
    assert "Joshi" in sources["device.read_noise.t_read"]
    assert "Nandakumar" in sources["set_model.decay"]
    assert sources["pulse_seconds"] == "assumed"


def test_drift_and_noise_functions_of_the_90_nm_array():
    """Joshi et al., Nature Communications 11, 2473 (2020)."""
    model = PRESETS["pcm-90nm"]().device
    assert (model.drift.t0, model.drift.g_scale, model.read_noise.t_read) == (20.0, 25.0, 250e-9)
    g = np.array([0.001, 0.01, 0.1, 0.3, 1.0])
    assert model.drift.mean(g) == pytest.approx(np.clip(-0.0155 * np.log(g) + 0.0244, 0.049, 0.1))
    assert model.drift.spread(g) == pytest.approx(np.clip(-0.0125 * np.log(g) - 0.0059, 0.008, 0.045))
    assert model.read_noise.q(g) == pytest.approx(np.minimum(0.0088 / g**0.65, 0.2))


def test_drift_and_noise_functions_of_the_14_nm_chip():
    """HermesNoiseModel of aihwkit 1.2.0, per single device; the thresholds belong to the upper branch."""
    model = PRESETS["hermes-core"]().device
    assert (model.drift.t0, model.drift.g_scale, model.read_noise.t_read) == (200.0, 10.35, 512e-9)

    def mean(g):
        if g < 0.0945:
            return min(max(-0.0387 * math.log(g) - 0.0182, 0.072), 0.13)
        return -0.0436 * g**2 - 0.0126 * g + 0.0736

    def spread(g):
        if g < 0.3039:
            return min(max(-0.0120 * math.log(g) - 0.0023, 0.0124), 0.04)
        return -0.0165 * g**2 + 0.0116 * g + 0.0104

    def q(g):
        if g < 0.1591:
            return min(max(-0.0078 * math.log(g) + 0.0038, 0.0179), 0.04)
        return 0.0664 * g**3 - 0.1352 * g**2 + 0.0768 * g + 0.0088

    g = np.array([0.001, 0.05, 0.0944, 0.0945, 0.12, 0.159, 0.1591, 0.2, 0.3038, 0.3039, 0.6, 1.0])
    for fitted, published in ((model.drift.mean, mean), (model.drift.spread, spread), (model.read_noise.q, q)):
        assert fitted(g) == pytest.approx([published(x) for x in g])


def test_the_14_nm_chip_has_the_published_throughput():
    """16.1 TOPS in four-phase mode: 64 cores of 256 x 256 multiply-accumulates, two operations each."""
    chip = PRESETS["hermes-64"]()
    operations = 2 * chip.cores * chip.rows * chip.columns
    assert operations / chip.mvm_seconds == pytest.approx(16.1e12, rel=0.01)


def test_the_ideal_chip_is_exact():
    """Placed, read and multiplied without error: what it computes is the matrix product, to 24 bits."""
    with connect("sim:pcm-ideal?rows=32&columns=16") as chip:
        conductance = np.random.default_rng(0).uniform(0, 25, chip.info.device_shape)
        chip.place(0, np.arange(conductance.size), conductance.ravel(), age=1.0)
        chip.wait(1e9)
        x = np.random.default_rng(1).integers(-127, 128, (50, 32))
        sums = chip.mvm(0, x) * chip.adc_range(0) / chip.info.code_max
    weights = conductance[0, 0] - conductance[1, 0]
    assert sums == pytest.approx(x / 127 @ weights, rel=1e-5, abs=1e-3)


SET_MODEL = {
    "decay": -0.084, "level": 0.88, "first": 1.4, "pulses": 2.4, "sigma_slope": 0.09, "sigma_level": 0.26,
    "crystallise": 50.0, "full_width": 5000.0,
}  # fmt: skip
PERIPHERY = {
    "rows": 256, "columns": 256, "read_voltage": 0.2, "pulse_seconds": 1e-6, "pulses_at_once": 256, "dac_bits": 8,
    "adc_bits": 8, "dac_nonlinearity": 0.0, "adc_nonlinearity": 0.0, "adc_gain_spread": 0.02, "adc_offset_spread": 1.0,
    "adc_noise": 0.3, "current_error": 0.0, "steepness_spread": 0.05, "stuck_rate": 0.0, "weak_rate": 0.0,
    "wire_resistance": 0.0, "series_resistance": 0.0, "temperature": 300.0, "reference_temperature": 300.0,
    "conduction_energy": 0.2, "relaxation_energy": 0.5, "read_noise": 1.0, "programming_noise": 1.0, "drift": 1.0,
    "limits": PulseLimits(amplitude_max=500.0, width_min=20.0, width_max=20_000.0, pulses_per_device=10_000),
    "trims": TrimLimits(offset_step=0.25, offset_max=8.0, gain_step=0.004, gain_max=0.12),
}  # fmt: skip
NO_NOISE = {
    "adc_bits": 24, "adc_gain_spread": 0.0, "adc_offset_spread": 0.0, "adc_noise": 0.0, "steepness_spread": 0.0,
    "read_noise": 0.0, "programming_noise": 0.0, "drift": 0.0,
}  # fmt: skip
CURVE = (0.05, 27.5, 260.0, 20.0, 180.0, 100.0, 8.0, 0.05, 1.9, 0.15, 0.0)
HERMES_CURVE = (0.02, 11.4, 240.0, 18.0, 165.0, 100.0, 7.0, 0.05, 1.9, 0.1, 0.0)


@pytest.mark.parametrize(
    ("preset", "changes", "curve", "set_model"),
    [
        ("pcm-90nm", {"adc_range": (32.0, 256.0, 4096.0), "mvm_seconds": 1e-6}, CURVE, {}),
        ("hermes-core", {"adc_range": (16.0, 256.0, 4096.0), "mvm_seconds": 521e-9}, HERMES_CURVE, {}),
        ("hermes-64", {"adc_range": (16.0, 256.0, 4096.0), "mvm_seconds": 521e-9, "cores": 64}, HERMES_CURVE, {}),
        (
            "pcm-ideal",
            NO_NOISE | {"adc_range": (32.0, 256.0, 4096.0), "mvm_seconds": 1e-6},
            (0.0, 27.5, 260.0, 20.0, 180.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            {"sigma_slope": 0.0, "sigma_level": 0.0},
        ),
    ],
)
def test_the_figures_that_every_published_result_of_a_preset_stands_on(
    preset: str, changes: dict[str, object], curve: tuple[float, ...], set_model: dict[str, float]
) -> None:
    """A figure that changes, changes every result on record."""
    chip = PRESETS[preset]()
    for name, value in (PERIPHERY | changes).items():
        assert getattr(chip, name) == value, name
    assert dataclasses.astuple(chip.device.curve) == curve
    assert dataclasses.asdict(chip.set_model) == SET_MODEL | set_model
