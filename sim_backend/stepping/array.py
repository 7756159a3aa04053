"""The stepping devices of one core, and their references."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hwloop.chip.updates import Updates
from hwloop.sim_backend.stepping.parameters import SteppingParameters
from hwloop.typing import CodeArray, FloatArray, IndexArray


class SteppingArray:
    """Weights of the devices of a core: (2, rows, columns), those that updates step and their references."""

    def __init__(
        self, parameters: SteppingParameters, specimen: np.random.Generator, dynamics: torch.Generator
    ) -> None:
        """Draw the specimen's devices; `dynamics` is the source of all later randomness."""
        self._p, self._dynamics = parameters, dynamics
        law, shape = parameters.device, (2, parameters.rows, parameters.columns)
        gain = 1.0 + law.step_spread * specimen.standard_normal(shape)
        skew = law.up_down_spread * specimen.standard_normal(shape)
        up = law.step * (gain + min(law.up_down, 0.0) + skew)
        down = law.step * (gain - max(law.up_down, 0.0) - skew)
        self._steps = np.stack([np.maximum(down, 0.0), np.maximum(up, 0.0)])
        self._high = np.maximum(law.high * (1.0 + law.high_spread * specimen.standard_normal(shape)), 0.0)
        self._low = np.minimum(law.low * (1.0 + law.low_spread * specimen.standard_normal(shape)), 0.0)
        self.weights: FloatArray = np.zeros(shape)
        """Weight of every device."""
        self._seen: torch.Tensor | None = None

    def update(self, updates: Updates) -> CodeArray:
        """Apply updates in order, and return the steps (devices,) that were made."""
        rng = self._random()
        counts = np.zeros(self.weights.shape, np.int32)
        for n in range(len(updates)):
            fired = _coincidences(updates, n, self._p.levels, rng)
            direction = np.sign(updates.x[n])[:, None] * np.sign(updates.d[n])
            counts[0] += fired
            self._step(self.weights[0], np.s_[0], direction, fired, rng)
        self._seen = None
        return counts.reshape(-1)

    def pulse(self, devices: IndexArray, direction: int) -> None:
        """Step devices (n,) once, up or down."""
        rng, at = self._random(), np.unravel_index(devices, self.weights.shape)
        weights = self.weights[at]
        one = np.ones(len(devices), np.int32)
        self._step(weights, at, np.full(len(devices), direction), one, rng)
        self.weights[at] = weights
        self._seen = None

    def place(self, devices: IndexArray, conductance: FloatArray) -> None:
        """Put devices (n,) on conductances in uS, whatever their own bounds are."""
        self.weights.reshape(-1)[devices] = (conductance - self._p.middle) / self._p.unit
        self._seen = None

    def conductance(self) -> torch.Tensor:
        """Return the signed conductances (rows, columns) of cells, uS."""
        if self._seen is None:
            cells = self._p.unit * (self.weights[0] - self.weights[1])
            self._seen = torch.from_numpy(cells).float()
        return self._seen

    def single(self, devices: IndexArray) -> FloatArray:
        """Return conductances (n,) of single devices, uS."""
        found: FloatArray = self._p.middle + self._p.unit * self.weights.reshape(-1)[devices]
        return found

    def export(self) -> dict[str, torch.Tensor]:
        """Return what pulses have changed; the specimen itself follows from its seed."""
        return {"weights": torch.from_numpy(self.weights)}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take back what `export` gave. Raises KeyError or ValueError for what it did not."""
        if tuple(state["weights"].shape) != self.weights.shape:
            raise ValueError(f"'weights' has the shape {tuple(state['weights'].shape)}")
        self.weights, self._seen = state["weights"].double().numpy().copy(), None

    def _step(
        self,
        weights: FloatArray,
        at: tuple[NDArray[np.intp], ...] | int,
        direction: NDArray[np.int64],
        count: CodeArray,
        rng: np.random.Generator,
    ) -> None:
        law = self._p.device
        steps = np.where(direction > 0, self._steps[1][at], self._steps[0][at])
        noise = law.step * law.cycle_spread * np.sqrt(count) * rng.standard_normal(weights.shape)
        moved = weights + direction * (count * steps + noise)
        inside = np.clip(moved, self._low[at], self._high[at])
        weights[...] = np.where(count > 0, inside, weights)

    def _random(self) -> np.random.Generator:
        return np.random.default_rng(int(torch.randint(2**62, (1,), generator=self._dynamics)))


def _coincidences(updates: Updates, n: int, levels: int, rng: np.random.Generator) -> CodeArray:
    """Return the slots (rows, columns) in which both row and column fire in one update."""
    x, d, length = np.abs(updates.x[n]), np.abs(updates.d[n]), int(updates.length[n])
    if not updates.stochastic:
        counted: CodeArray = np.minimum.outer(x, d).astype(np.int32)
        return counted
    rows = rng.random((length, x.size)) < x * (updates.row_probability[n] / levels)
    columns = rng.random((length, d.size)) < d * (updates.column_probability[n] / levels)
    met: CodeArray = (rows.T.astype(np.float64) @ columns.astype(np.float64)).astype(np.int32)
    return met
