"""Accuracy of a network under the noise of a chip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from hwloop.nn.noise_aware import ChipNoise, NoisyNetwork


@dataclass(frozen=True)
class Images:
    """Inputs of a network with their classes.

    Parameters
    ----------
    inputs
        (images, ...).
    labels
        (images,) whole numbers from 0.
    weights
        (images,) how many images each stands for, in a coreset; None: itself.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, which: torch.Tensor | slice) -> Images:
        return Images(self.inputs[which], self.labels[which], None if self.weights is None else self.weights[which])

    @property
    def shares(self) -> torch.Tensor:
        """(images,) weights whose mean is 1."""
        if self.weights is None:
            return torch.ones(len(self), device=self.labels.device)
        return self.weights / self.weights.mean()

    def some(self, most: int, seed: int) -> Images:
        """Draw at most so many of them; of weighted ones an unweighted sample of what they stand for."""
        if self.weights is not None:
            random = torch.Generator().manual_seed(seed)
            drawn = torch.multinomial(self.weights.double().cpu(), most, replacement=True, generator=random)
            return Images(self.inputs[drawn], self.labels[drawn])
        if len(self) <= most:
            return self
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self[order[:most]]

    def batches(self, size: int, order: torch.Tensor | None = None) -> Iterator[Images]:
        """Give them in batches, in an order (images,) of their indices."""
        for first in range(0, len(self), size):
            yield self[slice(first, first + size) if order is None else order[first : first + size]]


def right_exactly(noisy: NoisyNetwork, data: Images, batch: int = 100) -> torch.Tensor:
    """Find which images (images,) are classified rightly by the network as it is digitally."""
    noisy.use(())
    scores = _scores(noisy.network, data, batch)
    noisy.use()
    return scores.argmax(1) == data.labels


def right_under_noise(
    noisy: NoisyNetwork, data: Images, draws: int, seed: int, batch: int = 100, noise: ChipNoise | None = None
) -> tuple[torch.Tensor, float]:
    """Find which images are classified rightly under noise.

    Parameters
    ----------
    noisy
        The network.
    data
        Images.
    draws
        How often the noise is drawn, at ages evenly in log time from the first to the last.
    seed
        Of the noise; the same seed gives the same noise.
    batch
        Images at a time.
    noise
        Of another chip than the network's own.

    Returns
    -------
    tuple
        (draws, images) right or wrong, and the mean cross entropy in nats.
    """
    scores = scores_under_noise(noisy, data, draws, seed, batch, noise)
    every = data.labels.expand(draws, -1)
    entropy = functional.cross_entropy(scores.flatten(0, 1), every.reshape(-1))
    return scores.argmax(2) == every, float(entropy)


def scores_under_noise(
    noisy: NoisyNetwork, data: Images, draws: int, seed: int, batch: int = 100, noise: ChipNoise | None = None
) -> torch.Tensor:
    """Give the scores (draws, images, classes) under noise; parameters as of `right_under_noise`."""
    found, chip = [], noise or noisy.noise
    for draw in range(draws):
        age = chip.age(draw / (draws - 1) if draws > 1 else 0.5)
        noisy.redraw(age, chip, seed * 1000 + draw)
        found.append(_scores(noisy.network, data, batch))
    return torch.stack(found)


def _scores(network: nn.Module, data: Images, batch: int) -> torch.Tensor:
    training = network.training
    network.eval()
    with torch.no_grad():
        found = [network(part.inputs) for part in data.batches(batch)]
    network.train(training)
    return torch.cat(found)
