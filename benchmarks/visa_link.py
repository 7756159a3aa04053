"""What the link costs: MVMs through pyvisa against a raw socket, and GDP of a core through the socket against direct.

    python benchmarks/visa_link.py

The instrument runs in a process of its own (`hwloop serve`), on the loopback interface of the same machine.
It takes about a minute.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from machine import machine, median_seconds, verdict

import hwloop
from hwloop.calibration.programming.gdp import GDP
from hwloop.calibration.steps import run
from hwloop.chip.backend import Backend
from hwloop.chip.region import Region
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import map_weights
from hwloop.scpi import arrays, dialect
from hwloop.scpi.calls import Call

CHIP = "sim:hermes-core?seed=1"
BATCH = 1024


@contextlib.contextmanager
def serve() -> Iterator[int]:
    """`hwloop serve` on a free port."""
    command = [
        sys.executable,
        "-c",
        "from hwloop.cli.serve import serve; serve()",
        "--chip",
        CHIP,
        "--port",
        "0",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            text = ""
            while not text.endswith("}\n"):
                line = server.stdout.readline()
                assert line, "the server did not start"
                text += line
            yield int(json.loads(text)["port"])
        finally:
            server.terminate()
            server.wait(10)


class RawClient:
    """The same messages over a plain socket: sendall, and recv_into until the reply is whole."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10.0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 0
        self._ask(dialect.LINK_OPEN_Q.write(b"0123456789abcdef"))

    def mvm(self, request: bytes) -> None:
        """One numbered call; the reply is received and not looked at."""
        self._number += 1
        self._ask(dialect.LINK_CALL_Q.write(Call(self._number, request).encode()))

    def echo(self, data: bytes) -> None:
        """As the driver does it, in a call."""
        self.mvm(dialect.LINK_ECHO_Q.write(data))

    def close(self) -> None:
        """Free the instrument."""
        self._socket.close()

    def _ask(self, message: bytes) -> None:
        self._socket.sendall(message + b"\n")
        head = self._receive(2)
        length = int(self._receive(int(head[1:])))
        self._receive(length + 1)

    def _receive(self, count: int) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            view = view[self._socket.recv_into(view) :]
        return bytes(data)


def gdp_seconds(chip: Backend) -> float:
    """Wall time of GDP of one core with a clipped Gaussian matrix."""
    weights = np.clip(np.random.default_rng(0).standard_normal((256, 256)), -3, 3)
    (tile,) = map_weights([Matrix("w", weights)], chip.info)
    region = Region(chip, tile.place, tile.full_scale)
    begin = time.perf_counter()
    run(GDP().steps(region, tile, 20.0, np.random.default_rng(1)), chip)
    return time.perf_counter() - begin


def main() -> None:
    """Print the figures."""
    print(machine())
    x = np.random.default_rng(0).integers(-127, 128, (BATCH, 256), dtype=np.int32)
    packed = arrays.pack_codes(x, 8)
    request = b";".join(
        [
            dialect.CLEAR.write(),
            dialect.APPEND.write(packed),
            dialect.MVM_RUN.write(0, BATCH),
            dialect.DATA_Q.write(0, BATCH * 256),
        ]
    )
    with serve() as port, hwloop.connect(CHIP) as direct:
        raw = RawClient(port)
        raw_mvm = median_seconds(lambda: raw.mvm(request))
        raw_echo = median_seconds(lambda: raw.echo(packed))
        raw.close()
        with hwloop.connect(f"visa:TCPIP::127.0.0.1::{port}::SOCKET") as chip:
            visa_mvm = median_seconds(lambda: chip.mvm(0, x))
            visa_echo = median_seconds(lambda: chip.echo(packed))  # type: ignore[attr-defined]
            round_trip = median_seconds(chip.temperature, 300)
        own_mvm = median_seconds(lambda: direct.mvm(0, x))
    print(
        f"MVM {BATCH} x 256: direct {1e3 * own_mvm:.2f} ms, raw socket {1e3 * raw_mvm:.2f} ms, "
        f"pyvisa {1e3 * visa_mvm:.2f} ms ({BATCH / visa_mvm:.0f} vectors/s)"
    )
    print(
        f"echo of {len(packed)} bytes: raw socket {1e3 * raw_echo:.2f} ms, pyvisa {1e3 * visa_echo:.2f} ms "
        f"({visa_echo / raw_echo:.2f} times); "
        f"shortest call {1e6 * round_trip:.0f} us"
    )
    verdict("MVM batch through pyvisa, time over that of a raw socket", visa_mvm / raw_mvm, 2.0)
    with (
        serve() as port,
        hwloop.connect(CHIP) as direct,
        hwloop.connect(f"visa:TCPIP::127.0.0.1::{port}::SOCKET") as chip,
    ):
        far = gdp_seconds(chip)
        moved = chip.counts.link_bytes
        near = gdp_seconds(direct)
        same = np.array_equal(chip.mvm(0, x), direct.mvm(0, x))
    print(
        f"GDP of one core: direct {near:.2f} s, socket {far:.2f} s, {moved / 1e6:.1f} MB on the link; "
        f"results {'identical' if same else 'DIFFERENT'}"
    )
    verdict("GDP of one core through the socket, time over direct", far / near, 2.0)


if __name__ == "__main__":
    main()
