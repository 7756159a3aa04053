"""What was asked of a training and how it went, as its file keeps them: read without a word of torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import h5py

from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.nn.in_memory.settings import Periphery
from hwloop.optim.rule import Rule
from hwloop.optim.rules import RULES
from hwloop.optim.settings import Curves, Training

CURVES = {
    "loss": ("nat", "mean loss of the training images, epoch by epoch"),
    "test_accuracy": ("1", "share of test images that are answered rightly through the chip, epoch by epoch"),
    "held_out_accuracy": ("1", "the same of held-out training images"),
    "pulses": ("1", "pulses of all devices until the end of each epoch"),
    "chip_seconds": ("s", "time on the chip until the end of each epoch"),
}
"""Unit and meaning of each curve."""


@dataclass(frozen=True)
class TrainingTask:
    """What was asked for, as plain values.

    Parameters
    ----------
    network
        MODULE:FACTORY that makes the network; empty for one that was given as a module.
    dataset, weights
        Files of the data and of the start weights; empty for none.
    backend, chip
        URI of the chip, and which chip it was.
    rule, training, periphery
        The algorithm with its settings, the training's, and those of converters and pulses.
    exclude
        Layers that stay digital, or patterns.
    calibration
        File of the calibration whose symmetry points are the reference; empty for none.
    float_accuracy
        Of the same network trained in float, on the test images; NaN where it was not.
    """

    network: str
    dataset: str
    backend: str
    chip: str
    rule: Rule
    training: Training = field(default_factory=Training)
    periphery: Periphery = field(default_factory=Periphery)
    exclude: tuple[str, ...] = ()
    weights: str = ""
    calibration: str = ""
    float_accuracy: float = float("nan")

    def write(self, file: h5py.File) -> None:
        """Write it into a file."""
        texts = {
            name: getattr(self, name)
            for name in ("network", "dataset", "backend", "chip", "weights", "calibration", "float_accuracy")
        }
        hdf5.put_attributes(file, {**texts, "algorithm": self.rule.name, "exclude": "\n".join(self.exclude)})
        for name in ("rule", "training", "periphery"):
            hdf5.put_attributes(file.create_group(f"settings/{name}"), dataclasses.asdict(getattr(self, name)))

    @classmethod
    def read(cls, file: h5py.File) -> TrainingTask:
        """Read it from a file. Raises BadInputError for an algorithm that is not known."""
        told = hdf5.get_attributes(file)
        algorithm = str(told.get("algorithm"))
        if algorithm not in RULES:
            raise BadInputError(f"{file.filename}: its algorithm '{algorithm}' is unknown to this hwloop: upgrade it")
        texts = {
            name: {key: str(value) for key, value in hdf5.get_attributes(file[f"settings/{name}"]).items()}
            for name in ("rule", "training", "periphery")
        }
        return cls(
            network=str(told["network"]),
            dataset=str(told["dataset"]),
            backend=str(told["backend"]),
            chip=str(told["chip"]),
            rule=RULES[algorithm].parse(texts["rule"]),
            training=Training.parse(texts["training"]),
            periphery=Periphery.parse(texts["periphery"]),
            exclude=tuple(str(told["exclude"]).splitlines()),
            weights=str(told["weights"]),
            calibration=str(told["calibration"]),
            float_accuracy=float(str(told["float_accuracy"])),
        )


def read_curves(file: h5py.File) -> Curves:
    """Read how a training went."""
    return Curves(*(hdf5.get(file["curves"], name, units).tolist() for name, (units, _) in CURVES.items()))
