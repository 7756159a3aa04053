"""The ledger: how many pulses every device of every chip has received in its life, over all runs, in one database.

A batch of pulses is written down before it goes out, as a row of its own; the rows of a session are added up into one
array per core when it ends, or by whoever comes next. So a process that is killed at any moment leaves a ledger that
holds every pulse its chip may have received, and at most one batch that it has not. SQLite keeps the database whole.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwloop.custody.lock import Holder
from hwloop.errors import LedgerError

Pulses = NDArray[np.int32]
"""Pulses of each device of a core, (devices,)."""


@dataclass(frozen=True)
class LedgerSettings:
    """How the database is used."""

    patience: float = 10.0
    """Seconds to wait for another process that is writing."""
    rows: int = 4096
    """Rows of batches that are added up at the latest, so that the database stays small."""
    application: int = 0x48574C50
    """What marks a database as a ledger (`PRAGMA application_id`)."""
    version: int = 1
    """Of the tables (`PRAGMA user_version`)."""


SETTINGS = LedgerSettings()
"""The settings of every ledger."""

TABLES = """
CREATE TABLE chips (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, uri TEXT NOT NULL, shape TEXT NOT NULL,
    budget INTEGER NOT NULL, simulated INTEGER NOT NULL
);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, chip INTEGER NOT NULL REFERENCES chips, began TEXT NOT NULL, ended TEXT,
    host TEXT NOT NULL, pid INTEGER NOT NULL, command TEXT NOT NULL, pulses INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE life (
    chip INTEGER NOT NULL REFERENCES chips, core INTEGER NOT NULL, pulses BLOB NOT NULL, PRIMARY KEY (chip, core)
);
CREATE TABLE ahead (
    id INTEGER PRIMARY KEY, session TEXT NOT NULL REFERENCES sessions, core INTEGER NOT NULL, devices BLOB NOT NULL
);
CREATE TABLE merged (
    run TEXT NOT NULL, core INTEGER NOT NULL, chip INTEGER NOT NULL REFERENCES chips, pulses BLOB NOT NULL,
    PRIMARY KEY (run, core)
);
"""


@dataclass(frozen=True)
class ChipEntry:
    """One chip as the ledger knows it.

    Parameters
    ----------
    identity
        What tells it from every other chip.
    uri
        With which it was opened last.
    shape
        (cores, 2, K, rows, columns).
    budget
        Pulses that one of its devices may receive in its life.
    simulated
        Whether it is computed: then its pulses are recorded, and no budget is enforced over sessions.
    """

    identity: str
    uri: str
    shape: tuple[int, ...]
    budget: int
    simulated: bool

    @property
    def devices(self) -> int:
        """Devices of one core."""
        return math.prod(self.shape[1:])


@dataclass(frozen=True)
class SessionEntry:
    """One time that a chip was open and received pulses; `ended` is empty for one that goes on or was killed."""

    id: str
    began: str
    ended: str
    host: str
    pid: int
    command: str
    pulses: int


class Ledger:
    """An open database; close it, or use it `with`. Every method raises LedgerError where it cannot be used."""

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        """Open the database, or make it.

        Parameters
        ----------
        path
            File; its folder is made where there is none.
        durable
            Let every row reach the disk before its pulses go out, so that a failure of power loses none either.
        """
        self.path = path
        with self._telling():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                left = path.with_name(f"{path.name}-wal")  # its last pulses, which would spoil a new one
                if left.exists() and left.stat().st_size:
                    raise LedgerError(f"the ledger {path} is gone, and {left.name} is left of it: bring it back")
                _make(path)
            if not path.stat().st_size:
                raise LedgerError(
                    f"the ledger {path} is empty, as a computer leaves a file that lost its power: what it held is "
                    "gone; bring it back from a copy, or, if it never held anything, remove it"
                )
            # Not bound to a thread: the chip sees to it that it has one user at a time.
            self._db = sqlite3.connect(path, timeout=SETTINGS.patience, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(durable)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, durable: bool) -> None:
        with self._telling():
            (mark,), (version,) = (
                self._db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
            )
            if mark != SETTINGS.application:
                (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        if mark != SETTINGS.application and not tables:
            raise LedgerError(f"the ledger {self.path} is damaged (it holds no tables); bring it back from a copy")
        if mark != SETTINGS.application:
            raise LedgerError(f"{self.path} is another program's database, not a ledger; name another file")
        if version > SETTINGS.version:
            raise LedgerError(f"the ledger {self.path} is of a newer hwloop (version {version}); upgrade this one")

    # ---- writing ---------------------------------------------------------------------------------------------

    def enter(self, chip: ChipEntry) -> int:
        """Return the number of a chip, which is entered where it is new. Refuses one of another shape."""
        with self._telling(), self._transaction():
            found = self._db.execute("SELECT id, shape FROM chips WHERE identity = ?", (chip.identity,)).fetchone()
            if found is None:
                row = (chip.identity, chip.uri, json.dumps(chip.shape), chip.budget, chip.simulated)
                done = self._db.execute("INSERT INTO chips VALUES (NULL, ?, ?, ?, ?, ?)", row)
                return int(done.lastrowid or 0)
            number, shape = found
            if tuple(json.loads(shape)) != chip.shape:
                raise LedgerError(
                    f"the ledger {self.path} knows {chip.identity} with {shape} devices, not {list(chip.shape)}; "
                    "another chip has its serial number: give each its own"
                )
            change = (chip.uri, chip.budget, number)
            self._db.execute("UPDATE chips SET uri = ?, budget = ? WHERE id = ?", change)
            return int(number)

    def begin(self, session: str, chip: int) -> None:
        """Begin a session with a chip, of which `enter` gave the number; workers of one job share a session."""
        holder, now = Holder.present(), datetime.now(UTC).isoformat(timespec="seconds")
        row = (session, chip, now, holder.host, holder.pid, holder.command)
        with self._telling():
            self._db.execute(
                "INSERT OR IGNORE INTO sessions (id, chip, began, host, pid, command) VALUES (?, ?, ?, ?, ?, ?)", row
            )

    def ahead(self, session: str, core: int, devices: NDArray[np.int64], size: int) -> None:
        """Write down a batch before it goes out: devices (n,), each once, of a core of `size`."""
        batch = np.zeros(size, bool)
        batch[devices] = True
        row = (session, core, _quickly(np.packbits(batch).tobytes()))
        with self._telling(), self._transaction():
            self._db.execute("INSERT INTO ahead (session, core, devices) VALUES (?, ?, ?)", row)
            self._add_to_session(session, len(devices))

    def ahead_of_trains(self, session: str, core: int, most: Pulses) -> int:
        """Write down the most pulses (devices,) that trains can bring, before they go out; return the row's number."""
        with self._telling(), self._transaction():
            row = (session, core, _packed(most))
            done = self._db.execute("INSERT INTO ahead (session, core, devices) VALUES (?, ?, ?)", row)
            self._add_to_session(session, int(most.sum(dtype=np.int64)))
            return int(done.lastrowid or 0)

    def correct(self, session: str, row: int, most: Pulses, received: Pulses) -> None:
        """Put what devices have received into a row of `ahead_of_trains` in place of the most that they could."""
        with self._telling(), self._transaction():
            self._db.execute("UPDATE ahead SET devices = ? WHERE id = ?", (_packed(received), row))
            self._add_to_session(session, int(received.sum(dtype=np.int64) - most.sum(dtype=np.int64)))

    def settle(self, chip: int, ended: str = "") -> None:
        """Add up all rows of batches of a chip, whoever left them; `ended` is a session that is over."""
        with self._telling(), self._transaction():
            size = self._size(chip)
            for core, (rows, sums) in self._pending(chip, size).items():
                self._store(chip, core, _sum(self._stored(chip, core, size), sums))
                self._db.executemany("DELETE FROM ahead WHERE id = ?", ((row,) for row in rows))
            if ended:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                self._db.execute("UPDATE sessions SET ended = ? WHERE id = ?", (now, ended))

    def merge(self, chip: int, run: str, session: str, cores: Mapping[int, Pulses]) -> int:
        """Add the pulses of a run that another machine's ledger saw, and return how many were new here.

        Parameters
        ----------
        chip
            Its number.
        run, session
            What tells the run from every other, and the session that it was part of: a run of a session that this
            ledger holds has been counted. A run that has gone on since it was merged adds what came after.
        cores
            Pulses of each device, by core.
        """
        added = 0
        with self._telling(), self._transaction():
            if self._db.execute("SELECT 1 FROM sessions WHERE id = ?", (session,)).fetchone():
                return 0
            size = self._size(chip)
            for core, counts in cores.items():
                known = self._db.execute("SELECT pulses FROM merged WHERE run = ? AND core = ?", (run, core)).fetchone()
                before = _unpacked(known[0], size) if known else np.zeros(size, np.int32)
                new = np.maximum(counts - before, 0)
                self._store(chip, core, _sum(self._stored(chip, core, size), new))
                row = (run, core, chip, _packed(np.maximum(counts, before)))
                self._db.execute("INSERT OR REPLACE INTO merged VALUES (?, ?, ?, ?)", row)
                added += int(new.sum())
        return added

    # ---- reading ---------------------------------------------------------------------------------------------

    def chips(self) -> list[ChipEntry]:
        """List the chips, by identity."""
        with self._telling():
            rows = self._db.execute("SELECT identity, uri, shape, budget, simulated FROM chips ORDER BY identity")
            return [
                ChipEntry(str(identity), str(uri), tuple(json.loads(shape)), int(budget), bool(simulated))
                for identity, uri, shape, budget, simulated in rows
            ]

    def number(self, identity: str) -> int | None:
        """Return the number of a chip; None for one that it does not know."""
        with self._telling():
            found = self._db.execute("SELECT id FROM chips WHERE identity = ?", (identity,)).fetchone()
            return int(found[0]) if found else None

    def life(self, chip: int, core: int) -> Pulses:
        """Return the pulses that each device of a core has received in its life, batches under way included."""
        with self._telling(), self._transaction("DEFERRED"):
            size = self._size(chip)
            _, sums = self._pending(chip, size, core).get(core, ([], np.zeros(size, np.int32)))
            return _sum(self._stored(chip, core, size), sums)

    def cores(self, chip: int) -> list[int]:
        """List the cores of a chip that have received pulses."""
        asked = (
            "SELECT core FROM life WHERE chip = ?1 UNION "
            "SELECT core FROM ahead JOIN sessions ON session = sessions.id WHERE chip = ?1 ORDER BY core"
        )
        with self._telling():
            return [int(core) for (core,) in self._db.execute(asked, (chip,))]

    def sessions(self, chip: int) -> list[SessionEntry]:
        """List the sessions of a chip, oldest first."""
        asked = (
            "SELECT id, began, coalesce(ended, ''), host, pid, command, pulses FROM sessions WHERE chip = ? "
            "ORDER BY began, rowid"
        )
        with self._telling():
            return [SessionEntry(*row) for row in self._db.execute(asked, (chip,))]

    def merged(self, chip: int) -> int:
        """Count the runs of other machines that were merged into the life of a chip."""
        with self._telling():
            (found,) = self._db.execute("SELECT count(DISTINCT run) FROM merged WHERE chip = ?", (chip,)).fetchone()
            return int(found)

    def close(self) -> None:
        """Release the database."""
        self._db.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- inside ----------------------------------------------------------------------------------------------

    def _add_to_session(self, session: str, pulses: int) -> None:
        self._db.execute("UPDATE sessions SET pulses = pulses + ? WHERE id = ?", (pulses, session))

    def _size(self, chip: int) -> int:
        (shape,) = self._db.execute("SELECT shape FROM chips WHERE id = ?", (chip,)).fetchone()
        return math.prod(json.loads(shape)[1:])

    def _stored(self, chip: int, core: int, size: int) -> Pulses:
        found = self._db.execute("SELECT pulses FROM life WHERE chip = ? AND core = ?", (chip, core)).fetchone()
        return _unpacked(found[0], size) if found else np.zeros(size, np.int32)

    def _store(self, chip: int, core: int, counts: Pulses) -> None:
        self._db.execute("INSERT OR REPLACE INTO life VALUES (?, ?, ?)", (chip, core, _packed(counts)))

    def _pending(self, chip: int, size: int, core: int | None = None) -> dict[int, tuple[list[int], Pulses]]:
        """Add up the rows of batches of a chip, by core: their numbers, and the pulses of each device."""
        asked = (
            "SELECT ahead.id, core, devices FROM ahead JOIN sessions ON session = sessions.id "
            "WHERE chip = ?1 AND (?2 IS NULL OR core = ?2)"
        )
        found: dict[int, tuple[list[int], Pulses]] = {}
        for row, of, devices in self._db.execute(asked, (chip, core)):
            rows, sums = found.setdefault(int(of), ([], np.zeros(size, np.int32)))
            rows.append(int(row))
            content = zlib.decompress(devices)
            if len(content) == np.dtype(np.int32).itemsize * size:  # counts of trains; one bit a device is shorter
                found[int(of)] = rows, _sum(sums, np.frombuffer(content, "<i4").astype(np.int32))
            else:
                sums += np.unpackbits(np.frombuffer(content, np.uint8), count=size)
        return found

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        self._db.execute(f"BEGIN {kind}")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say what is wrong with the database in one line."""
        try:
            yield
        except (sqlite3.Error, OSError, zlib.error, ValueError, TypeError) as error:
            raise LedgerError(_complaint(self.path, error)) from error


def _complaint(path: Path, error: Exception) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return (
            f"the ledger {path} has been in use by another program for {SETTINGS.patience:g} s; wait for it, or name "
            "another with HWLOOP_LEDGER"
        )
    if isinstance(error, sqlite3.OperationalError | OSError):
        return f"the ledger {path} cannot be used ({text}); make room or name another with HWLOOP_LEDGER"
    return (
        f"the ledger {path} is damaged ({text}): bring it back from a copy, or move it away, and hwloop begins a new "
        "one that knows of no earlier pulse"
    )


def _make(path: Path) -> None:
    """Make an empty ledger, in one step: one that is there is whole, whoever makes it at the same time.

    So a file that lost its content is never taken for a new one.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as database:
            for statement in TABLES.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {SETTINGS.application}")
            database.execute(f"PRAGMA user_version = {SETTINGS.version}")
            database.execute("PRAGMA journal_mode = WAL")
        with contextlib.suppress(FileExistsError):
            _link(fresh, path)
    finally:
        for name in (fresh, fresh.with_name(f"{fresh.name}-wal"), fresh.with_name(f"{fresh.name}-shm")):
            name.unlink(missing_ok=True)


def _link(fresh: Path, path: Path) -> None:
    """Give a file a name that is free, else raise FileExistsError."""
    try:
        os.link(fresh, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: as sure as can be
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.rename(fresh, path)


def _sum(one: Pulses, other: Pulses) -> Pulses:
    """Add counts; a sum beyond what is stored stays at the largest, since one that turns over would be too low."""
    largest = np.iinfo(np.int32).max
    added: Pulses = np.minimum(one.astype(np.int64) + other, largest).astype(np.int32)
    return added


def _packed(counts: Pulses) -> bytes:
    return _quickly(counts.astype("<i4").tobytes())


def _quickly(content: bytes) -> bytes:
    """Compress small numbers and bits, by how often each byte occurs: as small as a search would, in a third of it."""
    pack = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return pack.compress(content) + pack.flush()


def _unpacked(blob: bytes, size: int) -> Pulses:
    counts = np.frombuffer(zlib.decompress(blob), "<i4").astype(np.int32)
    if counts.shape != (size,):
        raise ValueError(f"{len(counts)} counts for {size} devices")
    return counts
