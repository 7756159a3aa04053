"""What is asked of a deployment, as objects, and as a file from which the same network is deployed again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from hwloop.calibration.programming.base import Method
from hwloop.calibration.programming.registry import method_from
from hwloop.files.reading import whole
from hwloop.files.resume_folder import ResumeFolder, listed, plain
from hwloop.jobs.inputs import UsedCalibration
from hwloop.jobs.recording import JobOnFile
from hwloop.jobs.stored import calibration_bytes, samples_again, samples_on_file, samples_told, stored_calibration
from hwloop.mapping.activations import Sample
from hwloop.mapping.sharing import MappingSettings
from hwloop.nn.ranges import RangeSettings
from hwloop.nn.settings import NetworkNames, NetworkSettings
from hwloop.nn.stored import StoredModule, described, tensor_again, tensor_on_file
from hwloop.typing import AnyArray, Json


@dataclass(frozen=True)
class DataOfNetwork:
    """What a network is fitted to and tested on.

    Parameters
    ----------
    inputs, weights
        Calibration inputs, and how many each stands for; None: itself.
    test
        Inputs and labels; None for none.
    samples
        Activations that were given, by matrix.
    """

    inputs: torch.Tensor
    test: tuple[torch.Tensor, torch.Tensor] | None
    weights: torch.Tensor | None = None
    samples: Mapping[str, Sample] = field(default_factory=dict)


@dataclass(frozen=True)
class AskedOfNetwork:
    """What is asked of a deployment, below the door.

    Parameters
    ----------
    method, mapping, network, input_ranges, age, seed
        As for `hwloop.deploy`.
    names
        Origin of the network, for its file.
    calibration
        Of the chip, or None.
    run
        What tells the deployment from every other.
    """

    method: Method
    names: NetworkNames
    mapping: MappingSettings
    network: NetworkSettings
    input_ranges: Mapping[str, float]
    age: float | None
    seed: int
    calibration: UsedCalibration | None
    run: str

    def on_file(self, network: nn.Module, given: DataOfNetwork) -> JobOnFile:
        """Give all of it, the network and its data as plain values and arrays."""
        stored, used = StoredModule.of(network, self.names.factory), self.calibration
        data = [given.inputs, *(given.test or ())]
        told: dict[str, Json] = {
            "method": self.method.name,
            "settings": dataclasses.asdict(self.method),
            "names": dataclasses.asdict(self.names),
            "mapping": dataclasses.asdict(self.mapping),
            "ranges": dataclasses.asdict(self.network.ranges),
            "replica_use": self.network.replica_use,
            "input_ranges": dict(self.input_ranges),
            "age": self.age,
            "seed": self.seed,
            "calibration": None if used is None else [used.name, used.sha256],
            "run": self.run,
            "network": stored.told(),
            "data": [described(one) for one in data],
            "activations": samples_told(given.samples),
        }
        arrays: dict[str, list[AnyArray]] = {
            "network": stored.arrays(),
            "data": [tensor_on_file(one) for one in data],
            "weights_of_inputs": [] if given.weights is None else [given.weights.numpy()],
            **samples_on_file(given.samples),
            "calibration": [] if used is None else [calibration_bytes(used.calibration)],
        }
        return JobOnFile("deploy", told, arrays)

    @classmethod
    def from_file(cls, folder: ResumeFolder) -> tuple[AskedOfNetwork, DataOfNetwork]:
        """Make it again of what `on_file` gave, with the data. Raises BadInputError for what is not whole."""
        told = folder.job()
        with whole(folder.path, "job folder", "begin the job anew"):
            names, ranges = plain(told["names"]), _texts(told["ranges"])
            asked = cls(
                method_from(str(told["method"]), _texts(told["settings"])),
                NetworkNames(
                    **{key: str(names[key]) for key in ("factory", "weights", "weights_sha256", "dataset")},
                    exclude=tuple(str(one) for one in listed(names["exclude"])),
                    replicas={key: int(str(value)) for key, value in plain(names["replicas"]).items()},
                ),
                MappingSettings(**dict(plain(told["mapping"]))),  # type: ignore[arg-type]
                NetworkSettings(RangeSettings.parse(ranges), str(told["replica_use"])),
                {key: float(str(value)) for key, value in plain(told["input_ranges"]).items()},
                None if told["age"] is None else float(str(told["age"])),
                int(str(told["seed"])),
                stored_calibration(folder, told["calibration"]),
                str(told["run"]),
            )
            rows = listed(told["data"])
            inputs, *test = [tensor_again(one, how) for one, how in zip(folder.arrays("data"), rows, strict=True)]
            weights = [torch.from_numpy(np.array(one)) for one in folder.arrays("weights_of_inputs")]
            samples = samples_again(folder, told.get("activations", []))
            return asked, DataOfNetwork(
                inputs, (test[0], test[1]) if test else None, weights[0] if weights else None, samples
            )


def _texts(told: Json) -> dict[str, str]:
    return {key: str(value) for key, value in plain(told).items()}
