"""The compensation of drift by batch norms: their statistics are estimated anew from what the chip gives now.

After Joshi et al., Nature Communications 11, 2473 (2020), who update them with a few batches of training images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from hwloop.calibration.drift.compensation import Compensation
from hwloop.calibration.drift.digital import Uncompensated
from hwloop.calibration.drift.programmed_tile import ProgrammedTile
from hwloop.calibration.drift.strategy import NOTHING, Chain, Strategy
from hwloop.errors import BadInputError
from hwloop.typing import State

Norm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class BatchNormStatistics(Uncompensated):
    """Nothing is done to the outputs of tiles; the network that they belong to estimates its statistics anew."""

    name = "batchnorm"

    def make(self, tile: ProgrammedTile, so_far: Compensation) -> Compensation:
        """Leave `so_far` as it is, under the name of both."""
        made = super().make(tile, so_far)
        return replace(made, name=self.name if so_far.name == NOTHING else f"{so_far.name}+{self.name}")


def adapts_batch_norm(strategy: Strategy) -> bool:
    """Tell whether a strategy, or a part of it, is `BatchNormStatistics`."""
    parts = strategy.parts if isinstance(strategy, Chain) else (strategy,)
    return any(isinstance(part, BatchNormStatistics) for part in parts)


def batch_norms(network: nn.Module) -> list[tuple[str, Norm]]:
    """List the batch norms of a network that keep statistics, by path."""
    return [(n, m) for n, m in network.named_modules() if isinstance(m, Norm) and m.track_running_stats]


def statistics_of(network: nn.Module) -> dict[str, State]:
    """Copy the statistics of all batch norms, by path."""
    return {
        name: {key: value.numpy(force=True).copy() for key, value in norm.named_buffers()}
        for name, norm in batch_norms(network)
    }


def use_statistics(network: nn.Module, statistics: dict[str, State]) -> None:
    """Give batch norms the statistics that `statistics_of` copied."""
    with torch.no_grad():
        for name, norm in batch_norms(network):
            for key, value in norm.named_buffers():
                value.copy_(torch.as_tensor(statistics[name][key]))


class _Weighted:
    """Gives a batch norm the weighted statistics of what it is about to be given."""

    def __init__(self, weights: torch.Tensor) -> None:
        self._weights = weights

    def __call__(self, norm: Norm, given: tuple[torch.Tensor, ...]) -> None:
        values = given[0].detach()
        parts, left = divmod(len(values), len(self._weights))
        if left:
            raise BadInputError(
                f"a batch norm is given {len(values)} rows for {len(self._weights)} weighted inputs; give unweighted "
                "calibration inputs"
            )
        rows = values.movedim(1, -1).reshape(len(values), -1, values.shape[1]).double()
        share = self._weights.to(rows).repeat_interleave(parts)[:, None, None]
        share = share / (share.sum() * rows.shape[1])
        mean = (share * rows).sum((0, 1))
        variance = (share * (rows - mean) ** 2).sum((0, 1))
        # As torch does, without bias, of all that the inputs stand for.
        count = float(self._weights.sum()) * rows.shape[1]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance * (count / max(count - 1.0, 1.0)))


def estimate_statistics(network: nn.Module, inputs: torch.Tensor, weights: torch.Tensor | None = None) -> None:
    """Estimate the statistics of all batch norms anew from inputs, which may be weighted, run through the network.

    Where that fails or is stopped, they are as before. Raises BadInputError for inputs that tell no variance.
    """
    statistics = statistics_of(network)
    norms = [norm for _, norm in batch_norms(network)]
    hooks = [] if weights is None else [norm.register_forward_pre_hook(_Weighted(weights)) for norm in norms]
    before = [(norm.momentum, norm.training) for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all that it is given
            norm.train(weights is None)  # weighted ones are set before each norm is used
        with torch.no_grad():
            network(inputs)
    except BaseException as error:
        use_statistics(network, statistics)
        if isinstance(error, ValueError) and not isinstance(error, BadInputError):  # torch: one value a channel
            raise BadInputError(
                f"batch norm cannot be adapted to {len(inputs)} calibration input(s): {error}"
            ) from None
        raise
    finally:
        for hook in hooks:
            hook.remove()
        for norm, (momentum, training) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.train(training)
