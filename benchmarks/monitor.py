"""How often the age at which a limit is passed lies in the interval that was foretold, before and after a refresh.

    python benchmarks/monitor.py [--preset hermes-core] [--seeds 22] [--first 401] [--drift 1.0]

128 x 128 Gaussian matrix clipped at 3 sigma, one gain per column made anew at every look. It is watched until 30 days,
then refreshed and watched on. `--drift` scales the drift of the chip, not that of the model it is foretold by.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
from machine import machine
from programming import clipped_gaussian

import hwloop
from hwloop.calibration.drift.base import uncompensated
from hwloop.calibration.drift.monitor import Crossing, learn_growth, predict_crossing
from hwloop.calibration.drift.refresh import Refresh
from hwloop.calibration.drift.registry import make_compensation
from hwloop.calibration.drift.study import DriftStudy
from hwloop.files.runs import read_run
from hwloop.jobs.tasks import Task, program_to_file

LIMITS = (0.10, 0.12, 0.15)
HOUR, MONTH = 3600.0, 30 * 86400.0
LOOKS = np.geomspace(100.0, 1e10, 34)
"""Seconds after programming, and after the refresh, at which the error is measured to see when it passes a limit."""


def passing(limit: float, times: np.ndarray, errors: np.ndarray) -> float:
    """The time at which squared errors first exceed the limit, between looks by log time; infinite if never."""
    squares = errors**2
    beyond = np.nonzero(squares > limit**2)[0]
    if not beyond.size or beyond[0] == 0:
        return math.inf if not beyond.size else float(times[0])
    k = int(beyond[0])
    part = (limit**2 - squares[k - 1]) / (squares[k] - squares[k - 1])
    return float(times[k - 1] * (times[k] / times[k - 1]) ** part)


def main() -> None:
    """Print for each limit how many intervals hold the truth, and how wide they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="hermes-core")
    parser.add_argument("--seeds", type=int, default=22)
    parser.add_argument("--first", type=int, default=401)
    parser.add_argument("--drift", type=float, default=1.0)
    arguments = parser.parse_args()
    print(machine(), "\n")
    rows: dict[tuple[str, float], list[tuple[bool, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            uri = f"sim:{arguments.preset}?rows=128&columns=128&seed={seed}&drift={arguments.drift}"
            for name, limit, since, foretold, true in watched(uri, arguments.preset, seed, Path(folder)):
                low, high = foretold.earliest - since, foretold.latest - since
                rows.setdefault((name, limit), []).append((low <= true <= high, math.log10(high / low)))
    for (name, limit), found in sorted(rows.items()):
        inside, widths = zip(*found, strict=True)
        print(f"{name:<28} {limit:.2f}: {sum(inside)} of {len(inside)}, {np.median(widths):.1f} decades wide")


def watched(uri: str, preset: str, seed: int, folder: Path) -> list[tuple[str, float, float, Crossing, float]]:
    """What was foretold, the time it counts from, and the time after that at which each limit was passed."""
    np.save(folder / "w.npy", clipped_gaussian(128, 128, seed))
    program_to_file(Task(str(folder / "w.npy"), uri, seed=seed), "gdp", folder / "run.h5", force=True)
    with hwloop.connect(f"sim:{preset}") as nominal, hwloop.connect(uri) as chip:
        model = nominal.info.device_model
        assert model is not None
        holding = DriftStudy(read_run(folder / "run.h5"), chip, drift=model.drift)
        (held,), column, calibrated = holding.held, make_compensation("column"), holding.calibrated
        assert held.forecast is not None
        expected = held.forecast.mvm_error

        def error(age: float) -> float:
            holding.wait_until(age)
            return holding.evaluate([column])["column"].mvm_error

        ages = [calibrated, HOUR, MONTH]
        errors = [holding.mvm_error_then, error(HOUR), error(MONTH)]
        state, told = chip.export_state(), []
        later = LOOKS[LOOKS > 1.2 * MONTH]
        course = np.array([*errors, *(error(age) for age in later)])
        for limit in LIMITS:
            foretold = predict_crossing(limit, ages[:2], errors[:2], calibrated, expected)
            true = passing(limit, np.array([*ages, *later]), course)
            told.append(("programmed, seen for an hour", limit, 0.0, foretold, true))
        chip.import_state(state)
        growth = learn_growth(ages, errors, calibrated, expected).after_refresh()
        Refresh().make(held, uncompensated(held))
        start, since = held.age, held.since
        after = np.array([error(age) for age in [start, *(start + LOOKS)]])
        for limit in LIMITS:
            foretold = predict_crossing(
                limit, [start], [after[0]], start, held.forecast.mvm_error, since=since, growth=growth
            )
            true = passing(limit, np.array([start, *(start + LOOKS)]) - since, after)
            told.append(("refreshed after 30 days", limit, since, foretold, true))
    return told


if __name__ == "__main__":
    main()
