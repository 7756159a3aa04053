"""Learns classes from few examples in sessions: a network on the chip sees, an explicit memory beside it remembers."""

from __future__ import annotations

import copy
import dataclasses
import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import torch
from torch import nn

from hwloop.chip.backend import Backend
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.reading import whole
from hwloop.jobs.deploy import Deployment, deploy
from hwloop.jobs.exclusive import exclusive
from hwloop.jobs.noise import DataLike, images_of, name_of
from hwloop.jobs.progress import Progress, reporting
from hwloop.nn.accuracy import Accuracy
from hwloop.nn.convert import convert
from hwloop.nn.memory.embedding import embedding_of
from hwloop.nn.memory.explicit import ExplicitMemory
from hwloop.nn.memory.few_shot import Asked, FewShot, Lessons, of_classes, right_by_averages
from hwloop.nn.memory.settings import MemoryPulses, MemorySettings
from hwloop.nn.network import DeployedNetwork
from hwloop.nn.noisy_accuracy import Images
from hwloop.nn.placement import cores_needed, place
from hwloop.notebook.card import card
from hwloop.optim.settings import Training
from hwloop.optim.training import seeded, train_in_float
from hwloop.typing import Json

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class FewShotResult:
    """What a chip learnt in sessions."""

    network: str
    """Class of the network."""
    chip: str
    """URI, or name."""
    asked: tuple[Asked, ...]
    """In the order in which it was asked."""
    classes: tuple[tuple[int, ...], ...]
    """Of each session."""
    settings: FewShot
    """How it was done."""
    memory: MemorySettings
    """How the memory wrote."""
    status: str = "complete"
    """'complete', or 'interrupted'."""
    file: str = ""
    """Empty for none."""

    def at(self, moment: str) -> Asked:
        """Return what was asked at one moment. Raises BadInputError for one that is not there."""
        for one in self.asked:
            if one.moment == moment:
                return one
        raise BadInputError(f"nothing was asked at '{moment}'; there are {', '.join(one.moment for one in self.asked)}")

    @property
    def last_session(self) -> Asked:
        """The answers after the last session."""
        return [one for one in self.asked if one.moment.startswith("session")][-1]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the accuracy against the classes that are known, beside that of float arithmetic."""
        from hwloop.plot.memories import accuracy_by_session

        return accuracy_by_session(self.asked, ax)

    def to_json(self) -> dict[str, Json]:
        """Summarise as the JSON object of `hwloop fewshot`."""
        return {
            "network": self.network,
            "chip": self.chip,
            "status": self.status,
            "classes": [list(one) for one in self.classes],
            "asked": _rows(self.asked),
            "settings": dataclasses.asdict(self.settings),
            "memory": dataclasses.asdict(self.memory),
            "hwloop_version": importlib.metadata.version("hwloop"),
            "file": self.file or None,
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each moment; needs the extra `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        return dataframe(_rows(self.asked))

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray dataset of the answers by moment; needs the extra `hwloop[xarray]`."""
        from hwloop.notebook.tables import Variable, dataset

        told = {
            "classes": ([one.classes for one in self.asked], "classes that were known"),
            "accuracy": ([one.on_chip.value for one in self.asked], "share of right answers on the chip"),
            "accuracy_float": ([one.in_float.value for one in self.asked], "share of right answers in float"),
        }
        found = {
            name: Variable(("moment",), np.array(values), "1", meaning) for name, (values, meaning) in told.items()
        }
        moments = Variable(("moment",), np.array([one.moment for one in self.asked], np.str_), "", "when it was asked")
        about = {"network": self.network, "chip": self.chip, "status": self.status}
        return dataset(found, {"moment": moments}, about)

    def _repr_html_(self) -> str:
        rows = [(one.moment, one.classes, one.on_chip.value, one.in_float.value) for one in self.asked]
        last = self.last_session
        told = f"{last.classes} classes, {last.on_chip.value:.1%} right; in float {last.in_float.value:.1%}"
        head = ("asked", "classes", "accuracy", "in float")
        return card(f"{self.network} learns in sessions on {self.chip}", told, head=head, rows=rows)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write an HDF5 file. Raises BadInputError when it exists (without force) or cannot be written."""
        with hdf5.WholeFileWriter(path, hdf5.FEWSHOT_FORMAT, force=force) as writer:
            version = importlib.metadata.version("hwloop")
            told = {name: getattr(self, name) for name in ("network", "chip", "status")}
            hdf5.put_attributes(writer.file, {**told, "hwloop_version": version, "created": hdf5.utc_now()})
            hdf5.put_attributes(writer.file.create_group("settings"), dataclasses.asdict(self.settings))
            hdf5.put_attributes(writer.file.create_group("memory"), dataclasses.asdict(self.memory))
            _write(writer.file.create_group("asked"), self.asked)
            session = [number for number, known in enumerate(self.classes) for _ in known]
            learnt = np.array([session, [one for known in self.classes for one in known]], np.int64).T
            hdf5.put(writer.file, "classes", learnt, "1", "session and label of each class, in the order of learning")
            writer.commit()

    @classmethod
    def load(cls, path: str | Path) -> FewShotResult:
        """Read a file that `save` has written. Raises BadInputError for one that is damaged or of another kind."""
        with hdf5.open_file(path, hdf5.FEWSHOT_FORMAT) as file, whole(path, "few-shot file", "make it again"):
            told = hdf5.get_attributes(file)
            missing = [name for name in ("asked", "classes", "settings", "memory") if name not in file]
            if missing:
                raise BadInputError(f"{path} has no {missing[0]}; the file is not whole")
            texts = {
                group: {name: str(value) for name, value in hdf5.get_attributes(file[group]).items()}
                for group in ("settings", "memory")
            }
            learnt = np.asarray(hdf5.get(file, "classes", "1"), np.int64)
            sessions = range(int(learnt[:, 0].max()) + 1)
            return cls(
                network=str(told.get("network", "")),
                chip=str(told.get("chip", "")),
                asked=tuple(_read(file["asked"])),
                classes=tuple(tuple(learnt[learnt[:, 0] == one, 1].tolist()) for one in sessions),
                settings=FewShot.parse(texts["settings"]),
                memory=MemorySettings.parse(texts["memory"]),
                status=str(told.get("status", "")),
                file=str(path),
            )

    def __repr__(self) -> str:
        last = self.last_session
        return (
            f"<FewShotResult of {self.network} on {self.chip}: {last.classes} classes, {last.on_chip.value:.4f}, in "
            f"float {last.in_float.value:.4f}>"
        )


@exclusive
def fewshot(
    network: nn.Module,
    data: DataLike,
    chip: Backend,
    settings: FewShot | None = None,
    *,
    memory: MemorySettings | None = None,
    progress: Progress = False,
) -> FewShotResult:
    """Learn classes in sessions from few examples: a network on the chip sees, a memory on the chip remembers.

    The network is trained in float on the base classes alone, loses its last layer, and is put on the chip once; it
    never changes again. Classes are written into an `ExplicitMemory` on cores that it leaves free.

    Parameters
    ----------
    network
        Gives (batch, classes) by a linear layer at its end; it stays as it is.
    data
        Labelled data with test images.
    chip
        An open chip that is pulsed, does products, and has room for both.
    settings, memory
        How it is done.
    progress
        True draws a bar; a function is told (done, total) and may raise KeyboardInterrupt to stop between sessions.

    Raises
    ------
    BadInputError, MissingCapabilityError
        For data, networks, settings and chips that cannot be used, before anything is sent to the chip.
    ChipError
        When the chip fails.
    """
    settings = settings or FewShot()
    images, test = images_of(data, network)
    if test is None:
        raise BadInputError("few-shot learning needs test images; give a data set with x_test and y_test")
    lessons = Lessons.plan(images, settings)
    base = of_classes(images, lessons.classes[0])
    embedding = embedding_of(_trained(network, base, settings), images.inputs[:2], settings.dimension, settings.seed)
    MemoryPulses.of(chip.info, memory or MemorySettings())  # or it is refused before the network is programmed
    width = _check_room(embedding, images, chip)
    made = Deployment(seed=settings.seed, progress=progress)
    deployed = deploy(embedding, chip, base.some(500, settings.seed).inputs, settings.method, settings=made)
    assert isinstance(deployed, DeployedNetwork)  # there is room for all of it
    used = {tile.tile.place.core for tile in deployed.open_run.record.tiles}
    beside = ExplicitMemory(chip, width, memory, [core for core in range(chip.info.cores) if core not in used])
    classroom = _Classroom(deployed, beside, embedding, images, test, lessons)
    found, status = _taught(classroom, settings, progress)
    return FewShotResult(
        type(network).__name__, name_of(chip), found, lessons.classes, settings, beside.settings, status
    )


def _taught(classroom: _Classroom, settings: FewShot, progress: Progress) -> tuple[tuple[Asked, ...], str]:
    """Hold the lessons until they are over or stopped. Raises KeyboardInterrupt for a stop in the first of them."""
    found: list[Asked] = []
    status = "complete"
    with reporting(progress, "few-shot") as report:
        try:
            for one in classroom.lessons_on(settings):
                found.append(one)
                report(len(found), len(classroom.lessons.classes) + 2 * bool(settings.age))
        except KeyboardInterrupt:
            if not found:
                raise
            status = "interrupted"
    return tuple(found), status


def _trained(network: nn.Module, base: Images, settings: FewShot) -> nn.Module:
    """Train a copy of a network on the base classes; the network itself where no epoch is asked for."""
    if not settings.epochs:
        return network
    made = copy.deepcopy(network)
    with seeded(settings.seed):  # dropout and the like
        for _ in train_in_float(made, base, Training(epochs=settings.epochs, seed=settings.seed)):
            pass
    return made


def _check_room(embedding: nn.Module, images: Images, chip: Backend) -> int:
    """Check from shapes alone that a network leaves cores for a memory, and return the elements of its vectors."""
    width = _vectors(embedding, images.inputs[:1]).shape[-1]
    needed = cores_needed(place(convert(embedding), chip.info), chip.info)
    beside = -(-width // chip.info.rows)
    if needed + beside > chip.info.cores:
        raise BadInputError(
            f"the network needs {needed} of the cores, and a memory of {width} elements {beside}; {chip.info.name} "
            f"has {chip.info.cores}: take a chip of more cores, or a smaller dimension"
        )
    return width


@dataclass(frozen=True)
class _Classroom:
    """The network and the memory, and what is learnt with them."""

    deployed: DeployedNetwork
    memory: ExplicitMemory
    embedding: nn.Module
    images: Images
    test: Images
    lessons: Lessons

    def lessons_on(self, settings: FewShot) -> Iterator[Asked]:
        """Write session after session, and yield how well all that is known is found again."""
        for session, classes in enumerate(self.lessons.classes):
            pulses = [self._learn(one) for one in classes]
            self.deployed.age(self.deployed.seconds_after_programming + settings.rest)
            yield self._ask(f"session {session}", self.lessons.until(session), float(np.mean(pulses)))
        if settings.age:
            self.deployed.age(self.deployed.seconds_after_programming + settings.age)
            yield self._ask("aged", self.lessons.every)
            self.deployed.compensate("column")
            self.memory.compensate()
            yield self._ask("compensated", self.lessons.every)

    def _learn(self, one: int) -> float:
        examples = self.images[self._examples_of([one])[0]]
        return self.memory.write(one, _vectors(self.deployed, examples.inputs).double().numpy()).pulses_per_device

    def _ask(self, moment: str, classes: Sequence[int], pulses_per_device: float = 0.0) -> Asked:
        test = of_classes(self.test, classes)
        answers = self.memory.classify(_vectors(self.deployed, test.inputs).double().numpy())
        right = sum(given == wanted for given, wanted in zip(answers, test.labels.tolist(), strict=True))
        body = self.embedding.get_submodule("body")
        examples = torch.stack([_vectors(body, self.images.inputs[which]) for which in self._examples_of(classes)])
        exact = right_by_averages(examples, _vectors(body, test.inputs), test.labels, classes)
        total = len(test)
        return Asked(moment, len(classes), Accuracy(right, total), Accuracy(exact, total), pulses_per_device)

    def _examples_of(self, classes: Sequence[int]) -> list[torch.Tensor]:
        every = self.lessons.every
        return [torch.from_numpy(self.lessons.examples[every.index(one)]) for one in classes]


def _vectors(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Run a network over inputs, (inputs, width), in batches."""
    with torch.no_grad():
        return torch.cat([network(part) for part in torch.split(inputs, 500)]).flatten(1).cpu()


_NUMBERS = {"classes": "classes that were known", "pulses_per_device": "SET pulses for each device and example"}


def _rows(asked: Sequence[Asked]) -> list[dict[str, Json]]:
    return [
        {
            "moment": one.moment,
            "classes": one.classes,
            **one.on_chip.to_json(),
            "accuracy_float": one.in_float.value,
            "pulses_per_device": one.pulses_per_device,
        }
        for one in asked
    ]


def _write(group: h5py.Group, asked: Sequence[Asked]) -> None:
    for number, one in enumerate(asked):
        own = group.create_group(f"{number:04d}")
        hdf5.put_attributes(own, {"moment": one.moment})
        for name, meaning in _NUMBERS.items():
            hdf5.put(own, name, getattr(one, name), "1", meaning)
        counts = np.array([one.on_chip.correct, one.in_float.correct, one.on_chip.total], np.int64)
        hdf5.put(own, "right", counts, "1", "right answers on the chip and in float, and all")


def _read(group: h5py.Group) -> Iterator[Asked]:
    for number in sorted(group):
        own = group[number]
        chip, exact, total = np.asarray(hdf5.get(own, "right", "1"), np.int64).tolist()
        classes, pulses = (float(hdf5.get(own, name, "1")) for name in _NUMBERS)
        moment = str(hdf5.get_attributes(own).get("moment", ""))
        yield Asked(moment, int(classes), Accuracy(chip, total), Accuracy(exact, total), pulses)
