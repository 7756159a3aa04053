"""Small programmed tiles, and forecasts of devices whose drift is known, for all tests of this room."""

from __future__ import annotations

import numpy as np

import hwloop
from hwloop.calibration.drift.compensation import Compensation
from hwloop.calibration.drift.digital import ColumnAffine
from hwloop.calibration.drift.forecast import Forecast
from hwloop.calibration.drift.programmed_tile import Origin, ProgrammedTile, PulseRecord
from hwloop.calibration.drift.strategy import uncompensated
from hwloop.calibration.evaluation import relative_error
from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.programming.base import Method
from hwloop.chip.region import Region
from hwloop.devices.drift import DriftModel
from hwloop.devices.model import DeviceModel
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.statistics import Polynomial
from hwloop.jobs.program import Run, program
from hwloop.mapping.columns import ColumnCorrection
from tests.conftest import gaussian

IDEAL = "sim:pcm-ideal?rows=32&columns=16&adc_bits=20"
NOISY = "sim:hermes-core?rows=64&columns=64"
YEAR = 3.156e7


def programmed(chip: hwloop.Backend, method: str | Method = "gdp", seed: int = 0) -> Run:
    """Fill the chip's first core with Gaussian weights."""
    rows, columns = chip.info.rows, chip.info.columns
    return program(chip, hwloop.matrices({"w": gaussian(columns, rows, seed)}), method, seed=seed)


def programmed_tile(run: Run, *, seed: int = 1, correction: ColumnCorrection | None = None) -> ProgrammedTile:
    """Give the one tile of a run, as a drift study finds it."""
    (item,) = run.tiles
    assert run.chip is not None
    region, info, programmed_at = Region(run.chip, item.tile.place), run.chip.info, run.record.programmed_at
    age, amplitude = item.pulse_age, item.amplitude
    assert age is not None and amplitude is not None  # noqa: PT018
    devices = item.tile.device_targets(info).reshape(-1, *item.tile.target.shape)
    born = -np.nan_to_num(age).reshape(devices.shape)
    return ProgrammedTile(
        region=region,
        tile=item.tile,
        origin=Origin(correction or item.correction, programmed_at, run.age),
        seed=(seed, 0, 4),
        forecast=Forecast(devices, born, run.age, item.tile.scale, info.device_model, run.mvm_error),
        pulses=PulseRecord(age, amplitude.copy(), item.reached),
    )


def error_of(tile: ProgrammedTile, made: Compensation, seed: int = 99) -> float:
    """Measure the MVM error with a compensation on 1024 fresh inputs."""
    top = tile.region.backend.info.input_max
    x = uniform_inputs(np.random.default_rng(seed), 1024, tile.tile.place.rows, top)
    return relative_error(made.apply(tile.outputs(x)), (x / top) @ tile.tile.weights)


def error_at(tile: ProgrammedTile, age: float) -> float:
    """Measure the MVM error at an age, with the columns compensated then."""
    tile.region.backend.wait(age - tile.age)
    return error_of(tile, ColumnAffine().make(tile, uncompensated(tile)), seed=int(age))


def model_of(nu: float, spread: float = 0.0, q: float = 0.0) -> DeviceModel:
    """Describe devices that all drift with the same statistics, whatever their conductance."""
    drift = DriftModel(20.0, 25.0, Polynomial((nu,)), Polynomial((spread,)))
    noise = ReadNoiseModel(250e-9, 25.0, Polynomial((q,)))
    curve = hwloop.connect("sim:pcm-90nm").info.device_model.curve
    return DeviceModel(curve, drift, noise)


def forecast_of(model: DeviceModel, error: float = 0.0, target_age: float = 20.0) -> Forecast:
    """Forecast a 60 x 20 tile with one device per polarity, pulsed at the end of programming."""
    target = gaussian(20, 60).T * 5.0
    devices = np.stack([np.maximum(target, 0), np.maximum(-target, 0)])
    return Forecast(devices, np.zeros(devices.shape), target_age, np.ones(20), model, error)
