"""Every answer of a chip is kept while a job runs, so that the same job can be led to where it was, and go on.

A job is a function of what was asked for and of what the chip answers: the same answers lead it through the same steps.
So nothing of the job itself is saved. Whoever resumes runs the job from its beginning, a `Recording` gives the answers
that are on file without asking the chip, and from the first one that is missing the chip is asked again.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hwloop import errors
from hwloop.chip.backend import Backend
from hwloop.chip.checks import LEDGER
from hwloop.chip.info import Capability
from hwloop.chip.pulses import Pulses
from hwloop.chip.updates import Updates
from hwloop.chip.witness import Answer, Asked
from hwloop.errors import BadInputError, ChipError, HwloopError, InstrumentError
from hwloop.files.hdf5 import CommitTimer
from hwloop.files.journal import Entry, Journal, Records
from hwloop.files.resume_folder import ResumeFolder
from hwloop.typing import AnyArray, Json, State

A = TypeVar("A")
SENT = frozenset({"pulse"})
"""Requests that are on file before they reach the chip: a device has received what the file says, or one batch less."""
WORK = SENT | {"place", "program_targets", "update", "mvm", "mvm_transposed", "read", "wait", "rest"}
"""Requests that are work: a job that made one has something to go on with."""


@dataclass(frozen=True)
class JobOnFile:
    """What was asked for, as a file holds it.

    Parameters
    ----------
    kind
        Name of the job, such as 'program'.
    told
        Plain values by name.
    arrays
        Lists of arrays by name.
    """

    kind: str
    told: Mapping[str, Json]
    arrays: Mapping[str, list[AnyArray]]


class Recording:
    """The witness of a job: keeps all answers of its chip, and gives those that are on file already."""

    def __init__(self, folder: ResumeFolder, chip: Backend, known: Records | None = None, end: int = 0) -> None:
        """Take note of a chip from now on; use `recorded` or `replayed`.

        Parameters
        ----------
        folder
            Where answers are kept; the caller has the lock of the output file.
        chip
            Who is asked.
        known, end
            The answers that are on file, and how many bytes of them count.
        """
        self._folder, self._chip, self._known, self._end = folder, chip, known, end
        # What a chip in this process holds goes with the process, so its state is kept; others are asked again.
        self._states = _timer_of_states() if _is_computed(chip) else None
        self._journal: Journal | None = None if known is not None else self._opened(0)
        self._pinned: set[int] = {0}
        self._exported: tuple[int, State] | None = None  # the last state that the job was given, until it is on file
        self._clock = self._offset = 0.0
        self._clock_known = False  # a computed clock stands still from one look at it to the next
        self._midway = False  # between a request and the record of its answer: a chip's state then belongs to neither
        self.touched = end > 0
        """Whether any work was asked of the chip."""
        self.counted: Mapping[int, NDArray[np.int32]] = {}
        """Pulses by core that a real chip was known to have received before the job was led to where it was."""
        self.completed = False
        """Whether nothing is left to do."""
        if known is not None and not end:
            self._go_live(known)

    @property
    def replaying(self) -> bool:
        """Whether the job is still on the way to where it was."""
        return self._known is not None

    def ask(self, name: str, hook: Callable[..., A], *asked: Asked) -> A:
        """Return the answer that is on file, or ask the chip and keep what it says; see `Witness.ask`."""
        answer: A = self._answered(name, hook, asked)
        return answer

    def _answered(self, name: str, hook: Callable[..., Answer], asked: tuple[Asked, ...]) -> Answer:
        told: dict[str, Json] = {"ask": name, "of": _digest(asked)}
        still, self._clock_known = self._clock_known, name == "now" and self._states is not None
        if self._known is not None:
            if still and name == "now" and not _is_next(self._known, name):
                return self._clock
            return self._answer_on_file(self._known, told)
        if still and name == "now":
            return self._clock
        if self._journal is None:
            return hook(*asked)
        self._midway = True
        if name in SENT:
            self._keep(Entry({**told, **_sent(asked)}, _devices(asked)))
        self.touched |= name in WORK
        try:
            answer = hook(*asked)
        except HwloopError as error:
            self._keep(Entry({**told, "error": _described(error)}))
            self._midway = False
            raise
        if name == "now":
            answer = self._clock = answer + self._offset
        if name not in SENT:
            self._keep(self._entry(told, answer))
        self._midway = False
        if self._states is not None and self._states.due():
            self._save_state(self._position())
        return answer

    def complete(self) -> None:
        """Note that the job is done: nothing needs to be gone on with."""
        self.completed = True

    def leave(self) -> None:
        """Take note of nothing more, but of the state in which a simulated chip is now."""
        if self._journal is not None:
            journal, self._journal = self._journal, None
            with contextlib.suppress(OSError, BadInputError):  # an earlier state is on file, and will do
                if self._states is not None and not self.completed and not self._midway:
                    self._save_state(journal.size)
                if not self.completed:
                    journal.sync()
            journal.close()
        self._known = None

    # ---- to the file -----------------------------------------------------------------------------------------

    def _keep(self, entry: Entry) -> None:
        assert self._journal is not None
        try:
            self._journal.append(entry)
        except OSError as error:
            raise self._folder.unwritable(error) from None

    def _position(self) -> int:
        """Return the bytes of the journal, all of which are with the operating system."""
        assert self._journal is not None
        try:
            return self._journal.size
        except OSError as error:
            raise self._folder.unwritable(error) from None

    def _entry(self, told: Mapping[str, Json], answer: Answer) -> Entry:
        if told["ask"] == "export_state" and self._states is not None:
            assert isinstance(answer, Mapping)
            at, cores = self._position(), self._chip.ledger.cores
            self._keep_exported()
            self._pinned.add(at)
            self._exported = at, {**answer, **{f"{LEDGER}{core}": counts.copy() for core, counts in cores.items()}}
            return Entry({**told, "state": at})
        if isinstance(answer, np.ndarray):
            return Entry({**told, "array": answer.dtype.str}, (_smallest(answer),))
        if isinstance(answer, tuple):
            return Entry({**told, "several": True}, answer)
        if told["ask"] == "export_state" and isinstance(answer, Mapping):
            return Entry({**told, "names": list(answer)}, list(answer.values()))
        return Entry({**told, "value": answer})

    def _save_state(self, at: int) -> None:
        assert self._states is not None
        try:
            with self._states.committing():
                self._keep_exported()
                self._folder.keep_state(at, self._chip.state_parts(), pinned=self._pinned)
        except OSError as error:
            raise self._folder.unwritable(error) from None

    def _keep_exported(self) -> None:
        """Write the state that the job was given last; a job that ends before the next one is due does without."""
        if self._exported is not None:
            with self._folder.writing():
                self._folder.keep_state(self._exported[0], self._exported[1].items(), pinned=self._pinned)
            self._exported = None

    # ---- from the file ---------------------------------------------------------------------------------------

    def _answer_on_file(self, known: Records, told: Mapping[str, Json]) -> Answer:
        """Give the next answer, or raise the next error, that is on file."""
        entry = known.next()
        if entry is None or (entry.told.get("ask"), entry.told.get("of")) != (told["ask"], told["of"]):
            raise BadInputError(
                f"{self._folder.path}: the job does not take the way that is on file: it was begun with another "
                "version of hwloop or on another kind of processor, or the file is damaged; begin it anew"
            )
        failed = entry.told.get("error")
        if told["ask"] in SENT and (later := known.peek()) is not None and later.told.get("ask") == told["ask"]:
            failed = later.told.get("error")
            if failed is not None:
                known.next()
        answer = None if failed is not None else self._answer(entry)
        if told["ask"] == "now" and answer is not None:
            self._clock = float(answer)
        if known.position >= self._end:  # between two requests, so that what is counted here agrees with the chip
            self._go_live(known)
        if failed is not None:
            raise _error_from(failed)
        return answer

    def _answer(self, entry: Entry) -> Answer:
        told, arrays = entry.told, entry.arrays
        if "state" in told:
            self._pinned.add(int(str(told["state"])))
            found = self._folder.state(int(str(told["state"])))
            if found is None:
                raise BadInputError(f"{self._folder.path}: a state of the chip is damaged; begin the job anew")
            return {name: array for name, array in found.items() if not name.startswith(LEDGER)}
        if "array" in told:
            return np.array(arrays[0], str(told["array"]))
        if "several" in told:
            return tuple(map(np.array, arrays))
        if "names" in told:
            return dict(zip(map(str, told["names"]), map(np.array, arrays), strict=True))  # type: ignore[arg-type]
        return told.get("value")

    def _go_live(self, known: Records) -> None:
        """Ask the chip from here on: a simulated one as it was here, a real one as it is."""
        self._known = None
        if self._states is None:
            with _unwitnessed(self._chip):
                now = self._chip.now()
            # The clock of a chip that was opened anew began anew; its devices have aged all the same.
            if now < self._clock:
                self._offset = self._clock + max(time.time() - known.path.stat().st_mtime, 0.0) - now
            for core, counts in self.counted.items():
                ledger = self._chip.ledger.of(core)
                np.maximum(ledger, counts, out=ledger)
        elif (state := self._folder.state(self._end)) is not None:
            with _unwitnessed(self._chip):
                self._chip.import_state(state)
        self._journal = self._opened(self._end)

    def _opened(self, at: int) -> Journal:
        """Open the journal to go on behind so many bytes; what follows the last state of a computed chip is no use."""
        try:
            return Journal(self._folder.journal, at, patient=self._states is not None)
        except OSError as error:
            raise self._folder.unwritable(error) from None


# ---- a job with its recording --------------------------------------------------------------------------------


@contextmanager
def recorded(out: str | Path, chip: Backend, job: JobOnFile) -> Iterator[Recording]:
    """Keep all that a chip answers in the body beside the output file, so that the job can be gone on with.

    The body calls `complete` when nothing is left to do. What is there otherwise is for `replayed`, unless nothing was
    done to the chip.
    """
    folder = ResumeFolder(out)
    identity: dict[str, Json] = {"job": job.kind, "chip": chip.uri, "name": chip.info.name, "serial": chip.info.serial}
    try:
        folder.make({**identity, **job.told}, job.arrays, _parts(chip))
        recording = Recording(folder, chip)
    except OSError as error:
        folder.remove()
        raise BadInputError(f"{out} cannot be written ({error.strerror or error}); give another place") from None
    yield from _witnessed(folder, chip, recording)


@contextmanager
def replayed(folder: ResumeFolder, chip: Backend) -> Iterator[Recording]:
    """Lead the job in the body to where it was, and go on; see `recorded`.

    Raises BadInputError for another chip than that of the job.
    """
    told, info = folder.job(), chip.info
    if (told.get("name"), told.get("serial")) != (info.name, info.serial):
        raise BadInputError(
            f"{folder.out} was begun on {told.get('name')}, serial {told.get('serial')} ({told.get('chip')}); "
            f"{info.name}, serial {info.serial}, is another chip: name the right one with --backend"
        )
    known = Records(folder.journal) if folder.journal.exists() else None
    end = _known_until(folder, chip, known) if known is not None else 0
    counted = {core: counts.copy() for core, counts in chip.ledger.cores.items()}
    _put_back(chip, folder.state(0) or {})
    recording = Recording(folder, chip, known, end)
    recording.counted = {} if _is_computed(chip) else counted
    yield from _witnessed(folder, chip, recording)


def _witnessed(folder: ResumeFolder, chip: Backend, recording: Recording) -> Iterator[Recording]:
    chip.witness = recording
    try:
        yield recording
    finally:
        recording.leave()
        chip.witness = None
        if recording.completed or not recording.touched:
            folder.remove()


def _is_computed(chip: Backend) -> bool:
    """Tell whether what a chip holds goes with this process, and can be brought back."""
    return chip.in_process and Capability.STATE in chip.info.capabilities


def _parts(chip: Backend) -> Iterator[tuple[str, AnyArray]]:
    """Yield the state of a chip that is computed, and of any other the pulses that it is known to have received."""
    if _is_computed(chip):
        yield from chip.state_parts()
    else:
        yield from ((f"{LEDGER}{core}", counts) for core, counts in chip.ledger.cores.items())


def _put_back(chip: Backend, state: Mapping[str, AnyArray]) -> None:
    """Bring a chip back to what `_parts` gave of it; nothing of a real one is changed but what is known of it."""
    if _is_computed(chip):
        if state:
            chip.import_state(state)
        return
    cores = {int(name.removeprefix(LEDGER)): counts for name, counts in state.items() if name.startswith(LEDGER)}
    chip.ledger.cores = {core: counts for core, counts in cores.items() if counts.shape == (chip.ledger.size,)}


def _known_until(folder: ResumeFolder, chip: Backend, known: Records) -> int:
    """Return how many bytes of the answers on file count: up to a state of a simulated chip, or all of a real one."""
    ends, last = {0}, 0
    for entry in known:
        # What ended the job, such as a link that failed, is no answer to repeat.
        last = last if "error" in entry.told else known.position
        ends.add(known.position)
    known.position = 0
    if not _is_computed(chip):
        return last
    return next((at for at in folder.states() if at in ends and folder.state(at) is not None), 0)


@contextmanager
def _unwitnessed(chip: Backend) -> Iterator[None]:
    witness, chip.witness = chip.witness, None
    try:
        yield
    finally:
        chip.witness = witness


def _timer_of_states() -> CommitTimer:
    """Make the timer of the states of a chip, of which one is on file when a job begins."""
    timer = CommitTimer(share=0.003, longest=60.0, shortest=0.5)
    timer.spent(0.0)
    return timer


def _is_next(known: Records, name: str) -> bool:
    """Tell whether the next answer on file is to such a request."""
    entry = known.peek()
    return entry is not None and entry.told.get("ask") == name


# ---- requests and answers as records -----------------------------------------------------------------------------


def _digest(asked: tuple[Asked, ...]) -> int:
    """Return a checksum of the whole numbers and names in a request; the last bits of other numbers may differ.

    Of input vectors some thousand numbers are enough: those of another request differ in most.
    """
    crc = 0
    for one in asked:
        if isinstance(one, Updates):
            crc = zlib.crc32(repr(_digest((one.x, one.d, one.length))).encode(), crc)
        elif isinstance(one, Pulses):
            crc = zlib.crc32(np.ascontiguousarray(one.devices).data, zlib.crc32(one.kind.value.encode(), crc))
        elif isinstance(one, np.ndarray) and one.dtype.kind in "iu":
            step = one.size // 4096 | 1  # odd, so that it meets every column
            crc = zlib.crc32(repr(one.shape).encode(), crc)
            crc = zlib.crc32(np.ascontiguousarray(one.reshape(-1)[::step]).data, crc)
        elif isinstance(one, int | str):
            crc = zlib.crc32(str(one).encode(), crc)
    return crc


def _sent(asked: tuple[Asked, ...]) -> dict[str, Json]:
    """Tell which devices are pulsed, in the form of `_devices`."""
    core, pulses = asked
    assert isinstance(core, int)
    assert isinstance(pulses, Pulses)
    return {"core": core, "kind": pulses.kind.value, "count": len(pulses)}


def _devices(asked: tuple[Asked, ...]) -> tuple[AnyArray]:
    """Return the devices that are pulsed: their indices where they are few, else a bit for each."""
    pulses = asked[1]
    assert isinstance(pulses, Pulses)
    top = int(pulses.devices.max()) + 1
    if 32 * len(pulses) < top:
        return (pulses.devices.astype(np.uint32),)
    chosen = np.zeros(top, bool)
    chosen[pulses.devices] = True
    return (np.packbits(chosen),)


def _smallest(values: AnyArray) -> AnyArray:
    """Return whole numbers in the smallest type that holds them all; others as they are."""
    if values.dtype.kind not in "iu" or not values.size:
        return values
    low, high = values.min(), values.max()
    return values.astype(np.result_type(np.min_scalar_type(low), np.min_scalar_type(high)))


def _described(error: HwloopError) -> Json:
    if isinstance(error, InstrumentError):
        return [type(error).__name__, error.code, error.message, error.command]
    return [type(error).__name__, str(error)]


def _error_from(described: Json) -> HwloopError:
    """Make the error again that a chip gave; the class is one of hwloop's own."""
    assert isinstance(described, list)
    name, *arguments = described
    kind = getattr(errors, str(name), ChipError)
    if not (isinstance(kind, type) and issubclass(kind, HwloopError)):
        kind = ChipError
    made: HwloopError = kind(*arguments)
    return made
