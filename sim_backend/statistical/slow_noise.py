"""The slow part of the read noise of many cells, with one random number a cell where a ladder of decades needs ten.

A cell has a relaxation process for every decade of time, as a device has (`hwloop.sim_backend.noise`). Only their sum
is ever seen, so neighbouring decades are kept as one sum for as long as nothing tells them apart.

In place of a little forgetting at every look, a decade is forgotten by all cells at once, with the probability
1 - exp(-t / tau) that the time t since the last look takes from its memory. The mean covariance of any two products is
that of the ladder. One number decides for all decades: a fast one is forgotten whenever a slower one is, so what is
forgotten is drawn anew as one sum. Where the border goes through a sum that is kept, this is split: its slow part,
given the whole, is a Gaussian of known mean and variance.

States start at zero when programming ends: what they were then belongs to the cells of the rehearsal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from hwloop.sim_backend.noise import FROZEN, LADDER, LN10, ladder_times
from hwloop.sim_backend.normals import normals


@dataclass
class _Sum:
    """States of the decades first .. last - 1 of every cell, added up."""

    first: int
    last: int
    state: torch.Tensor
    """In units of the cell's noise amplitude."""
    variances: list[float]
    """Of each of its decades."""


class SlowNoise:
    """Slow read noise of the cells of a patch, all programmed at the same time; in units of their amplitudes."""

    def __init__(self, t_read: float) -> None:
        """Start with nothing known; `t_read` is the duration of a read in seconds."""
        self._taus = ladder_times(t_read)
        self._sums: list[_Sum] = []  # fast ones first, without gaps
        self._seen_at = 0.0

    def seen(
        self, now: float, age: float, duration: float, like: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the noise of every cell, a tensor as `like`, that a batch sees as frozen. Do not modify it.

        Parameters
        ----------
        now
            Seconds on the chip's clock.
        age
            Seconds since the end of programming.
        duration
            Of the batch, seconds.
        like
            Any tensor of the cells' shape.
        generator
            Source of random numbers.
        """
        frozen = next((k for k, tau in enumerate(self._taus) if tau > FROZEN * duration), len(self._taus))
        kept = max(frozen, self._first_kept(now, generator))
        self._seen_at = now
        self._drop_below(kept, like, generator)
        grown = [-LN10 * math.expm1(-2.0 * age / tau) for tau in self._taus]
        self._fill(grown, like, generator)
        if frozen < kept:
            fresh = self._normal(like, generator).mul_(math.sqrt(sum(grown[frozen:kept])))
            self._sums.insert(0, _Sum(frozen, kept, fresh, grown[frozen:kept]))
        if not self._sums:
            return torch.zeros_like(like)
        return self._sums[0].state if len(self._sums) == 1 else torch.stack([s.state for s in self._sums]).sum(0)

    def _first_kept(self, now: float, generator: torch.Generator) -> int:
        """Return the first decade from which on all are still remembered."""
        if not self._sums:
            return len(self._taus)
        left = float(torch.rand(1, generator=generator, device=generator.device))
        elapsed = max(now - self._seen_at, 0.0)
        kept = next((k for k, tau in enumerate(self._taus) if math.exp(-elapsed / tau) > left), len(self._taus))
        return max(kept, self._sums[0].first)

    def _drop_below(self, kept: int, like: torch.Tensor, generator: torch.Generator) -> None:
        """Forget decades below `kept`, splitting the sum that the border goes through."""
        self._sums = [one for one in self._sums if one.last > kept]
        if not self._sums or self._sums[0].first >= kept:
            return
        one = self._sums[0]
        fast, slow = one.variances[: kept - one.first], one.variances[kept - one.first :]
        whole = sum(fast) + sum(slow)
        share = sum(slow) / whole if whole > 0 else 0.0
        state = self._normal(like, generator).mul_(math.sqrt(sum(fast) * share)).add_(one.state, alpha=share)
        self._sums[0] = _Sum(kept, one.last, state, slow)

    def _fill(self, grown: list[float], like: torch.Tensor, generator: torch.Generator) -> None:
        """Add what the variance of kept decades has grown by since they were drawn, once it counts."""
        missing = [
            max(grown[k] - v, 0.0)
            for one in self._sums
            for k, v in zip(range(one.first, one.last), one.variances, strict=True)
        ]
        if sum(missing) <= LADDER.negligible * LN10:
            return
        for one in self._sums:
            extra = [max(grown[k] - v, 0.0) for k, v in zip(range(one.first, one.last), one.variances, strict=True)]
            if sum(extra) > 0:
                one.state = self._normal(like, generator).mul_(math.sqrt(sum(extra))).add_(one.state)
                one.variances = [v + e for v, e in zip(one.variances, extra, strict=True)]

    @staticmethod
    def _normal(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return normals(tuple(like.shape), generator)

    # ---- saving ----------------------------------------------------------------------------------------------

    def export(self) -> dict[str, torch.Tensor]:
        """Return the sums, by name."""
        saved = {"slow/seen_at": torch.tensor(self._seen_at, dtype=torch.float64)}
        for k, one in enumerate(self._sums):
            saved[f"slow/{k}/state"] = one.state
            saved[f"slow/{k}/about"] = torch.tensor([one.first, one.last, *one.variances], dtype=torch.float64)
        return saved

    def restore(self, state: dict[str, torch.Tensor], like: torch.Tensor) -> None:
        """Take back what `export` gave. Raises KeyError or ValueError for what it did not."""
        self._sums, self._seen_at = [], float(state["slow/seen_at"])
        while (name := f"slow/{len(self._sums)}/state") in state:
            first, last, *variances = state[name.replace("/state", "/about")].tolist()
            if (
                state[name].shape != like.shape
                or not 0 <= first < last <= len(self._taus)
                or len(variances) != last - first
            ):
                raise ValueError(f"'{name}' is not of this noise")
            self._sums.append(_Sum(int(first), int(last), state[name].to(like), variances))
