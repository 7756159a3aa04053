"""Trains and evaluates the candidates of a search: each on twins of the chip, after programming, a day and a month."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from hwloop.chip.backend import Backend
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError, first_line
from hwloop.jobs.deploy import Deployment, deploy
from hwloop.nn.convert import convert
from hwloop.nn.cost import vectors_of
from hwloop.nn.network import DeployedNetwork
from hwloop.nn.noisy_accuracy import Images
from hwloop.nn.placement import cores_needed, place
from hwloop.nn.ranges import RangeSettings
from hwloop.nn.settings import NetworkSettings
from hwloop.optim.training import seeded
from hwloop.search.settings import Limits, SearchSettings
from hwloop.search.space import Genome, Space
from hwloop.search.trials import Footprint, Trial
from hwloop.sim_backend.statistical.chip import StatisticalChip


@contextmanager
def twins_of(uri: str) -> Iterator[StatisticalChip]:
    """Open the statistical chip of a URI, whose siblings are the twins.

    Raises BadInputError for a URI that has none: networks are evaluated on simulated chips alone.
    """
    if not uri.startswith("sim:"):
        raise BadInputError(
            f"{uri}: networks are evaluated on twins of a chip; fit a model to it (hwloop fit), and give sim:model.json"
        )
    with _statistical(uri) as chip:
        if not isinstance(chip, StatisticalChip):
            raise BadInputError(f"{uri}: give level=statistical, or no level; a search takes hundreds of chips")
        yield chip


def _statistical(uri: str) -> Backend:
    """Open the statistical chip of a URI that names no level. Raises BadInputError where there is none."""
    if "level=" in uri:
        return connect(uri)
    try:
        return connect(f"{uri}{'&' if '?' in uri else '?'}level=statistical")
    except BadInputError as error:
        if "unknown option 'level'" not in str(error):
            raise
        raise BadInputError(
            f"{uri}: chips of this kind have no statistical level, on which networks are evaluated; give another, such "
            "as sim:hermes-64"
        ) from None


@dataclass
class Evaluator:
    """Evaluates networks of a space for a chip.

    Parameters
    ----------
    space
        Of the networks.
    data
        Labelled training data, part of which is held out.
    chip
        The chip whose siblings are the twins.
    settings, limits
        How, and what a network may take.
    """

    space: Space
    data: Images
    chip: StatisticalChip
    settings: SearchSettings
    limits: Limits = field(default_factory=Limits)
    _known: dict[Genome, Footprint] = field(default_factory=dict)

    def __post_init__(self) -> None:
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(self.settings.seed))
        kept = math.ceil(self.settings.held_out * len(self.data))
        if kept < 10 or len(self.data) - kept < 10:
            raise BadInputError(f"a search needs 20 training images or more; the data have {len(self.data)}")
        self.training, self.held_out = self.data[order[kept:]], self.data[order[:kept]]

    def fits(self, genome: Genome) -> Footprint | None:
        """Return what a network takes; None where that is beyond the limits or the chip."""
        limits = self.limits
        if limits.weights and genome not in self._known:
            with seeded(0):
                network = self.space.network(genome)
            if sum(one.numel() for one in network.parameters() if one.dim() > 1) > limits.weights:
                return None
        takes = self.footprint(genome)
        beyond = (
            (limits.weights and takes.weights > limits.weights)
            or takes.cores > min(limits.cores or self.chip.info.cores, self.chip.info.cores)
            or (limits.latency and not takes.latency <= limits.latency)
        )
        return None if beyond else takes

    def footprint(self, genome: Genome) -> Footprint:
        """Find out what a network takes, from shapes alone.

        Raises
        ------
        BadInputError
            For a space that makes no network of it, or one that does not take the data and score its classes.
        """
        if genome not in self._known:
            with seeded(0):
                network = self.space.network(genome).eval()
            self._check(network, genome)
            self._known[genome] = footprint_of(network, self.chip, self.data.inputs[:1])
        return self._known[genome]

    def _check(self, network: nn.Module, genome: Genome) -> None:
        classes = int(self.data.labels.max()) + 1
        told = f"the network of {self.space.written(genome)}"
        try:
            with torch.no_grad():
                scores = network(self.data.inputs[:2])
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise BadInputError(f"{told} does not take the data: {first_line(error)}") from None
        if not isinstance(scores, torch.Tensor) or scores.dim() != 2 or scores.shape[1] < classes:
            shape = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
            raise BadInputError(f"{told} gives {shape} for two examples; expected scores for {classes} classes")

    def evaluate(self, genome: Genome) -> tuple[Trial, dict[str, torch.Tensor]]:
        """Train a network and ask it on every twin; its weights come along."""
        takes = self.footprint(genome)
        with seeded(_seed(self.settings.seed, genome)):
            network = self.space.network(genome)
            trained(network, self.training, self.settings)
        ages = (0.0, self.settings.day, self.settings.month)
        asked = self._asked(network, 0, (self.training, self.held_out), ages)
        name = self.space.named(genome) if self.space.named is not None else self.space.written(genome)
        programmed, day, month = (tuple(float(value) for value in column) for column in zip(*asked, strict=True))
        in_float = in_float_of(network, self.held_out)
        return Trial(genome, name, takes, in_float, programmed, day, month), dict(network.state_dict())

    def again(self, genome: Genome, repeat: int) -> float:
        """Train a network once more, on other images, and ask those that are left on fresh twins after a month."""
        order = torch.randperm(
            len(self.data), generator=torch.Generator().manual_seed(self.settings.seed + 7919 * repeat)
        )
        kept = len(self.held_out)
        training, left = self.data[order[kept:]], self.data[order[:kept]]
        with seeded(_seed(self.settings.seed, (*genome, repeat))):
            network = self.space.network(genome)
            trained(network, training, self.settings)
        asked = self._asked(network, repeat, (training, left), (self.settings.month,))
        return float(np.mean([month for (month,) in asked]))

    def with_all(self, genome: Genome) -> dict[str, torch.Tensor]:
        """Train a network with all of the training data, and give its weights."""
        with seeded(_seed(self.settings.seed, genome)):
            network = self.space.network(genome)
            trained(network, self.data, self.settings)
        return dict(network.state_dict())

    def _asked(
        self, network: nn.Module, repeat: int, data: tuple[Images, Images], ages: Sequence[float]
    ) -> list[tuple[float, ...]]:
        """Ask a network on the twins of a training, each of which gets its part of the images that are left."""
        given, left = data
        numbers = range(self.settings.twins * repeat, self.settings.twins * (repeat + 1))
        twins = list(zip([self._twin(number) for number in numbers], dealt(left, self.settings), strict=True))
        return accuracies(network, self.chip, twins, given, self.settings, ages)

    def _twin(self, number: int) -> int:
        return 1_000_000 + 1000 * self.settings.seed + number


def dealt(images: Images, settings: SearchSettings) -> list[Images]:
    """Deal images out among the twins, so that each is asked on `asked_on` of them: chips differ more than images do.

    Where there are fewer images than twins, each twin gets all of them.
    """
    count, place = settings.twins, torch.arange(len(images))
    each = settings.asked_on if len(images) >= count else count
    return [images[(place - number) % count < each] for number in range(count)]


def footprint_of(network: nn.Module, chip: Backend, one: torch.Tensor) -> Footprint:
    """Find out what a network takes of a chip, from shapes alone; `one` is a batch of one example."""
    converted = convert(network)
    placed = place(converted, chip.info)
    weights = sum(math.prod(matrix.shape) for matrix in placed)
    shapes = tuple((int(matrix.shape[-2]), int(matrix.shape[-1])) for matrix in placed)
    modes = list(chip.info.read_modes)
    each = modes[0].seconds if modes else math.nan
    latency = each * sum(vectors_of(converted.network, placed, one))
    return Footprint(weights, cores_needed(placed, chip.info), latency, shapes)


def trained(network: nn.Module, data: Images, settings: SearchSettings) -> None:
    """Train a network in float with noise on its weights, by AdamW and a rate that rises and falls once."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr, foreach=True)
    steps = settings.epochs * math.ceil(len(data) / settings.images_a_step)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=steps + 1)
    matrices = [one for one in network.parameters() if one.dim() > 1]
    _lay_out(network, torch.channels_last)
    network.train()
    for _ in range(settings.epochs):
        for batch in data.batches(settings.images_a_step, torch.randperm(len(data))):
            if len(batch) > 1:  # batch norm has no statistics of one image
                before = [one.detach().clone() for one in matrices]
                with torch.no_grad():
                    for one in matrices:
                        one.add_(torch.randn_like(one) * (settings.weight_noise * one.abs().max()))
                optimizer.zero_grad()
                functional.cross_entropy(network(batch.inputs), batch.labels).backward()  # type: ignore[no-untyped-call]
                with torch.no_grad():
                    for one, was in zip(matrices, before, strict=True):
                        one.copy_(was)
                optimizer.step()
            schedule.step()
    network.eval()
    _lay_out(network, torch.contiguous_format)


def _lay_out(network: nn.Module, order: torch.memory_format) -> None:
    """Lay the weights of convolutions of images out in memory, which decides how those of small images compute.

    A CPU takes up to a third less time to train networks of images of 8 x 8 pixels where channels are neighbours.
    """
    for one in network.parameters():
        if one.dim() == 4:
            one.data = one.data.contiguous(memory_format=order)


def accuracies(
    network: nn.Module,
    chip: StatisticalChip,
    twins: Sequence[tuple[int, Images]],
    given: Images,
    settings: SearchSettings,
    ages: Sequence[float],
) -> list[tuple[float, ...]]:
    """Ask a network on twins of a chip at some ages.

    Parameters
    ----------
    network
        Trained.
    chip, twins
        The chip, and the seed of each of its siblings with the images that it is asked.
    given
        Images for calibration.
    settings
        How it is programmed and compensated.
    ages
        Seconds after programming, rising; 0: as soon as it is programmed. Before every other one the network is
        compensated.

    Returns
    -------
    list
        Accuracies (at each age) of each twin.
    """
    ranges = NetworkSettings(RangeSettings(vectors=settings.vectors))
    made = Deployment(network=ranges, seed=settings.seed, errors=False)
    inputs, found = given.some(settings.images, settings.seed).inputs, []
    for seed, asked in twins:
        with chip.sibling(seed) as twin:
            deployed = deploy(network, twin, inputs, settings.method, settings=made)
            assert isinstance(deployed, DeployedNetwork)  # it fits, as its footprint says
            one = []
            for age in ages:
                if age > 0:
                    deployed.age(age)
                    deployed.compensate(settings.compensation)
                one.append(deployed.accuracy((asked.inputs, asked.labels)).value)
        found.append(tuple(one))
    return found


def in_float_of(network: nn.Module, images: Images) -> float:
    """Give the accuracy of the digital network."""
    with torch.no_grad():
        right = torch.cat([network(part.inputs) for part in images.batches(500)]).argmax(1) == images.labels
    return float(right.double().mean())


def _seed(seed: int, genome: Genome) -> int:
    """Mix a seed and a genome into a seed of its own."""
    return int(np.random.SeedSequence([seed, *genome]).generate_state(1)[0])


def states_of(arrays: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> dict[str, torch.Tensor]:
    """Make a state dict of arrays."""
    return {name: torch.from_numpy(np.array(one)) for name, one in arrays.items()}
