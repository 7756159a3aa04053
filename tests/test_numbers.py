"""Numbers that steer the program and are no user's settings: what each is stands here a second time.

As the tables of settings do, it makes a change of one a change that is meant: of limits that hostile input meets, of
what is shown, of sizes and patience.
"""

from __future__ import annotations

import importlib

import pytest

NUMBERS: dict[str, dict[str, object]] = {
    "calibration.programming.noise_scale.RULE": {
        "groups": 8,
        "cells": 25,
        "surprise": 3.0,
        "memory": 0.7,
    },
    "calibration.programming.slow_noise.RULE": {
        "time": 1.5,
    },
    "calibration.programming.stuck_hypotheses.LEVELS": {
        "reset": 0.05,
        "set": 0.1,
        "anywhere": (0.5, 0.35),
        "rarely": 0.05,
        "outliers": 0.001,
    },
    "calibration.programming.stuck_search.RULE": {
        "far": 4.5,
        "loaded": 0.1,
        "evidence": 4.0,
        "most_evidence": 3.0,
        "ask_from": 0.006,
        "sure": 10000.0,
        "answered": 0.1,
        "answering": 0.9,
        "fewest": 1e-05,
        "suspected": 0.001,
        "most": 0.1,
        "rounds": 10,
        "asked": (0.1, 1.0, 10),
        "known": 0.03,
        "pulses_left": 2,
        "rounds_left": 10,
        "unsure": 0.08,
    },
    "calibration.routines.pooling.PRIOR": {
        "narrowest": 0.02,
        "widest": 50.0,
        "count": 200,
        "outlying": 4.0,
    },
    "chip.cell_calibration.CAPACITY": {
        "weak_below": 0.8,
        "weak_reach": 0.9,
        "reach": 0.95,
        "overdrive": 1.05,
    },
    "chip.checks.REQUESTS": {
        "averages": 2**16,
        "placed_over_g_max": 2.0,
        "youngest": 1e-09,
        "oldest": 1000000000000.0,
        "rounding": 1e-05,
    },
    "cli.live.LOOK": {
        "bar": 24,
        "tiles": 8,
        "tiles_after": 5.0,
        "name": 24,
        "a_second": 4.0,
    },
    "cli.logs.RULES": {
        "kept": 100,
    },
    "custody.ledger.SETTINGS": {
        "patience": 10.0,
        "rows": 4096,
        "application": 0x48574C50,
        "version": 1,
    },
    "custody.lock.SETTINGS": {
        "longest_name": 200,
        "shown": 160,
        "largest": 2**16,
    },
    "devices.drift.PUBLISHED_DRIFT": {
        "t0": 20.0,
        "g_scale": 25.0,
    },
    "devices.read_noise.PUBLISHED_READ_NOISE": {
        "t_read": 2.5e-07,
        "g_scale": 25.0,
    },
    "devices.time_law.POWER_LAW": {
        "onset": 0.0,
        "curvature": 0.0,
        "bend": 0.0,
    },
    "drivers.bench.wire.LIMITS": {
        "seconds": 10.0,
        "answers": 16,
    },
    "drivers.bench.wire.SCPI": {
        "longest": 64,
    },
    "drivers.bench.wire.TSP": {
        "longest": 64,
    },
    "drivers.identity.LIMITS": {
        "fields": 3,
        "quiet": 2.0,
    },
    "drivers.link.SIZES": {
        "piece": 2**16,
        "socket_piece": 4096,
        "line": 1024,
        "drained": 1024,
    },
    "drivers.selftest.SETTINGS": {
        "echo_bytes": (0, 1, 255, 4096, 65537, 1_000_000),
        "vectors": 32,
        "relative": 0.25,
        "codes": 3.0,
    },
    "drivers.session.SESSION_LIMITS": {
        "attempts": 3,
        "stale_answers": 8,
        "answer_overhead": 4096,
        "first_buffer": 2**20,
        "shown": 60,
    },
    "drivers.visa_chip.LINK": {
        "timeout": 5.0,
        "longest_timeout": 3600.0,
        "overhead": 512,
        "seconds_per_byte": 2e-06,
        "seconds_per_state": 30.0,
        "seconds_per_slot": 0.0001,
        "tokens_since": (1, 3),
        "columns_since": (1, 3),
        "clock_margin": 0.01,
    },
    "files.activations.LIMITS": {
        "vectors": 64,
        "size": 2**31,
    },
    "files.hdf5.LIMITS": {
        "depth": 32,
        "unpacked": 2000,
        "empty": 2**20,
    },
    "files.model_file.LIMITS": {
        "size": 2**26,
        "number": 1e30,
    },
    "files.packing.PACKING": {
        "level": 2,
        "chunk": 2**24,
        "small": 4096,
        "sample": 1024,
        "dice": 4096,
        "bits": 7.0,
        "runs": 0.9,
    },
    "files.predictions.NEAR": {
        "kelvin": 5.0,
        "age": 1.1,
    },
    "files.trial.LIMITS": {
        "seconds": 8.0,
        "reading": 3.0,
        "memory": 2**32,
        "piece": 2**22,
    },
    "fleet.processes.SETTINGS": {
        "attempts": 3,
        "poll": 0.2,
        "patience": 60.0,
    },
    "jobs.needs.SETTINGS": {
        "per_device": 10.0,
        "per_device_of_state": 13.0,
        "per_device_read": 56.0,
        "of_file": 200000.0,
        "of_tile": 30000.0,
        "per_device_in_memory": 370.0,
        "of_program": 350000000.0,
        "states": 3,
        "state": 32.0,
        "read": 8,
        "vectors": 4000,
        "said_seconds": 600.0,
        "said_bytes": 100000000.0,
    },
    "mapping.clip.STANDARD": {
        "levels": 64,
        "lowest": 0.1,
    },
    "mapping.split_table.STANDARD": {
        "points": 256,
        "trim_share": 1.0,
        "last_look": 0.5,
    },
    "notebook.card.LOOK": {
        "rows": 12,
    },
    "pages.terminal.SCREENFUL": {
        "rows": 12,
        "letters": 160,
    },
    "pages.terminal.AT_THE_END": {
        "rows": 12,
        "letters": 160,
    },
    "pages.terminal.ENTIRE": {
        "letters": 160,
    },
    "pages.terminal.ROOM": {
        "gap": 2,
        "text": 10,
        "name": 14,
        "long_name": 30,
        "heading": 7,
    },
    "plot.style.SCREEN": {
        "size": (7.0, 4.5),
        "font_size": 10.0,
        "line_width": 1.5,
    },
    "plot.style.PAPER": {
        "size": (3.5, 2.6),
        "font_size": 7.0,
        "line_width": 1.0,
    },
    "scpi.limits.LIMITS": {
        "mnemonic": 12,
        "error_text": 255,
        "error_queue": 32,
        "integer": 20,
        "nondecimal": 64,
        "checksum": 4,
        "shown": 96,
    },
    "scpi.token.LIMITS": {
        "shortest": 16,
        "longest": 1024,
        "challenge": 16,
    },
    "sim_backend.devices.pcm.ASSUMED": {
        "youngest": 1e-06,
        "thermal_time": 10.0,
        "reset_contrast": 0.001,
        "age_at_delivery": 1000000.0,
        "weak_g_max": 0.5,
        "weak_jitter": 3.0,
        "unchanged": 0.0001,
    },
    "sim_backend.noise.LADDER": {
        "first_tau_in_reads": 40.0,
        "slowest_tau": 1000000000.0,
        "negligible": 0.03,
        "silent": 1e-24,
    },
    "sim_backend.statistical.settings.SETTINGS": {
        "cells": 2**16,
        "zeros": 0.04,
        "largest": 0.004,
        "uniform": 0.1,
        "width_step": 1.25,
        "widths": (-13, -4),
        "window": 256,
        "grid": 8192,
        "fewest_rows": 16,
        "fewest_columns": 16,
        "stuck_rate": 0.002,
        "stuck_window": 8,
        "seed": 20201,
        "kept": 16,
        "block": 2**15,
        "at_once": 0.01,
        "unchanged": 0.001,
        "moments": 8,
    },
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_of_the_table(name: str) -> None:
    module, _, constant = name.rpartition(".")
    made = getattr(importlib.import_module(f"hwloop.{module}"), constant)
    found = {number: getattr(made, number) for number in NUMBERS[name]}
    assert found == NUMBERS[name]
