"""What all HDF5 files share: self-describing datasets, and files that are whole at every moment.

The file is built in memory and each commit writes it to a temporary neighbour that then replaces it in one step of
the file system. A reader, `h5dump` included, thus always finds a complete file, and a killed process costs what came
after the last commit. docs/file-format.md describes the layout.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeAlias

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwloop.errors import BadInputError
from hwloop.files import seal, trial
from hwloop.files.output import OutputFile
from hwloop.files.output import check_writable as check_writable
from hwloop.files.output import replace_file as replace_file
from hwloop.files.packing import PACKING
from hwloop.files.reading import DAMAGE, held, held_by_another, refusal
from hwloop.files.safe_file import kept_at, rescued
from hwloop.files.seal import sealed
from hwloop.files.space import Spare, in_words

RUN_FORMAT = "hwloop-run"
COMPARISON_FORMAT = "hwloop-comparison"
DRIFT_FORMAT = "hwloop-drift"
NETWORK_FORMAT = "hwloop-network"
SENSITIVITY_FORMAT = "hwloop-sensitivity"
FEWSHOT_FORMAT = "hwloop-fewshot"
SEARCH_FORMAT = "hwloop-search"
TRAINING_FORMAT = "hwloop-training"
_MAKERS = {RUN_FORMAT: "program", NETWORK_FORMAT: "deploy", TRAINING_FORMAT: "train"}
FORMAT_VERSION = 1
"""Version of the layouts that are written; readers take any up to it."""
FINGERPRINT = "sha256"
"""Attribute with the `fingerprint` of a file that must not be changed by hand."""


def utc_now() -> str:
    """Return the present in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat()


@dataclass
class CommitTimer:
    """Says when a file that grows is due to be committed, so that commits take a small share of the time."""

    share: float = 0.01
    """Share of the time that commits may take."""
    longest: float = 5.0
    """Seconds from one commit to the next at most, however long they take: what a killed process may lose."""
    shortest: float = 0.0
    """Seconds from one commit to the next at least, however quick they are."""
    _due: float = 0.0
    """Monotonic clock of the computer at which the next commit is due, seconds; the first one is due at once."""

    def due(self) -> bool:
        """Tell whether it is time to commit."""
        return time.monotonic() >= self._due

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Time a commit, of which there is one in the body."""
        began = time.monotonic()
        yield
        self.spent(time.monotonic() - began)

    def spent(self, seconds: float) -> None:
        """Note that a commit has just ended that took so long."""
        self._due = time.monotonic() + min(max(seconds / self.share, self.shortest), self.longest)


def with_journal() -> CommitTimer:
    """Make the timer of a file beside which a journal lies: nothing is lost with it, so it may wait longer."""
    return CommitTimer(share=0.003, longest=30.0)


class WholeFileWriter:
    """A new HDF5 file of a given format; nothing is on disk before the first `commit`."""

    def __init__(
        self, path: str | Path | OutputFile, kind: str, *, force: bool = False, timer: CommitTimer | None = None
    ) -> None:
        """Take the sole right to write `path`; an `OutputFile` has it already, and stays its opener's to close.

        timer: another one than the usual for commits; `with_journal()` where one has all that was done.

        Raises
        ------
        BadInputError
            When it exists (without force), cannot be written, or is being written by somebody.
        """
        self._borrowed = isinstance(path, OutputFile)
        self._output = path if isinstance(path, OutputFile) else OutputFile(path, force=force)
        self.committed = False
        self._timer = timer or CommitTimer()
        self._spare: Spare | None = None
        self.file = h5py.File(str(self.path), "w", driver="core", backing_store=False)
        self.file.attrs["format"] = kind
        self.file.attrs["format_version"] = FORMAT_VERSION

    @property
    def path(self) -> Path:
        """Where the file lies; another place than was asked for once somebody else has put a file there."""
        return self._output.path

    @property
    def moved(self) -> bool:
        """Whether it lies elsewhere than was asked for."""
        return self._output.moved

    def commit(self, prepare: Callable[[], None] | None = None) -> None:
        """Replace what is on disk by the file as it is now, or as `prepare` makes it, whose time counts too."""
        with self._timer.committing():
            if prepare is not None:
                prepare()
            self.file.flush()
            content = sealed(self.file.id.get_file_image())
            try:
                self._output.replace(content)
            except BadInputError:
                if self._spare is None or not self._spare.give_up():
                    raise
                self._output.replace(content)
        self.committed = True

    def hold(self, spare: Path, size: int) -> None:
        """Hold room for the file as it will be, as a file `spare` on the same disk, until its own does not suffice.

        Raises BadInputError where there is no room.
        """
        try:
            self._spare = Spare(spare, size)
        except OSError as error:
            raise BadInputError(
                f"{self.path}: there is no room for {in_words(size)} ({error.strerror}); make room, or give a place on "
                "another disk"
            ) from None

    def commit_somewhere(self) -> None:
        """Commit, or keep the file at another place where its own has no room.

        Raises BadInputError in that case, which says where the file is.
        """
        try:
            self.commit()
        except BadInputError as error:
            image = sealed(self.file.id.get_file_image())
            place = rescued(self.path, lambda other: replace_file(other, image))
            error.add_note(kept_at(self.path, place))
            raise

    @property
    def due(self) -> bool:
        """Whether the last commit is so old that another one costs a small share of the time."""
        return self._timer.due()

    def commit_if_due(self) -> None:
        """Commit, unless the last commit is so young that large files would spend their time on the disk."""
        if self.due:
            self.commit()

    def close(self) -> None:
        """Release the memory and let others write the file; what was not committed is lost."""
        self.file.close()
        if self._spare is not None:
            self._spare.give_up()
        if not self._borrowed:
            self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def put(
    group: h5py.Group, name: str, values: ArrayLike, units: str, meaning: str, *, packed: bool = False
) -> h5py.Dataset:
    """Write an array with its units ('1' for a bare number) and a sentence on what it is, replacing an earlier one.

    packed: compress it, without loss; for large arrays in which numbers repeat, or have few digits.
    """
    array, found = np.asarray(values), group.get(name)
    alike = isinstance(found, h5py.Dataset) and (found.dtype, found.shape) == (array.dtype, array.shape)
    if alike and (found.compression is not None or not packed or array.nbytes <= PACKING.small):
        PACKING.rewrite(found, array)  # in place: HDF5 does not give back the room of what is deleted
        found.attrs["units"], found.attrs["description"] = units, meaning
        return found
    if name in group:
        del group[name]
    dataset = PACKING.write(group, name, array) if packed else group.create_dataset(name, data=array)
    put_attributes(dataset, {"units": units, "description": meaning})
    return dataset


def get(group: h5py.Group, name: str, units: str) -> NDArray[Any]:
    """Read an array that must be there in these units. Raises BadInputError otherwise."""
    if not isinstance(group.get(name), h5py.Dataset):
        raise BadInputError(f"{group.file.filename}: {group.name} has no dataset '{name}'; the file is not whole")
    found = group[name].attrs.get("units")
    if found != units:
        raise BadInputError(f"{group.file.filename}: {group.name}/{name} has units '{found}', expected '{units}'")
    if group[name].dtype.kind not in "biuf":
        raise BadInputError(f"{group.file.filename}: {group.name}/{name} holds no numbers; the file is damaged")
    array: NDArray[Any] = group[name][()]
    return array


class Series:
    """Numbers that are added to the end of a dataset, a few at a time."""

    chunk = 256
    """Numbers that HDF5 keeps as one piece, which is written as a whole."""

    def __init__(self, group: h5py.Group, name: str, units: str, meaning: str) -> None:
        """Make the dataset, without numbers."""
        self._values = np.zeros(0)
        self._dataset = group.create_dataset(name, (0,), np.float64, maxshape=(None,), chunks=(self.chunk,))
        put_attributes(self._dataset, {"units": units, "description": meaning})

    def append(self, values: ArrayLike) -> None:
        """Add numbers (n,)."""
        first = len(self._values) // self.chunk * self.chunk
        self._values = np.append(self._values, np.asarray(values, np.float64))
        self._dataset.id.set_extent((len(self._values),))
        for begin in range(first, len(self._values), self.chunk):
            piece = np.zeros(self.chunk)
            known = self._values[begin : begin + self.chunk]
            piece[: len(known)] = known
            self._dataset.id.write_direct_chunk((begin,), piece.tobytes())


def append(group: h5py.Group, name: str, values: ArrayLike, units: str, meaning: str) -> None:
    """Add a number, or several (n,), to the end of a series that is written now and then; see `Series`."""
    more = np.atleast_1d(np.asarray(values, np.float64))
    if name not in group:
        dataset = group.create_dataset(name, shape=(0,), maxshape=(None,), dtype=np.float64, chunks=(256,))
        dataset.attrs["units"] = units
        dataset.attrs["description"] = meaning
    dataset = group[name]
    dataset.resize(dataset.shape[0] + len(more), axis=0)
    dataset[dataset.shape[0] - len(more) :] = more


Attribute: TypeAlias = str | int | float | bool | None
"""A plain value of an attribute."""


def put_attributes(group: h5py.Group | h5py.Dataset, values: Mapping[str, Attribute]) -> None:
    """Write plain values as attributes; None becomes an empty text."""
    fresh = h5py.h5a.get_num_attrs(group.id) == 0
    for name, value in values.items():
        plain = "" if value is None else value
        if fresh or name not in group.attrs:
            _put_new(group, name, plain)
        else:
            group.attrs[name] = plain


def _put_new(group: h5py.Group, name: str, value: str | float | bool) -> None:
    """Write an attribute that is not there yet as h5py would, in half its time: a run has some three hundred."""
    array = np.asarray(value, h5py.string_dtype() if isinstance(value, str) else None)
    h5py.h5a.create(group.id, name.encode(), _kind_of(array.dtype, logical=True), _ONE).write(
        array, mtype=_kind_of(array.dtype, logical=False)
    )


@cache
def _kind_of(dtype: np.dtype[Any], *, logical: bool) -> h5py.h5t.TypeID:
    """Return the type of a value as it stands in a file, or as it lies in memory."""
    return h5py.h5t.py_create(dtype, logical=logical)


_ONE = h5py.h5s.create(h5py.h5s.SCALAR)


def get_attributes(group: h5py.Group) -> dict[str, Attribute]:
    """Read all attributes of a group as plain values; what is an array or anything else is left out."""
    plain: dict[str, Attribute] = {}
    for name, value in group.attrs.items():
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, str | int | float | bool):
            plain[name] = value
    return plain


def fingerprint(file: h5py.File) -> str:
    """Return the SHA-256 of all names, attributes and values in a file but its own attribute, as hexadecimal text."""
    digest = hashlib.sha256()

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        attributes = {key: item.attrs[key] for key in sorted(item.attrs) if (name, key) != ("/", FINGERPRINT)}
        digest.update(repr((name, attributes)).encode())
        if isinstance(item, h5py.Dataset):
            digest.update(repr((item.dtype.str, item.shape)).encode())
            digest.update(np.ascontiguousarray(item[()]).tobytes())

    add("/", file)
    file.visititems(add)
    return digest.hexdigest()


@dataclass(frozen=True)
class FileLimits:
    """What a file that comes from elsewhere may ask of its reader."""

    depth: int = 32
    """Groups within groups: HDF5 takes minutes for a thousand."""
    unpacked: int = 2000
    """Bytes of a dataset for each that it takes in the file: what gzip packs becomes a thousandth at best."""
    empty: int = 1 << 20
    """Bytes of a dataset that takes no place at all, because nothing was ever written."""


LIMITS = FileLimits()
"""The limits of every HDF5 file."""


def refuse_outside(file: h5py.File) -> None:
    """Refuse a file of which a part lies in other files, before anything there is opened.

    HDF5 has three ways to do so: links to other files, datasets whose values lie in raw files, and ones put together
    of others. A dataset that says it holds more than the file can is refused as well, before a value is read. Raises
    BadInputError for any of them, and for groups within groups without an end; hwloop writes none.
    """
    path, left, seen = file.filename, [(file["/"], 0)], set[int]()

    def refuse(complaint: str) -> NoReturn:
        file.close()
        raise BadInputError(f"{path} {complaint}")

    while left:
        group, depth = left.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                refuse(
                    f"has parts in other files ({group.name}/{name}, a link to {link.filename!r}), which are not "
                    "followed; copy it as one file"
                )
            item = group[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(item, h5py.Dataset):
                if found := _elsewhere(item):
                    refuse(
                        f"has parts in other files ({item.name}, {found}), which are not followed; copy it as one file"
                    )
                if item.nbytes > LIMITS.empty + LIMITS.unpacked * item.id.get_storage_size():
                    refuse(
                        f"is damaged: {item.name} says it takes {item.nbytes} bytes, and the file is smaller; copy it "
                        "again, or make it anew"
                    )
            elif isinstance(item, h5py.Group) and (address := h5py.h5o.get_info(item.id).addr) not in seen:
                if depth == LIMITS.depth:
                    refuse(f"has more than {LIMITS.depth} groups within groups; it is none of hwloop's")
                seen.add(address)
                left.append((item, depth + 1))


def _elsewhere(dataset: h5py.Dataset) -> str:
    """Tell where the values of a dataset lie outside of its file; an empty text where none do."""
    if dataset.is_virtual:
        return "put together of other datasets"
    return f"whose values lie in {dataset.external[0][0]!r}" if dataset.external else ""


def open_any(path: str | Path) -> h5py.File:
    """Open an HDF5 file of any kind for reading, once it is known that HDF5 can bear it.

    A sealed file must be as it was written. Any other is read in a process of its own first.

    Raises
    ------
    BadInputError
        When it is missing, not HDF5, damaged, held open by another program, or has parts in other files.
    """
    path = Path(path)
    if path.is_dir():
        raise BadInputError(f"{path} is a folder; give a file")
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    try:
        if held(path):
            raise held_by_another(path)
        if not seal.check(path) and h5py.is_hdf5(path) and (found := trial.trouble(path)):
            raise BadInputError(f"{path} is damaged ({found}); copy it again, or make it anew")
        file = h5py.File(path, "r")
        refuse_outside(file)
    except BadInputError:
        raise
    except DAMAGE as error:
        raise refusal(path, error) from None
    return file


def open_file(path: str | Path, *kinds: str) -> h5py.File:
    """Open a file of one of the given formats for reading.

    Raises BadInputError when it is missing, not HDF5, damaged, of another format or of a newer version.
    """
    file = open_any(path)
    try:
        kind, version = file.attrs.get("format"), file.attrs.get("format_version")
    except DAMAGE as error:
        file.close()
        raise refusal(path, error) from None
    if str(kind) not in kinds:
        file.close()
        maker = _MAKERS.get(kinds[0])
        made_by = f", as hwloop {maker} writes it" if maker else ""
        raise BadInputError(f"{path} is no {' or '.join(kinds)} file{made_by} (its format attribute is {kind!r})")
    if not isinstance(version, int | np.integer) or not 1 <= version <= FORMAT_VERSION:
        file.close()
        raise BadInputError(
            f"{path} has format version {version}; this hwloop reads up to {FORMAT_VERSION}: upgrade it"
        )
    return file
