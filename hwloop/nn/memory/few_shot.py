"""Few-shot learning in sessions: which classes come when, from which examples, and how well float arithmetic does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch.nn import functional

from hwloop.calibration.settings import Settings, seconds
from hwloop.errors import BadInputError
from hwloop.nn.accuracy import Accuracy
from hwloop.nn.noisy_accuracy import Images
from hwloop.typing import IndexArray


@dataclass(frozen=True)
class FewShot(Settings):
    """How classes are learnt in sessions, one after the other and each from few examples."""

    sessions: int = 5
    """Sessions after the first, which brings the base classes."""
    ways: int = 1
    """New classes in each of them."""
    shots: int = 5
    """Examples of each class, drawn from the training images; base classes have as many."""
    dimension: int = 256
    """Elements of the vectors that are remembered; 0: as many as the last layer has inputs."""
    epochs: int = 30
    """Epochs in which the network is trained on the base classes alone; 0: it stays as it is."""
    method: str = "gdp"
    """Programs the network; default settings."""
    rest: float = seconds(20.0)
    """Seconds between the last pulse of a session and its questions: fresh devices drift fast, each at its own pace."""
    age: float = seconds(86_400.0)
    """Seconds after the last session at which all is asked again, as it is and compensated; 0: not."""
    seed: int = 0
    """Which classes are new, which examples stand for a class, and the projection."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("sessions", 0, 10_000), ("ways", 1, 10_000), ("shots", 1, 10_000), ("dimension", 0, 1_000_000),
            ("epochs", 0, 1_000_000), ("rest", 0.0, 1e10), ("age", 0.0, 1e10), ("seed", 0, 2**32 - 1),
        ):  # fmt: skip
            self._require(name, low, high)


@dataclass(frozen=True)
class Lessons:
    """Which classes are learnt in which session, and from which images."""

    classes: tuple[tuple[int, ...], ...]
    """Of each session, those of the first being the base classes."""
    examples: tuple[IndexArray, ...]
    """(shots,) indices of training images of each class, in the order of the classes."""

    @classmethod
    def plan(cls, images: Images, settings: FewShot) -> Self:
        """Draw them.

        Raises
        ------
        BadInputError
            When there are not two classes left to begin with, or fewer images of a class than `shots`.
        """
        labels = images.labels.cpu().numpy()
        present, counts = np.unique(labels, return_counts=True)
        new = settings.sessions * settings.ways
        if len(present) - new < 2:
            raise BadInputError(
                f"{settings.sessions} sessions of {settings.ways} new classes need {new + 2} classes, two to begin "
                f"with; the data have {len(present)}"
            )
        if counts.min() < settings.shots:
            few = present[counts.argmin()]
            raise BadInputError(f"class {few} has {counts.min()} training images; {settings.shots} shots need as many")
        rng = np.random.default_rng(settings.seed)
        order = rng.permutation(present)
        later = order[len(present) - new :].reshape(settings.sessions, settings.ways)
        classes = (tuple(sorted(order[: len(present) - new].tolist())), *(tuple(one.tolist()) for one in later))
        drawn = [
            rng.choice(np.flatnonzero(labels == one), settings.shots, replace=False)
            for session in classes
            for one in session
        ]
        return cls(classes, tuple(drawn))

    @property
    def every(self) -> tuple[int, ...]:
        """All classes, in the order in which they are learnt."""
        return tuple(one for session in self.classes for one in session)

    def until(self, session: int) -> tuple[int, ...]:
        """Return the classes that are known after a session, counted from 0."""
        return tuple(one for known in self.classes[: session + 1] for one in known)


@dataclass(frozen=True)
class Asked:
    """How well the memory answered at one moment, on test images of all classes that it knew."""

    moment: str
    """'session 0' after the base classes, 'session 1' and so on; 'aged', and 'compensated' after that."""
    classes: int
    """Classes that it knew."""
    on_chip: Accuracy
    """Network and memory on the chip."""
    in_float: Accuracy
    """The network in float, with averages of its exact vectors."""
    pulses_per_device: float
    """SET pulses for each device and example of the classes that were written last; 0 where none was."""


def of_classes(images: Images, classes: Sequence[int]) -> Images:
    """Return the images of some classes."""
    return images[torch.isin(images.labels, torch.as_tensor(list(classes), device=images.labels.device))]


def right_by_averages(examples: torch.Tensor, asked: torch.Tensor, labels: torch.Tensor, classes: Sequence[int]) -> int:
    """Count the right answers of exact arithmetic: the class whose average example has the largest cosine.

    Parameters
    ----------
    examples
        (classes, shots, width), in float.
    asked, labels
        (images, width) and (images,).
    classes
        Labels of the examples.
    """
    averages = functional.normalize(examples.mean(1), dim=1)
    best = (functional.normalize(asked, dim=1) @ averages.T).argmax(1)
    return int((torch.as_tensor(list(classes), device=labels.device)[best] == labels).sum())
