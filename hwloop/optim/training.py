"""Training a classifier in memory: an ordinary loop over batches, which can be left and gone on with at any batch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from hwloop.calibration.steps import Step, Work
from hwloop.nn.in_memory.network import AnalogNetwork
from hwloop.nn.noisy_accuracy import Images
from hwloop.optim.optimizer import AnalogOptimizer
from hwloop.optim.settings import Curves, Position, Training
from hwloop.typing import FloatArray


@dataclass
class TrainingWork:
    """A training while it goes on.

    Parameters
    ----------
    net, optimizer
        The network on its chip, and the algorithm.
    images
        To train on.
    held_out, test
        To evaluate after every epoch; None for none.
    settings
        How long, and how.
    """

    net: AnalogNetwork
    optimizer: AnalogOptimizer
    images: Images
    held_out: Images | None
    test: Images | None
    settings: Training
    curves: Curves = field(default_factory=Curves)
    position: Position = field(default_factory=Position)
    status: str = "interrupted"
    weights: dict[str, FloatArray] = field(default_factory=dict)
    """As last read from the chip, by matrix."""

    seconds: float = 0.0
    """Time that it took in processes before this one."""

    def __post_init__(self) -> None:
        self._counts = self.net.chip.counts
        self._began: float | None = time.monotonic()

    @property
    def wall_seconds(self) -> float:
        """Time that it has taken so far."""
        return self.seconds + (0.0 if self._began is None else time.monotonic() - self._began)

    def end(self) -> None:
        """Stop counting the time."""
        self.seconds, self._began = self.wall_seconds, None

    @property
    def pulses_per_device(self) -> float:
        """Pulses of all devices of the training in the mean, start weights included."""
        arrays = [
            one for several in self.optimizer.updaters.values() for each in several for one in each.arrays().values()
        ]
        self.note_cost()
        devices = self.net.settings.devices * sum(int(np.prod(one.shape)) for one in arrays)
        return self.position.pulses / max(devices, 1)

    @property
    def saturated(self) -> float:
        """Share of the weights, as last read, that lie beyond 95 % of the chip's nominal range; NaN before."""
        devices = self.net.chip.info.stepping
        if devices is None or not self.weights:
            return math.nan
        beyond = []
        for name, weights in self.weights.items():
            values = weights / self.net.matrices[name].scale * devices.half_range
            beyond.append(((values > 0.95 * devices.high) | (values < 0.95 * devices.low)).reshape(-1))
        return float(np.concatenate(beyond).mean())

    def note_cost(self) -> None:
        """Add what the chip has done since the last time."""
        counts, position = self.net.chip.counts, self.position
        position.pulses += counts.pulses - self._counts.pulses
        position.chip_seconds += counts.chip_seconds - self._counts.chip_seconds
        self._counts = counts

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return math.ceil(len(self.images) / self.settings.batch)

    def steps(self) -> Work[Step, None]:
        """Train to the end from where it is, with a step before every batch."""
        position, total = self.position, self.settings.epochs * self.batches
        while position.epoch < self.settings.epochs:
            order = self._order(position.epoch)
            while position.batch < self.batches:
                done = position.epoch * self.batches + position.batch
                yield Step(done, total, f"epoch {position.epoch + 1}")
                size = self.settings.batch
                loss = self._train(self.images[order[position.batch * size : (position.batch + 1) * size]], done, total)
                if not math.isfinite(loss):
                    self.status = "diverged"
                    return
                position.loss += loss
                position.batch += 1
            self._evaluate(position.loss / self.batches)
            position.epoch, position.batch, position.loss = position.epoch + 1, 0, 0.0
        self.status = "complete"

    def _order(self, epoch: int) -> torch.Tensor:
        return torch.from_numpy(np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.images)))

    def _train(self, batch: Images, step: int, steps: int) -> float:
        """Train on one batch; returns its loss, which changes nothing where it is not finite."""
        highest = (self.settings.lr or self.optimizer.rule.lr, self.settings.digital_lr)
        for group, rate in zip(self.optimizer.param_groups, highest, strict=False):
            group["lr"] = rate * self.settings.rate(step, steps)
        self.net.train()
        with seeded(self.settings.seed * 1_000_003 + step):  # dropout and the like draw the same again after a stop
            self.optimizer.zero_grad()
            loss = functional.cross_entropy(self.net(batch.inputs), batch.labels)
            value = float(loss.detach())
            if math.isfinite(value):
                torch.autograd.backward(loss)
                self.optimizer.step()
                every = self.settings.refresh_every
                if every and (step + 1) % every == 0:
                    self.optimizer.refresh()
        return value

    def _evaluate(self, loss: float) -> None:
        curves, position = self.curves, self.position
        self.note_cost()
        self.net.eval()
        for images, into in ((self.held_out, curves.held_out_accuracy), (self.test, curves.test_accuracy)):
            if images is not None:
                into.append(self.net.accuracy((images.inputs, images.labels)).value)
        curves.loss.append(loss)
        curves.pulses.append(position.pulses)
        curves.chip_seconds.append(position.chip_seconds)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch's own source of random numbers begin at a seed inside, and go on as before afterwards."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


def part(images: Images, settings: Training) -> tuple[Images, Images | None]:
    """Divide training images into those to train on and those that are held out; None for none."""
    count = round(settings.held_out * len(images))
    if not count:
        return images, None
    order = torch.from_numpy(np.random.default_rng([settings.seed, len(images), 1]).permutation(len(images)))
    return images[order[count:]], images[order[:count]]


def train_in_float(network: nn.Module, images: Images, settings: Training) -> Iterator[tuple[int, int]]:
    """Train a network in float, to compare with: gradient descent with momentum, along the same cosine.

    It yields (done, total) before every batch.
    """
    epochs = settings.epochs if settings.reference_epochs < 0 else settings.reference_epochs
    parameters = [one for one in network.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    batches = math.ceil(len(images) / settings.batch)
    network.train()
    for epoch in range(epochs):
        order = torch.from_numpy(np.random.default_rng([settings.seed, epoch]).permutation(len(images)))
        for number, batch in enumerate(images.batches(settings.batch, order)):
            step = epoch * batches + number
            yield step, epochs * batches
            optimizer.param_groups[0]["lr"] = 0.05 * 0.5 * (1.0 + math.cos(math.pi * step / (epochs * batches)))
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(network(batch.inputs), batch.labels))
            optimizer.step()
    network.eval()
