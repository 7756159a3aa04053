"""Foreign laws: data that no power law with normal coefficients and noise made are noticed, and refitted.

    python benchmarks/foreign_laws.py [warned|false-alarms|refitted ...] [--sets N] [--devices N]

Each data set has 5 000 devices, or as many as are asked for, read at 13 ages up to 3e4 s. Fewer devices show less of a
foreign law. `warned` counts the sets of each law of which a fit is warned by its own checks, `false-alarms` those of
true models, and `refitted` fits the alternative and says how many of the later reads, 100 times further than measured,
its 90 % intervals hold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from machine import machine, verdict

from hwloop.calibration.fitting.checks import with_reads
from hwloop.calibration.fitting.drift import (
    CurvedDrift,
    DriftFamily,
    HeavyTailedDrift,
    OnsetDrift,
    SplineDrift,
    TelegraphDrift,
)
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.sim_backend.presets import PRESETS

PCM = PRESETS["pcm-90nm"]().device
"""The published statistics of the million-device array."""
AGES = np.geomspace(1.0, 3e4, 13)
LATER = 3e6
"""Seconds: 100 times the measured span."""
DEVICES, SEEDS, TRUE_SEEDS = 5_000, range(500, 520), range(600, 700)


@dataclass(frozen=True)
class Drawn:
    """Devices, and what a read of them would be without noise."""

    rng: np.random.Generator
    conductance: np.ndarray
    """(devices,) uS, at t0."""
    nu: np.ndarray
    """(devices,)"""
    ages: np.ndarray
    """(times,) seconds."""

    @property
    def x(self) -> np.ndarray:
        """(times, 1) ln(t / t0)."""
        return np.log(self.ages / PCM.drift.t0)[:, None]

    def measured(self, log_factor: np.ndarray, noise: np.ndarray) -> Measurement:
        """Return reads (times, devices): G(t0) exp(log_factor) (1 + sigma noise), with the noise of averaged reads."""
        sigma = np.stack([0.25 * PCM.read_noise.relative_sigma(self.conductance, age) for age in self.ages.tolist()])
        reads = self.conductance * np.exp(log_factor) * (1.0 + sigma * noise)
        attributes: dict[str, str | int | float | bool] = {"t0": PCM.drift.t0, "g_max": PCM.drift.g_scale}
        return Measurement.of(Experiment.DRIFT, self.ages, reads, None, 300.0, attributes)

    def normal(self) -> np.ndarray:
        """Draw a standard normal number for every read."""
        return self.rng.standard_normal((self.ages.size, self.nu.size))


def drawn(seed: int, devices: int = DEVICES) -> Drawn:
    """Draw devices of the published drift, ln G uniform from 1 to 25 uS."""
    rng = np.random.default_rng(seed)
    conductance = np.exp(rng.uniform(0.0, np.log(25.0), devices))
    g = conductance / PCM.drift.g_scale
    nu = PCM.drift.mean(g) + PCM.drift.spread(g) * rng.standard_normal(devices)
    return Drawn(rng, conductance, nu, np.append(AGES, LATER))


def power_law(one: Drawn) -> Measurement:
    """Draw G(t0) (t / t0)^-nu: what the fit takes for granted."""
    return one.measured(-one.nu * one.x, one.normal())


def onset(one: Drawn) -> Measurement:
    """Draw (1 + t / 300 s)^-nu."""
    since = np.log((one.ages[:, None] + 300.0) / (PCM.drift.t0 + 300.0))
    return one.measured(-one.nu * since, one.normal())


def curved(one: Drawn) -> Measurement:
    """Give a slope that grows with ln t, in proportion to each device's own."""
    return one.measured(-one.nu * one.x * (1.0 + 0.04 * one.x), one.normal())


def bent(one: Drawn) -> Measurement:
    """Give a slope that grows with ln t, for all devices alike."""
    return one.measured(-one.nu * one.x - 0.002 * one.x**2, one.normal())


def step(one: Drawn) -> Measurement:
    """Let all conductances fall by 8 % before 3e4 s."""
    return one.measured(-one.nu * one.x + np.log(0.92) * (one.ages[:, None] > 2.9e4), one.normal())


def bimodal(one: Drawn) -> Measurement:
    """Mix two kinds of devices, with coefficients of 0.03 and 0.08."""
    nu = np.where(one.rng.random(one.nu.size) < 0.5, 0.03, 0.08) + 0.005 * one.rng.standard_normal(one.nu.size)
    return replace(one, nu=nu).measured(-nu * one.x, one.normal())


def heavy_tailed(one: Drawn) -> Measurement:
    """Draw noise of reads by Student's t with 2.2 degrees of freedom."""
    return one.measured(-one.nu * one.x, one.rng.standard_t(2.2, (one.ages.size, one.nu.size)))


def telegraph(one: Drawn) -> Measurement:
    """Let 41 % of the cells switch between two conductances, 3 to 20 % apart."""
    amplitude = np.exp(one.rng.uniform(np.log(0.03), np.log(0.2), one.nu.size))
    amplitude *= one.rng.random(one.nu.size) < 0.41
    low = one.rng.random((one.ages.size, one.nu.size)) < one.rng.uniform(0.2, 0.8, one.nu.size)
    return one.measured(-one.nu * one.x + np.log1p(-amplitude * low), one.normal())


def jumps(one: Drawn) -> Measurement:
    """Let 20 % of the cells jump once, by 10 % either way."""
    when = np.exp(one.rng.uniform(0.0, np.log(AGES[-1]), one.nu.size))
    height = 0.1 * one.rng.choice([-1.0, 1.0], one.nu.size) * (one.rng.random(one.nu.size) < 0.2)
    return one.measured(-one.nu * one.x + height * (one.ages[:, None] > when), one.normal())


LAWS: dict[str, Callable[[Drawn], Measurement]] = {
    "onset at 300 s": onset,
    "curvature": curved,
    "curvature alike": bent,
    "step of 8 %": step,
    "bimodal nu": bimodal,
    "noise t(2.2)": heavy_tailed,
    "telegraph in 41 %": telegraph,
    "jumps in 20 %": jumps,
}


def parted(whole: Measurement) -> tuple[Measurement, Measurement]:
    """Return what was measured, and the later reads."""
    return with_reads(whole, whole.reads.time < LATER), with_reads(whole, whole.reads.time >= LATER)


REFITTED: dict[str, DriftFamily] = {
    "onset at 300 s": OnsetDrift(),
    "curvature": CurvedDrift(),
    "curvature alike": CurvedDrift(),
    "noise t(2.2)": HeavyTailedDrift(),
    "telegraph in 41 %": TelegraphDrift(),
}
"""Law -> the alternative that describes it."""


def warned(sets: int, devices: int) -> None:
    """Count the data sets of each law of which the fit of a power law is warned, or which it refuses."""
    print(
        f"\nForeign laws, {sets} data sets of {devices} devices each: fits of 'spline' that are warned by their checks"
    )
    for name, law in LAWS.items():
        seen = [one for seed in SEEDS[:sets] if (one := warnings_of(parted(law(drawn(seed, devices)))[0]))]
        verdict(f"{name}: not warned", sets - len(seen), 0, 0)
        print(f"    such as: {seen[0] if seen else '-'}", flush=True)


def warnings_of(measurement: Measurement) -> str:
    """Return what is warned of first, or why there is no fit; empty where all is well."""
    try:
        return next(iter(SplineDrift().fit(measurement)[0].record.warnings), "")
    except BadInputError as error:
        return f"refused: {error}"


def false_alarms(sets: int, devices: int) -> None:
    """Count the fits of true models that are warned."""
    print(f"\nTrue power laws, {devices} devices each: fits that are warned")
    seen = [one for seed in TRUE_SEEDS[: 5 * sets] if (one := warnings_of(parted(power_law(drawn(seed, devices)))[0]))]
    for one in seen:
        print(f"    {one}")
    verdict(f"false alarms in {5 * sets} data sets", len(seen), 5 * sets // 20, 0)


def refitted(sets: int, devices: int) -> None:
    """Share of later reads within the 90 % intervals of the alternative."""
    print(
        f"\nRefitted by their alternative: reads at {LATER:g} s within 90 % intervals, of {sets} data sets of "
        f"{devices} devices each"
    )
    for name, family in REFITTED.items():
        shares = [foretold(family, *parted(LAWS[name](drawn(seed, devices)))) for seed in SEEDS[:sets]]
        mean = 100 * float(np.mean(shares))
        print(f"  {name}, {family.name}: {mean:.1f} % ({100 * min(shares):.1f} to {100 * max(shares):.1f})", flush=True)
        verdict(f"{name}: distance from 90 %", abs(mean - 90), 5.0, 1)


def foretold(family: DriftFamily, measurement: Measurement, later: Measurement) -> float:
    """Share of the later reads within the 90 % interval of each device."""
    fitted, table = family.fit(measurement)
    found = family.foretold(table, fitted.optimum.theta, measurement, later)
    found = found[np.isfinite(found)]
    return float(np.mean((found > 0.05) & (found < 0.95)))


PARTS = {"warned": warned, "false-alarms": false_alarms, "refitted": refitted}


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--sets", type=int, default=len(SEEDS), help="data sets of each law")
    parser.add_argument("--devices", type=int, default=DEVICES, help="of each data set")
    chosen = parser.parse_args()
    print(machine())
    for name in chosen.parts or list(PARTS):
        PARTS[name](chosen.sets, chosen.devices)


if __name__ == "__main__":
    main()
