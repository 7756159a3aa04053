"""A chip that shows what the test says: conductances as MVMs see them, with no noise of its own, and a clock."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from hwloop.chip.info import ChipInfo, PulseLimits
from hwloop.chip.region import Place
from hwloop.devices.drift import DriftModel
from hwloop.devices.model import DeviceModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.statistics import Polynomial
from hwloop.mapping.tile import Tile

INPUT_MAX = 127


def device_model(
    noise: float = 1.0, g_min: float = 0.0, drift_spread: float = 0.0, read_noise: float = 0.0, t_read: float = 1.0
) -> DeviceModel:
    """A curve from 20 uS down to g_min about 100 uA whose pulses scatter by `noise` uS wherever they aim."""
    return DeviceModel(
        curve=ProgrammingCurve(
            g_min=g_min,
            g_max=20.0,
            midpoint=100.0,
            steepness=10.0,
            melt=1.0,
            width=100.0,
            midpoint_spread=0.0,
            height_spread=0.0,
            jitter=0.0,
            noise=noise,
        ),
        drift=DriftModel(t0=1.0, g_scale=20.0, mean=Polynomial((0.0,)), spread=Polynomial((drift_spread,))),
        read_noise=ReadNoiseModel(t_read=t_read, g_scale=20.0, q=Polynomial((read_noise,))),
    )


class AlternatingSigns:
    """In place of a random generator: Hadamard designs in their own order, every other vector turned round."""

    def permutation(self, n: int) -> np.ndarray:
        return np.arange(n)

    def choice(self, values: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
        if isinstance(size, int):
            return np.ones(size, np.int32)
        self._next = getattr(self, "_next", 0) + size[0]
        return (-1) ** (np.arange(self._next - size[0], self._next)[:, None])


class ScriptedRegion:
    """Stands for a `Region` of one device per polarity."""

    def __init__(self, rows: int = 1, columns: int = 1, step: float = 1e-6, code_max: float = 1e9) -> None:
        self.place = Place(0, 0, 0, rows, columns)
        self.shape = (2, 1, rows, columns)
        self.size = 2 * rows * columns
        self.step, self.span = step, (np.full(columns, -code_max), np.full(columns, code_max))
        self.shown = np.zeros((rows, columns))
        """Signed conductances (rows, columns) that MVMs see, uS."""
        self.clock, self.mvm_seconds = 0.0, 0.0
        self.pulses: list[tuple[np.ndarray, np.ndarray]] = []
        info = ChipInfo(
            "scripted", "0", 1, rows, columns, 1, 8, 8, 20.0, 0.2, (1.0, 1e6), PulseLimits(500.0, 1, 1e4, 100),
            frozenset(),
        )  # fmt: skip
        self.backend = SimpleNamespace(info=info, now=lambda: self.clock)

    def pulse(self, kind: object, devices: np.ndarray, amplitude: np.ndarray, width: float) -> None:
        self.pulses.append((devices, amplitude))

    def mvm(self, x: np.ndarray) -> np.ndarray:
        self.clock += self.mvm_seconds
        return np.clip(x / INPUT_MAX @ self.shown / self.step, self.span[0], self.span[1])


def tile_of(region: ScriptedRegion, target: np.ndarray) -> Tile:
    """A tile whose weights are its conductances."""
    return Tile("w", region.place, 0, 0, target, np.ones(target.shape[1]), 1.0)
