"""The stepping devices of one core, and the references of its cells."""

from __future__ import annotations

import numpy as np
import torch

from hwloop.chip.updates import Updates
from hwloop.errors import LimitError
from hwloop.sim_backend.normals import equally_likely
from hwloop.sim_backend.stepping.kernel import Chance, Single, Specimen, State, Trains, apply, fire
from hwloop.sim_backend.stepping.law import Devices
from hwloop.sim_backend.stepping.parameters import SteppingParameters
from hwloop.sim_backend.stepping.random_words import Source
from hwloop.typing import CodeArray, FloatArray, IndexArray


class SteppingArray:
    """All devices of a core, (2 * rows * columns,): those that updates step, and their references.

    Both devices of a pair step. A leaking device loses its weight with a time constant of its own.
    """

    updates_at_once = 4096
    """Updates whose pulse trains are in memory at one time."""
    fastest_leak = 0.2
    """Smallest time constant of a device over the nominal one (assumed)."""
    most_lost = 2.0
    """Time constants of a leak for which a weight can be placed beforehand: it then begins 7 times as large."""

    def __init__(
        self, parameters: SteppingParameters, specimen: np.random.Generator, dynamics: torch.Generator
    ) -> None:
        """Draw the specimen's devices; `dynamics` is the source of all later randomness."""
        self._p, self._dynamics, self._source = parameters, dynamics, Source(dynamics)
        law, shape = parameters.device, (2, parameters.rows, parameters.columns)
        self.devices = Devices.draw(law, specimen, shape)
        flat = self.devices
        self._specimen = Specimen(
            law.form,
            _single(flat.scale).reshape(2, -1),
            _single(flat.low).reshape(-1),
            _single(flat.high).reshape(-1),
            _single(flat.own).reshape(2, -1),
            law.shared(),
            np.array(law.noise()),
            law.write_noise * law.step,
            parameters.pair,
        )
        self._leak = parameters.leak * np.maximum(
            1.0 + parameters.leak_spread * specimen.standard_normal(shape), self.fastest_leak
        ).reshape(-1)
        weights = np.zeros(shape)
        if parameters.references_moved:
            offsets = (parameters.symmetry_point_mean or 0.0) + (
                parameters.symmetry_point_spread or 0.0
            ) * specimen.standard_normal(shape[1:])
            # Pulses up and down in turn have led the devices to where the references were copied from.
            weights[0] = self.devices.symmetry_points()[0]
            weights[1] = weights[0] - law.half_range * offsets
        self.weights: Single = _single(weights).reshape(-1)
        """Weight of every device."""
        self.seen: Single = self.weights.copy()
        """What is seen of it: with the noise that the last pulse left."""
        self._at = 0.0
        self._normals: Single = equally_likely(torch.device("cpu")).numpy()

    # ---- what happens to devices -----------------------------------------------------------------------------

    def update(self, updates: Updates, now: float) -> CodeArray:
        """Apply updates in order, and return the steps (devices,) that were made."""
        self._forget(now)
        top, chance = self._p.levels, self.chance()
        counts = np.zeros(self.weights.size, np.int32)
        rows, columns = updates.reached
        x, d = updates.x[:, rows], updates.d[:, columns]
        row, column = updates.row_probability / top, updates.column_probability / top
        state, first = State(self.weights, self.seen, counts), rows.start * self._p.columns + columns.start
        for at in range(0, len(updates) if x.size and d.size else 0, self.updates_at_once):
            part = slice(at, at + self.updates_at_once)
            trains = Trains(
                np.ascontiguousarray(x[part]),
                np.ascontiguousarray(d[part]),
                updates.length[part],
                row[part],
                column[part],
                updates.stochastic,
                first,
                self._p.columns,
            )
            apply(trains, self._specimen, state, chance)
        return counts

    def pulse(self, devices: IndexArray, up: bool, now: float) -> None:
        """Step devices (n,) once; a RESET pulse of a pair's device empties it."""
        self._forget(now)
        if self._p.pair and not up:
            normal = torch.empty(devices.size).normal_(generator=self._dynamics).numpy()
            self.weights[devices] = self.seen[devices] = np.abs(self._p.reset_level + self._p.reset_spread * normal)
        else:
            fire(devices, up, self._specimen, State(self.weights, self.seen, np.zeros(0, np.int32)), self.chance())

    def place(self, devices: IndexArray, conductance: FloatArray, age: float, now: float) -> None:
        """Let devices (n,) conduct so much, in uS, `age` seconds from now, whatever their own bounds are.

        Raises LimitError where the charge of a leaking device would not last that long.
        """
        self._forget(now)
        weights = (conductance - self._p.middle) / self._p.unit
        if self._p.leak:
            lost = np.where(devices < self.weights.size // 2, age / self._leak[devices], 0.0)
            if np.any(lost > self.most_lost):
                raise LimitError(
                    f"a device whose charge leaks away in {self._p.leak:g} s cannot be placed for {age:g} s from now; "
                    "place it for an earlier age"
                )
            weights = weights * np.exp(lost)
        self.weights[devices] = self.seen[devices] = weights

    def chance(self) -> Chance:
        """Begin a source of random numbers for one call of a kernel."""
        return Chance(self._source.begun(), self._normals)

    # ---- what is seen of them --------------------------------------------------------------------------------

    def conductance(self, rows: slice, columns: slice, now: float) -> Single:
        """Return the signed conductances (rows, columns) of cells, uS."""
        self._forget(now)
        both = self.seen.reshape(2, self._p.rows, self._p.columns)
        found: Single = both[0, rows, columns] - both[1, rows, columns]
        found *= np.float32(self._p.unit)
        return found

    def single(self, devices: IndexArray, now: float) -> Single:
        """Return conductances (n,) of single devices, uS."""
        self._forget(now)
        found: Single = np.float32(self._p.middle) + np.float32(self._p.unit) * self.seen[devices]
        return found

    # ---- saving ----------------------------------------------------------------------------------------------

    def export(self) -> dict[str, torch.Tensor]:
        """Return what pulses and time have changed; the specimen itself follows from its seed."""
        own = {"weights": torch.from_numpy(self.weights), "seen": torch.from_numpy(self.seen)}
        return own | {"leaked_at": torch.tensor(self._at, dtype=torch.float64)}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take back what `export` gave. Raises KeyError or ValueError for what it did not."""
        for name in ("weights", "seen"):
            if tuple(state[name].shape) != self.weights.shape:
                raise ValueError(f"'{name}' has the shape {tuple(state[name].shape)}")
        self.weights, self.seen = (state[name].float().numpy().copy() for name in ("weights", "seen"))
        self._at = float(state["leaked_at"])

    # ---- inside ----------------------------------------------------------------------------------------------

    def _forget(self, now: float) -> None:
        """Let charge leak away until `now`, seconds."""
        if not self._p.leak or now <= self._at:
            return
        left = np.exp((self._at - now) / self._leak[: self.weights.size // 2]).astype(np.float32)
        half = left.size
        self.weights[:half] *= left
        self.seen[:half] *= left
        self._at = now


def _single(values: FloatArray) -> Single:
    return np.ascontiguousarray(values, np.float32)
