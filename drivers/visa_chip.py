"""A chip behind the hwloop SCPI dialect, on any link that VISA knows.

    connect("visa:TCPIP::127.0.0.1::5025::SOCKET?timeout=5&log=wire.txt")
    VisaChip.open(resource)       a name, or a pyvisa resource that is already open

The instrument announces its geometry, limits and capabilities; the limits are checked here, above the wire, and again
in the instrument.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pyvisa.resources import MessageBasedResource

from hwloop.chip.backend import Backend
from hwloop.chip.callers import one_caller
from hwloop.chip.driver import Settings
from hwloop.chip.info import Capability, Parameter
from hwloop.chip.pulses import Pulses
from hwloop.chip.registry import Scheme, refuse_unknown_options
from hwloop.chip.updates import Updates
from hwloop.drivers.identity import Identity, check_chip, identify, read_identity
from hwloop.drivers.link import VisaLink, opener
from hwloop.drivers.session import Session
from hwloop.errors import BadInputError, ChipError, LinkError
from hwloop.scpi import arrays, description, dialect
from hwloop.scpi.blocks import read_definite, unseal
from hwloop.scpi.codes import ScpiError
from hwloop.scpi.description import Description
from hwloop.scpi.token import answer, token_from_environment, token_from_file
from hwloop.scpi.wire_log import WireLog
from hwloop.typing import AnyArray, CodeArray, FloatArray, IndexArray, State


@dataclass(frozen=True)
class LinkSettings:
    """What a link gets unless it is told otherwise, and the time that operations may take."""

    library: str = "@py"
    """VISA library: pyvisa-py, which needs no vendor's."""
    timeout: float = 5.0
    """Seconds for each exchange."""
    longest_timeout: float = 3600.0
    """Seconds that may be asked for at most."""
    overhead: int = 512
    """Bytes of a message around the data of one block."""
    seconds_per_byte: float = 2e-6
    """Time allowed beyond the timeout for each byte moved or device read: slower is a failure."""
    seconds_per_state: float = 30.0
    """Time allowed for collecting or restoring the state of a whole simulated chip."""
    seconds_per_slot: float = 1e-4
    """Time allowed beyond the timeout for each slot of a pulse train on all rows and columns."""
    tokens_since: tuple[int, int] = (1, 3)
    """Version of the dialect from which on an instrument may ask for a token."""
    columns_since: tuple[int, int] = (1, 3)
    """Version from which on an instrument gives products of some columns."""
    clock_margin: float = 0.01
    """Part by which a real clock on the other side may be slow while the chip waits."""


LINK = LinkSettings()
"""The settings of every link."""

_OPTIONS = ("visa_library", "timeout", "log", "token_file", "token_env")


def open_visa(target: str, query: Mapping[str, str]) -> VisaChip:
    """Open `visa:RESOURCE?visa_library=@py&timeout=5&log=FILE&token_file=FILE`.

    Raises BadInputError for a resource name or an option that cannot be used, LinkError when the chip does not answer.
    """
    refuse_unknown_options("visa", query, _OPTIONS)
    text = query.get("timeout", str(LINK.timeout))
    try:
        timeout = float(text)
    except ValueError:
        raise BadInputError(f"option timeout={text}: expected seconds") from None
    if "token_file" in query and "token_env" in query:
        raise BadInputError("give either token_file or token_env")
    token = None
    if "token_file" in query:
        token = token_from_file(query["token_file"])
    elif "token_env" in query:
        token = token_from_environment(query["token_env"])
    library, log = query.get("visa_library", LINK.library), Path(query["log"]) if "log" in query else None
    return VisaChip.open(target, visa_library=library, timeout=timeout, log=log, token=token)


SCHEME = Scheme(
    open_visa, "a chip behind the hwloop SCPI dialect, by VISA resource: visa:TCPIP::127.0.0.1::5025::SOCKET"
)


class VisaChip(Backend):
    """The driver: each hook is one call to the instrument, answered when the chip is done."""

    def __init__(self, session: Session, identity: Identity, described: Description, name: str) -> None:
        """Use an open session; `open` is the way to make one."""
        super().__init__(described.info)
        self.identity = identity
        self._session = session
        self._virtual_clock = described.virtual_clock
        self._name = name
        self._chunk = min(described.buffer, described.memory) - LINK.overhead
        self._ranges: dict[int, float] = {}
        self._finally: Callable[[], None] = lambda: None

    @classmethod
    def open(
        cls,
        resource: str | MessageBasedResource,
        *,
        visa_library: str = LINK.library,
        timeout: float = LINK.timeout,
        log: Path | None = None,
        token: bytes | None = None,
    ) -> Self:
        """Connect to a chip.

        resource      VISA resource name, or an open pyvisa resource, which stays open afterwards and is not connected
                      anew when its link fails
        visa_library  '@py' (pyvisa-py), '@ivi' (an installed vendor's library), or a path, as pyvisa takes it
        timeout       seconds, for each exchange; long operations get more by their size
        log           file for a log of the wire
        token         what the instrument asks of clients from other machines; it is proved to be known, never sent

        Raises BadInputError for arguments that cannot be used, LinkError when no chip answers there, it is busy, or
        it speaks another version of the dialect.
        """
        if not (math.isfinite(timeout) and 0 < timeout <= LINK.longest_timeout):
            raise BadInputError(f"timeout must be between 0 and {LINK.longest_timeout:g} seconds, not {timeout}")
        connect = _Connector(resource, visa_library, timeout, token)
        wire = connect.log = WireLog(log) if log is not None else None
        try:
            chip = cls._in_session(_session(connect, timeout), connect.name)
        except Exception:
            if wire is not None:
                wire.close()
            raise
        if wire is not None:
            chip._finally = wire.close
        return chip

    @classmethod
    def _in_session(cls, session: Session, name: str) -> Self:
        """Make the driver of the chip that answers in a session; the session is closed where there is none."""
        try:
            # Asked again inside the session, where replies carry a checksum.
            identity = read_identity(session.call([dialect.IDN_Q.write()]).decode("ascii", "replace"), name)
            described = _describe(session, name)
            chip = cls(session, identity, described, name)
        except Exception:
            session.close([dialect.IDLE.write()])
            raise
        session.buffer = described.buffer
        return chip

    def _snapshot(self) -> Settings:
        """Return the instrument's own snapshot, and where it was found."""
        settings = _json(self._fetch_block(dialect.SNAPSHOT_Q.write()), dict)
        return {**settings, "link.resource": self._name, "link.firmware": self.identity.firmware}

    def _parameters(self) -> list[Parameter]:
        """Return what the instrument tells of its chip."""
        rows = _json(self._fetch_block(dialect.PARAMETERS_Q.write()), list)
        return [Parameter(**row) for row in rows]

    @one_caller
    def echo(self, data: bytes) -> bytes:
        """Send bytes, at most a message long, to the instrument and back: a test of the link."""
        self._check_open()
        if len(data) > self._chunk:
            raise BadInputError(f"the instrument takes {self._chunk} bytes at a time, not {len(data)}")
        return self._fetch_block(dialect.LINK_ECHO_Q.write(data), 2 * len(data) * LINK.seconds_per_byte)

    @one_caller
    def export_state(self) -> dict[str, AnyArray]:
        """Return the simulated chip's state and the instrument's pulse counts, which include those of other clients."""
        self.require(Capability.STATE, "saving the chip's state")
        return self._ask("export_state", self._export_state)

    @one_caller
    def import_state(self, state: State) -> None:
        """Put back a state, and with it the pulse counts of the instrument and of this driver."""
        super().import_state(state)
        self._ask("send_state", self._send_state, state)

    # ---- the contract's hooks -------------------------------------------------------------------------------

    def _pulse(self, core: int, pulses: Pulses) -> None:
        kind = "SET" if pulses.kind.value == "SET" else "RES"
        self._operate(dialect.PULSE_FIRE.write(core, kind, len(pulses)), arrays.pack_pulses(pulses))

    def _mvm(self, core: int, x: CodeArray) -> CodeArray:
        return self._codes(dialect.MVM_RUN.write(core, len(x)), x, self.info.columns)

    def _mvm_columns(self, core: int, x: CodeArray, columns: slice) -> CodeArray:
        if self.identity.version < LINK.columns_since:
            return super()._mvm_columns(core, x, columns)
        count = columns.stop - columns.start
        return self._codes(dialect.MVM_RUN.write(core, len(x), columns.start, count), x, count)

    def _mvm_transposed(self, core: int, x: CodeArray, rows: slice) -> CodeArray:
        count = rows.stop - rows.start
        return self._codes(dialect.MVM_TRANSPOSED.write(core, len(x), rows.start, count), x, count)

    def _update(self, core: int, updates: Updates) -> CodeArray:
        command = dialect.UPDATE_RUN.write(core, len(updates), "STOC" if updates.stochastic else "COUN")
        size = self.info.devices_per_core * arrays.INDEX.itemsize
        work = float(updates.length.sum()) * LINK.seconds_per_slot
        data = self._operate(command, arrays.pack_updates(updates), size, work)
        return arrays.unpack_indices(data, self.info.devices_per_core).astype(np.int32)

    def _codes(self, command: bytes, x: CodeArray, columns: int) -> CodeArray:
        """Send inputs (batch, rows), and return codes (batch, columns)."""
        info, batch = self.info, x.shape[0]
        size = batch * columns * arrays.code_type(info.output_bits).itemsize
        data = self._operate(command, arrays.pack_codes(x, info.input_bits), size)
        return arrays.unpack_codes(data, batch, columns, info.output_bits)

    def _read(self, core: int, devices: IndexArray, averages: int) -> FloatArray:
        count = len(devices)
        if not count:
            return arrays.unpack_reals(b"", 0)
        command = dialect.READ_DEVICES.write(core, count, averages)
        work = count * averages * LINK.seconds_per_byte
        data = self._operate(command, arrays.pack_indices(devices), count * arrays.REAL.itemsize, work)
        return arrays.unpack_reals(data, count)

    def _now(self) -> float:
        if not self._virtual_clock:
            self._session.call([dialect.TIME_Q.write()])
        return self._session.clock

    def _wait(self, seconds: float) -> None:
        self._done([dialect.WAIT.write(seconds)], 0.0 if self._virtual_clock else (1 + LINK.clock_margin) * seconds)

    def _temperature(self) -> float:
        return self._number(dialect.TEMPERATURE_Q.write())

    def _adc_range(self, core: int) -> float:
        if core not in self._ranges:
            self._ranges[core] = self._number(dialect.RANGE_Q.write(core))
        return self._ranges[core]

    def _set_adc_range(self, core: int, full_scale: float) -> None:
        self._ranges.pop(core, None)
        self._done([dialect.RANGE.write(core, full_scale)])

    def _set_trims(self, core: int, offset: FloatArray, gain: FloatArray) -> None:
        self._operate(dialect.TRIM_LOAD.write(core), arrays.pack_trims(offset, gain))

    def _trims(self, core: int) -> tuple[FloatArray, FloatArray]:
        columns = self.info.columns
        data = self._operate(dialect.TRIM_SAVE.write(core), b"", 2 * columns * arrays.REAL.itemsize)
        return arrays.unpack_trims(data, columns)

    def _set_read_mode(self, core: int, mode: str) -> None:
        self._done([dialect.READ_MODE.write(core, mode)])

    def _read_mode(self, core: int) -> str:
        return self._session.call([dialect.READ_MODE_Q.write(core)]).decode("ascii", "replace").strip('"')

    def _place(self, core: int, devices: IndexArray, conductance: FloatArray, age: float) -> None:
        if len(devices):
            command = dialect.PLACE.write(core, len(devices), age)
            self._operate(command, arrays.pack_placement(devices, conductance))

    def _export_state(self) -> dict[str, AnyArray]:
        size = int(self._number(dialect.STATE_SAVE.write() + b";" + dialect.SIZE_Q.write(), LINK.seconds_per_state))
        return arrays.unpack_state(self._download(size))

    def _import_state(self, state: State) -> None:
        """Do nothing: `import_state` sends it whole, pulse counts included."""

    def _close(self) -> None:
        try:
            self._session.close([dialect.IDLE.write()])
        finally:
            self._finally()

    def _link_bytes(self) -> int:
        return self._session.bytes_moved

    # ---- exchanges ------------------------------------------------------------------------------------------

    def _operate(self, command: bytes, upload: bytes, download: int = 0, work: float = 0.0) -> bytes:
        """Fill the transfer memory, carry out a command, fetch `download` bytes of its result.

        All in one exchange where the instrument's buffer allows it. work: seconds the command may take by itself.
        """
        head = [dialect.CLEAR.write()]
        last = max(0, (len(upload) - 1) // self._chunk) * self._chunk
        for at in range(0, last, self._chunk):
            self._done(
                [*head, dialect.APPEND.write(upload[at : at + self._chunk])], self._chunk * LINK.seconds_per_byte
            )
            head = []
        commands = [*head, dialect.APPEND.write(upload[last:]), command]
        allowance = work + (len(upload) + download) * LINK.seconds_per_byte
        if 0 < download <= self._chunk:
            return _block(self._session.call([*commands, dialect.DATA_Q.write(0, download)], allowance))
        self._done(commands, allowance)
        return self._download(download)

    def _download(self, size: int) -> bytes:
        parts = []
        for at in range(0, size, self._chunk):
            length = min(self._chunk, size - at)
            parts.append(self._fetch_block(dialect.DATA_Q.write(at, length), length * LINK.seconds_per_byte))
        return b"".join(parts)

    def _done(self, commands: list[bytes], allowance: float = 0.0) -> None:
        """Carry out commands without a reply and wait until they are complete."""
        reply = self._session.call([*commands, dialect.OPC_Q.write()], allowance)
        if reply != b"1":
            raise ChipError(f"{self._name} answered *OPC? with {reply[:20]!r}")

    def _number(self, query: bytes, allowance: float = 0.0) -> float:
        reply = self._session.call([query], allowance)
        try:
            return float(reply)
        except ValueError:
            raise ChipError(f"{self._name} answered '{query.decode()}' with {reply[:40]!r}, not a number") from None

    def _fetch_block(self, query: bytes, allowance: float = 0.0) -> bytes:
        return _block(self._session.call([query], allowance))

    def _send_state(self, state: State) -> None:
        self._ranges.clear()
        self._operate(dialect.STATE_LOAD.write(), arrays.pack_state(state), work=LINK.seconds_per_state)


class _Connector:
    """Makes the links of a session: the first one, on which it checks who is there, and those after a failure."""

    def __init__(
        self, resource: str | MessageBasedResource, visa_library: str, timeout: float, token: bytes | None = None
    ) -> None:
        """Raise BadInputError for a resource name or a library that cannot be used; nothing is opened yet."""
        self._resource = resource
        self._timeout = timeout
        self._token = token
        self._version: tuple[int, int] | None = None
        self._open = opener(resource, visa_library) if isinstance(resource, str) else None
        self.name = resource if isinstance(resource, str) else str(resource.resource_name)
        self.log: WireLog | None = None

    @property
    def again(self) -> bool:
        """Whether it can connect more than once: an open resource that was handed over is not opened anew."""
        return self._open is not None

    def __call__(self) -> VisaLink:
        """Connect. Raises LinkError when nobody answers, or somebody else."""
        if self._open is not None:
            link = VisaLink.open(self._open, self.name, self._timeout, self.log)
        else:
            assert not isinstance(self._resource, str)
            link = VisaLink(self._resource, owned=False, log=self.log)
        try:
            link.clear()
            if self._version is None:
                self._version = check_chip(identify(link, self.name, self._timeout), self.name)
            if self._version >= LINK.tokens_since:
                self._prove_token(link)
        except LinkError:
            link.close()
            raise
        return link

    def _prove_token(self, link: VisaLink) -> None:
        """Answer the challenge of an instrument that asks for a token. Raises LinkError where that fails."""
        asked = self._ask(link, dialect.LINK_CHALLENGE_Q.write()).strip('"')
        if not asked:
            return
        if self._token is None:
            raise LinkError(
                f"{self.name} asks for a token; add ?token_file=FILE or ?token_env=VARIABLE to the name of the chip"
            )
        if self._ask(link, dialect.LINK_AUTHENTICATE_Q.write(answer(self._token, asked))) != "1":
            raise LinkError(f"{self.name} does not take this token; it is that of another instrument")

    def _ask(self, link: VisaLink, query: bytes) -> str:
        deadline = time.monotonic() + self._timeout
        link.write(query, deadline)
        return link.read_line(deadline).decode("ascii", "replace")


def _session(connect: _Connector, timeout: float) -> Session:
    """Open a session. Raises LinkError that names the resource."""
    try:
        return Session(connect, timeout, reconnect=connect.again)
    except LinkError as error:
        raise error if connect.name in str(error) else LinkError(f"{connect.name} opens no session: {error}") from error


def _describe(session: Session, name: str) -> Description:
    session.call([dialect.CLS.write(), dialect.OPC_Q.write()])
    try:
        return description.decode(_block(session.call([dialect.DESCRIBE_Q.write()])))
    except ValueError as error:
        raise LinkError(f"{name} does not describe its chip in a way this driver knows: {error}") from error


def _block(response: bytes) -> bytes:
    try:
        return unseal(read_definite(response))
    except ScpiError as error:
        raise ChipError(f"the instrument's response is not a block: {error.detail}") from error


def _json(data: bytes, kind: type) -> Any:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ChipError(f"the instrument's response is not JSON: {error}") from error
    if not isinstance(value, kind):
        raise ChipError(f"the instrument answered with a JSON {type(value).__name__}, not a {kind.__name__}")
    return value
