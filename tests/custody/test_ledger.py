"""The database of lifetime pulses: whole after a kill, never below what was sent, and clear about what is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hwloop.custody import ledger as module
from hwloop.custody.ledger import ChipEntry, Ledger, LedgerSettings
from hwloop.errors import LedgerError

CHIP = ChipEntry("lab chip, serial 7", "visa:somewhere", (2, 2, 1, 4, 5), 1000, False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "ledger.sqlite"


def test_batches_are_in_the_life_at_once_and_add_up(path: Path) -> None:
    rng, expected = np.random.default_rng(0), np.zeros((2, 40), int)
    with Ledger(path) as ledger:
        chip = ledger.enter(CHIP)
        ledger.begin("one", chip)
        for number in range(50):
            core = int(rng.integers(2))
            devices = rng.choice(40, rng.integers(1, 40), replace=False)
            ledger.ahead("one", core, devices, CHIP.devices)
            expected[core, devices] += 1
            np.testing.assert_array_equal(ledger.life(chip, core), expected[core])
            if number % 20 == 19:
                ledger.settle(chip)
        assert ledger.cores(chip) == [0, 1]
        ledger.settle(chip, "one")
        [session] = ledger.sessions(chip)
        assert session.ended >= session.began > "2020"
        assert session.pulses == expected.sum()
    with Ledger(path) as ledger:
        assert ledger.chips() == [CHIP]
        assert ledger.number(CHIP.identity) == chip
        assert ledger.number("another") is None
        for core in (0, 1):
            np.testing.assert_array_equal(ledger.life(chip, core), expected[core])
        assert ledger.life(chip, 1).sum() == expected[1].sum()


KILLED = """
import sys
from pathlib import Path
import numpy as np
from hwloop.custody.ledger import Ledger
from tests.custody.test_ledger import CHIP
ledger = Ledger(Path(sys.argv[1]))
chip = ledger.enter(CHIP)
ledger.begin(sys.argv[2], chip)
for number in range(100_000):
    ledger.ahead(sys.argv[2], 0, np.arange(10), 40)
    print(number + 1, flush=True)
    if number % 7 == 6:
        ledger.settle(chip)
"""


@pytest.mark.parametrize("after", [1, 20, 47])
def test_a_kill_leaves_what_was_sent_and_one_batch_more_at_most(path: Path, after: int) -> None:
    sent = 0
    for session in ("first", "second"):
        command = [sys.executable, "-c", KILLED, str(path), session]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(after):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            last = int(([str(last), *process.stdout.read().split()])[-1])
        sent += last
        with Ledger(path) as ledger:
            chip = ledger.number(CHIP.identity)
            assert chip is not None
            life = ledger.life(chip, 0)
            assert sent <= life[0] <= sent + 1
            sent = int(life[0])
            np.testing.assert_array_equal(life, np.where(np.arange(40) < 10, sent, 0))
            assert [entry.ended for entry in ledger.sessions(chip)] == [""] * len(ledger.sessions(chip))


def test_two_sessions_at_once_lose_nothing_of_each_other(path: Path) -> None:
    with Ledger(path) as one, Ledger(path) as two:
        chip = one.enter(CHIP)
        assert two.enter(CHIP) == chip
        one.begin("one", chip)
        two.begin("two", chip)
        for _ in range(5):
            one.ahead("one", 0, np.arange(0, 40, 2), 40)
            two.ahead("two", 0, np.arange(0, 40, 4), 40)
        one.settle(chip, "one")
        two.ahead("two", 0, np.array([39]), 40)
        two.settle(chip, "two")
        expected = np.where(np.arange(40) % 4 == 0, 10, np.where(np.arange(40) % 2 == 0, 5, 0))
        expected[39] += 1
        np.testing.assert_array_equal(one.life(chip, 0), expected)


def test_a_run_is_merged_once_and_what_came_after_is_added(path: Path) -> None:
    counts = np.arange(40, dtype=np.int32)
    with Ledger(path) as ledger:
        chip = ledger.enter(CHIP)
        assert ledger.merge(chip, "run", "elsewhere", {1: counts}) == counts.sum()
        assert ledger.merge(chip, "run", "elsewhere", {1: counts}) == 0
        assert ledger.merge(chip, "run", "elsewhere", {1: counts + 1}) == 40
        assert ledger.merge(chip, "run", "elsewhere", {1: counts}) == 0, "an older copy of its file"
        assert ledger.merge(chip, "other", "elsewhere", {1: counts}) == counts.sum()
        np.testing.assert_array_equal(ledger.life(chip, 1), 2 * counts + 1)
        assert ledger.merged(chip) == 2


def test_a_run_of_a_session_that_is_known_was_counted_already(path: Path) -> None:
    with Ledger(path) as ledger:
        chip = ledger.enter(CHIP)
        ledger.begin("mine", chip)
        ledger.ahead("mine", 0, np.arange(3), 40)
        assert ledger.merge(chip, "run", "mine", {0: np.ones(40, np.int32)}) == 0
        assert ledger.life(chip, 0).sum() == 3


def test_another_chip_with_the_same_serial_number_is_refused(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.enter(CHIP)
        with pytest.raises(LedgerError, match=r"knows lab chip, serial 7 with \[2, 2, 1, 4, 5\] devices, not \[9, 2,"):
            ledger.enter(ChipEntry(CHIP.identity, "", (9, 2, 1, 4, 5), 1000, False))


def test_a_damaged_ledger_is_named_with_the_way_out(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all, " * 100)
    with pytest.raises(LedgerError, match=r"the ledger .* is damaged .*or move it away, and hwloop begins a new one"):
        Ledger(path)
    assert path.read_bytes().startswith(b"no database")


@pytest.mark.parametrize("content", [b"", b"\0" * 8192, b"SQLite format 3\0"])
def test_a_ledger_that_lost_its_content_is_never_taken_for_a_new_one(path: Path, content: bytes) -> None:
    with Ledger(path) as ledger:
        ledger.enter(CHIP)
    path.write_bytes(content)
    for name in (f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"is empty|is damaged"):
            Ledger(path)
    assert path.read_bytes() == content


def test_a_database_without_tables_is_no_new_ledger_either(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 1")
    with pytest.raises(LedgerError, match="it holds no tables"):
        Ledger(path)


def test_a_ledger_that_is_gone_but_for_its_last_pulses_is_brought_back(path: Path) -> None:
    kept = path.with_name("kept.sqlite")
    with Ledger(path) as ledger:
        ledger.enter(CHIP)
        path.rename(kept)
        with pytest.raises(LedgerError, match=r"ledger\.sqlite-wal is left of it: bring it back"):
            Ledger(path)
        kept.rename(path)


def test_many_who_make_it_at_once_make_one(path: Path) -> None:
    def enter(number: int) -> int:
        with Ledger(path) as ledger:
            return ledger.enter(dataclasses.replace(CHIP, identity=f"chip {number}"))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(enter, range(24)))) == 24
    with Ledger(path) as ledger:
        assert len(ledger.chips()) == 24
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_damage_in_the_middle_is_named_too(path: Path) -> None:
    with Ledger(path) as ledger:
        chip = ledger.enter(CHIP)
        ledger.begin("one", chip)
        ledger.ahead("one", 0, np.arange(3), 40)
        ledger.settle(chip, "one")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE life SET pulses = x'00112233'")
    database.close()
    with Ledger(path) as ledger, pytest.raises(LedgerError, match="is damaged"):
        ledger.life(chip, 0)


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()
    with pytest.raises(LedgerError, match="is another program's database, not a ledger; name another file"):
        Ledger(path)


def test_a_newer_ledger_is_refused(path: Path) -> None:
    Ledger(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(LedgerError, match=r"is of a newer hwloop \(version 99\); upgrade this one"):
        Ledger(path)


def test_a_locked_ledger_is_waited_for_and_then_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTINGS", LedgerSettings(patience=0.1))
    with Ledger(path) as ledger:
        chip = ledger.enter(CHIP)
        ledger.begin("one", chip)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match=r"has been in use by another program for 0\.1 s; wait for it, or name"):
            ledger.ahead("one", 0, np.arange(3), 40)
        other.execute("ROLLBACK")
        other.close()
        ledger.ahead("one", 0, np.arange(3), 40)
        assert ledger.life(chip, 0).sum() == 3


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"ledger .*file.* cannot be used .*HWLOOP_LEDGER"):
        Ledger(tmp_path / "file" / "ledger.sqlite")


def test_a_file_is_marked_as_a_ledger_of_this_version(path: Path) -> None:
    with Ledger(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as database:
        mark = database.execute("PRAGMA application_id").fetchone()[0]
        version = database.execute("PRAGMA user_version").fetchone()[0]
    assert mark.to_bytes(4, "big") == b"HWLP"
    assert version == 1
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(".")] == []


def test_who_waits_is_told_after_ten_seconds() -> None:
    assert "in use by another program for 10 s; wait for it" in module._complaint(
        Path("ledger.sqlite"), sqlite3.OperationalError("database is locked")
    )
