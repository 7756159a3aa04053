"""A network on devices that are trained: an ordinary torch module whose forward and backward passes use the chip."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.chip.backend import Backend
from hwloop.chip.opened import takes_open_chips
from hwloop.errors import BadInputError, ProgrammingWarning
from hwloop.nn.accuracy import Accuracy, Batches, accuracy_of
from hwloop.nn.convert import Converted, MatrixOf, convert, matrices_of
from hwloop.nn.in_memory.array import DeviceArray, devices_of
from hwloop.nn.in_memory.cells import Cells
from hwloop.nn.in_memory.matrix import TrainedMatrix
from hwloop.nn.in_memory.product import InMemory
from hwloop.nn.in_memory.settings import Periphery
from hwloop.nn.in_memory.several import SeveralDevices
from hwloop.nn.in_memory.weights import Weights
from hwloop.typing import FloatArray

WEIGHTS = "weights"
"""What the array is for that forward passes see; others are read by the algorithm."""


class AnalogNetwork(nn.Module):
    """A network whose matrices lie on a chip and are trained there.

    It takes what the original takes. `loss.backward()` sends errors back through the chip and keeps, for each matrix,
    what an optimiser of `hwloop.optim` needs; the weights themselves change by its pulses alone. Parameters of matrices
    are what they were at the beginning, or at the last `read_weights`; biases and all else are ordinary parameters.
    """

    def __init__(
        self,
        converted: Converted,
        chip: Backend,
        settings: Periphery | None = None,
        seed: int = 0,
        calibration: Calibration | None = None,
    ) -> None:
        """Take cells for the matrices of a converted network; `analog` does all of it, and writes the weights."""
        super().__init__()
        self._longest = devices_of(chip).longest
        self.network, self.digital = converted.network, converted.digital
        self.chip, self.settings = chip, settings or Periphery()
        self.calibration = calibration
        self.random = np.random.default_rng(seed)
        """Source of all that is drawn outside of the chip."""
        self.cells = Cells(chip)
        self.test: tuple[torch.Tensor, torch.Tensor] | None = None
        """Inputs and labels of the test images of its training; None without."""
        self.matrices: dict[str, TrainedMatrix] = {}
        """Every matrix by name."""
        for sharing in matrices_of(converted):
            self.matrices[sharing[0].name] = self._place(sharing)

    def _place(self, sharing: Sequence[MatrixOf]) -> TrainedMatrix:
        """Take cells for a matrix and let the layers that use it multiply there."""
        first = sharing[0]
        groups, rows, columns = first.layer.matrices()[first.own_name].shape
        if groups > 1:
            raise BadInputError(
                f"{first.name}: a matrix of {groups} groups cannot be trained in memory; keep its layer digital "
                f"(exclude)"
            )
        settings = self.settings

        def more(purpose: str, copies_on: set[int] | None = None) -> Weights:
            name, avoid = f"{first.name}, {purpose}", frozenset(copies_on or ())
            every = [
                DeviceArray(self.cells, (rows, columns), settings, name, self.random, avoid)
                for _ in range(settings.devices)
            ]
            if copies_on is not None:
                copies_on.update(piece.place.core for one in every for piece in one.pieces)
            made = every[0] if len(every) == 1 else SeveralDevices(every, settings.significance, self.random)
            if self.calibration is not None and purpose != WEIGHTS:
                made.zero = made.symmetry_points(self.calibration)
            return made

        copies = settings.replicas if first.layer.kind.startswith("Conv") else 1
        taken: set[int] = set()  # copies on cores of their own can work at the same time
        replicas = [more(WEIGHTS, taken) for _ in range(copies)]
        matrix = TrainedMatrix(
            first, replicas, settings.weight_scale, more, self.random, min(settings.train_length, self._longest)
        )
        for user in sharing:
            user.layer.products[user.own_name] = InMemory(matrix, self.cells.check)
        return matrix

    @property
    def forward(self) -> Callable[..., torch.Tensor]:  # type: ignore[override]  # torch declares a field
        """What computes the network's outputs through the chip: it takes what the original takes."""
        return self.network

    def write_weights(self) -> None:
        """Write the digital weights into the devices by pulses, with the transfer noise of the settings.

        Weights beyond the range of the devices end at its ends: that is a ProgrammingWarning, with the way out.
        """
        for name, matrix in self.matrices.items():
            beyond = self._beyond(matrix)
            if beyond:
                warnings.warn(
                    f"{name}: {beyond:.2g} of the start weights lie beyond the range of the devices and end at its "
                    "ends; a larger weight_scale has room for them",
                    ProgrammingWarning,
                    stacklevel=2,
                )
            matrix.write(self.settings.transfer_noise)

    def _beyond(self, matrix: TrainedMatrix) -> float:
        """Return the share of start weights that nominal devices cannot hold."""
        devices, settings = devices_of(self.chip), self.settings
        together = sum(settings.significance**k for k in range(settings.devices))
        wanted = matrix.digital / matrix.scale * devices.half_range / together
        return float(((wanted > devices.high) | (wanted < devices.low)).mean())

    def read_weights(self) -> dict[str, FloatArray]:
        """Read all matrices from the devices, (inputs, outputs) by name, and let the parameters be what was read."""
        return {name: matrix.read() for name, matrix in self.matrices.items()}

    def forget(self) -> None:
        """Drop inputs and errors that wait for an update."""
        for matrix in self.matrices.values():
            for waiting in matrix.waiting:
                waiting.take()

    def accuracy(self, data: Batches, batch: int = 500) -> Accuracy:
        """Measure the share of right answers on labelled data through the chip; see `DeployedNetwork.accuracy`."""
        return accuracy_of(self, data, batch)

    def __repr__(self) -> str:
        kind, count = type(self.network).__name__, len(self.matrices)
        return f"<AnalogNetwork {kind} on {self.chip.info.name}: {count} matrices on {self.cells.taken} cells>"


@takes_open_chips
def analog(
    network: nn.Module,
    chip: Backend,
    settings: Periphery | None = None,
    *,
    exclude: Sequence[str] = (),
    seed: int = 0,
    calibration: Calibration | None = None,
) -> AnalogNetwork:
    """Put a network on a chip to train it there: forward, backward and updates go through its devices.

    For example::

        net = hwloop.nn.analog(model, chip)
        opt = hwloop.optim.ChoppedTTv2(net, lr=0.1)
        loss(net(x), y).backward()
        opt.step()

    Parameters
    ----------
    network
        Any torch module; it stays as it is, and its weights are those to begin with.
    chip
        An open chip of devices that step up and down, such as `hwloop.connect("sim:reram-sb")`.
    settings
        What converters and pulse generators do, and how many devices hold a weight.
    exclude
        Paths of layers that stay digital, or patterns.
    seed
        Of all that is drawn outside of the chip.
    calibration
        Whose symmetry points are the zeros of the arrays that algorithms read: a digital reference.

    Raises
    ------
    BadInputError
        For a network without layers for a chip, and one that does not fit.
    MissingCapabilityError
        For a chip that cannot update.
    """
    devices_of(chip)
    made = AnalogNetwork(convert(network, exclude), chip, settings, seed, calibration)
    made.write_weights()
    return made
