"""An array of devices that holds one matrix: three passes that each take one step of chip time, however large it is.

Forward and backward multiply by the weights and by their transpose; the update moves every weight by a product of its
row's and its column's number, in pulses. Noise and bound management after Gokmen, Onen and Haensch, Frontiers in
Neuroscience 11, 538 (2017).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.region import Place
from hwloop.chip.updates import PulseTrains, SteppingDevices
from hwloop.errors import BadInputError
from hwloop.nn.in_memory.cells import Cells
from hwloop.nn.in_memory.settings import Periphery
from hwloop.nn.in_memory.trains import TrainWarning, trains_of
from hwloop.nn.in_memory.weights import Weights, one_hot
from hwloop.typing import AnyArray, BoolArray, CodeArray, FloatArray, IndexArray


@dataclass(frozen=True)
class Piece:
    """A rectangle of cells, and the inputs and outputs of the matrix that it holds."""

    place: Place
    inputs: slice
    outputs: slice


class DeviceArray(Weights):
    """One matrix on devices, in as many rectangles as its size takes.

    Weights are in units of half the range of a nominal cell: they run over a range of two.
    """

    def __init__(
        self,
        cells: Cells,
        shape: tuple[int, int],
        settings: Periphery,
        name: str,
        random: np.random.Generator,
        avoid: Collection[int] = (),
    ) -> None:
        """Take cells for a matrix.

        Parameters
        ----------
        cells
            Of the chip, which gives them out.
        shape
            (rows, columns): inputs and outputs.
        settings
            Of the passes.
        name
            For messages.
        random
            Of stochastic rounding.
        avoid
            Cores to take no cells of while others have room.
        """
        self.chip, self.shape, self.settings, self.name = cells.chip, shape, settings, name
        self._random = random
        self.devices = devices_of(self.chip)
        self.step = self.devices.step / self.devices.half_range
        """Weight of one nominal step in the middle of the range."""
        self.warning = TrainWarning(name)
        rows, columns = self.chip.info.rows, self.chip.info.columns
        self.pieces = [
            Piece(
                cells.take(min(rows, shape[0] - i), min(columns, shape[1] - o), name, avoid),
                slice(i, min(i + rows, shape[0])),
                slice(o, min(o + columns, shape[1])),
            )
            for i in range(0, shape[0], rows)
            for o in range(0, shape[1], columns)
        ]

    # ---- products ------------------------------------------------------------------------------------------------

    def forward(self, x: FloatArray) -> FloatArray:
        """Multiply inputs (vectors, rows) by the weights, with noise and bound management."""
        y = np.zeros((len(x), self.shape[1]))
        for piece in self.pieces:
            y[:, piece.outputs] += self._managed(piece, x[:, piece.inputs], False, self.settings.bound_management)
        return y

    def backward(self, d: FloatArray) -> FloatArray:
        """Multiply errors (vectors, columns) by the transposed weights, with noise management."""
        x = np.zeros((len(d), self.shape[0]))
        for piece in self.pieces:
            x[:, piece.inputs] += self._managed(piece, d[:, piece.outputs], True, 0)
        return x

    def product(self, x: FloatArray) -> FloatArray:
        """Multiply inputs (vectors, rows) within -1 to 1 by the weights, with no management."""
        y = np.zeros((len(x), self.shape[1]))
        for piece in self.pieces:
            top = self.chip.info.input_max
            codes = np.rint(x[:, piece.inputs] * top).astype(np.int32)
            y[:, piece.outputs] += self._mvm(piece, codes, False) * self._code_weight(piece)
        return y

    def _managed(self, piece: Piece, x: FloatArray, transposed: bool, halvings: int) -> FloatArray:
        scale = np.ones((len(x), 1))
        if self.settings.noise_management:
            scale = np.abs(x).max(1, keepdims=True, initial=0.0)
            scale[scale == 0] = 1.0
        codes, top = self._mvm(piece, self._codes(x / scale), transposed), self.chip.info.code_max
        for _ in range(halvings):
            if codes.max() < top and codes.min() > -top:
                break
            again = np.flatnonzero(np.abs(codes).max(1) >= top)
            scale[again] *= 2.0
            codes[again] = self._mvm(piece, self._codes(x[again] / scale[again]), transposed)
        return codes * (self._code_weight(piece) * scale)

    def _codes(self, x: FloatArray) -> CodeArray:
        """Give input codes of numbers within -1 to 1; what is beyond is clipped, as a converter does."""
        top = self.chip.info.input_max
        steps = min(top, 2 ** (self.settings.input_bits - 1) - 1) if self.settings.input_bits else top
        levels = x * steps
        if self.settings.rounding == "stochastic":
            levels = np.floor(levels + self._random.random(levels.shape))
        levels = np.minimum(np.maximum(np.rint(levels), -steps), steps)
        codes: CodeArray = (levels if steps == top else np.rint(levels * (top / steps))).astype(np.int32)
        return codes

    def _code_weight(self, piece: Piece) -> float:
        """Return what one output code stands for: weight times an input of 1."""
        chip = self.chip
        return chip.adc_range(piece.place.core) / chip.info.code_max / self.devices.half_range

    def _mvm(self, piece: Piece, codes: CodeArray, transposed: bool) -> CodeArray:
        place, info = piece.place, self.chip.info
        rows, columns = slice(place.row, place.row + place.rows), slice(place.column, place.column + place.columns)
        driven, read, width = (columns, rows, info.columns) if transposed else (rows, columns, info.rows)
        inputs = np.zeros((len(codes), width), np.int32)
        inputs[:, driven] = codes
        return self.chip.mvm(place.core, inputs, read, transposed)

    # ---- updates -------------------------------------------------------------------------------------------------

    def update(self, x: FloatArray, d: FloatArray, rate: float, length: int | None = None) -> None:
        """Add `rate` times the outer products of x (updates, rows) and d (updates, columns), in the mean.

        Parameters
        ----------
        x, d
            Numbers of rows and columns, applied in order.
        rate
            Learning rate, in weights.
        length
            Slots of a train at most; None for the settings' own.
        """
        longest = min(self.settings.train_length if length is None else length, self.devices.longest)
        for piece in self.pieces:
            trains = trains_of(
                x[:, piece.inputs], d[:, piece.outputs], rate / self.step, self.devices.levels, longest, self.settings
            )
            self.warning.note(trains.wanted, longest)
            some = trains.some
            if some.all():
                self._update(piece, trains.x, trains.d, PulseTrains(trains.length, trains.rows, trains.columns))
            elif some.any():
                self._update(piece, trains.x[some], trains.d[some], trains.pulses_of(some))

    def step_rows(self, rows: IndexArray, steps: CodeArray) -> None:
        """Make whole numbers of steps (n, columns) in rows (n,), signed by their direction."""
        most = int(np.abs(steps).max(initial=0))
        if not most:
            return
        for first in range(0, most, self.devices.longest):
            part = np.clip(np.abs(steps) - first, 0, self.devices.longest) * np.sign(steps)
            some = np.flatnonzero(part.any(1))
            longest = np.abs(part[some]).max(1)
            x = one_hot(rows[some], self.shape[0]) * longest[:, None]
            for piece in self.pieces:
                mine = x[:, piece.inputs].any(1)
                if mine.any():
                    trains = PulseTrains(length=longest[mine].astype(np.int64), stochastic=False)
                    self._update(piece, x[mine][:, piece.inputs], part[some][mine][:, piece.outputs], trains)

    def _update(self, piece: Piece, x: AnyArray, d: AnyArray, trains: PulseTrains) -> None:
        place, info = piece.place, self.chip.info
        rows, columns = np.zeros((len(x), info.rows), np.int32), np.zeros((len(x), info.columns), np.int32)
        rows[:, place.row : place.row + place.rows] = x
        columns[:, place.column : place.column + place.columns] = d
        self.chip.update(place.core, rows, columns, trains)

    # ---- single weights ------------------------------------------------------------------------------------------

    def weights(self, averages: int = 16) -> FloatArray:
        """Read all weights (rows, columns), by reads of single devices where the chip has them, else row by row."""
        chip = self.chip
        if Capability.DEVICE_READ not in chip.info.capabilities:
            reads = [self.read_rows(np.arange(self.shape[0])) for _ in range(averages)]
            return np.asarray(np.mean(reads, axis=0), np.float64)
        found = np.empty(self.shape)
        for piece in self.pieces:
            values = chip.read(piece.place.core, self._indices(piece).reshape(-1), averages)
            both = values.reshape(self._indices(piece).shape).sum(1)
            found[piece.inputs, piece.outputs] = (both[0] - both[1]) / self.devices.half_range
        return found

    def _indices(self, piece: Piece) -> IndexArray:
        """Return the devices (2, K, rows, columns) of a piece, by their flat index."""
        info, place = self.chip.info, piece.place
        every = np.arange(info.devices_per_core).reshape(info.device_shape)
        return every[:, :, place.row : place.row + place.rows, place.column : place.column + place.columns]

    def write(self, wanted: FloatArray) -> float:
        """Bring weights (rows, columns) near what is wanted, by reading and pulsing in turn.

        A device whose read is within a step of its target is left alone.

        Returns
        -------
        float
            Root mean square of what was left at the best read.
        """
        rows, last = np.arange(self.shape[0]), np.inf
        for number in range(self.settings.writing_passes):
            missing = wanted - self.weights()
            left = float(np.sqrt(np.mean(np.square(missing))))
            if number and left > 0.98 * last:
                break
            last = left
            steps = np.trunc(missing / self.step).astype(np.int32)
            self.step_rows(rows, steps)
        return last

    def refresh(self, full: float, spare: float) -> int:
        """Empty the pairs that are nearly full, and write their weights anew; see `Weights.refresh`."""
        if not self.devices.pair:
            return 0
        self.chip.require(Capability.DEVICE_READ, "refreshing pairs of devices")
        worn = np.zeros(self.shape, np.bool_)
        for piece in self.pieces:
            core, indices = piece.place.core, self._indices(piece)
            both = self.chip.read(core, indices.reshape(-1), 1).reshape(indices.shape).sum(1) / self.devices.high
            worn[piece.inputs, piece.outputs] = (both.max(0) > full) & (both.min(0) > spare)
        if not worn.any():
            return 0
        wanted = self.weights()
        for piece in self.pieces:
            emptied = self._indices(piece)[:, :, worn[piece.inputs, piece.outputs]].reshape(-1)
            pulses = Pulses.make(PulseKind.RESET, emptied, self.devices.amplitude, self.devices.width)
            self.chip.pulse(piece.place.core, pulses)
        self._fill(wanted, worn)
        return int(worn.sum())

    def _fill(self, wanted: FloatArray, where: BoolArray) -> None:
        """Write weights into empty pairs, whose first steps may be many times as large as nominal ones.

        Each weight gets one step first. What its last steps have moved it by is the size that its next ones are
        counted with, so that they hardly go beyond the weight: steps shrink as a device fills.
        """
        rows, size, now = np.arange(self.shape[0]), np.full(self.shape, np.inf), self.weights()
        for _ in range(self.settings.writing_passes):
            missing = np.where(where, wanted - now, 0.0)
            enough = np.abs(missing) > np.where(np.isinf(size), self.step, size / 2)
            steps = np.where(enough, np.sign(missing) * np.maximum(np.trunc(np.abs(missing) / size), 1), 0)
            if not steps.any():
                break
            self.step_rows(rows, steps.astype(np.int32))
            before, now = now, self.weights()
            moved = np.abs(now - before) / np.maximum(np.abs(steps), 1)
            size = np.where(steps != 0, np.maximum(moved, self.step / 4), size)

    def symmetry_points(self, calibration: Calibration) -> FloatArray:
        """Look up the weights (rows, columns) at which steps up and down are equal. Raises BadInputError without."""
        found = np.empty(self.shape)
        for piece in self.pieces:
            place, known = piece.place, calibration.cores.get(piece.place.core)
            if known is None or known.symmetry_point is None:
                raise BadInputError(
                    f"{self.name}: the calibration has no symmetry points of core {place.core}; "
                    "hwloop calibrate symmetry-point finds them"
                )
            rows, columns = slice(place.row, place.row + place.rows), slice(place.column, place.column + place.columns)
            found[piece.inputs, piece.outputs] = known.symmetry_point.weights[rows, columns]
        return found

    def pulses(self) -> FloatArray:
        """Return the pulses that each cell has received in its life, (rows, columns)."""
        found = np.zeros(self.shape)
        for piece in self.pieces:
            place = piece.place
            counts = self.chip.pulse_counts(place.core).sum((0, 1))
            found[piece.inputs, piece.outputs] = counts[
                place.row : place.row + place.rows, place.column : place.column + place.columns
            ]
        return found


def devices_of(chip: Backend) -> SteppingDevices:
    """Return what a chip says of its stepping devices.

    Raises
    ------
    MissingCapabilityError
        For a chip that has none, with what to use instead.
    """
    chip.require(Capability.UPDATE, "training in memory")
    chip.require(Capability.MVM, "training in memory")
    chip.require(Capability.TRANSPOSED_MVM, "training in memory")
    assert chip.info.stepping is not None
    return chip.info.stepping
