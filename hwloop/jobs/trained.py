"""What came of a training in memory: the result, and its file read without opening its chip or loading torch."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np

from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.hdf5 import TRAINING_FORMAT
from hwloop.files.reading import whole
from hwloop.notebook.card import card
from hwloop.optim.settings import Curves
from hwloop.optim.task import CURVES, TrainingTask, read_curves
from hwloop.typing import FloatArray, Json
from hwloop.units import finite

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes

    from hwloop.nn.in_memory.network import AnalogNetwork


@dataclass(frozen=True, repr=False)
class Trained:
    """A training in memory, as far as it went.

    Parameters
    ----------
    task
        What was asked for.
    curves
        What was reached epoch by epoch.
    status
        'complete', 'interrupted', 'running' where its process was killed, 'failed' where an error ended it, or
        'diverged' where the loss was no number.
    weights
        Matrices (inputs, outputs) as read from the chip at the end, in the network's units, by name.
    pulses_per_device
        Pulses of the devices of the training in the mean, start weights included.
    saturated
        Share of the weights that lie beyond 95 % of the nominal range.
    wall_seconds
        Time that it took here, the part before a stop included.
    net
        The network on its open chip; None for one that was read from a file.
    file
        Its file; empty for none.
    """

    task: TrainingTask
    curves: Curves
    status: str
    weights: Mapping[str, FloatArray]
    pulses_per_device: float
    saturated: float
    wall_seconds: float
    net: AnalogNetwork | None = None
    file: str = ""

    @property
    def test_accuracy(self) -> list[float]:
        """Share of test images that are answered rightly through the chip, a value an epoch."""
        return self.curves.test_accuracy

    @property
    def float_accuracy(self) -> float:
        """The same of the network trained in float; NaN where it was not."""
        return self.task.float_accuracy

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw loss and accuracy against epochs."""
        from hwloop.plot.trainings import training_curves

        return training_curves(self.curves, self.float_accuracy, ax)

    def to_json(self) -> dict[str, Json]:
        """Summarise as the JSON object of `hwloop train`."""
        task, curves = self.task, self.curves
        return {
            "algorithm": task.rule.name,
            "backend": task.backend,
            "network": task.network or None,
            "dataset": task.dataset or None,
            "status": self.status,
            "epochs": len(curves.loss),
            "loss": list(curves.loss),
            "test_accuracy": list(curves.test_accuracy),
            "held_out_accuracy": list(curves.held_out_accuracy),
            "float_accuracy": finite(task.float_accuracy),
            "pulses": list(curves.pulses),
            "pulses_per_device": self.pulses_per_device,
            "chip_seconds": list(curves.chip_seconds),
            "saturated_weights": finite(self.saturated),
            "wall_seconds": self.wall_seconds,
            "settings": {name: dataclasses.asdict(getattr(task, name)) for name in ("rule", "training", "periphery")},
            "hwloop_version": importlib.metadata.version("hwloop"),
            "file": self.file or None,
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each epoch; needs the extra `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        return dataframe({"epoch": np.arange(1, len(self.curves.loss) + 1), **self.curves.columns()})

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray dataset by epoch; needs the extra `hwloop[xarray]`."""
        from hwloop.notebook.tables import Variable, dataset

        epochs = np.arange(1, len(self.curves.loss) + 1)
        found = {
            name: Variable(("epoch",), values, *CURVES[name])
            for name, values in self.curves.columns().items()
        }  # fmt: skip
        about = {"algorithm": self.task.rule.name, "backend": self.task.backend, "status": self.status}
        return dataset(found, {"epoch": Variable(("epoch",), epochs, "1", "epoch")}, about)

    def _repr_html_(self) -> str:
        columns = self.curves.columns()
        rows = [(k + 1, *(float(one[k]) for one in columns.values())) for k in range(len(self.curves.loss))]
        head = ("epoch", *(name.replace("_", " ") for name in columns))
        return card(repr(self)[1:-1], head=head, rows=rows)

    def __repr__(self) -> str:
        reached = self.curves.test_accuracy or self.curves.held_out_accuracy
        told = f"accuracy {reached[-1]:.4f} after {len(reached)} epochs" if reached else "no epoch was finished"
        return f"<Trained by {self.task.rule.name} on {self.task.backend or self.task.chip}, {self.status}: {told}>"


def is_training(path: str | Path) -> bool:
    """Tell whether a file is one of a training."""
    try:
        with hdf5.open_file(path, TRAINING_FORMAT):
            return True
    except BadInputError:
        return False


def read_training(path: str | Path) -> Trained:
    """Read a training file, without opening its chip. Raises BadInputError for one that is damaged."""
    with hdf5.open_file(path, TRAINING_FORMAT) as file, whole(path, "training file", "train anew"):
        weights = file.get("weights", {})
        return Trained(
            task=TrainingTask.read(file),
            curves=read_curves(file),
            status=str(file.attrs["status"]),
            weights={unquote(name): np.asarray(hdf5.get(weights, name, "1")) for name in weights},
            pulses_per_device=float(file.attrs["pulses_per_device"]),
            saturated=float(file.attrs["saturated"]),
            wall_seconds=float(file.attrs["wall_seconds"]),
            file=str(path),
        )
