"""Finds networks that fit a chip: trains and evaluates candidates on twins of it, and evolves them on a surrogate."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hwloop.calibration.steps import Step, Work, exhaust
from hwloop.chip.backend import Backend
from hwloop.chip.registry import connect_recorded, same_chip
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.output import OutputFile
from hwloop.files.reading import whole
from hwloop.files.resume_folder import ResumeFolder, plain
from hwloop.jobs.candidates import Evaluator, states_of, twins_of
from hwloop.jobs.noise import DataLike, images_of
from hwloop.jobs.progress import Progress, reporting
from hwloop.jobs.search_result import UNITS, Found, columns_of, trials_of
from hwloop.nn.learnt_ranges import check_weights_path
from hwloop.nn.noisy_accuracy import Images
from hwloop.search.evolution import check_library, drawn, promising, proposed
from hwloop.search.settings import Limits, SearchSettings
from hwloop.search.space import Genome, Space, space_from
from hwloop.search.trials import Trial, front, winner
from hwloop.typing import AnyArray, Json

SPACE = "hwloop.search.resnet_like"
"""The space that comes with hwloop."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a search, but for the data."""

    space: str
    chip: str
    settings: SearchSettings
    limits: Limits
    run: str = field(default_factory=lambda: uuid.uuid4().hex)


def search_networks(
    data: DataLike,
    chip: Backend | str = "sim:hermes-64",
    space: str | Space = SPACE,
    settings: SearchSettings | None = None,
    *,
    limits: Limits | None = None,
    progress: Progress = False,
) -> Found:
    """Find networks that fit a chip: accurate after programming, and with little drop over a month.

    Parameters
    ----------
    data
        Labelled training data, part of which is held out to compare networks; test images are not looked at.
    chip
        A simulated chip or its URI, such as the twin of yours, sim:model.json: networks are evaluated on statistical
        chips of its kind, each with a seed of its own.
    space
        A `Space`, or the name of a module that makes one.
    settings, limits
        How it is done, and what a network may take.
    progress
        True draws a bar; a function is told (done, total) and may raise KeyboardInterrupt to stop after a network.

    Raises
    ------
    BadInputError
        For data, spaces, chips and budgets that cannot be used; without optuna, which hwloop[search] brings.
    """
    uri = chip.uri if isinstance(chip, Backend) else chip
    name = space if isinstance(space, str) else "a space in Python"
    asked = Asked(name, uri, settings or SearchSettings(), limits or Limits())
    return _searched(asked, _images(data), None if isinstance(space, str) else space, None, progress)


def search_into(
    out: str | Path, data: DataLike, asked: Asked, *, force: bool = False, progress: Progress = False
) -> Found:
    """Search as `search_networks` does, into a file, and keep every network, so that `hwloop.resume` can go on.

    Raises
    ------
    BadInputError
        Also for a file that exists (without force) or cannot be written.
    """
    images = _images(data)
    with closing(OutputFile(out, force=force)) as file:
        folder = ResumeFolder(file.path)
        told: dict[str, Json] = {
            "job": "search",
            **{name: getattr(asked, name) for name in ("space", "chip", "run")},
            "settings": dataclasses.asdict(asked.settings),
            "limits": dataclasses.asdict(asked.limits),
        }
        with folder.writing():
            folder.make(told, {"data": [images.inputs.numpy(), images.labels.numpy()]})
        return _into_file(asked, images, folder, file, progress)


def search_again(folder: ResumeFolder, given: Backend | None = None, progress: Progress = False) -> Found:
    """Go on with a search that was stopped or killed, from its last network; see `hwloop.resume`.

    Raises BadInputError for a space of another's, since a file alone never imports code, and for another chip.
    """
    told = folder.job()
    with whole(folder.path, "job folder", "begin the job anew"):
        asked = Asked(
            str(told["space"]),
            str(told["chip"]),
            SearchSettings(**dict(plain(told["settings"]))),  # type: ignore[arg-type]
            Limits(**dict(plain(told["limits"]))),  # type: ignore[arg-type]
            str(told["run"]),
        )
        inputs, labels = (torch.from_numpy(np.array(one)) for one in folder.arrays("data"))
    if given is None:
        connect_recorded(asked.chip, folder.path).close()  # a preset: nothing else opens by itself
    elif not same_chip(asked.chip, given.uri):
        raise BadInputError(f"{folder.out} was begun for {asked.chip}, not for {given.uri}; name that chip")
    if asked.space != SPACE:
        raise BadInputError(
            f"{folder.out} was begun with the space {ascii(asked.space)[:100]}, and a file alone never imports other "
            "code; begin the search anew"
        )
    with closing(OutputFile(folder.out, force=True)) as file:
        return _into_file(asked, Images(inputs, labels), folder, file, progress)


def _into_file(asked: Asked, images: Images, folder: ResumeFolder, file: OutputFile, progress: Progress) -> Found:
    """Search, write the file, and leave nothing to go on with once all is done."""
    found = _searched(asked, images, None, folder, progress)
    found = dataclasses.replace(found, file=str(file.path), run=asked.run)
    with hdf5.WholeFileWriter(file, hdf5.SEARCH_FORMAT) as writer:
        found.write(writer)
    if found.status == "complete":
        folder.remove()
    return found


def _images(data: DataLike) -> Images:
    """Take labelled data of which only the training part counts."""

    class Scores(nn.Module):
        """Stands for a network with a score for any label: the data alone are checked here."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Give zeros."""
            return torch.zeros(len(x), 100_000)

    images, _ = images_of(data, Scores())
    return images


@dataclass(frozen=True)
class Evaluated(Step):
    """A network was evaluated."""

    trials: tuple[Trial, ...] = ()
    weights: Mapping[int, Mapping[str, torch.Tensor]] = field(default_factory=dict)


def _searched(
    asked: Asked, images: Images, space: Space | None, folder: ResumeFolder | None, progress: Progress
) -> Found:
    """Search from the beginning, or from what is kept."""
    latest = Evaluated(0, total(asked.settings))
    status = "complete"
    if asked.settings.strategy == "evolution" and asked.settings.budget > asked.settings.first:
        check_library()
    if folder is not None:
        latest = _kept(folder, total(asked.settings))
    made = space or space_from(asked.space, tuple(images.inputs.shape[1:]), int(images.labels.max()) + 1)
    with twins_of(asked.chip) as chip, reporting(progress, "search") as report:
        evaluator = Evaluator(made, images, chip, asked.settings, asked.limits)

        def watch(step: Evaluated) -> None:
            nonlocal latest
            latest = step
            if folder is not None:
                with folder.writing():
                    folder.keep_state(step.done, _state(step))
            report(step.done, step.total)

        try:
            exhaust(steps(evaluator, latest), watch)
            best = winner(latest.trials)
            kept = {**latest.weights, best: evaluator.with_all(latest.trials[best].genome)}
            latest = dataclasses.replace(latest, weights=kept)
        except KeyboardInterrupt:
            if not latest.trials:
                raise
            status = "interrupted"
    return Found(latest.trials, latest.weights, asked.space, asked.chip, asked.settings, asked.limits, status)


def steps(evaluator: Evaluator, so_far: Evaluated) -> Work[Evaluated, None]:
    """Evaluate networks one by one; what comes next follows from the trials so far alone."""
    settings, space = evaluator.settings, evaluator.space
    trials, weights = list(so_far.trials), dict(so_far.weights)
    while len(trials) < settings.budget:
        for genome in _batch(evaluator, trials):
            trial, state = evaluator.evaluate(space.check(genome))
            trials.append(trial)
            weights[len(trials) - 1] = state
            weights = {number: weights[number] for number in front(trials)}
            yield Evaluated(len(trials), total(settings), trials=tuple(trials), weights=weights)
    best = promising(space, evaluator.fits, trials, settings)
    for repeat in range(1, settings.again + 1):
        for number in best:
            if len(trials[number].again) < repeat:
                value = evaluator.again(trials[number].genome, repeat)
                trials[number] = dataclasses.replace(trials[number], again=(*trials[number].again, value))
                done = len(trials) + sum(len(one.again) for one in trials)
                yield Evaluated(done, total(settings), trials=tuple(trials), weights=weights)


def total(settings: SearchSettings) -> int:
    """Count the trainings of a search, but for the last one of the winner."""
    return settings.budget + settings.again * min(settings.finalists, settings.budget)


def _batch(evaluator: Evaluator, trials: Sequence[Trial]) -> list[Genome]:
    """Choose what of the present batch is still to be evaluated."""
    settings, space = evaluator.settings, evaluator.space
    at_random = settings.budget if settings.strategy == "random" else settings.first
    if len(trials) < at_random:
        rng = np.random.default_rng([settings.seed, 0])
        return drawn(space, evaluator.fits, set(), at_random, rng)[len(trials) :]
    past = (len(trials) - settings.first) % settings.batch
    begun = trials[: len(trials) - past]
    count = min(settings.batch, settings.budget - len(begun))
    round_ = 1 + (len(begun) - settings.first) // settings.batch
    return proposed(space, evaluator.fits, begun, settings, count, round_)[past:]


def _state(step: Evaluated) -> Iterator[tuple[str, AnyArray]]:
    """Give what is needed to go on."""
    for name, (values, _, _) in columns_of(step.trials).items():
        yield name, values
    yield "networks", np.frombuffer("\n".join(one.network for one in step.trials).encode(), np.uint8)
    for number, state in step.weights.items():
        for key, tensor in state.items():
            yield f"weights {number} {key}", tensor.detach().cpu().numpy()


def _kept(folder: ResumeFolder, in_all: int) -> Evaluated:
    """Read the latest state that is whole; none evaluated where there is none."""
    found = next((state for at in folder.states() if (state := folder.state(at)) is not None), None)
    if found is None:
        return Evaluated(0, in_all)
    with whole(folder.path, "job folder", "begin the job anew"):
        trials = trials_of({name: found[name] for name in UNITS}, found["networks"].tobytes().decode().split("\n"))
        weights: dict[int, dict[str, AnyArray]] = {}
        for name, values in found.items():
            if name.startswith("weights "):
                _, number, key = name.split(" ", 2)
                weights.setdefault(int(number), {})[key] = values
        states = {number: states_of(arrays) for number, arrays in weights.items()}
        done = len(trials) + sum(len(one.again) for one in trials)
        return Evaluated(done, in_all, trials=trials, weights=states)


def check_weights(path: str | Path, *, force: bool) -> None:
    """Check that weights can be written there. Raises BadInputError."""
    check_weights_path(path, force=force)
