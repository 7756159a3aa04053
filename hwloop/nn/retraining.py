"""Noise-aware training: an ordinary loop over batches of a network whose products have the noise of a chip.

After Rasch et al., Nature Communications 14, 5282 (2023): start from the trained network, inject the noise of the chip,
learn the input ranges, keep the weights of each column clipped where asked for, and learn from the digital network
(Hinton et al., arXiv 1503.02531, 2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import nn
from torch.nn import functional

from hwloop.calibration.settings import Settings, seconds
from hwloop.durations import UNITS
from hwloop.errors import BadInputError
from hwloop.nn.answers import Answers, compared
from hwloop.nn.checkpoint import (
    Checkpoints,
    below,
    course_again,
    course_told,
    joined,
    parts,
    put_back,
    tensors_of,
)
from hwloop.nn.clipping import clip_columns
from hwloop.nn.noise_aware import COMPENSATIONS, NoisyNetwork
from hwloop.nn.noisy_accuracy import Images, right_exactly, scores_under_noise
from hwloop.registry import suggest
from hwloop.typing import AnyArray

Report: TypeAlias = Callable[[int, int], None]
"""Called with (done, total) after every batch; it may raise KeyboardInterrupt to stop there."""
CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "batch_norm": ("kept", "learnt"),
    "compensation": COMPENSATIONS,
    "keep": ("better", "last"),
}
"""What settings that are words may be."""


@dataclass(frozen=True)
class Retraining(Settings):
    """Settings of noise-aware training."""

    epochs: int = 60
    """Times that all images are seen; none: the network is only evaluated."""
    lr: float = 2e-3
    """Learning rate of the weights at its highest; it falls to zero along a cosine."""
    batch: int = 64
    """Images in a batch."""
    optimizer: str = "adamw"
    """'adamw', or 'sgd' with momentum."""
    momentum: float = 0.9
    """Of sgd."""
    weight_decay: float = 1e-4
    """Of parameters with two dimensions or more; ranges, biases and normalisation have none."""
    range_lr: float = 1e-2
    """Learning rate of the logarithms of all ranges; 0: they stay as they are chosen from activations."""
    clip_sigmas: float = 0.0
    """Largest weight of a column over the standard deviation of its weights: what is beyond is clipped after every
    step, so that few weights do not use up the range of all others; 0: no clipping. Three cost the digits transformer
    two points in its first epoch, which it did not win back in the next one."""
    distillation: float = 0.5
    """Weight of what the digital network says of each image, against that of its label. At 1 labels have no part: the
    network learns to do on the chip what it does digitally, and nothing else."""
    temperature: float = 2.0
    """Temperature of both networks' scores in distillation."""
    mixing: float = 1.0
    """Each image of a batch is mixed with another one, in shares that are uniform up to this: the network then learns
    what the digital one says between images too, and not only what the training data are (Beyer et al., CVPR 2022).
    0: no mixing; of inputs that are whole numbers there is none."""
    batch_norm: str = "kept"
    """'kept': batch norm goes on with the statistics that it has; 'learnt': it follows the batches, noise and all. Its
    factors and offsets are trained either way."""
    noise: float = 1.0
    """Strength of the noise in training, over that of the chip."""
    ramp: float = 0.2
    """Share of the training over which noise and learning rate rise from nothing to their full strength."""
    youngest: float = seconds(60.0)
    """Seconds after programming: the earliest moment at which the network shall work."""
    oldest: float = seconds(UNITS["y"])
    """Seconds after programming: the latest one. Ages are drawn evenly in log time between both."""
    age: float = seconds(0.0)
    """Seconds after programming at which targets will hold, as `deploy --age` has it; 0: the chip's own."""
    compensation: str = COMPENSATIONS[0]
    """What will make up for drift on the chip: 'column', 'global', or 'none' where nothing is done."""
    held_out: float = 0.15
    """Share of the training data that is not trained on, shows how it goes, and chooses the best epoch where that is to
    be kept, by its loss under noise."""
    keep: str = "last"
    """'last': the last epoch, unasked; 'better': the best epoch, if it is better than the network as it was, for a
    training by distillation alone. Held-out images are no judge where the network learnt their labels before."""
    certainty: float = 2.0
    """Standard errors by which that loss must be lower than at the beginning, or nothing is changed. In the end the
    answers of the best epoch must be better by as many, too."""
    mixtures: int = 4
    """Mixtures of each held-out image with others that the best epoch and the network as it was are asked in the end:
    images that a network was trained on it answers rightly whatever the noise, and what lies between two tells sooner
    when answers change. Inputs that are whole numbers, and all where `mixing` is 0, are asked as they are."""
    calibration: int = 512
    """Training images from which all ranges are chosen before they are learnt."""
    draws: int = 8
    """Draws of the noise for that, the same for all epochs, at ages from the youngest to the oldest."""
    test_draws: int = 20
    """The same where test images are evaluated, before and after the training; they decide nothing."""
    seed: int = 0
    """Of the noise, the order of the images and what is held out."""

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            word = getattr(self, name)
            if word not in known:
                raise BadInputError(f"setting {name}='{word}': {suggest(str(word), known)}")
        for name, low, high in (
            ("epochs", 0, 100_000), ("lr", 0.0, 100.0), ("batch", 1, 1_000_000), ("momentum", 0.0, 0.9999),
            ("weight_decay", 0.0, 10.0), ("range_lr", 0.0, 10.0), ("clip_sigmas", 0.0, 100.0),
            ("distillation", 0.0, 1.0), ("mixing", 0.0, 1.0), ("temperature", 0.01, 1000.0),
            ("noise", 0.0, 100.0), ("ramp", 0.0, 1.0), ("age", 0.0, 1e12),
            ("youngest", 1e-6, 1e12), ("oldest", 1e-6, 1e12), ("held_out", 0.0, 0.9), ("draws", 1, 1000),
            ("certainty", 0.0, 100.0), ("mixtures", 1, 1000),
            ("test_draws", 1, 10_000), ("calibration", 1, 1_000_000),
            ("seed", 0, 2**53),
        ):  # fmt: skip
            self._require(name, low, high)
        if self.youngest > self.oldest:
            raise BadInputError(
                f"settings youngest={self.youngest:g} and oldest={self.oldest:g} s are the wrong way round"
            )

    @property
    def ages(self) -> tuple[float, ...]:
        """Ages that the network is trained for, seconds."""
        return (self.youngest, self.oldest) if self.youngest < self.oldest else (self.youngest,)


@dataclass(frozen=True)
class Epoch:
    """What an epoch has reached.

    Parameters
    ----------
    loss
        Mean training loss; NaN before the first epoch.
    digital, noisy
        Accuracy on held-out images, computed exactly, and the mean under noise.
    noisy_loss
        Mean of the loss that is trained, of held-out images under noise, nats: by this epochs are compared.
    gain, gain_error
        By how much that is lower than at the beginning, and the standard error of it over the images.
    """

    loss: float
    digital: float
    noisy: float
    noisy_loss: float
    gain: float = 0.0
    gain_error: float = 0.0


@dataclass
class Course:
    """How a training went.

    Parameters
    ----------
    epochs
        What was reached; the first entry is the network as it was.
    best
        Index of the entry that was kept.
    status
        'complete', 'interrupted', or 'diverged' where the loss was no number.
    answers
        What the epoch of the lowest loss answers under noise, beside the network as it was; None where no epoch had
        a lower loss. Where it does not answer better by enough, the network as it was is kept.
    """

    epochs: list[Epoch] = field(default_factory=list)
    best: int = 0
    status: str = "complete"
    answers: Answers | None = None


def train(
    noisy: NoisyNetwork, data: Images, settings: Retraining, report: Report, checkpoints: Checkpoints | None = None
) -> Course:
    """Train a network under noise and leave it as the best of its epochs.

    Parameters
    ----------
    noisy
        The network, converted, with ranges (`NoisyNetwork.fit_ranges`); its parameters and ranges change.
    data
        Training images.
    settings
        How.
    report
        Told after every batch.
    checkpoints
        Keeps the state after every epoch, and gives one to go on from; None for neither.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # layers that drop out draw from the global state, which is left as it was
        return _Training(noisy, data, settings, report).run(checkpoints)


class _Training:
    """A training while it goes on."""

    def __init__(self, noisy: NoisyNetwork, data: Images, settings: Retraining, report: Report) -> None:
        self.noisy, self.settings, self.report = noisy, settings, report
        self.random = torch.Generator().manual_seed(settings.seed)
        order = torch.randperm(len(data), generator=self.random)
        kept = min(math.ceil(settings.held_out * len(data)), len(data) - 1)
        # Without held-out images the training images choose.
        self.training, self.held_out = data[order[kept:]], data[order[:kept]] if kept else data
        self.at_first = torch.empty(0)
        self.teacher = noisy.digital()
        self.per_epoch = math.ceil(len(self.training) / settings.batch)
        self.steps = settings.epochs * self.per_epoch
        self.course, self.state, self.start = Course(), self._state(), self._state()
        self.done = 0

    def run(self, checkpoints: Checkpoints | None) -> Course:
        """Go through all epochs, or those that are left."""
        optimizer = self._optimizer()
        left = checkpoints.last() if checkpoints is not None else None
        try:
            if left is not None:
                self._go_on(left, optimizer)
            schedule = self._schedule(optimizer)
            if left is None:
                self._evaluate(math.nan)
            for number in range(len(self.course.epochs), self.settings.epochs + 1):
                loss = self._epoch(optimizer, schedule)
                if not math.isfinite(loss):
                    self.course.status = "diverged"
                    break
                self._evaluate(loss)
                if checkpoints is not None:
                    checkpoints.keep(number, self._parts(optimizer))
        except KeyboardInterrupt:
            self.course.status = "interrupted"
        if self.course.best and self.settings.keep == "better":
            self._confirm()
        self._put(self.state)
        return self.course

    def _parts(self, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, AnyArray]]:
        """Give the training as it is between two epochs."""
        tensors = tensors_of(self.noisy, self.state, optimizer)
        tensors |= {"at first": self.at_first, "order": self.random.get_state()}
        return parts(tensors, {"course": course_told(self.course), "done": self.done})

    def _go_on(self, left: Mapping[str, AnyArray], optimizer: torch.optim.Optimizer) -> None:
        """Bring the training back to where `_parts` found it."""
        tensors, told = joined(left)
        put_back(tensors, self.noisy, optimizer)
        self.random.set_state(tensors["order"])
        self.at_first, self.done = tensors["at first"], int(str(told["done"]))
        self.course = course_again(told["course"])
        self.state = {**self.state[0], **below(tensors, "best")}, list(below(tensors, "best range").values())
        self._fit_columns()

    def _optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        decayed: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in self.noisy.network.parameters():
            if parameter.requires_grad:
                (decayed if parameter.dim() > 1 else others).append(parameter)
        groups = [
            {"params": decayed, "lr": settings.lr, "weight_decay": settings.weight_decay},
            {"params": others, "lr": settings.lr, "weight_decay": 0.0},
            {"params": self.noisy.ranges(), "lr": settings.range_lr, "weight_decay": 0.0},
        ]
        if settings.optimizer == "adamw":
            return torch.optim.AdamW(groups)
        return torch.optim.SGD(groups, momentum=settings.momentum)

    def _schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """Let the learning rate follow `_rate` from the step on that the training has reached."""
        for group, highest in zip(optimizer.param_groups, self._rates(), strict=True):
            group["initial_lr"] = highest
        return torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate, self.done - 1)

    def _rates(self) -> tuple[float, float, float]:
        """Give the highest learning rate of each group of parameters."""
        return self.settings.lr, self.settings.lr, self.settings.range_lr

    def _rate(self, step: int) -> float:
        """Give the learning rate of a step over its highest: rising with the noise, falling along a cosine."""
        return self._ramp(step) * 0.5 * (1.0 + math.cos(math.pi * step / max(self.steps, 1)))

    def _ramp(self, step: int) -> float:
        return min(1.0, (step + 1) / max(self.settings.ramp * self.steps, 1.0))

    def _epoch(self, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler) -> float:
        """Train on every image once; returns the mean loss, which ends the epoch where it is no number."""
        noisy, settings, total = self.noisy, self.settings, 0.0
        noisy.network.train()
        if settings.batch_norm == "kept":
            for module in noisy.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        order = torch.randperm(len(self.training), generator=self.random)
        for batch in self.training.batches(settings.batch, order):
            if len(batch) == 1 and len(self.training) > 1:
                continue  # batch norm has no statistics of one image
            strength = settings.noise * self._ramp(self.done)
            share = float(torch.rand((), generator=self.random))
            noisy.redraw(noisy.noise.age(share), noisy.noise.ramped(strength))
            optimizer.zero_grad()
            loss = self._loss(batch)
            if not math.isfinite(loss.item()):
                return math.nan
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            noisy.hold_ranges()
            if settings.clip_sigmas:
                for matrix in noisy.placed():
                    clip_columns(matrix, settings.clip_sigmas)
            total += loss.item() * len(batch) / len(self.training)
            self.done += 1
            self.report(self.done, self.steps)
        return total

    def _loss(self, batch: Images) -> torch.Tensor:
        """Give the mean loss of a batch, by the weights of its images over those of all."""
        inputs, others, share = self._mixed(batch, self.random)
        scores = self.noisy.network(inputs)
        wanted, other = (functional.one_hot(labels, scores.shape[1]).to(scores) for labels in (batch.labels, others))
        losses = self._losses(scores, inputs, torch.lerp(wanted, other, share.to(scores)[:, None]))
        if batch.weights is None or self.training.weights is None:
            return losses.mean()
        return (losses * (batch.weights / self.training.weights.mean()).to(losses)).mean()

    def _losses(self, scores: torch.Tensor, inputs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Give the loss of each input.

        Parameters
        ----------
        scores
            (..., images, classes) that the network gives under noise.
        inputs
            (images, ...), of which the digital network is asked too.
        wanted
            (images, classes) probabilities by the labels.
        """
        settings = self.settings
        losses = (settings.distillation - 1.0) * (wanted * functional.log_softmax(scores, -1)).sum(-1)
        if settings.distillation:
            with torch.no_grad():
                taught = functional.log_softmax(self.teacher(inputs) / settings.temperature, -1)
            learnt = functional.log_softmax(scores / settings.temperature, -1)
            far = (taught.exp() * (taught - learnt)).sum(-1)
            losses = losses + settings.distillation * settings.temperature**2 * far
        return losses

    def _mixed(self, batch: Images, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mix each image with another one of the batch: the inputs, the labels of the others, and their shares."""
        count, device = len(batch), batch.labels.device
        if not (self.settings.mixing and batch.inputs.is_floating_point()):
            return batch.inputs, batch.labels, torch.zeros(count, device=device)
        share = self.settings.mixing * torch.rand(count, generator=random).to(device)
        other = torch.randperm(count, generator=random).to(device)
        wide = share.to(batch.inputs.dtype).reshape(-1, *[1] * (batch.inputs.dim() - 1))
        return torch.lerp(batch.inputs, batch.inputs[other], wide), batch.labels[other], share

    def _evaluate(self, loss: float) -> None:
        """Evaluate on held-out images, always under the same noise, and keep the state if it is the best so far."""
        noisy, settings, course = self.noisy, self.settings, self.course
        self._fit_columns()
        held = self.held_out
        share = held.shares.double()
        digital = float((share * right_exactly(noisy, held).double()).mean())
        random = noisy.random_states()
        scores = scores_under_noise(noisy, held, settings.draws, settings.seed + 1)
        noisy.set_random_states(random)  # or every epoch would be trained under the noise of the first one
        right = float((share * (scores.argmax(2) == held.labels).double()).mean())
        wanted = functional.one_hot(held.labels, scores.shape[2]).to(scores)
        losses = self._losses(scores, held.inputs, wanted).double().mean(0)
        if not course.epochs:
            self.at_first = losses
        gains, noisy_loss = self.at_first - losses, float((share.to(losses) * losses).mean())
        gain = float((share * gains).mean())
        spread = float((share * (gains - gain)).std(correction=min(1, len(gains) - 1)))
        error = spread / math.sqrt(len(gains))
        course.epochs.append(Epoch(loss, digital, right, noisy_loss, gain, error))
        best = course.epochs[course.best]
        better = gain > settings.certainty * error and noisy_loss < best.noisy_loss
        if len(course.epochs) == 1 or better or settings.keep == "last":
            course.best, self.state = len(course.epochs) - 1, self._state()

    def _confirm(self) -> None:
        """Ask the best epoch and the network as it was, and go back to that unless answers are better by enough."""
        settings, held, noisy = self.settings, self.held_out, self.noisy
        random = torch.Generator().manual_seed(settings.seed + 3)
        mixable = settings.mixing and held.inputs.is_floating_point()
        parts = [self._mixed(held, random) for _ in range(settings.mixtures if mixable else 1)]
        asked = torch.cat([self._wanted(held, *one) for one in parts])
        images, found = Images(torch.cat([one[0] for one in parts]), asked), []
        for state in (self.start, self.state):
            self._put(state)
            scores = scores_under_noise(noisy, images, settings.draws, settings.seed + 3)
            right = (scores.argmax(2) == images.labels).double().mean(0)
            found.append(right.reshape(len(parts), len(held)).mean(0))  # mixtures of one image are not independent
        answers = self.course.answers = compared(found[0], found[1], held.shares)
        if not answers.better(settings.certainty):
            self.course.best, self.state = 0, self.start

    def _wanted(self, batch: Images, inputs: torch.Tensor, others: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """Give the classes (images,) that mixtures of `_mixed` shall get: the digital ones, or their labels'."""
        with torch.no_grad():
            taught = self.teacher(inputs).softmax(1)
        wanted, other = (functional.one_hot(labels, taught.shape[1]).to(taught) for labels in (batch.labels, others))
        of_labels = torch.lerp(wanted, other, share.to(taught)[:, None])
        return torch.lerp(of_labels, taught, self.settings.distillation).argmax(1)

    def _fit_columns(self) -> None:
        """Let columns be fitted to what layers are given with the weights of the moment."""
        self.noisy.fit_columns(self.training.some(self.settings.calibration, self.settings.seed).inputs)

    def _state(self) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        ranges = [part.detach().clone() for part in self.noisy.ranges()]
        return {name: value.clone() for name, value in self.noisy.network.state_dict().items()}, ranges

    def _put(self, state: tuple[dict[str, torch.Tensor], list[torch.Tensor]]) -> None:
        """Bring network and ranges back to what `_state` gave."""
        parameters, ranges = state
        self.noisy.network.load_state_dict(parameters)
        with torch.no_grad():
            for part, value in zip(self.noisy.ranges(), ranges, strict=True):
                part.copy_(value)
        self._fit_columns()
        self.noisy.redraw(self.noisy.noise.ages[0], self.noisy.noise)
