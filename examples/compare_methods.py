"""Program one random matrix with every method and print how far each ends from the noise floor.

Run from the repository's root:

    python examples/compare_methods.py
"""

from __future__ import annotations

import numpy as np

import hwloop

weights = hwloop.matrices({"gaussian": np.random.default_rng(1).standard_normal((128, 128)).clip(-3, 3)})

for method in ("exact", "gdp", "iterative", "sgd"):
    # The same seed gives the same specimen, so all methods meet the same devices.
    with hwloop.connect("sim:hermes-core?seed=1") as chip:
        run = hwloop.program(chip, weights, method)
        cost = chip.counts
    print(
        f"{method:<10} MVM error {run.mvm_error:.4f}   {cost.pulses:>7} pulses   {cost.device_reads:>8} device reads"
        f"   {cost.mvms:>6} MVMs   {cost.chip_seconds:6.1f} s of chip time"
    )
