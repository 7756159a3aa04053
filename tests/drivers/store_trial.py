"""Whole jobs, `hwloop program --backend visa:...` into a run file, through a faulty link.

Whatever the link does, a job either ends as it does without faults, with the same file, or stops with one of hwloop's
errors, and its file holds all that was done by then. What reaches the chip is the beginning of what reaches it without
faults: nothing twice, nothing changed, no pulse that the job without faults does not send.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

import hwloop
from hwloop.calibration.programming.base import Method
from hwloop.errors import ChipError
from hwloop.files import hdf5
from hwloop.sim_backend.server.instrument import Instrument
from hwloop.sim_backend.server.server import serving
from hwloop.testing.faults import Fault, FaultProxy, random_faults
from hwloop.typing import AnyArray
from tests.drivers.link_trial import ATTEMPTS, Outcome, Recorded, recorded

OWN = (
    "programmed_utc",
    "created",
    "run_id",
    "chip",
    "session",
    "backend",
    "result_json",
    "command_line",
    "link.firmware",
    "link.resource",
    "link_bytes",
)
"""Attributes in which a job through the link differs from the one on the chip itself."""

BURST = 8
"""Faults of a burst."""


class StoreTrial:
    """Runs the same job over and over through whatever faults one asks for."""

    def __init__(self, uri: str, method: Method, timeout: float) -> None:
        """A `sim:` URI of a small chip, and the driver's timeout in seconds. Does the job once without faults."""
        self._uri, self._method, self._timeout = uri, method, timeout
        with tempfile.TemporaryDirectory() as folder:
            direct = Path(folder) / "direct.h5"
            self._weights = np.random.default_rng(0).standard_normal((16, 16))
            self._program(uri, direct)
            self._expected = contents(direct)
            self.last_file = self._expected
            """What the file of the last job held: arrays as (type, shape, bytes), attributes as NAME@ATTRIBUTE."""
        with recorded(uri) as chip, serving(chip) as port, FaultProxy(port) as proxy:
            error, found = self._job(proxy.port)
            self.bytes_moved, self._done = dict(proxy.passed), list(chip.done)
        assert not error
        assert found == self._expected, "the file of a job through the link is not that of a job on the chip itself"

    @property
    def operations(self) -> int:
        """Pulse batches, reads, MVMs and waits of the whole job."""
        return len(self._done)

    @property
    def longest_seconds(self) -> float:
        """What a job may take at most, one call on its last attempt, one more at the end, and its own work."""
        return ATTEMPTS * 2 * (self._timeout + 1.0) + 15.0

    def random(self, seed: int, faults: int) -> Outcome:
        """A job with so many random faults, from the opening of the link to its end.

        Every third job gets a burst of them instead, one after the other from one moment on in one direction: what the
        driver can survive once, it meets again on the connections that it makes then.
        """
        rng = np.random.default_rng(seed)
        moved = self.bytes_moved
        count = int(rng.integers(1, 2 * faults))
        struck = random_faults(rng, count, moved[True], moved[False], 1.5 * self._timeout)
        if rng.integers(3) == 0:
            first, apart = struck[0], int(rng.integers(60, 1500))
            kinds = random_faults(rng, BURST, moved[True], moved[False], 1.5 * self._timeout)
            struck = [
                replace(fault, to_instrument=first.to_instrument, position=first.position + n * apart)
                for n, fault in enumerate(kinds)
            ]
        return self.run(struck)

    def run(self, faults: Sequence[Fault], cut_after: int | None = None) -> Outcome:
        """One job, its cable pulled while the chip does the thing after `cut_after` others.

        Raises AssertionError when anything wrong reached the chip or the file.
        """
        begin = time.monotonic()
        with recorded(self._uri) as chip:
            with serving(chip, instrument=Instrument(chip)) as port, FaultProxy(port, faults) as proxy:
                chip.watch = lambda count: proxy.cut() if count - 1 == cut_after else None
                error, found = self._job(proxy.port)
                seconds = time.monotonic() - begin
            assert chip.done == self._done[: len(chip.done)], f"something else was done to the chip: {faults}"
            if error:
                self._check_failed(chip, error, found)
            else:
                assert len(chip.done) == len(self._done), f"not everything was done: {faults}"
                assert found == self._expected, f"the file is not that of the job without faults: {faults}"
        self.last_file = found
        return Outcome(not error, error, len(proxy.struck), seconds)

    def _job(self, port: int) -> tuple[str, dict[str, object]]:
        """The error that ended the job, if any, and what is in its file."""
        error = ""
        with tempfile.TemporaryDirectory() as folder:
            out, uri = Path(folder) / "run.h5", f"visa:TCPIP::127.0.0.1::{port}::SOCKET?timeout={self._timeout}"
            try:
                self._program(uri, out)
            except ChipError as failure:
                error = str(failure)
            left = {path.name for path in Path(folder).iterdir()}
            assert left <= {"run.h5", "run.h5.resume"}, f"{left} was left behind"
            return error, contents(out) if out.exists() else {}

    def _program(self, uri: str, out: Path) -> None:
        with hwloop.connect(uri) as chip:
            hwloop.program(chip, self._weights, self._method, out=out)

    def _check_failed(self, chip: Recorded, error: str, found: dict[str, object]) -> None:
        """All that was done is on file: every step, and at least the pulses that each device received."""
        received = chip.pulse_counts(0)
        if not found:
            assert not received.any(), "pulses were sent, and there is no file"
            return
        assert found["@status"] == "failed"
        assert found["@error"] == error
        counted = _array(found["tiles/0000/pulses"])
        assert (counted >= received).all(), "a device received a pulse that is not on file"
        assert (counted <= _array(self._expected["tiles/0000/pulses"])).all(), "more pulses than the whole job has"
        assert found["cost@pulses"] == counted.sum()
        for name, value in found.items():
            if "/steps/" in name and "@" not in name:
                whole = _array(self._expected[name])
                assert np.array_equal(_array(value), whole[: _array(value).size], equal_nan=True), f"{name} differs"
            elif name in self._expected and name.split("/")[-1].startswith(("target", "scale", "reached", "column")):
                assert value == self._expected[name], f"{name} differs"


def contents(path: Path) -> dict[str, object]:
    """Everything in a run file by name, arrays as (type, shape, bytes); what the link's own nature changes left out."""
    found: dict[str, object] = {}

    def note(name: str, item: h5py.HLObject) -> None:
        for key, value in item.attrs.items():
            if key not in OWN:
                found[f"{name}@{key}"] = value if not isinstance(value, np.ndarray) else value.tolist()
        if isinstance(item, h5py.Dataset):
            array = item[()]
            found[name] = (str(array.dtype), array.shape, array.tobytes())

    with hdf5.open_file(path, hdf5.RUN_FORMAT) as file:
        note("", file)
        file.visititems(note)
    return {name: value for name, value in found.items() if "weights" not in name}


def _array(value: object) -> AnyArray:
    assert isinstance(value, tuple)
    kind, shape, data = value
    return np.frombuffer(data, kind).reshape(shape)
