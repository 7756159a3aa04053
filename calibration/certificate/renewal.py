"""Keep a calibration true: the daily renewal of the converters' part, and the check of what has moved since."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from hwloop.calibration.certificate.certificate import TEMPERATURE_WINDOW, Calibration, CoreCalibration
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.session import Observer, plain_counts, ticker, whole_core
from hwloop.calibration.routines.base import Tick, quiet
from hwloop.calibration.routines.converters import ConverterCalibration, ConverterResult, ConverterSettings, idle_inputs
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, ChipError, ClosedError, InstrumentError, LinkError
from hwloop.typing import FloatArray

DAILY = ConverterSettings(adc_vectors=2048, dac_vectors=0)
DAILY_NAME = "daily"
RENEWED = 0.2
"""LSB: a column's offset must be known this well for a daily calibration to put it in the place of an older one."""
LEAST_RENEWED = 0.1
"""Share of a core's columns, at least, that a daily calibration must renew; a small matrix does not fill a core."""
PROBE = ConverterSettings(adc_vectors=1024, dac_vectors=0)
ROUNDED = 0.01
"""LSB; uncertainty of a mean of idle outputs that never change."""
MOVED = 4.0
"""Standard deviations of a difference beyond which a value has moved: one in 16 000 does so by chance."""


def renew(base: Calibration, backend: Backend, *, seed: int = 0, observer: Observer | None = None) -> Calibration:
    """The daily calibration: offsets and bends of the ADCs, by MVMs on what the chip holds. No pulse, no device read.

    The calibration's trims are written first. Everything else is carried over with its date, and so is what a column
    is known by whose converter shows less well now than RENEWED; `skipped` tells how many. Raises BadInputError for
    another chip or temperature, or where a core holds too little to drive its converters.
    """
    base.for_chip(backend)
    if away := base.away_from(backend):
        raise BadInputError(f"{away[0]}, in full (the daily one renews the converters' part alone)")
    base.write_trims(backend)
    created, clock, before = datetime.now(UTC), backend.now(), backend.counts
    cores: dict[int, CoreCalibration] = {}
    skipped = {name: reason for name, reason in base.skipped.items() if not name.endswith(DAILY_NAME)}
    for number, (index, core) in enumerate(sorted(base.cores.items())):
        cores[index] = core
        if core.converters is None:
            continue
        tick = ticker(observer, number, len(base.cores), index, Plan(("adc",)))
        fresh = _converters_now(backend, index, DAILY, np.random.default_rng([seed, index]), tick)
        shown = np.zeros(1, bool) if fresh is None else ~fresh.silent & (fresh.offset_sigma < RENEWED)
        if fresh is None or shown.mean() < LEAST_RENEWED:
            raise BadInputError(
                f"core {index}: holds too little to drive its converters ({int(shown.sum())} of "
                f"{backend.info.columns} columns show theirs); program it first, or run a full calibration"
            )
        if not shown.all():
            skipped[f"core {index}: {DAILY_NAME}"] = (
                f"{int((~shown).sum())} of {shown.size} columns hold too little to show their converters; what is "
                f"known of them is of {base.dates['converters']:%Y-%m-%d %H:%M} UTC or before"
            )
        merged = {
            name: np.where(shown, getattr(fresh, name), getattr(core.converters, name))
            for name in ("offset", "offset_sigma", "square", "square_sigma", "cubic", "cubic_sigma", "noise")
        }
        silent = core.converters.silent & ~shown
        converters = replace(core.converters, **merged, silent=silent, adc_noise=fresh.adc_noise)
        cores[index] = replace(core, converters=converters)
    return replace(
        base,
        created=created,
        cores=cores,
        dates={**base.dates, "converters": created},
        seed=seed,
        clock=clock,
        cost=plain_counts(backend.counts - before),
        skipped=skipped,
        settings={"renewed": ["adc"]},
    )


@dataclass(frozen=True)
class Finding:
    """One comparison of a calibration with a probe."""

    core: int
    what: str
    compared: int
    moved: int
    """Values beyond MOVED standard deviations."""
    worst: float
    """Largest difference in standard deviations."""

    @property
    def expected(self) -> bool:
        """Whether this is what chance alone brings."""
        return self.moved == 0


def check(calibration: Calibration, backend: Backend, *, seed: int = 1) -> list[Finding]:
    """Measure a small probe, MVMs alone, under the calibration's trims, and compare it with the calibration.

    Idle outputs show the offsets whatever a core holds; curves are compared on columns that conduct enough. Raises
    BadInputError for another chip.
    """
    calibration.for_chip(backend)
    backend.require(Capability.MVM, "checking a calibration")
    calibration.write_trims(backend)
    findings: list[Finding] = []
    if math.isfinite(calibration.temperature) and Capability.TEMPERATURE in backend.info.capabilities:
        away = abs(backend.temperature() - calibration.temperature)
        findings.append(
            Finding(
                -1, f"temperature ({away:.1f} K away)", 1, int(away > TEMPERATURE_WINDOW), away / TEMPERATURE_WINDOW
            )
        )
    for index, core in sorted(calibration.cores.items()):
        known = core.converters
        if known is None:
            continue
        region = whole_core(backend, index)
        idle = region.mvm(idle_inputs(region))
        findings.append(
            _compare(
                index, "offsets, by idle outputs", *_idle_difference(idle, known, backend.info.code_max), ~known.silent
            )
        )
        now = _converters_now(backend, index, PROBE, np.random.default_rng([seed, index]), quiet)
        if now is None:
            continue
        both = ~known.silent & ~now.silent
        for name, label in (("offset", "offsets"), ("square", "second-order bends"), ("cubic", "third-order bends")):
            difference = getattr(now, name) - getattr(known, name)
            sigma = np.hypot(getattr(now, f"{name}_sigma"), getattr(known, f"{name}_sigma"))
            findings.append(_compare(index, label, difference, sigma, both))
    return findings


def _converters_now(
    backend: Backend, core: int, settings: ConverterSettings, rng: np.random.Generator, tick: Tick
) -> ConverterResult | None:
    """Converters as the core's present contents show them; None where they drive no column far enough."""
    region = whole_core(backend, core)
    rows = region.place.rows
    enough = replace(settings, adc_vectors=max(settings.adc_vectors, 2 * (rows + 4)))
    try:
        found = ConverterCalibration(enough).run(region, rng, tick)
    except (LinkError, InstrumentError, ClosedError):
        raise
    except ChipError:
        return None
    return None if found.silent.all() else found


def _idle_difference(codes: Any, known: ConverterResult, code_max: int) -> tuple[FloatArray, FloatArray]:
    """Mean idle outputs less what rounding makes of the known offsets and noise, and the standard deviations."""
    expected, sigma = known.idle_mean(code_max)
    return codes.mean(0) - expected, np.hypot(codes.std(0) / math.sqrt(len(codes)) + ROUNDED, sigma)


def _compare(core: int, what: str, difference: FloatArray, sigma: FloatArray, which: Any) -> Finding:
    far = np.abs(difference[which]) / np.maximum(sigma[which], 1e-12)
    worst = float(far.max()) if far.size else 0.0
    return Finding(core, what, int(far.size), int((far > MOVED).sum()), worst)
