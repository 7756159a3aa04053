"""Speed, memory and physics of the simulated chips, against the bounds that the project sets itself.

    python benchmarks/simulator.py

It takes some minutes.
"""

from __future__ import annotations

import resource

import numpy as np
import torch
from machine import least_seconds, machine, median_seconds, verdict

import hwloop
from hwloop.calibration.programming.program_verify import ProgramVerify
from hwloop.calibration.steps import run
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.region import Region
from hwloop.mapping.partition import map_weights


def mvm_speed() -> None:
    """Pulse-level MVM, all effects but wires, beside a plain float32 product in the same process."""
    everything = "adc_nonlinearity=0.5&dac_nonlinearity=0.2&stuck_rate=0.01&weak_rate=0.01"
    print(f"matrix kernels: {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} thread(s)\n")
    print("tiles  rows  columns  vectors   x @ W, ms   the chip's MVM, ms   ratio")
    bounds = {(1, 256, 1024): 4.5, (1, 256, 256): 12.0, (1, 256, 500): 15.0, (16, 64, 500): 15.0}
    ratios = {}
    for tiles, size, vectors in bounds:
        with hwloop.connect(f"sim:hermes-core?seed=1&rows={size}&columns={size}&cores={tiles}&{everything}") as chip:
            plain, own = product_seconds(chip, vectors)
        ratio = ratios[tiles, size, vectors] = own / plain
        print(
            f"{tiles:>5}  {size:>4}  {size:>7}  {vectors:>7}  {plain * 1e3:>10.3f}  {own * 1e3:>19.3f}  {ratio:>6.1f}"
        )
    for (tiles, size, vectors), bound in bounds.items():
        name = f"MVM over a plain product, {vectors} vectors, {tiles} tile(s) of {size} x {size}"
        verdict(name, ratios[tiles, size, vectors], bound)


def product_seconds(chip: hwloop.Backend, vectors: int) -> tuple[float, float]:
    """Time a plain product on every tile, and the chip's own MVMs, seconds: the least of each, taken in turn."""
    rng, devices, size = np.random.default_rng(0), chip.info.devices_per_core, (chip.info.rows, chip.info.columns)
    for core in range(chip.info.cores):
        chip.pulse(core, Pulses.make(PulseKind.RESET, np.arange(devices), rng.uniform(200, 300, devices), 100.0))
    chip.wait(200.0)
    x = rng.integers(-127, 128, (vectors, size[0]), dtype=np.int32)
    drive, weights = torch.from_numpy(x / 127).float(), [torch.randn(size) for _ in range(chip.info.cores)]

    def plain() -> None:
        for one in weights:
            torch.mm(drive, one)

    def own() -> None:
        for core in range(chip.info.cores):
            chip.mvm(core, x)

    pairs = [(least_seconds(plain, 5), least_seconds(own, 5)) for _ in range(20)]
    return min(one for one, _ in pairs), min(other for _, other in pairs)


def memory() -> None:
    """All 64 cores of hermes-64 programmed and read, in this process."""
    with hwloop.connect("sim:hermes-64?seed=1") as chip:
        rng, devices = np.random.default_rng(0), chip.info.devices_per_core
        x = rng.integers(-127, 128, (16, 256), dtype=np.int32)
        for core in range(chip.info.cores):
            chip.pulse(core, Pulses.make(PulseKind.RESET, np.arange(devices), rng.uniform(200, 300, devices), 100.0))
        for pause in (0.1, 20.0, 200.0):
            chip.wait(pause)
            for core in range(chip.info.cores):
                chip.mvm(core, x)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    verdict("64 cores of 256 x 256 held at once: peak memory of the process, GiB", peak, 4.0)


def linear_cost() -> None:
    """Wall time of GDP per cell at 256 x 256 over that at 128 x 128: linear cost is 1."""
    seconds = {}
    for size in (128, 256):
        weights = hwloop.matrices({"w": np.random.default_rng(0).standard_normal((size, size))})

        def once(weights: list[hwloop.Matrix] = weights) -> None:
            with hwloop.connect("sim:hermes-core?seed=1") as chip:
                hwloop.program(chip, weights, "gdp")

        seconds[size] = median_seconds(once, repeats=3, warm_up=1) / size**2
    verdict("GDP: time per cell, 256 x 256 over 128 x 128 (the vectors double too)", seconds[256] / seconds[128], 2.0)


def programming_residual(seed: int = 1) -> None:
    """Program-and-verify on the million-device array, 25 s later, beside the published sigma_prog (Joshi 2020)."""
    with hwloop.connect(f"sim:pcm-90nm?seed={seed}&adc_bits=12") as chip:
        weights = np.random.default_rng(seed).uniform(-1, 1, (256, 256))
        tile = map_weights(hwloop.matrices({"w": weights}), chip.info)[0]
        region = Region(chip, tile.place, tile.full_scale)
        run(ProgramVerify(averages=500).steps(region, tile, 25.0, np.random.default_rng(seed)), chip)
        chip.wait(25.0)
        target = tile.device_targets(chip.info).reshape(-1)
        loaded = np.flatnonzero(target > 0)
        residual, g = chip.read(0, loaded, 500) - target[loaded], target[loaded] / 25.0
    print("\n   g     bias    sigma   published   (uS)")
    ratios = []
    for k in range(10):
        here = (g >= k / 10) & (g < (k + 1) / 10)
        published = np.sqrt(np.mean((0.26348 + 1.9650 * g[here] - 1.1731 * g[here] ** 2) ** 2))
        ratios.append(residual[here].std() / published)
        print(f"  {k / 10 + 0.05:.2f}  {residual[here].mean():+.3f}   {residual[here].std():.3f}   {published:.3f}")
    verdict(
        "residual over the published one: largest deviation of ten bins",
        float(np.abs(np.array(ratios) - 1).max()),
        0.25,
    )


def device_statistics() -> None:
    """Drift and read noise of a million devices beside the published formulas (Joshi 2020), at g = 0.2, 0.5, 0.8."""
    worst = 0.0
    with hwloop.connect("sim:pcm-90nm?seed=1&rows=1024&columns=512") as chip:
        devices = np.arange(chip.info.devices_per_core)
        core = chip._core(0).devices  # type: ignore[attr-defined]  # the true coefficients, which no chip would tell
        for g in (0.2, 0.5, 0.8):
            chip.place(0, devices, np.full(devices.size, 25.0 * g), 20.0)
            mean = np.clip(-0.0155 * np.log(g) + 0.0244, 0.049, 0.1)
            spread = np.clip(-0.0125 * np.log(g) - 0.0059, 0.008, 0.045)
            worst = max(worst, abs(float(core.nu.mean()) / mean - 1), abs(float(core.nu.std()) / spread - 1))
            chip.wait(20.0)
            reads = core.sample_reads(torch.from_numpy(devices), 1, chip.now(), chip.now(), 250e-9).numpy()[:, 0]
            noise = reads / core.drifted(chip.now()).numpy() - 1
            expected = min(0.0088 / g**0.65, 0.2) * np.sqrt(np.log((20 + 250e-9) / 500e-9))
            worst = max(worst, abs(noise.std() / expected - 1))
    verdict(f"drift and read noise of {devices.size} devices: largest deviation", worst, 0.02)


if __name__ == "__main__":
    print(machine(), "\n")
    mvm_speed()
    memory()
    device_statistics()
    programming_residual()
    linear_cost()
