"""What the devices of a chip have received in their life, over all runs, from the ledger."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from hwloop.chip.backend import Backend
from hwloop.chip.lifetime import entry_of
from hwloop.chip.registry import connect, identity_of, split_uri
from hwloop.custody.ledger import ChipEntry, Ledger, SessionEntry
from hwloop.custody.places import ledger_path
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.output import write_file
from hwloop.files.reading import whole
from hwloop.notebook.card import card
from hwloop.registry import suggest
from hwloop.typing import Json


@dataclass(frozen=True, repr=False)
class Life:
    """Pulses of every device of a chip, over all sessions that a ledger knows.

    Parameters
    ----------
    ledger
        The database.
    chip
        Identity, shape and budget.
    cores
        (2, K, rows, columns) pulses of each device, by core; cores that never received one are left out.
    sessions
        Times that the chip was open and received pulses, oldest first.
    merged_runs
        Runs of other machines that are counted besides.
    """

    ledger: Path
    chip: ChipEntry
    cores: Mapping[int, NDArray[np.int32]]
    sessions: tuple[SessionEntry, ...] = ()
    merged_runs: int = 0

    @property
    def pulses(self) -> int:
        """All pulses together."""
        return sum(int(counts.sum()) for counts in self.cores.values())

    @property
    def most(self) -> int:
        """Pulses of the device that has received the most."""
        return max((int(counts.max()) for counts in self.cores.values()), default=0)

    @property
    def spent_devices(self) -> int:
        """Devices whose budget is spent."""
        return sum(int(np.count_nonzero(counts >= self.chip.budget)) for counts in self.cores.values())

    def _repr_html_(self) -> str:
        rows = [
            (core, int(counts.sum()), float(counts.mean()), int(counts.max()))
            for core, counts in sorted(self.cores.items())
        ]
        told = f"budget of {self.chip.budget:,} pulses a device"
        return card(self.chip.identity, told, head=("core", "pulses", "per device", "most"), rows=rows)

    def __repr__(self) -> str:
        return (
            f"<Life of {self.chip.identity}: {self.pulses} pulses in {len(self.sessions)} session(s), "
            f"at most {self.most} of {self.chip.budget} on a device>"
        )

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the pulses as .npz, with an array core_N for each core.

        Raises
        ------
        BadInputError
            For another ending, and for a file that exists (without force) or cannot be written.
        """
        if Path(path).suffix != ".npz":
            raise BadInputError(f"{path}: pulses are written as .npz; give a name that ends so")
        content = io.BytesIO()
        arrays: dict[str, NDArray[np.int32]] = {f"core_{core}": counts for core, counts in sorted(self.cores.items())}
        np.savez_compressed(content, allow_pickle=False, **arrays)
        write_file(path, content.getvalue(), force=force)

    def to_json(self) -> dict[str, Json]:
        """Summarise it as the JSON object of `hwloop ledger`."""
        return {
            "ledger": str(self.ledger),
            "chip": self.chip.identity,
            "backend": self.chip.uri,
            "simulated": self.chip.simulated,
            "budget_pulses_per_device": self.chip.budget,
            "budget_enforced_over_sessions": not self.chip.simulated,
            "pulses": self.pulses,
            "max_pulses_on_a_device": self.most,
            "devices_with_spent_budget": self.spent_devices,
            "merged_runs": self.merged_runs,
            "cores": [
                {
                    "core": core,
                    "devices": int(counts.size),
                    "pulses": int(counts.sum()),
                    "pulses_per_device": float(counts.mean()),
                    "max_pulses_on_a_device": int(counts.max()),
                }
                for core, counts in sorted(self.cores.items())
            ],
            "sessions": [asdict(session) for session in self.sessions],
        }


def ledger(chip: Backend | str, *, path: str | Path | None = None, merge: Sequence[str | Path] = ()) -> Life:
    """Tell how many pulses every device of a chip has received in its life.

    Parameters
    ----------
    chip
        An open chip, its URI, or its identity as `known_chips` lists it, which needs no connection.
    path
        The ledger; None for the one that HWLOOP_LEDGER names, else that in the user's data folder.
    merge
        Run, comparison and network files from other machines whose pulses are added first. A run is counted once,
        however often it is merged, and one that this ledger saw itself not again.

    Raises
    ------
    BadInputError
        For a chip that cannot be opened, and for files that are not of runs of this chip.
    LedgerError
        For a ledger that cannot be used.
    """
    with Ledger(Path(path) if path is not None else ledger_path()) as book:
        entry = _entry(book, chip)
        known = book.number(entry.identity)
        if known is None and not merge:
            return Life(book.path, entry, {})
        number = book.enter(entry) if known is None else known
        for file in merge:
            for run in _runs(Path(file), entry):
                book.merge(number, run.run, run.session, run.cores)
        shape = entry.shape[1:]
        cores = {core: book.life(number, core).reshape(shape) for core in book.cores(number)}
        return Life(book.path, entry, cores, tuple(book.sessions(number)), book.merged(number))


def known_chips(path: str | Path | None = None) -> list[ChipEntry]:
    """List the chips of a ledger, by identity. Raises LedgerError for a ledger that cannot be used."""
    place = Path(path) if path is not None else ledger_path()
    if not place.exists():
        return []
    with Ledger(place) as book:
        return book.chips()


def _entry(book: Ledger, chip: Backend | str) -> ChipEntry:
    """Find the entry of a chip. Raises BadInputError for a text that is neither a known identity nor a URI."""
    if isinstance(chip, Backend):
        return entry_of(chip.lifetime.identity or identity_of(chip.info), chip.uri, chip.info)
    known = {entry.identity: entry for entry in book.chips()}
    if chip in known:
        return known[chip]
    try:
        split_uri(chip)
    except BadInputError:
        raise BadInputError(
            f"{chip!r} is neither a backend URI nor a chip of {book.path}; {suggest(chip, sorted(known))}"
        ) from None
    with connect(chip) as opened:
        return entry_of(opened.lifetime.identity, chip, opened.info)


@dataclass(frozen=True)
class _RunPulses:
    """What a run sent to each device, by core, and what tells it from other runs."""

    run: str
    session: str
    cores: Mapping[int, NDArray[np.int32]]


def _runs(path: Path, chip: ChipEntry) -> list[_RunPulses]:
    """Read the pulses of all runs in a file. Raises BadInputError for a file without any of this chip."""
    kinds = (hdf5.RUN_FORMAT, hdf5.COMPARISON_FORMAT, hdf5.NETWORK_FORMAT)
    with hdf5.open_file(path, *kinds) as file, whole(path, "run file", "copy it again"):
        return [_run(path, group, chip) for group in _groups(file)]


def _groups(file: h5py.File) -> list[h5py.Group]:
    """Return the groups of a file that are runs."""
    if str(file.attrs["format"]) == hdf5.RUN_FORMAT:
        return [file]
    if str(file.attrs["format"]) == hdf5.NETWORK_FORMAT:
        return [file["run"]]
    return [run for method in file.values() for run in method.values()]


def _run(path: Path, group: h5py.Group, chip: ChipEntry) -> _RunPulses:
    told = group["provenance"].attrs
    if "run_id" not in told or not told["chip"]:
        raise BadInputError(f"{path} does not say which chip it was made on: it is of an earlier hwloop, or a copy")
    if told["chip"] != chip.identity or tuple(json.loads(told["device_shape"])) != chip.shape:
        raise BadInputError(f"{path} is of the chip {told['chip']!r}, not of {chip.identity!r}")
    cores: dict[int, NDArray[np.int64]] = {}
    largest = np.iinfo(np.int32).max
    for tile in group["tiles"].values():
        if "pulses" not in tile:
            raise BadInputError(f"{path} holds no pulses yet: its run was killed, or goes on; resume it first")
        core, row, column, rows, columns = (
            int(tile.attrs[name]) for name in ("core", "row", "column", "rows", "columns")
        )
        pulses = hdf5.get(tile, "pulses", "1")
        fits = 0 <= core < chip.shape[0] and pulses.shape == (*chip.shape[1:3], rows, columns)
        fits = fits and 0 <= row <= chip.shape[3] - rows and 0 <= column <= chip.shape[4] - columns
        whole = pulses.dtype.kind in "iu" and bool(np.all((pulses >= 0) & (pulses <= largest)))
        if not (fits and whole):
            raise BadInputError(f"{path} holds pulses that this chip cannot have received")
        counts = cores.setdefault(core, np.zeros(chip.shape[1:], np.int64))
        counts[:, :, row : row + rows, column : column + columns] += pulses
    flat = {core: np.minimum(counts, largest).astype(np.int32).reshape(-1) for core, counts in cores.items()}
    return _RunPulses(str(told["run_id"]), str(told["session"]), flat)
