"""What is asked of a training, as objects, and as a file from which it goes on after its last epoch."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hwloop.chip.backend import Backend
from hwloop.chip.registry import connect_recorded, same_chip
from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.files.reading import whole
from hwloop.files.resume_folder import ResumeFolder, listed, plain
from hwloop.jobs.noise import ChipLike, DataLike
from hwloop.nn.datasets import Dataset
from hwloop.nn.retraining import Retraining
from hwloop.nn.stored import StoredModule, described, tensor_again, tensor_on_file
from hwloop.typing import AnyArray, Json


@dataclass(frozen=True)
class AskedOfTraining:
    """What is asked of a training, but for the network and the data; see `hwloop.retrain`."""

    chip: ChipLike
    settings: Retraining
    exclude: tuple[str, ...] = ()

    @property
    def chip_on_file(self) -> Json:
        """What a file says of the chip: its URI, or a model's file; None for what is an object in Python alone."""
        if self.model is not None:
            return str(self.model)
        return self.chip.uri if isinstance(self.chip, Backend) else self.chip if isinstance(self.chip, str) else None

    @property
    def model(self) -> Path | None:
        """Where the model is that the chip is a twin of, if it is given by its file."""
        chip = self.chip
        if isinstance(chip, Path) or (isinstance(chip, str) and chip.endswith(".json") and ":" not in chip):
            return Path(chip).resolve()
        return None

    @classmethod
    def from_file(cls, folder: ResumeFolder, given: Backend | None) -> tuple[AskedOfTraining, DataLike]:
        """Make it again, with the data, for the chip `given`, or else the simulated preset or the model's file on file.

        Raises BadInputError for what is not whole, another chip, and data that are gone or not what they were.
        """
        told = folder.job()
        with whole(folder.path, "job folder", "begin the job anew"):
            exclude = tuple(str(one) for one in listed(told["exclude"]))
            settings = Retraining(**dict(plain(told["settings"])))  # type: ignore[arg-type]
            name, rows = str(told["chip"]), plain(told["data"])
            arrays = [tensor_again(one, how) for one, how in zip(folder.arrays("data"), rows.values(), strict=True)]
            found = dict(zip(rows, arrays, strict=True))
        data: DataLike = folder.unchanged("dataset") or (tuple(arrays) if "x" in found else found)  # type: ignore[assignment]
        if given is not None and not same_chip(name, given.uri):
            raise BadInputError(f"{folder.out} was begun for {name}, not for {given.uri}; name that chip")
        chip: ChipLike = given or folder.unchanged("model") or _preset(name, folder)
        return cls(chip, settings, exclude), data


def _preset(name: str, folder: ResumeFolder) -> str:
    """Return the URI of a simulated preset. Raises BadInputError for any other, which the user must name."""
    connect_recorded(name, folder.path).close()
    return name


class Epochs:
    """Keeps a training on file from one epoch to the next; the caller has the lock of its output."""

    def __init__(self, folder: ResumeFolder) -> None:
        """Go on with what is there. Raises BadInputError for a folder that is not whole."""
        told = folder.job()
        with whole(folder.path, "job folder", "begin the job anew"):
            self.folder, self.run = folder, str(told["run"])
            self.factory = str(plain(told["network"])["factory"])

    @classmethod
    def begun(
        cls, out: Path, asked: AskedOfTraining, network: nn.Module, data: DataLike, factory: str
    ) -> Epochs | None:
        """Write what was asked for; None for a chip that no file can name. Raises BadInputError where it cannot."""
        chip = asked.chip_on_file
        if chip is None:
            return None
        stored, tensors, files = StoredModule.of(network, factory), _tensors(data), dict[str, Path]()
        if isinstance(data, str | Path):
            files["dataset"] = Path(data)
        if asked.model is not None:
            files["model"] = asked.model
        told: dict[str, Json] = {
            "job": "retrain",
            "run": uuid.uuid4().hex,
            "chip": chip,
            "settings": dataclasses.asdict(asked.settings),
            "exclude": list(asked.exclude),
            "network": stored.told(),
            "data": {name: described(one) for name, one in tensors.items()},
            "files": {name: [str(path.resolve()), fingerprint(path)] for name, path in files.items()},
        }
        arrays: dict[str, list[AnyArray]] = {
            "network": stored.arrays(),
            "data": [tensor_on_file(one) for one in tensors.values()],
        }
        folder = ResumeFolder(out)
        with folder.writing():
            folder.make(told, arrays)
        return cls(folder)

    def keep(self, epochs: int, state: Iterable[tuple[str, AnyArray]]) -> None:
        """Keep a state; see `Checkpoints`. Raises BadInputError where it cannot be written."""
        with self.folder.writing():
            self.folder.keep_state(epochs, state)

    def last(self) -> Mapping[str, AnyArray] | None:
        """Return the latest state that is whole; None where there is none."""
        found = (self.folder.state(epochs) for epochs in self.folder.states())
        return next((state for state in found if state is not None), None)


def _tensors(data: DataLike) -> dict[str, torch.Tensor]:
    """Return data that lie in no file, by their names."""
    if isinstance(data, str | Path):
        return {}
    if isinstance(data, Dataset):
        data = {field.name: getattr(data, field.name) for field in dataclasses.fields(data) if field.name != "name"}
    named = data if isinstance(data, Mapping) else {"x": data[0], "y": data[1]}
    return {name: torch.as_tensor(one) for name, one in named.items() if one is not None}
