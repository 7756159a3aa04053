"""A rectangle of cells that were programmed together: what they conduct, and how they are noisy."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from hwloop.sim_backend.statistical.rehearsal import Moment, Rehearsal
from hwloop.sim_backend.statistical.settings import SETTINGS
from hwloop.sim_backend.statistical.slow_noise import SlowNoise


class Patch:
    """Cells that copy those of a rehearsal. Tensors are flat, (rows * columns,), in blocks that fit a core's cache."""

    def __init__(
        self,
        where: tuple[slice, slice],
        targets: torch.Tensor,
        rehearsal: Rehearsal,
        programmed_at: float,
        chosen: torch.Tensor,
    ) -> None:
        """Lay the cells out, whose columns have the gain 1 until `gains` are given.

        Parameters
        ----------
        where
            Rows and columns of the core.
        targets
            (rows * columns,) uS, single precision.
        rehearsal
            Whose cells they copy.
        programmed_at
            Seconds on the chip's clock.
        chosen
            (rows * columns,) positions of the copied cells, int32.
        """
        rows, columns = where
        self.place, self.shape = where, (rows.stop - rows.start, columns.stop - columns.start)
        self.rehearsal, self.programmed_at = rehearsal, programmed_at
        self.targets, self.chosen = targets, chosen
        self.gains = torch.ones(self.shape[1], device=targets.device)
        """(columns,) of the columns."""
        self.slow = SlowNoise(rehearsal.outcome.parameters.device.read_noise.t_read)
        self._shown: tuple[Moment, torch.Tensor, torch.Tensor] | None = None

    def covers(self, other: Patch) -> bool:
        """Tell whether nothing is left to see of another patch below this one."""
        return all(
            own.start <= its.start and its.stop <= own.stop for own, its in zip(self.place, other.place, strict=True)
        )

    def at(self, now: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return conductances without noise and noise amplitudes (rows, columns) in uS at a time in seconds."""
        moment = self.rehearsal.at(now - self.programmed_at)
        if self._shown is None or self._shown[0] is not moment:
            self._shown = moment, *self.shown_at(moment)
        return self._shown[1:]

    def shown_at(self, moment: Moment) -> tuple[torch.Tensor, torch.Tensor]:
        """Return conductances and noise amplitudes (rows, columns) in uS at a moment of the rehearsal."""
        conductance, noise = torch.empty_like(self.targets), torch.empty_like(self.targets)
        for part in blocks(self.targets.numel()):
            chosen, own = self.chosen[part], conductance[part]
            torch.index_select(moment.residual, 0, chosen, out=own)
            own.add_(self.targets[part], alpha=moment.slope)
            torch.index_select(moment.noise, 0, chosen, out=noise[part])
        for one in (conductance, noise):
            one.view(self.shape).mul_(self.gains)
        return conductance.view(self.shape), noise.view(self.shape)

    def noisy(self, now: float, duration: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what a batch of `duration` seconds sees: conductances with slow noise, and noise amplitudes."""
        conductance, noise = self.at(now)
        slow = self.slow.seen(now, now - self.programmed_at, duration, conductance, generator)
        return torch.addcmul(conductance, noise, slow), noise

    # ---- saving ----------------------------------------------------------------------------------------------

    def export(self) -> dict[str, torch.Tensor]:
        """Return its arrays, by name; which rehearsal it copies is for the chip to say."""
        rows, columns = self.place
        about = torch.tensor([rows.start, columns.start, self.programmed_at], dtype=torch.float64)
        own = {"about": about, "targets": self.targets.view(self.shape), "chosen": self.chosen, "gains": self.gains}
        if self._shown is not None:  # what was computed then is still in use, and decides the last bit of a code
            own["shown_at"] = torch.tensor(self._shown[0].since, dtype=torch.float64)
        return own | self.slow.export()

    @classmethod
    def restored(cls, rehearsal: Rehearsal, state: dict[str, torch.Tensor]) -> Patch:
        """Make it again of what `export` gave. Raises KeyError or ValueError for what it did not."""
        row, column, programmed_at = state["about"].tolist()
        like, (rows, columns) = rehearsal.gains, state["targets"].shape
        chosen = state["chosen"].to(like.device, torch.int32)
        if chosen.shape != (rows * columns,) or state["gains"].shape != (columns,):
            raise ValueError("a patch of cells has arrays of different sizes")
        if not bool((chosen >= 0).all() & (chosen < rehearsal.outcome.targets.numel()).all()):
            raise ValueError("a patch of cells copies cells that there are not")
        where = slice(int(row), int(row) + rows), slice(int(column), int(column) + columns)
        patch = cls(where, state["targets"].to(like).reshape(-1), rehearsal, programmed_at, chosen)
        patch.gains = state["gains"].to(like)
        patch.slow.restore(state, torch.empty(patch.shape, device=like.device))
        if "shown_at" in state:
            patch.at(programmed_at + float(state["shown_at"]))
        return patch


def blocks(count: int) -> Iterator[slice]:
    """Cut so many cells into blocks that fit a core's cache, and that torch does not share out among threads."""
    for start in range(0, count, SETTINGS.block):
        yield slice(start, start + SETTINGS.block)
