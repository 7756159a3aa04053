"""Reads hostile files of fifty kinds, and watches that nothing beyond each is opened, run, written or connected to.

    python benchmarks/hostile.py [--only NAME]

Every file has a right seal, as a stranger can give it one. It is read by the commands that take it, each in a copy of
this process, in a folder with baits: files, a library, a module and a pipe that the hostile file names. Watched are all
audit events of Python (files, processes, sockets, libraries, imports, pickles), and, for what C code does without
them, the baits by inotify and a listening socket by itself. Linux alone.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import json
import os
import pickle
import select
import shutil
import socket
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

import hwloop
import hwloop.data
from hwloop.cli import main
from hwloop.files.seal import SEAL_SIZE, seal

ROOT = Path(__file__).resolve().parent.parent

CHIP = "sim:pcm-ideal?rows=16&columns=16&seed=1"
SECONDS = 20.0
"""Seconds of CPU that a command may take to refuse a file."""
BAITS = ("victim.txt", "helper.dat", "other.h5", "cal.h5", "model.json", "bench.toml", "evil.py", "token")
IN_MODIFY, IN_OPEN, IN_CREATE, IN_DELETE, IN_MOVE = 0x2, 0x20, 0x100, 0x200, 0xC0
READ_RUN = (("show", "{}"), ("evaluate", "{}"), ("drift", "{}", "--times", "1h", "--out", "d.h5"), ("resume", "{}"))
"""What may be done with a run file."""
PROGRAM = (("program", "{}", "--backend", CHIP, "--method", "exact", "--out", "o.h5"),)
SHOW = (("show", "{}"), ("resume", "{}"), ("report", "{}", "--out", "r.html"))

Kind = tuple[Path, tuple[tuple[str, ...], ...]]
"""A hostile file, and the commands that are given it."""
Change = Callable[[h5py.File, Path], None]
"""Makes a file hostile; takes the file and the folder of baits."""


class Payload:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch run-by-pickle",)


# ---- the kinds ---------------------------------------------------------------------------------------------------


def uris(bait: Path, port: int) -> dict[str, str]:
    """URIs that a file may name, none of which is to be followed."""
    at = f"visa:TCPIP::127.0.0.1::{port}::SOCKET"
    return {
        "uri: a socket": at,
        "uri: a log over a file": f"{at}?log={bait}/victim.txt",
        "uri: a library": f"{at}?visa_library={bait}/helper.dat",
        "uri: a token from a file": f"{at}?token_file={bait}/token",
        "uri: an instrument": "visa:TCPIP::127.0.0.1::INSTR",
        "uri: a serial port": f"visa:ASRL{bait}/pipe::INSTR",
        "uri: a bench": f"bench:{bait}/bench.toml",
        "uri: an endless device": "bench:/dev/zero",
        "uri: a model": f"sim:{bait}/model.json",
        "uri: a model with a base": f"sim:{bait}/model.json?base=pcm-90nm",
        "uri: a device as a model": "sim:/dev/zero",
        "uri: a scheme like a module": "evil:hermes-core",
        "uri: a named chip of the lab": "lab:victim",
        "uri: escapes": "\x1b[2J\x1b]0;owned\x07sim:hermes-core",
        "uri: lines": "sim:hermes-core\nrm -rf x",
        "uri: a graphics card": "sim:hermes-core?device=cuda:0&rows=16&columns=16",
        "uri: a huge chip": "sim:hermes-core?rows=1000000&columns=1000000",
    }


def _attribute(place: str, name: str, value: str) -> Change:
    def change(file: h5py.File, bait: Path) -> None:
        file[place].attrs[name] = value

    return change


def _replaced(name: str, make: Callable[[h5py.Group, str, Path], object]) -> Change:
    """Put something else in the place of a dataset or group."""

    def change(file: h5py.File, bait: Path) -> None:
        parent, _, last = name.rpartition("/")
        del file[name]
        make(file[parent] if parent else file, last, bait)

    return change


def _external(name: str) -> Change:
    return _replaced(
        name, lambda group, last, bait: group.__setitem__(last, h5py.ExternalLink(f"{bait}/other.h5", "/"))
    )


def _raw(group: h5py.Group, last: str, bait: Path) -> None:
    made = group.create_dataset(last, (8, 8), "f8", external=[(f"{bait}/victim.txt", 0, 512)])
    made.attrs["units"] = "uS"


def _virtual(group: h5py.Group, last: str, bait: Path) -> None:
    layout = h5py.VirtualLayout((8, 8), "f8")
    layout[:] = h5py.VirtualSource(f"{bait}/other.h5", "secret", (8, 8))
    group.create_virtual_dataset(last, layout).attrs["units"] = "uS"


def _huge(group: h5py.Group, last: str, bait: Path) -> None:
    group.create_dataset(last, (1_000_000, 1_000_000), "f8", chunks=(8, 8)).attrs["units"] = "uS"


def _loop(group: h5py.Group, last: str, bait: Path) -> None:
    group[last] = h5py.SoftLink(f"{group.name}/{last}")


def _texts(group: h5py.Group, last: str, bait: Path) -> None:
    group.create_dataset(last, data=["../../victim.txt"] * 64).attrs["units"] = "uS"


def _circle(file: h5py.File, bait: Path) -> None:
    file["tiles/0000/steps/again"] = file["/"]


def _deep(file: h5py.File, bait: Path) -> None:
    file.create_group("/".join(["a"] * 900))


def _names(file: h5py.File, bait: Path) -> None:
    file["tiles/0000"].attrs["tensor"] = "../../\x1b[2J\nvictim.txt"


INSIDE: dict[str, Change] = {
    "link: the root of another file as tiles": _external("tiles"),
    "link: another file as a target": _external("tiles/0000/target"),
    "link: another file as the state": _external("chip_state"),
    "link: to itself": _replaced("tiles/0000/target", _loop),
    "link: a circle of groups": _circle,
    "values in a raw file": _replaced("tiles/0000/target", _raw),
    "values put together of another file": _replaced("tiles/0000/target", _virtual),
    "size: a terabyte of targets": _replaced("tiles/0000/target", _huge),
    "size: nine hundred groups deep": _deep,
    "texts for numbers": _replaced("tiles/0000/target", _texts),
    "name: a tensor that leaves its folder": _names,
    "path: a calibration elsewhere": lambda file, bait: _calibration(file, f"{bait}/cal.h5"),
    "path: a device as calibration": lambda file, bait: _calibration(file, "/dev/zero"),
    "path: a pipe as calibration": lambda file, bait: _calibration(file, f"{bait}/pipe"),
    "path: weights elsewhere": _attribute("/", "weights", "/etc/passwd"),
    "name: a method like a module": _attribute("/", "method", "os:system"),
    "result in a million brackets": _attribute("/", "result_json", "[" * 50_000),
}
"""What a run file can have inside."""


def _calibration(file: h5py.File, path: str) -> None:
    file["provenance"].attrs["calibration"], file["provenance"].attrs["calibration_sha256"] = path, "0" * 64


def foreign(folder: Path, bait: Path) -> Iterator[tuple[str, Kind]]:
    """Make files that hwloop reads but does not write."""
    (folder / "p.npy").write_bytes(
        _npy({"descr": "|O", "fortran_order": False, "shape": (1,)}) + pickle.dumps(Payload())
    )
    yield "pickle in an .npy", (folder / "p.npy", PROGRAM)
    torch.save(Payload(), folder / "p.pt")
    yield "pickle in a .pt", (folder / "p.pt", PROGRAM)
    (folder / "raw.pt").write_bytes(pickle.dumps(Payload()))
    yield "a bare pickle", (folder / "raw.pt", PROGRAM)
    (folder / "huge.npy").write_bytes(_npy({"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}))
    yield "size: an .npy of terabytes", (folder / "huge.npy", PROGRAM)
    (folder / "code.npy").write_bytes(_npy("__import__('os').system('touch run-by-header')"))
    yield "code in the header of an .npy", (folder / "code.npy", PROGRAM)
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("a.npy", _npy({"descr": "<f8", "fortran_order": False, "shape": (2**24,)}) + bytes(2**27))
    yield "size: a .npz that unpacks to much", (folder / "bomb.npz", PROGRAM)
    with zipfile.ZipFile(folder / "climb.npz", "w") as pack:
        pack.writestr("../../victim.npy", _npy({"descr": "<f8", "fortran_order": False, "shape": (2, 2)}) + bytes(32))
    yield "path: a .npz whose names climb", (folder / "climb.npz", PROGRAM)
    head = json.dumps({"../../x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    (folder / "climb.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(16))
    yield "path: tensors whose names climb", (folder / "climb.safetensors", PROGRAM)
    (folder / "huge.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    yield "size: a header of exabytes", (folder / "huge.safetensors", PROGRAM)
    (folder / "linked.npy").symlink_to("/dev/zero")
    yield "a link to a device", (folder / "linked.npy", PROGRAM)
    os.mkfifo(folder / "pipe.npy")
    yield "a pipe", (folder / "pipe.npy", PROGRAM)
    (folder / "m.json").write_text("[" * 100_000)
    yield "a model in a million brackets", (folder / "m.json", (("show", "{}"), ("info", "sim:{}")))
    (folder / "m2.json").write_text(
        json.dumps({"format": "hwloop-model", "format_version": 2, "chip": {"base": f"{bait}/model.json"}})
    )
    yield "path: a model of a model", (folder / "m2.json", (("show", "{}"), ("info", "sim:{}")))
    (folder / "t.csv").write_text("=cmd|' /C calc'!A0,time_s,conductance_uS\n" + f"file://{bait}/victim.txt,1,2\n" * 4)
    yield "formulas in a table", (folder / "t.csv", (("import", "{}", "--columns", "auto", "--out", "i.h5"),))


def _npy(header: object) -> bytes:
    text = (header if isinstance(header, str) else repr(header)).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def beside(folder: Path, bait: Path, run: Path, port: int) -> Iterator[tuple[str, Kind]]:
    """Make files of jobs to go on with, and other kinds of hwloop's own."""
    told: dict[str, Any] = {"format": "hwloop-resume", "format_version": 1, "replaces": ""}
    at = f"visa:TCPIP::127.0.0.1::{port}::SOCKET?log={bait}/victim.txt"
    jobs: dict[str, dict[str, Any]] = {
        "job: a chip at a socket": {"job": "program", "chip": at, "name": "x", "serial": "1"},
        "job: a fleet at sockets": {"job": "program in parts", "chip": at, "fleet": [at]},
        "job: a fit of files elsewhere": {"job": "fit", "files": {"measurement": [f"{bait}/other.h5", "0" * 64]}},
        "job: a network that is code": {"job": "retrain", "chip": "sim:hermes-core", "network": "evil:main"},
        "job: a deployment that is code": {"job": "deploy", "chip": "sim:hermes-core", "network": "evil:main"},
        "job: unknown, with a path": {"job": "../../victim", "chip": at},
    }
    for number, (name, job) in enumerate(jobs.items()):
        out = folder / f"job{number}.h5"
        shutil.copyfile(run, out)
        (folder / f"job{number}.h5.resume").mkdir()
        (folder / f"job{number}.h5.resume" / "job.json").write_text(json.dumps({**told, **job}))
        yield name, (out, (("resume", "{}"),))
    for kind in ("network", "training", "drift", "measurement", "sensitivity"):
        path = folder / f"{kind}.h5"
        with h5py.File(path, "w") as file:
            file.attrs.update(
                {"format": f"hwloop-{kind}", "format_version": 1, "network": "evil:main", "backend": at, "chip": at,
                 "weights": f"{bait}/victim.txt", "dataset": f"{bait}/other.h5", "run": f"{bait}/other.h5",
                 "status": "interrupted", "module": "evil"}
            )  # fmt: skip
            file["run"] = h5py.SoftLink("/")
        seal(path)
        yield f"{kind} that names code and files", (path, SHOW)


# ---- watching ----------------------------------------------------------------------------------------------------


class Watch:
    """Audit events that a command must not cause."""

    refused = (
        "socket.connect", "socket.getaddrinfo", "socket.bind", "os.system", "os.exec", "os.posix_spawn", "os.spawn",
        "subprocess.Popen", "pickle.find_class", "webbrowser.open", "ftplib.connect", "urllib.Request",
    )  # fmt: skip

    def __init__(self, folder: Path, file: Path) -> None:
        self._folder, self._file = str(folder), str(file)
        own = str(ROOT)  # a tree that is installed to be edited need not be on the path
        self._libraries = (*{os.path.realpath(path) for path in sys.path if path}, own, sys.prefix, sys.base_prefix,
                           "/usr", "/lib", "/proc", "/sys", "/dev/null", "/dev/urandom", "/etc/localtime",
            os.path.expanduser("~/.cache/matplotlib"))  # fmt: skip
        self.seen: list[str] = []
        self._on = True
        sys.addaudithook(self._hear)

    def stop(self) -> list[str]:
        """Watch no more; return what must not have been."""
        self._on = False
        return self.seen

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event in self.refused:
            self.seen.append(f"{event} {arguments[:2]!r:.80}")
        elif event in ("open", "ctypes.dlopen", "os.remove", "os.rename", "shutil.rmtree") and isinstance(
            arguments[0], str | bytes
        ):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith(self._libraries) and not self._own(os.path.basename(path), os.path.dirname(path)):
                self.seen.append(f"{event} {path}")

    def _own(self, name: str, folder: str) -> bool:
        """Tell whether a path is of the file itself, of the outputs that the command was given, or of their locks."""
        whole = f"{folder}/{name}"
        if "/ledger/" in whole or whole in (self._folder, os.path.realpath(self._file)):
            return True
        own = (os.path.basename(self._file), "o.h5", "d.h5", "r.html", "i.h5", "hwloop.", "tmp")
        return (
            whole.startswith(self._folder)
            and "/bait" not in whole
            and (name.removeprefix(".").startswith(own) or folder.endswith(tuple(f"{one}.resume" for one in own)))
        )


class Touched:
    """What happens to baits, whoever does it, by inotify."""

    def __init__(self, bait: Path) -> None:
        self._libc = ctypes.CDLL(None)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK)
        mask = IN_OPEN | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVE
        if self._libc.inotify_add_watch(self._descriptor, os.fsencode(bait), mask) < 0:
            raise OSError("no inotify here")

    def any(self) -> list[str]:
        """Return the baits that were touched since the last look."""
        found = []
        with contextlib.suppress(BlockingIOError):
            events = os.read(self._descriptor, 1 << 16)
            while events:
                length = int.from_bytes(events[12:16], "little")
                if name := events[16 : 16 + length].rstrip(b"\0").decode():
                    found.append(f"bait {name} was touched")
                events = events[16 + length :]
        return sorted(set(found))


def watched(words: list[str], folder: Path, file: Path) -> list[str]:
    """Run a command in a copy of this process; return what it did that it must not."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        seen = ["died"]
        try:
            os.chdir(folder)
            ctypes.CDLL(None).alarm(int(3 * SECONDS))
            sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
            watch, began, code = Watch(folder, file), time.process_time(), 0
            try:
                main(words, "hwloop")
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            seen = watch.stop()
            if code not in (0, 1, 2):
                sys.stderr.seek(0)
                seen.append(f"exit code {code}: {sys.stderr.read()[-120:]}")
            if time.process_time() - began > SECONDS:
                seen.append("took too long")
        finally:
            os.write(writable, json.dumps(seen).encode()[:60_000])
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as stream:
        told = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return json.loads(told) if told else [f"ended by signal {-status}"]


def kinds(folder: Path, bait: Path, port: int) -> Iterator[tuple[str, Kind]]:
    """Make all hostile files."""
    run = folder / "run.h5"
    weights = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    with hwloop.connect(CHIP) as chip:
        hwloop.program(chip, {"layer": weights}, "exact", out=run)

    def changed(number: int, change: Change) -> Path:
        path = folder / f"hostile{number}.h5"
        path.write_bytes(run.read_bytes()[:-SEAL_SIZE])
        with h5py.File(path, "r+") as file:
            change(file, bait)
        seal(path)
        return path

    changes = {name: _attribute("/", "backend", uri) for name, uri in uris(bait, port).items()} | INSIDE
    for number, (name, change) in enumerate(changes.items()):
        yield name, (changed(number, change), READ_RUN)
    yield from foreign(folder, bait)
    yield from beside(folder, bait, run, port)


def lay(bait: Path) -> None:
    """Lay out the baits."""
    bait.mkdir()
    for name in BAITS:
        (bait / name).write_text("secret" * 200)
    with h5py.File(bait / "other.h5", "w") as file:
        file["secret"] = np.ones((8, 8))
    (bait / "evil.py").write_text("open('run-by-import', 'w')\n")
    os.mkfifo(bait / "pipe")


def benchmark() -> int:
    """Give every file to its commands, and print what each did that it must not."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    bad, count = 0, 0
    with (
        tempfile.TemporaryDirectory(prefix="hwloop-hostile-") as place,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        folder = Path(place) / "work"
        bait = folder / "bait"
        folder.mkdir()
        lay(bait)
        os.environ["HWLOOP_LEDGER"] = str(Path(place) / "ledger" / "ledger.sqlite")
        (Path(place) / "ledger").mkdir()
        for name, (file, commands) in list(kinds(folder, bait, server.getsockname()[1])):
            if options.only not in name:
                continue
            count, touched = count + 1, Touched(bait)
            for words in commands:
                found = watched([word.format(file.name) for word in words], folder, file)
                found += touched.any() + [str(path.name) for path in folder.glob("run-by-*")]
                if select.select([server], [], [], 0)[0]:
                    server.accept()[0].close()
                    found.append("connected")
                for text in found:
                    print(f"{name}: {words[0]}: {text}", flush=True)
                bad += len(found)
                for left in ("o.h5", "d.h5", "r.html", "i.h5"):
                    (folder / left).unlink(missing_ok=True)
    print(json.dumps({"kinds": count, "bad": bad}))
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(benchmark())
