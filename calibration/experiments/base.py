"""The interface of all experiments: frozen settings, what they become on a bench, and the work that they are there."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from hwloop.calibration.experiments.bench import CHIP_PREFIX, Bench
from hwloop.calibration.settings import Settings
from hwloop.calibration.steps import Step, Work
from hwloop.chip.checks import REQUESTS
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, LimitError
from hwloop.files.measurements import Attributes, Cells, Experiment, MarkArray, Reads
from hwloop.typing import AnyArray, FloatArray, Json, State


class Sink(Protocol):
    """Where reads go: an experiment of a measurement file."""

    def append(self, reads: Reads) -> None:
        """Add reads behind those that are there."""

    def update_cells(self, *, verify: FloatArray | None = None, mark: MarkArray | None = None) -> None:
        """Replace columns of the cells."""


@dataclass(frozen=True)
class Spending:
    """What an experiment will cost at most."""

    pulses: int
    """Pulses on all devices together."""
    pulses_per_device: int
    """Pulses on one device."""
    device_reads: int
    """Reads of single devices, each of an average counted."""
    chip_seconds: float
    """Rests and waits; the pulses and reads themselves take what the chip takes for them."""


@dataclass(frozen=True)
class DeviceExperiment(Settings, abc.ABC):
    """Base of all experiments: settings that `begin` puts into practice on a bench."""

    kind: ClassVar[Experiment]
    """What measurement files call it."""

    cells: int = 10_000
    """Number of devices."""
    cores: tuple[int, ...] = ()
    """Cores to spread the devices over; none: as few as hold them."""
    averages: int = 16
    """Reads that are averaged for each value on file and for each verification."""
    age_resolution: float = 0.002
    """Pulses and reads are sent in batches so short that each moment is known to this share of the age at hand."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings that no chip could follow."""
        self._require("averages", 1, REQUESTS.averages)
        self._require("age_resolution", 1e-6, 1)

    @abc.abstractmethod
    def begin(self, bench: Bench, seed: int) -> RunningExperiment:
        """Choose devices with `seed` and check all that can be checked; nothing is sent yet.

        Raises
        ------
        BadInputError
            For cells, levels or pulses that the chip does not have.
        LimitError
            For more pulses than a device may receive.
        MissingCapabilityError
            For a chip that cannot read single devices.
        """

    def stored(self) -> dict[str, Json]:
        """Return the settings by the names that measurement files have for them."""
        return dataclasses.asdict(self)


class RunningExperiment(abc.ABC):
    """An experiment on its bench: devices chosen and everything checked; `work` measures."""

    _may_be_nan: ClassVar[frozenset[str]] = frozenset()
    """Arrays of the state in which NaN has a meaning."""

    def __init__(self, bench: Bench, kind: Experiment) -> None:
        """Raise MissingCapabilityError for a chip that cannot read single devices."""
        bench.backend.require(Capability.DEVICE_READ, f"measuring {kind.value}")
        self.bench = bench
        self.done = 0
        """Steps done."""
        self._until = 0.0
        """Clock of the measurement before which the next step must not begin, seconds."""

    @property
    @abc.abstractmethod
    def total(self) -> int:
        """Steps in all, as far as is known now."""

    @abc.abstractmethod
    def cells(self) -> Cells:
        """Return the cells as they are known before the first step."""

    @abc.abstractmethod
    def spending(self) -> Spending:
        """Say what it will cost at most."""

    @abc.abstractmethod
    def attributes(self) -> Attributes:
        """Return attributes for the file: what the columns alone do not tell."""

    @abc.abstractmethod
    def _steps(self, sink: Sink) -> Iterator[str]:
        """Measure from step `done` on; yield after each step, with a word on what comes next."""

    def work(self, sink: Sink, state: State | None = None) -> Work[Step, None]:
        """Measure, from the beginning or from where a state was kept; reads of each step are with `sink` at its yield.

        Parameters
        ----------
        sink
            Takes the reads.
        state
            What `Step.state` gave; the experiment must have been begun alike, with the same seed. The first step then
            only waits for the moment at which the measurement was to go on.

        Raises
        ------
        BadInputError
            For a state that is damaged or of another experiment.
        ChipError
            For readings that are no numbers, and for a computer whose UTC has gone backwards.
        """
        if state is not None:
            self._resume(state)
            yield self._step("go on")
        for stage in self._steps(sink):
            yield self._step(stage)

    def _step(self, stage: str) -> Step:
        rest = max(self._until - self.bench.clock.now(), 0.0)
        return Step(self.done, self.total, stage, rest=rest, state=self.state)

    def state(self) -> dict[str, AnyArray]:
        """Return what is needed to go on from the present step, as named arrays."""
        return self.bench.state() | self._own_state() | {"done": np.array(self.done), "until": np.array(self._until)}

    def _resume(self, state: State) -> None:
        for name, array in state.items():
            checked = array.dtype.kind == "f" and not name.startswith(CHIP_PREFIX)  # a chip checks its own
            if checked and name not in self._may_be_nan and not np.all(np.isfinite(array)):
                raise BadInputError(f"the kept state is damaged ('{name}' is not finite); begin the experiment anew")
        try:
            self.done, self._until = int(state["done"]), float(state["until"])
            self.bench.restore(state)
            self._restore(state)
        except KeyError as error:
            raise BadInputError(f"the kept state lacks {error}; begin the experiment anew") from None

    @abc.abstractmethod
    def _own_state(self) -> dict[str, AnyArray]:
        """Return what this experiment keeps besides its bench."""

    @abc.abstractmethod
    def _restore(self, state: State) -> None:
        """Put back what `_own_state` gave."""

    def _check_budget(self, pulses_per_device: int) -> None:
        limit = self.bench.info.limits.pulses_per_device
        if pulses_per_device > limit:
            raise LimitError(
                f"this needs up to {pulses_per_device} pulses per device, and {self.bench.info.name} allows {limit}; "
                "ask for fewer"
            )
