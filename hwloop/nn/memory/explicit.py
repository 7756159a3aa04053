"""A memory of classes on a chip: written from examples by SET pulses, asked by products, never read back to write.

After Karunaratne et al., 'In-memory realization of in-situ few-shot continual learning with a dynamically evolving
explicit memory', ESSDERC 2022 (arXiv 2207.06810). Every class is a column of device pairs. Every example of it adds
SET pulses to one device of each pair, that of the element's sign, so that examples are superposed where they lie, by
crystallisation, and no other class is touched. The paper writes signs; here a strong element gets three pulses.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwloop.chip.backend import Backend
from hwloop.chip.counts import Counts
from hwloop.chip.info import Capability
from hwloop.chip.opened import takes_open_chips
from hwloop.chip.pulses import real_numbers
from hwloop.errors import BadInputError, ChipError
from hwloop.nn.memory.columns import Columns
from hwloop.nn.memory.settings import MemorySettings
from hwloop.typing import FloatArray

SURE = 4.0
"""Standard deviations of the similarity of unrelated vectors by which a class must answer to its own examples."""


@dataclass(frozen=True)
class Written:
    """What it took to write examples of one class."""

    examples: int
    """Examples that were added."""
    pulses_per_device: float
    """SET pulses for each device of the class and example; erasing a new class takes one RESET more."""
    passed_over: float
    """Share of the pulses that would have met full devices, and were not given."""
    refreshed: bool
    """Whether the class was refreshed first."""


class ExplicitMemory:
    """Classes that a chip learns from examples, and finds again by similarity.

    Similarities are cosines. The norm of a class, and the offsets of the converters, are measured on the chip by
    products whenever something was written, and again as devices drift on, so that a class of last year stands beside
    one of today.

    Parameters
    ----------
    chip
        Any chip that pulses its devices and does products. What its columns hold is lost as classes are written there.
    dimension
        Elements of an example.
    settings
        How it writes and asks.
    cores
        Cores to use, in this order; None for all. A vector longer than a core has rows takes several of them.

    Raises
    ------
    BadInputError
        For a chip that cannot do this, cores that it has not, and settings that it needs and does not know.

    Examples
    --------
    >>> import hwloop, numpy as np
    >>> chip = hwloop.connect("sim:hermes-core?seed=1")
    >>> memory = hwloop.nn.ExplicitMemory(chip, dimension=256)
    >>> rng = np.random.default_rng(0)
    >>> cat, dog = rng.normal(size=(2, 256))
    >>> memory.write("cat", cat + rng.normal(size=(5, 256))).pulses_per_device < 1
    True
    >>> _ = memory.write("dog", dog + rng.normal(size=(5, 256)))
    >>> memory.classify([dog, cat])
    ['dog', 'cat']
    """

    @takes_open_chips
    def __init__(
        self,
        chip: Backend,
        dimension: int = 256,
        settings: MemorySettings | None = None,
        cores: Sequence[int] | None = None,
    ) -> None:
        """Take the cores; nothing is sent to the chip yet."""
        self.chip = chip
        self.settings = settings or MemorySettings()
        chip.require(Capability.MVM, "asking a memory")
        chosen = _cores(chip, cores)
        if isinstance(dimension, bool) or not isinstance(dimension, int | np.integer) or dimension < 1:
            raise BadInputError(f"dimension={dimension!r}: expected a whole number of elements")
        self.dimension = int(dimension)
        side = -(-self.dimension // chip.info.rows)
        if side > len(chosen):
            raise BadInputError(
                f"examples of {dimension} elements need {side} cores of {chip.info.rows} rows beside each other; this "
                f"memory has {len(chosen)}"
            )
        together = [chosen[n : n + side] for n in range(0, len(chosen) - side + 1, side)]
        self._banks = [Columns(chip, of_bank, self.dimension, self.settings) for of_bank in together]
        self._where: dict[Hashable, tuple[int, int]] = {}

    @property
    def classes(self) -> tuple[Hashable, ...]:
        """The classes, in the order in which they were first written."""
        return tuple(self._where)

    @property
    def capacity(self) -> int:
        """Classes that fit."""
        return len(self._banks) * self.chip.info.columns

    @property
    def cost(self) -> Counts:
        """What the memory has asked of the chip so far."""
        return sum((bank.cost for bank in self._banks), Counts())

    def __repr__(self) -> str:
        return f"<ExplicitMemory of {len(self._where)} of {self.capacity} classes, {self.dimension} elements each>"

    def write(self, class_id: Hashable, embeddings: ArrayLike) -> Written:
        """Add examples to a class, which is made if there is none; the devices of other classes get no pulse.

        An example is written in whole pulses, as many as `levels` for its strong elements. A class whose devices are
        too full for it is refreshed first, which makes its earlier examples count less than new ones.

        Parameters
        ----------
        class_id
            Any name or number.
        embeddings
            (examples, dimension), or a single example.

        Raises
        ------
        BadInputError
            For examples of another shape, NaN or all zero, and when no column is free.
        ChipError
            When the class does not answer to its own examples: such devices do not accumulate. A new class is not kept.
        """
        examples = self._vectors(embeddings, "examples")
        pulses = self._levels(examples)
        wanted = np.stack([pulses.clip(min=0).sum(0), (-pulses).clip(min=0).sum(0)])
        asked = int(wanted.sum())
        new = class_id not in self._where
        columns, column = self._column_for(class_id)
        over = int((wanted - columns.room(column)).clip(0).sum())
        refreshed = over > self.settings.full_share * asked
        if refreshed:
            self.refresh(class_id)
        given = columns.accumulate(column, wanted)
        columns.probe()
        own = columns.similarities(pulses.astype(np.float64))[:, column].mean()
        if own < min(SURE / np.sqrt(pulses.size), 0.5):
            if new:
                del self._where[class_id]
            raise ChipError(
                f"class {class_id!r} does not answer to its own examples (similarity {own:.3f}): SET pulses of "
                f"{columns.pulses.set_amplitude:g} uA and {columns.pulses.set_width:g} ns add no conductance to these "
                "devices; set set_amplitude and set_width in MemorySettings"
            )
        return Written(len(pulses), given / columns.devices / len(pulses), 1.0 - given / asked, refreshed)

    def similarities(self, embeddings: ArrayLike) -> FloatArray:
        """Return the cosine of each of (n, dimension) vectors with each class, (n, classes) in the order of `classes`.

        Raises
        ------
        BadInputError
            For vectors of another shape or NaN, and for a memory without classes.
        """
        vectors = self._vectors(embeddings, "vectors")
        if not self._where:
            raise BadInputError("the memory holds no class; write one first")
        used = sorted({bank for bank, _ in self._where.values()})
        for bank in used:
            if self._banks[bank].aged:
                self._banks[bank].probe()
        found = {bank: self._banks[bank].similarities(vectors) for bank in used}
        return np.stack([found[bank][:, column] for bank, column in self._where.values()], axis=1)

    def classify(self, embeddings: ArrayLike) -> list[Hashable]:
        """Name the most similar class of each of (n, dimension) vectors; errors as `similarities`."""
        best = self.similarities(embeddings).argmax(1)
        classes = self.classes
        return [classes[number] for number in best.tolist()]

    def compensate(self) -> None:
        """Measure norms and offsets anew: what drift did to whole classes, and to the converters, is taken out."""
        for bank in sorted({bank for bank, _ in self._where.values()}):
            self._banks[bank].probe()

    def full(self, class_id: Hashable) -> float:
        """Return the share of the devices of a class that take no more SET pulses."""
        columns, column = self._column_of(class_id)
        return columns.full(column)

    def refresh(self, class_id: Hashable) -> None:
        """Write what a class is now with fewest pulses, so that its devices have room again.

        Its weights are measured by products, all its devices are erased, and one device of each pair receives SET
        pulses in proportion. Conductance that both devices of a pair had in common is gone.

        Raises
        ------
        BadInputError
            For a class that is not there.
        """
        columns, column = self._column_of(class_id)
        columns.probe()
        weights = columns.weights[:, column]
        strong = float(np.quantile(np.abs(weights), 0.95))
        most = self.settings.kept * self.settings.most_pulses
        pulses = np.rint(most * (np.abs(weights) / max(strong, 1e-9)).clip(max=1.0)).astype(np.int64)
        columns.erase(column)
        columns.accumulate(column, np.where([weights > 0, weights < 0], pulses, 0))
        columns.probe()

    def forget(self, class_id: Hashable) -> None:
        """Erase a class; its column is free again. Raises BadInputError for one that is not there."""
        columns, column = self._column_of(class_id)
        del self._where[class_id]
        columns.erase(column)

    def _column_of(self, class_id: Hashable) -> tuple[Columns, int]:
        if class_id not in self._where:
            names = ", ".join(map(repr, self._where)) or "none yet"
            raise BadInputError(f"there is no class {class_id!r}; there are {names}")
        bank, column = self._where[class_id]
        return self._banks[bank], column

    def _column_for(self, class_id: Hashable) -> tuple[Columns, int]:
        """Return the column of a class; a new one gets the first that is free, erased."""
        if class_id not in self._where:
            taken = set(self._where.values())
            places = ((bank, column) for bank in range(len(self._banks)) for column in range(self.chip.info.columns))
            free = next((place for place in places if place not in taken), None)
            if free is None:
                raise BadInputError(
                    f"the memory is full: it holds {self.capacity} classes; forget one, or give it more cores"
                )
            self._banks[free[0]].erase(free[1])
            self._where[class_id] = free
        return self._column_of(class_id)

    def _levels(self, examples: FloatArray) -> NDArray[np.int64]:
        """Turn examples (n, dimension) into signed pulses; half a level and less is none."""
        sizes = np.abs(examples)
        strong = np.quantile(sizes, self.settings.strong, axis=1, keepdims=True)
        strong = np.where(strong > 0, strong, sizes.max(1, keepdims=True))  # of few elements the quantile may be zero
        levels: NDArray[np.int64] = np.rint(self.settings.levels * (sizes / strong).clip(max=1.0)).astype(np.int64)
        return np.where(examples < 0, -levels, levels)

    def _vectors(self, given: ArrayLike, what: str) -> FloatArray:
        vectors = np.atleast_2d(real_numbers(given, what))
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension or not len(vectors):
            raise BadInputError(f"{what}: expected (n, {self.dimension}), not {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise BadInputError(f"{what} contain NaN or infinity")
        if not np.abs(vectors).max(1).all():
            raise BadInputError(f"{what}: one of them is all zero, and similar to nothing")
        return vectors


def _cores(chip: Backend, cores: Sequence[int] | None) -> tuple[int, ...]:
    chosen = tuple(range(chip.info.cores)) if cores is None else tuple(cores)
    if not chosen or len(set(chosen)) != len(chosen) or any(core not in range(chip.info.cores) for core in chosen):
        raise BadInputError(f"cores={list(chosen)}: expected some of 0 to {chip.info.cores - 1}, each once")
    return chosen
