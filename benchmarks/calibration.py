"""Calibration against injected truth: every figure beside its bound.

    python benchmarks/calibration.py [--seeds 3] [--first 1]

Converters, stuck devices, wires, the noise floor, and what programming gains from all of them, on simulated chips whose
truth is known. It takes about a quarter of an hour on two idle cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from machine import machine, verdict

import hwloop
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.renewal import renew
from hwloop.calibration.certificate.session import calibrate
from hwloop.calibration.certificate.use import region_of
from hwloop.calibration.evaluation import measure_outputs
from hwloop.calibration.routines.floor import reference_matrix
from hwloop.calibration.routines.results import Fault
from hwloop.chip.backend import Backend
from hwloop.mapping.columns import ColumnCorrection

BAD_CONVERTERS = "adc_gain_spread=0.05&adc_offset_spread=2&adc_nonlinearity=2&dac_nonlinearity=2"
IDEAL_CONVERTERS = "adc_gain_spread=0&adc_offset_spread=0&adc_nonlinearity=0&dac_nonlinearity=0"
WITHIN = 1.96
SMALL_CHIPS = 100


def open_chip(uri: str) -> Backend:
    """Open a simulated chip whose first core is made, which is not part of what is measured."""
    chip = hwloop.connect(uri)
    chip.mvm(0, np.zeros((1, chip.info.rows), np.int32))
    return chip


def inside(chip: Any) -> Any:
    """Return the truth about core 0 of a simulated chip."""
    return chip._cores[0]


def programmed(uri: str, seed: int, known: Calibration | None, method: str = "gdp") -> tuple[float, float]:
    """MVM error of the reference matrix, and pulses per device."""
    with open_chip(uri) as chip:
        weights = hwloop.matrices({"reference": reference_matrix(chip.info.columns, chip.info.rows, seed)})
        run = hwloop.program(chip, weights, method, seed=seed, calibration=known)
        return run.mvm_error, chip.counts.pulses / chip.info.devices_per_core


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1)
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    print(machine(), "\n")
    converters(seeds)
    shared_bends(seeds[0])
    stuck(seeds)
    wires(seeds)
    floor(seeds)
    whole_core(seeds)
    off_nominal(seeds)
    known_faults(seeds)
    duration()


def converters(seeds: range) -> None:
    """Offsets, gains and bends, and how often the stated intervals hold the truth."""
    worst: dict[str, list[float]] = {"offset": [], "gain": [], "gain_product": [], "adc": [], "dac": []}
    covered: dict[str, list[float]] = {name: [] for name in ("offset", "gain", "cubic", "shift", "height")}
    for preset in ("hermes-core", "pcm-90nm"):
        for seed in seeds:
            with open_chip(f"sim:{preset}?seed={seed}&{BAD_CONVERTERS}") as chip:
                known = calibrate(chip, seed=seed).cores[0]
                c, g, p, truth = known.converters, known.gains, known.programming_curve, inside(chip)
                assert c is not None
                assert g is not None
                assert known.devices is not None
                true = truth.converters
                gain = true.gain.numpy() / true.gain.numpy().mean()
                good = (known.devices.fault == Fault.GOOD).reshape(known.devices.fault.shape)
                height = truth.devices.g_max.numpy().reshape(good.shape)
                reference = np.where(good, height, 0).sum((0, 1, 2)) / good.sum((0, 1, 2))
                errors = {
                    "offset": (c.offset - true.offset.numpy(), c.offset_sigma),
                    "gain": (g.gain - gain, g.gain_sigma),
                    "cubic": (c.third_order - true.nonlinearity.numpy(), c.third_order_sigma),
                    "shift": shift_errors(chip, p, good),
                    "height": height_errors(chip, p, good),
                }
                for name, (error, sigma) in errors.items():
                    covered[name].append(float(np.mean(np.abs(error) < WITHIN * sigma)))
                product = g.gain / (gain * reference / reference.mean()) - 1
                worst["offset"].append(float(np.abs(errors["offset"][0]).max()))
                worst["gain"].append(float(np.std(errors["gain"][0])))
                worst["gain_product"].append(float(np.std(product)))
                worst["adc"].append(float(np.abs(errors["cubic"][0]).max()))
                worst["dac"].append(float(np.abs(c.row_third_order - 2.0).max()))
    verdict("column offset, worst of all columns and seeds, LSB", max(worst["offset"]), 0.1, 3)
    verdict("column gain with its SET devices as reference, standard deviation", max(worst["gain_product"]), 0.003, 4)
    print(f"  column gain itself (devices differ from column to column): {max(worst['gain']):.4f} standard deviation")
    verdict("2 LSB third-order ADC: peak residual, worst column, LSB", max(worst["adc"]), 0.5, 3)
    verdict("2 LSB third-order DAC: peak residual, worst row, LSB", max(worst["dac"]), 0.5, 3)
    for name, shares in covered.items():
        print(f"  95 % intervals of {name:<10} hold the truth in {100 * np.mean(shares):.1f} % (92 to 98 %)")


def shared_bends(first: int) -> None:
    """Intervals of bends that all converters of a chip have in common: one value for each chip, so many small chips."""
    hits: dict[str, list[bool]] = {"second_order": [], "row_second_order": [], "row_third_order": []}
    for preset in ("hermes-core", "pcm-90nm"):
        for seed in range(first, first + SMALL_CHIPS):
            with open_chip(f"sim:{preset}?rows=64&columns=64&seed={seed}&{BAD_CONVERTERS}") as chip:
                found = calibrate(chip, Plan(("dac",)), seed=seed).cores[0].converters
                assert found is not None
                for name, values in hits.items():
                    true = 2.0 if name == "row_third_order" else 0.0
                    error = np.mean(getattr(found, name)) - true
                    values.append(bool(abs(error) < WITHIN * np.median(getattr(found, f"{name}_sigma"))))
    for name, values in hits.items():
        print(f"  95 % intervals of {name:<16} hold the truth on {sum(values)} of {len(values)} chips of 64 x 64")


def shift_errors(chip: Any, found: Any, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error of each good device's curve along the amplitude, uA, and its stated uncertainty."""
    true = inside(chip).devices.midpoint.numpy().reshape(good.shape)
    return (found.midpoint + found.shift - true)[good], found.shift_sigma[good]


def height_errors(chip: Any, found: Any, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error of each good device's height over the typical one, and its stated uncertainty."""
    true = inside(chip).devices.g_max.numpy().reshape(good.shape)
    return (found.height - true / np.median(true))[good], found.height_sigma[good]


def stuck(seeds: range) -> None:
    """Precision and recall of stuck devices."""
    precision, recall, most = [], [], 0
    for preset in ("hermes-core", "pcm-90nm"):
        for seed in seeds:
            with open_chip(f"sim:{preset}?seed={seed}&stuck_rate=0.01&weak_rate=0.005") as chip:
                found = calibrate(chip, seed=seed).cores[0].devices
                assert found is not None
                truth = inside(chip).devices.stuck.numpy().reshape(found.fault.shape)
                said = (found.fault == Fault.STUCK_SET) | (found.fault == Fault.STUCK_RESET)
                precision.append(float((said & truth).sum() / said.sum()))
                recall.append(float((said & truth).sum() / truth.sum()))
                most = max(most, int(chip.pulse_counts(0).max()))
    verdict("stuck devices at 1 %: 1 - precision, worst", 1 - min(precision), 0.01, 4)
    verdict("stuck devices at 1 %: 1 - recall, worst", 1 - min(recall), 0.01, 4)
    verdict("pulses on any device in a full calibration", most, 6, 0)


def wires(seeds: range) -> None:
    """Relative error of the wire resistance."""
    worst = 0.0
    for preset in ("hermes-core", "pcm-90nm"):
        for ohm in (0.1, 0.5, 2.0):
            with open_chip(f"sim:{preset}?seed={seeds[-1]}&wire_resistance={ohm}") as chip:
                found = calibrate(chip, seed=1).cores[0].wires
                assert found is not None
                print(f"  {preset}, {ohm} ohm per cell: found {found.resistance:.4f} +- {found.resistance_sigma:.4f}")
                worst = max(worst, abs(found.resistance / ohm - 1))
    verdict("wire resistance, worst relative error", worst, 0.1, 3)


def floor(seeds: range) -> None:
    """Print the floor as calibration states it, over that of exact placement."""
    worst = 0.0
    options = ("", "&adc_bits=6", "&adc_bits=10&adc_noise=1", "&read_noise=0.3", f"&{BAD_CONVERTERS}")
    for preset in ("hermes-core", "pcm-90nm", "pcm-ideal"):
        ideal = ("", "&adc_bits=8", "&adc_bits=6", "&adc_bits=8&adc_noise=0.3", f"&adc_bits=8&{BAD_CONVERTERS}")
        for extra in ideal if preset == "pcm-ideal" else options:
            for seed in seeds:
                uri = f"sim:{preset}?seed={seed}{extra}"
                with open_chip(uri) as chip:
                    known = calibrate(chip, seed=seed)
                stated = known.cores[0].floor
                assert stated is not None
                exact = exactly(uri, known)
                worst = max(worst, abs(stated.error / exact - 1))
                said = f"stated {stated.error:.4g} +- {stated.error_sigma:.2g}, exact placement {exact:.4g}"
            print(f"  {uri}: {said}")
    verdict("floor against exact placement, worst relative error", worst, 0.05, 3)


def exactly(uri: str, known: Calibration) -> float:
    """MVM error of the calibration's own reference matrix, placed exactly."""
    with open_chip(uri) as chip:
        weights = hwloop.matrices({"reference": reference_matrix(chip.info.rows, chip.info.columns).T})
        return hwloop.program(chip, weights, "exact", calibration=known).mvm_error


def whole_core(seeds: range) -> None:
    """Compare a programmed core with bad converters, calibrated, to no calibration at all and to ideal converters.

    Read noise alone is over half of the uncalibrated error of `hermes-core`: no calibration can bring it to a third.
    What converters add to the floor can be, so errors are also compared in excess of it, and on devices without noise.
    """
    for chip_name in ("hermes-core", "pcm-ideal"):
        bits = "" if chip_name == "hermes-core" else "&adc_bits=8&adc_noise=0.3"
        rows = []
        for seed in seeds:
            bad = f"sim:{chip_name}?seed={seed}&{BAD_CONVERTERS}{bits}"
            with open_chip(bad) as chip:
                known = calibrate(chip, seed=seed)
            ideal = f"sim:{chip_name}?seed={seed}&{IDEAL_CONVERTERS}{bits}"
            rows.append(
                (
                    programmed(bad, seed, known)[0],
                    uncorrected(bad, seed),
                    programmed(ideal, seed, None)[0],
                    programmed(bad, seed, None)[0],
                    programmed(ideal, seed, None, "exact")[0],
                )
            )
        calibrated, plain, ideal_error, fitted, floor_ = (
            statistics.median(column) for column in zip(*rows, strict=True)
        )
        print(
            f"  {chip_name}: calibrated {calibrated:.4f}; nominal gains, no offsets {plain:.4f}; columns fitted "
            f"{fitted:.4f}; ideal converters {ideal_error:.4f}; their floor {floor_:.4f}"
        )
        excess = ((calibrated**2 - floor_**2) / (plain**2 - floor_**2)) ** 0.5
        verdict(f"bad converters, {chip_name}: calibrated over uncalibrated", calibrated / plain, 1 / 3, 3)
        verdict(f"bad converters, {chip_name}: the same in excess of the floor", excess, 1 / 3, 3)
        verdict(f"bad converters, {chip_name}: calibrated over ideal converters", calibrated / ideal_error, 1.1, 3)


def uncorrected(uri: str, seed: int) -> float:
    """MVM error after GDP when outputs are taken at their nominal gain, with no offset taken off."""
    with open_chip(uri) as chip:
        weights = hwloop.matrices({"reference": reference_matrix(chip.info.columns, chip.info.rows, seed)})
        run = hwloop.program(chip, weights, "gdp", seed=seed)
        item = run.tiles[0]
        region = region_of(chip, item.tile)
        nominal = ColumnCorrection(item.tile.scale * region.step, np.zeros(chip.info.columns))
        outputs = measure_outputs(region, item.tile.weights, nominal, np.random.default_rng(seed), 1024)
        return outputs.mvm_error


def off_nominal(seeds: range) -> None:
    """Pulses to the same error, from the calibrated programming curve and from the nominal one."""
    saved = []
    for preset in ("hermes-core", "pcm-90nm"):
        for error in (0.15, -0.15):
            for seed in seeds:
                uri = f"sim:{preset}?seed={seed}&current_error={error}"
                with open_chip(uri) as chip:
                    known = calibrate(chip, seed=seed)
                steps_known, final = error_by_pulses(uri, seed, known)
                steps_nominal, goal = error_by_pulses(uri, seed, None)
                needed = next(pulses for pulses, reached in steps_known if reached <= goal)
                saved.append(needed / steps_nominal[-1][0])
            print(
                f"  {preset}, currents {100 * error:+.0f} %: nominal curve {goal:.4f} after {steps_nominal[-1][0]:.2f} "
                f"pulses per device; calibrated one there after {needed:.2f}, and {final:.4f} in the end"
            )
    verdict("devices 15 % off: pulses with the calibrated curve over nominal, worst", max(saved), 0.7, 3)


def error_by_pulses(uri: str, seed: int, known: Calibration | None) -> tuple[list[tuple[float, float]], float]:
    """(pulses per device so far, MVM error seen by the method) after each step, and the final measured error."""
    with open_chip(uri) as chip:
        weights = hwloop.matrices({"reference": reference_matrix(chip.info.columns, chip.info.rows, seed)})
        run = hwloop.program(chip, weights, "gdp", seed=seed, calibration=known)
        steps = run.tiles[0].steps
        pulses = np.cumsum(steps.pulses) / chip.info.devices_per_core
        # The error of a step was measured before its pulses.
        seen = list(zip(pulses[:-1].tolist(), steps.mvm_error[1:].tolist(), strict=True))
        return seen, run.mvm_error


def known_faults(seeds: range) -> None:
    """Two per cent stuck devices: excess error over the floor, known against unknown."""
    for preset in ("hermes-core", "pcm-90nm"):
        ratios = []
        for seed in seeds:
            uri = f"sim:{preset}?seed={seed}&stuck_rate=0.02"
            with open_chip(uri) as chip:
                known = calibrate(chip, seed=seed)
            exact, _ = programmed(uri, seed, None, "exact")
            with_, without = programmed(uri, seed, known)[0], programmed(uri, seed, None)[0]
            ratios.append(((with_**2 - exact**2) / (without**2 - exact**2)) ** 0.5)
            print(f"  {uri}: floor {exact:.4f}, unknown {without:.4f}, known {with_:.4f}")
        verdict(f"2 % stuck, {preset}: excess error, known over unknown", statistics.median(ratios), 0.6, 3)


def duration() -> None:
    """Wall time of a full and of a daily calibration."""
    with open_chip(f"sim:hermes-core?seed=1&{BAD_CONVERTERS}") as chip:
        full, known = timed(lambda: calibrate(chip, seed=1))
        daily, renewed = timed(lambda: renew(replace(known), chip))
        verdict("full calibration of a 256 x 256 core, wall seconds", full, 20.0, 2)
        verdict("daily calibration, wall seconds", daily, 2.0, 2)
        print(
            f"  daily: {renewed.cost['mvms']:.0f} MVMs, {renewed.cost['pulses']:.0f} pulses, "
            f"{renewed.cost['chip_seconds']:.4f} s of chip time"
        )


def timed(job: Callable[[], Calibration]) -> tuple[float, Calibration]:
    """Seconds and result of a job."""
    begin = time.perf_counter()
    result = job()
    return time.perf_counter() - begin, result


if __name__ == "__main__":
    main()
