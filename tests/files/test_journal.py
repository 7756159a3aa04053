"""A journal gives back what was appended, and of a damaged or cut file every whole record before the damage."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files.journal import Entry, Journal, Records

ENTRIES = [
    Entry({"ask": "mvm"}, (np.arange(12, dtype=np.int8).reshape(3, 4),)),
    Entry({"ask": "now", "value": 0.1 + 0.2}),
    Entry({"ask": "trims"}, (np.linspace(0, 1, 5), np.zeros(0), np.array([True, False]))),
]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A journal of three records."""
    with Journal(tmp_path / "journal") as journal:
        for entry in ENTRIES:
            journal.append(entry)
    return tmp_path / "journal"


def same(one: Entry, other: Entry) -> bool:
    equal = (np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one.arrays, other.arrays, strict=True))
    return one.told == other.told and all(equal)


def test_records_come_back_bit_for_bit(written: Path) -> None:
    found = list(Records(written))
    assert all(same(one, other) for one, other in zip(ENTRIES, found, strict=True))


def test_a_cut_file_has_all_records_before_the_cut(written: Path) -> None:
    whole = written.read_bytes()
    records, ends = Records(written), []
    while records.next() is not None:
        ends.append(records.position)
    for size in range(len(whole)):
        written.write_bytes(whole[:size])
        assert len(list(Records(written))) == sum(end <= size for end in ends)


def test_a_changed_byte_ends_the_records_before_it(written: Path) -> None:
    whole = written.read_bytes()
    for at in range(len(whole)):
        written.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        found = list(Records(written))
        assert len(found) < len(ENTRIES)
        assert all(same(one, other) for one, other in zip(ENTRIES, found, strict=False))


def test_going_on_cuts_off_what_follows(written: Path) -> None:
    records = Records(written)
    records.next()
    with Journal(written, records.position) as journal:
        journal.append(Entry({"ask": "other"}))
    assert [entry.told["ask"] for entry in Records(written)] == ["mvm", "other"]


def test_a_patient_journal_writes_small_records_with_the_next_great_one(tmp_path: Path) -> None:
    small, great = ENTRIES[1], ENTRIES[0]
    with Journal(tmp_path / "journal", patient=True) as journal:
        for count in (0, 0, 0):
            journal.append(small)
            assert len(list(Records(journal.path))) == count
        journal.append(great)
        assert [entry.told["ask"] for entry in Records(journal.path)] == ["now"] * 3 + ["mvm"]
        journal.append(small)
        assert journal.size == journal.path.stat().st_size
        journal.append(small)
        journal.sync()
        assert len(list(Records(journal.path))) == 6


def test_a_record_that_does_not_fit_is_not_there(tmp_path: Path) -> None:
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Journal(tmp_path / "journal") as journal:
        journal.append(ENTRIES[0])
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
            with pytest.raises(OSError, match="too large"):
                journal.append(Entry({"ask": "mvm"}, (np.zeros(1000),)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        journal.append(ENTRIES[1])
    assert os.path.getsize(tmp_path / "journal") == journal.size
    assert [entry.told["ask"] for entry in Records(tmp_path / "journal")] == ["mvm", "now"]


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="absent"):
        Records(tmp_path / "absent")
