"""Summarises activations, or the examples of a data set, by few weighted vectors of few bits each."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike

from hwloop.calibration.coresets import Choice, CoresetSettings, Row, Source, share_out
from hwloop.errors import BadInputError
from hwloop.files.activations import activations_of
from hwloop.files.coresets import StoredCoreset, is_coreset, read_coreset
from hwloop.files.output import write_file
from hwloop.files.weights.arrays import read_npy, read_npz
from hwloop.files.weights.content import Content, content_of
from hwloop.mapping.activations import Sample, sample_of
from hwloop.nn.datasets import Dataset, read_dataset
from hwloop.notebook.card import card
from hwloop.typing import AnyArray, FloatArray, Json

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

Host: TypeAlias = "Mapping[str, ArrayLike | Sample] | ArrayLike | Sample | Dataset | str | Path"
"""What one host has: activations by tensor or of one tensor, a data set, or a file of either, a coreset too."""


@dataclass(frozen=True, repr=False, eq=False)
class Coreset:
    """Few weighted vectors that stand for many.

    Parameters
    ----------
    stored
        Its parts, as they are written.
    rows
        What was made of each tensor of each host.
    budget
        Bits that were given.
    settings
        How it was made.
    file
        Empty for none.
    """

    stored: StoredCoreset
    rows: tuple[Row, ...]
    budget: int
    settings: CoresetSettings = field(default_factory=CoresetSettings)
    file: str = ""

    @property
    def samples(self) -> dict[str, Sample]:
        """Weighted vectors by tensor, those of all hosts together; every job takes them where it takes activations."""
        return self.stored.samples()

    @property
    def images(self) -> Sample:
        """Weighted examples of a data set in their own shape, as `hwloop.deploy` takes calibration data.

        Raises BadInputError for the coreset of activations.
        """
        if any(part.labels is None for part in self.stored.parts):
            raise BadInputError("this coreset is of activations, not of a data set; use its samples")
        shape = self.stored.parts[0].shape
        (sample,) = self.samples.values()
        return Sample(sample.vectors.reshape(-1, *shape).astype(np.float32), sample.weights)

    @property
    def bits(self) -> int:
        """Bits of all parts: values, weights, labels and constants."""
        return sum(part.bits for part in self.stored.parts)

    @property
    def bound(self) -> float:
        """Largest bound of a tensor, over its hosts by their local costs."""
        found: dict[str, list[tuple[float, float]]] = {}
        for row in self.rows:
            found.setdefault(row.tensor, []).append((row.choice.bound, row.cost))
        return max(
            sum(bound * cost for bound, cost in of_hosts) / (sum(cost for _, cost in of_hosts) or 1.0)
            for of_hosts in found.values()
        )

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write a .npz file. Raises BadInputError when it exists (without force) or cannot be written."""
        if Path(path).suffix.lower() != ".npz":
            raise BadInputError(f"{path}: a coreset is a .npz file; give such a name")
        write_file(path, self.stored.content(), force=force)

    @classmethod
    def load(cls, path: str | Path) -> Coreset:
        """Read a file that `save` has written. Raises BadInputError for one that is damaged or of another kind."""
        stored = read_coreset(path)
        told = stored.told
        try:
            settings = CoresetSettings.parse({name: str(one) for name, one in dict(told["settings"]).items()})  # type: ignore[arg-type]
            rows = tuple(_row_again(dict(row)) for row in told["rows"])  # type: ignore[union-attr, arg-type]
            return cls(stored, rows, int(str(told["budget"])), settings, str(path))
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError(f"{path} is not a whole coreset ({error}); make it again") from None

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the bound against the bits of a value, for every tensor at the budget that it got."""
        from hwloop.plot.coresets import shares_of_budget

        return shares_of_budget(self.rows, ax)

    def to_json(self) -> dict[str, Json]:
        """Summarise as the JSON object of `hwloop coreset`."""
        return {
            "bits": self.bits,
            "budget": self.budget,
            "bound": self.bound,
            "points": sum(row.choice.points for row in self.rows),
            "parts": [row.to_json() for row in self.rows],
            "settings": dataclasses.asdict(self.settings),
            "hwloop_version": importlib.metadata.version("hwloop"),
            "file": self.file or None,
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each tensor of each host; needs the extra `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        return dataframe([row.to_json() for row in self.rows])

    def _repr_html_(self) -> str:
        head = ("tensor", "host", "vectors", "points", "bits of a value", "bound")
        rows = [
            (row.tensor, row.host, row.vectors, row.choice.points, row.choice.bits, row.choice.bound)
            for row in self.rows
        ]
        return card("Coreset", f"{self.bits} of {self.budget} bits", head=head, rows=rows)

    def __repr__(self) -> str:
        points, vectors = sum(row.choice.points for row in self.rows), sum(row.vectors for row in self.rows)
        return f"<Coreset of {vectors:g} vectors: {points} points, {self.bits} of {self.budget} bits>"


def coreset(given: Host | Sequence[Host], bits: int, settings: CoresetSettings | None = None) -> Coreset:
    """Summarise activations under a budget of bits by weighted vectors, wherever activations are taken.

    Parameters
    ----------
    given
        What one host has: (vectors, inputs) arrays by tensor, one array, a data set, or a file of either; coresets and
        weighted samples too. A list of them: several hosts, which share the budget.
    bits
        Budget for all: values, weights, labels and constants are counted.
    settings
        How points are chosen.

    Returns
    -------
    Coreset
        Its `samples` are weighted vectors by tensor; `save` writes a file.

    Raises
    ------
    BadInputError
        For a budget that is too small, files that cannot be read, and hosts that do not go together.
    """
    how = settings or CoresetSettings()
    if not isinstance(bits, int | np.integer) or isinstance(bits, bool) or bits < 1:
        raise BadInputError(f"bits={bits!r}: expected a whole number of bits above 0")
    hosts: list[Host] = list(given) if isinstance(given, list | tuple) else [cast(Host, given)]
    if not hosts:
        raise BadInputError("there is nothing to summarise; give activations")
    sources, others = [], dict[str, AnyArray]()
    for number, host in enumerate(hosts):
        origin = str(host) if isinstance(host, str | Path) else f"host {number}"
        opened = _opened(host)
        others = others or _test_of(opened)
        sources += list(_sources(opened, origin, how))
    _check_together(sources)
    choices = share_out(sources, int(bits))
    parts = tuple(source.made(choice) for source, choice in zip(sources, choices, strict=True))
    rows = tuple(
        Row(one.name, one.origin, float(one.weights.sum()), one.sample.vectors.shape[1], choice, part.bits, one.cost)
        for one, choice, part in zip(sources, choices, parts, strict=True)
    )
    told: dict[str, Json] = {
        "budget": int(bits),
        "rows": [{**row.to_json()} for row in rows],
        "settings": dataclasses.asdict(how),
        "hwloop_version": importlib.metadata.version("hwloop"),
    }
    return Coreset(StoredCoreset(parts, told, others), rows, int(bits), how)


def _opened(host: Host) -> Dataset | dict[str, Sample]:
    """Read what a host has."""
    if isinstance(host, Dataset):
        return host
    if isinstance(host, str | Path):
        path = Path(host)
        if is_coreset(path):
            stored = read_coreset(path)
            return read_dataset(path) if stored.parts[0].labels is not None else stored.samples()
        if _names_of(path) & {"images", "labels", "x_train", "train_index"}:
            return read_dataset(path)
        if content_of(path) not in (Content.NPY, Content.NPZ):
            raise BadInputError(f"{path} is no file of arrays; give activations by tensor as .npz, one array as .npy")
        described = {"inputs": read_npy(path)[0]} if content_of(path) is Content.NPY else None
        sizes = {one.key: _width(one.shape) for one in read_npz(path)} if described is None else {}
        return activations_of(path, sizes or {"inputs": _width(next(iter((described or {}).values())).shape)}) or {}
    named = host if isinstance(host, Mapping) else {"inputs": host}
    plain = {name: one if isinstance(one, Sample) else sample_of(_array(name, one)) for name, one in named.items()}
    return activations_of(plain, {name: _width(one.vectors.shape) for name, one in plain.items()}) or {}


def _names_of(path: Path) -> set[str]:
    """List the arrays of a .npz; none of any other file. Raises BadInputError for what cannot be read."""
    return {one.key for one in read_npz(path)} if content_of(path) is Content.NPZ else set()


def _width(shape: Sequence[int]) -> int:
    return int(shape[1]) if len(shape) == 2 else -1


def _array(name: str, values: ArrayLike) -> FloatArray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{name} is no array of numbers: {error}") from None


def _test_of(opened: Dataset | dict[str, Sample]) -> dict[str, AnyArray]:
    """Give the test examples of a data set, which go along as they are."""
    return {"x_test": opened.x_test, "y_test": opened.y_test} if isinstance(opened, Dataset) else {}


def _sources(opened: Dataset | dict[str, Sample], origin: str, how: CoresetSettings) -> Iterator[Source]:
    """Turn what a host has into sets to summarise."""
    if isinstance(opened, Dataset):
        flat = opened.x_train.reshape(len(opened.x_train), -1).astype(np.float64)
        sample, shape = Sample(flat, opened.weights), opened.x_train.shape[1:]
        yield Source("x_train", origin, sample, how, shape, opened.y_train, opened.classes)
        return
    for name, sample in opened.items():
        yield Source(name, origin, sample, how)


def _check_together(sources: Sequence[Source]) -> None:
    """Raise BadInputError for hosts whose tensors do not go together."""
    first: dict[str, Source] = {}
    for one in sources:
        other = first.setdefault(one.name, one)
        widths = other.sample.vectors.shape[1], one.sample.vectors.shape[1]
        if widths[0] != widths[1] or other.shape != one.shape:
            raise BadInputError(
                f"'{one.name}' has {widths[1]} inputs in {one.origin}, and {widths[0]} in {other.origin}; give hosts "
                "that run the same network"
            )
    if len({one.labels is None for one in sources}) > 1:
        raise BadInputError("activations and data sets do not go into one coreset; make one of each")


def _row_again(told: Mapping[str, Json]) -> Row:
    """Make a row of what `to_json` gave."""
    number = {name: float(str(told[name])) for name in ("vectors", "cost", "bound_sampling", "bound_rounding")}
    whole = {name: int(str(told[name])) for name in ("inputs", "bits", "points", "bits_of_a_value")}
    choice = Choice(whole["points"], whole["bits_of_a_value"], number["bound_sampling"], number["bound_rounding"])
    names, vectors, cost = (str(told["tensor"]), str(told["host"])), number["vectors"], number["cost"]
    return Row(*names, vectors, whole["inputs"], choice, whole["bits"], cost)
