"""A calibration of a small chip whose numbers are all different: no row, column or device passes for another."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.identity import Identity
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.results import (
    ConverterResult,
    CurveResult,
    DeviceResult,
    GainResult,
    TrimResult,
)
from hwloop.chip.backend import Backend

DATE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def converters(rows: int, columns: int, seed: int = 0, **changes: object) -> ConverterResult:
    """Curves of converters: arrays of distinct numbers, all columns responsive."""
    rng = np.random.default_rng(seed)
    of_columns, of_rows = (lambda: rng.uniform(0.1, 1.0, columns)), (lambda: rng.uniform(0.1, 1.0, rows))
    values = {
        field.name: of_rows() if field.name.startswith("row_") else of_columns()
        for field in dataclasses.fields(ConverterResult)
    }
    fixed = {
        "cells": rng.uniform(1.0, 20.0, (rows, columns)),
        "adc_noise": 0.3,
        "unresponsive": np.zeros(columns, bool),
        "full_scale": 256.0,
    }
    return ConverterResult(**(values | fixed | changes))


def core(chip: Backend, seed: int = 0) -> CoreCalibration:
    """All parts that come in arrays; a tenth of the devices, at different places in every row and column, is stuck."""
    rng, shape = np.random.default_rng(seed), chip.info.device_shape
    rows, columns = chip.info.rows, chip.info.columns
    fault = np.where(rng.random(shape) < 0.1, 1, 0).astype(np.uint8)
    low, high = rng.uniform(0.1, 1.0, shape), rng.uniform(8.0, 12.0, shape)
    scalars = {field.name: rng.uniform(1.0, 2.0) for field in dataclasses.fields(CurveResult)}
    arrays = {name: rng.uniform(0.5, 1.5, shape) for name in ("shift", "shift_sigma", "height", "height_sigma")}
    return CoreCalibration(
        devices=DeviceResult(fault, low, high, np.stack([high[0], low[1]]), 10.0, 12.0),
        converters=converters(rows, columns, seed),
        gains=GainResult(rng.uniform(0.9, 1.1, columns), rng.uniform(0.001, 0.002, columns), np.arange(columns)),
        trims=TrimResult(rng.integers(-4, 5, columns).astype(float), rng.uniform(-0.05, 0.05, columns)),
        programming_curve=CurveResult(**(scalars | arrays)),
    )


def calibration(chip: Backend, seed: int = 0) -> Calibration:
    """The same for every core of a chip, each with numbers of its own."""
    cores = {index: core(chip, seed + index) for index in range(chip.info.cores)}
    dates = dict.fromkeys(cores[0].parts(), DATE)
    return Calibration(Identity.of(chip.info), DATE, 300.0, cores, dates, cost={"pulses": 1.0})
