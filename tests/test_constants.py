"""Numbers that stand for themselves, and what a call or a record is when left alone: each stands here a second time.

As the tables of settings do, it makes a change of one a change that is meant. Those that belong together in an object
stand in `test_numbers.py`, and those of commands in `cli/test_defaults.py`.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

import hwloop

ROOT = Path(hwloop.__file__).parent

CONSTANTS: dict[str, object] = {
    "chip.cell_calibration.INVERSIONS": 4,
    "chip.cell_calibration.CUBIC_PEAK": 0.3849001794597505,
    "chip.info.AGE_OF_UNKNOWN_DRIFT": 20.0,
    "chip.info.TRIM_ROUNDING": 1e-06,
    "devices.drift.INVERSIONS": 5,
    "devices.statistics.G_FLOOR": 1e-06,
    "files.hdf5.FORMAT_VERSION": 1,
    "files.measurement_layout.CHUNK": 2**14,
    "files.model_file.FORMAT_VERSION": 2,
    "files.seal.SEAL_SIZE": 120,
    "files.weights.content.HEAD": 512,
    "importers.collect.ADDRESS_BITS": 40,
    "importers.collect.CORES": 2048,
    "importers.collect.EPISODES": 4096,
    "jobs.drift.LIMIT": 0.15,
    "jobs.progress.SHOWN_AFTER": 1.0,
    "jobs.progress.WIDTH": 30,
    "mapping.faults.MISSED": 0.01,
    "mapping.faults.RIDGE": 0.001,
    "mapping.layouts.WIDENINGS": {"c_attn": 3, "c_fc": 4},
    "mapping.matrix.SMALLEST": 1e-100,
    "mapping.partition.RANGE_SIGMAS": 4.0,
    "mapping.ranges.SAMPLES": 512,
    "mapping.ranges.INPUT_CANDIDATES": 16,
    "mapping.ranges.RANGE_CANDIDATES": 48,
    "mapping.ranges.LARGEST_RANGE": 1.6,
    "mapping.ranges.LARGEST_CLIPPED": 0.25,
    "nn.cells.PUBLISHED_RESIDUAL": {"coefficients": (0.26348, 1.965, -1.1731)},
    "nn.memory.explicit.SURE": 4.0,
    "pages.estimates.CURVE": 3,
    "pages.retrainings.SHOWN": 20,
    "plot.drift.STAGGER": 0.012,
    "plot.drift.ERRORS": (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0),
    "plot.style.PIXELS_PER_INCH": 110,
    "plot.tiles.SMALLEST_SPAN": 1e-12,
    "scpi.parameters.SUFFIXES": {
        "uA": {"A": 1000000.0, "MA": 1000.0, "UA": 1.0, "NA": 0.001},
        "ns": {"S": 1000000000.0, "MS": 1000000.0, "US": 1000.0, "NS": 1.0},
        "s": {"S": 1.0, "MS": 0.001, "US": 1e-06, "NS": 1e-09},
        "uS": {"SIE": 1000000.0, "MSIE": 1000.0, "USIE": 1.0, "NSIE": 0.001},
    },
    "scpi.status.EVENT_OF_CODES": {-400: 4, -300: 8, -200: 16, -100: 32},
}
"""Constants of modules."""

DEFAULTS: dict[str, dict[str, object]] = {
    "chip.backend.Backend.read": {"averages": 1},
    "chip.callers.Callers": {"poll": 0.05},
    "chip.lifetime.KeptLifetime": {"seconds_unwritten": 5.0},
    "chip.updates.PulseTrains": {"length": 31, "row_probability": 1.0, "column_probability": 1.0},
    "devices.drifted.ReadScatter": {"constant": 0.0, "freedom": math.inf, "switching": 0.0, "step": 0.0},
    "devices.drifted.DriftedConductance.sample": {"count": 1},
    "devices.predicted.Predicted.sample": {"count": 1},
    "devices.relaxation.unwarped": {"steps": 12},
    "devices.relaxation.RelaxedConductance.sample": {"count": 1},
    "devices.wires.ladder_voltages": {"series": 0.0},
    "devices.wires.attenuation": {"series": 0.0},
    "errors.HwloopError": {"exit_code": 3},
    "errors.MissingCapabilityError": {"exit_code": 2},
    "errors.LimitError": {"exit_code": 2},
    "errors.ChipError": {"exit_code": 3},
    "exporters.content.Content": {"t_read": 2.5e-07},
    "files.coresets.CoresetLayout": {"version": 1, "constants": 288, "golden": 0.6180339887498949, "values": 2**28},
    "files.coresets.CoresetPart": {"classes": 0},
    "files.journal.Journal.__init__": {"at": 0},
    "files.measurement_reader.StoredExperiment.reads": {"start": 0},
    "files.measurement_reader.StoredExperiment.chunks": {"size": 2**20},
    "files.models.CellCount": {"stuck": 0, "outliers": 0},
    "files.models.coefficient_names": {"degree": 0},
    "files.predictions.Prediction.sample": {"seed": 0},
    "files.weights.checkpoints.ArchiveLimits": {"growth": 4},
    "files.weights.content.Foreign": {"offset": 0},
    "fleet.dask_executor.DaskExecutor": {"poll": 0.2, "patience": 300.0, "deaths": 3},
    "fleet.dask_executor.DaskExecutor.__init__": {"timeout": 10.0},
    "importers.arc2control.Arc2File": {"rows_at_once": 2**20, "jitter": 0.1},
    "importers.arrays.ArraysImport": {"rows_at_once": 2**18},
    "importers.checks.Plausible": {
        "lowest": 0.001,
        "highest": 5000.0,
        "coldest": 273.15,
        "hottest": 550.0,
        "oldest": 320000000.0,
        "clock": 1000000000.0,
        "future": 100000000000.0,
        "growth": 1.2,
    },
    "importers.checks.ImportReport": {
        "rows": 0,
        "reads": 0,
        "cells": 0,
        "conductance": (math.inf, -math.inf),
        "time": (math.inf, -math.inf),
    },
    "importers.columns.Source": {"factor": 1.0, "offset": 0.0},
    "importers.encoding.TextFile": {"longest": 2**27},
    "importers.fields.grid": {"first_line": 1},
    "importers.layout.TextOptions": {
        "skip": 0,
        "disagreement": 0.1,
        "block": 4000000,
        "sample_lines": 400,
        "sample_bytes": 100000,
    },
    "importers.layout.Layout": {"width": 0},
    "importers.numerals.Numerals": {"code": 1e30},
    "jobs.calibrate.check_file": {"seed": 1},
    "jobs.deploy.Deployment": {"seed": 0},
    "jobs.deploy_files.NetworkFiles": {"images": 500},
    "jobs.drift_result.DriftResult": {"devices": 0, "probes": 256, "seed": 1},
    "jobs.evaluate_trained.evaluate_trained": {"times": (0.0,)},
    "jobs.ledger.Life": {"merged_runs": 0},
    "jobs.measure.MeasurementTask": {"seed": 0},
    "jobs.progress.Part": {"grain": 1000},
    "jobs.progress.Eta": {"latest": 0.5, "enough": (0.02, 4), "kept": 256},
    "jobs.recording.Recording.__init__": {"end": 0},
    "jobs.task.Task": {"seed": 0},
    "jobs.training_study.StudyPlan": {"seeds": 3},
    "mapping.choice.Choice": {"listed": 4},
    "mapping.layouts.Reading": {"groups": 1},
    "mapping.layouts.KernelSizes": {"usual": 7},
    "mapping.matrix.MatrixLimits": {"values": 1000000000},
    "mapping.names.shortened": {"width": 20},
    "mapping.ranges.choose_ranges": {"adc_noise": 0.0, "seed": 0},
    "nn.accuracy.accuracy_of": {"batch": 500},
    "nn.activations.repeated": {"most": 4},
    "nn.cells.CellModel.of": {"points": 512, "trimmed": 1.6},
    "nn.cells.Cells.at_reference": {"rounds": 8},
    "nn.datasets.Dataset.sample": {"seed": 0},
    "nn.datasets.read_dataset": {"memory": 2**31},
    "nn.in_memory.array.DeviceArray.weights": {"averages": 16},
    "nn.in_memory.network.analog": {"seed": 0},
    "nn.in_memory.network.AnalogNetwork.__init__": {"seed": 0},
    "nn.in_memory.network.AnalogNetwork.accuracy": {"batch": 500},
    "nn.in_memory.several.SeveralDevices.weights": {"averages": 16},
    "nn.in_memory.trains.TrainWarning.__init__": {"memory": 0.99},
    "nn.in_memory.weights.Weights.weights": {"averages": 16},
    "nn.layers.convolution.AnalogConv": {"values_at_once": 2**24},
    "nn.memory.explicit.ExplicitMemory.__init__": {"dimension": 256},
    "nn.network.DeployedNetwork.accuracy": {"batch": 500},
    "nn.noise_aware.NoisyNetwork.__init__": {"seed": 0},
    "nn.noise_aware.NoisyNetwork.fit_ranges": {"vectors": 512},
    "nn.noise_aware.NoisyNetwork.fit_columns": {"vectors": 256},
    "nn.noisy_accuracy.right_exactly": {"batch": 100},
    "nn.noisy_accuracy.right_under_noise": {"batch": 100},
    "nn.noisy_accuracy.scores_under_noise": {"batch": 100},
    "nn.nonidealities.OutputNoise": {"top": 127},
    "nn.nonidealities.OffsetSpread": {"top": 127},
    "nn.ranges.Converters": {"adc_range": (0.0, math.inf)},
    "nn.retraining.Epoch": {"gain": 0.0, "gain_error": 0.0},
    "nn.retraining.Course": {"best": 0},
    "nn.zoo.ResidualBlock.__init__": {"stride": 1},
    "nn.zoo.ConvBlock.__init__": {"pool": 1},
    "optim.optimizer.AnalogOptimizer.__init__": {"digital_lr": 0.1},
    "optim.optimizer.AnalogOptimizer.refresh": {"full": 0.75, "spare": 0.25},
    "optim.settings.Position": {"epoch": 0, "batch": 0, "loss": 0.0, "pulses": 0.0, "chip_seconds": 0.0},
    "optim.training.TrainingWork": {"seconds": 0.0},
    "pages.html.Drawing": {"width": 5.6, "height": 3.7, "shown": 110, "fineness": 2.0},
    "plot.measurements.conductance_against_age": {"groups": 6},
    "plot.measurements.traces": {"cells": 60},
    "plot.measurements.conductance_against_pulse": {"most": 40},
    "plot.tiles.outputs_against_ideal": {"vectors": 200, "seed": 0},
    "scpi.parameters.Parameter": {"low": -math.inf, "high": math.inf},
    "scpi.status.EventRegister": {"condition": 0, "event": 0, "enable": 0},
    "scpi.status.Status": {"service_enable": 0, "recorded": 0},
    "search.evolution.Attempts": {"least": 300, "each": 100},
    "search.resnet_like.Choices": {
        "shortcuts": (0, 1),
        "stems": (4, 8, 12, 16, 24, 32),
        "widths": (4, 8, 12, 16, 24, 32, 48, 64),
        "blocks": (0, 1, 2, 3),
        "kernels": (1, 3, 5),
        "heads": (1, 2),
    },
    "search.surrogate.Prior": {
        "length": 3.0,
        "length_spread": 1.0,
        "slope": 0.5,
        "slope_spread": 1.0,
        "noise": 0.4,
        "noise_spread": 1.0,
        "drop": 0.02,
    },
    "search.trials.hypervolume": {"worst": (0.0, 1.0)},
    "web.feed.Live": {"began": 0.0, "at": 0.0, "share": 0.0, "tiles": 0},
    "web.queue.Watch": {"version": 0, "printed": 0},
    "web.script.folded": {"width": 90},
    "web.settings.WebSettings": {
        "tick": 0.2,
        "at_once": 2,
        "upload": 2**30,
        "form": 2**20,
        "request": 10.0,
        "fields": 2000,
        "line": 20000,
        "words": 500,
        "files": 3000,
        "depth": 4,
        "name": 200,
        "path": 1000,
        "shown_jobs": 50,
        "said": 100,
        "output": 100000,
        "points": 240,
        "live": 0.8,
        "redraw": 30.0,
        "heartbeat": 15.0,
        "watchers": 200,
        "read": 120.0,
        "cost": 60.0,
        "together": 4,
        "answer": 0.1,
        "stop_again": 10.0,
        "diary": 5000000,
        "refusals": 60.0,
    },
    "web.site.Site.page": {"code": 200},
}
"""Arguments of calls, and fields of records, that have a number by default; not each of them needs to stand here."""

CODES: dict[str, dict[str, int]] = {
    "files.measurements.Mark": {
        "GOOD": 0,
        "STUCK_SET": 1,
        "STUCK_RESET": 2,
        "UNCONVERGED": 3,
        "OUTLIER": 4,
        "SPENT": 5,
    },
    "importers.arc2control.Operation": {"READ": 1, "PULSE": 2},
    "importers.numerals.Found": {"NUMBER": 0, "MISSING": 1, "OUT_OF_RANGE": 2, "TEXT": 3},
    "scpi.status.Event": {
        "OPERATION_COMPLETE": 1,
        "QUERY_ERROR": 4,
        "DEVICE_ERROR": 8,
        "EXECUTION_ERROR": 16,
        "COMMAND_ERROR": 32,
        "POWER_ON": 128,
    },
    "scpi.status.StatusBit": {
        "ERROR_AVAILABLE": 4,
        "QUESTIONABLE": 8,
        "MESSAGE_AVAILABLE": 16,
        "EVENT_SUMMARY": 32,
        "MASTER_SUMMARY": 64,
        "OPERATION": 128,
    },
}
"""Numbers that files and wires carry; those of the status registers are of IEEE 488.2, 11.1 and 11.5."""


def find(name: str) -> object:
    """Find what a dotted name means, in the first part of it that is a module."""
    parts = name.split(".")
    count = max(k for k in range(1, len(parts)) if (ROOT / "/".join(parts[:k])).with_suffix(".py").is_file())
    found: object = importlib.import_module(".".join(["hwloop", *parts[:count]]))
    for part in parts[count:]:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_those_of_the_table(name: str) -> None:
    found, wanted = find(name), CONSTANTS[name]
    if isinstance(wanted, Mapping) and not isinstance(found, Mapping):
        assert {one: getattr(found, one) for one in wanted} == wanted
    else:
        assert found == wanted


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_is_left_alone_is_what_the_table_says(name: str) -> None:
    found = find(name)
    if inspect.isclass(found):
        defaults = {one: getattr(found, one) for one in DEFAULTS[name]}
    else:
        assert callable(found)
        defaults = {one: inspect.signature(found).parameters[one].default for one in DEFAULTS[name]}
    assert defaults == DEFAULTS[name]


@pytest.mark.parametrize("name", CODES)
def test_codes_never_change(name: str) -> None:
    kind = find(name)
    assert isinstance(kind, enum.EnumMeta)
    assert {one.name: one.value for one in kind} == CODES[name]
