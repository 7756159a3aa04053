"""The emulated instrument: a backend behind the hwloop SCPI dialect, one program message in, one response out.

It knows nothing of sockets; `hwloop.sim_backend.server.server` feeds it. Every limit of the chip is checked here again
by the backend's own public methods, so that no client can go past one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from hwloop.chip.backend import Backend
from hwloop.chip.info import Parameter
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.errors import BadInputError, HwloopError, LimitError, MissingCapabilityError
from hwloop.scpi import arrays, dialect
from hwloop.scpi.blocks import sealed_block
from hwloop.scpi.calls import Answer, Call
from hwloop.scpi.codes import Code, ScpiError
from hwloop.scpi.command import Command
from hwloop.scpi.description import Description, encode
from hwloop.scpi.dialect import DIALECT
from hwloop.scpi.lexer import Unit, parse
from hwloop.scpi.status import Event, Status, StatusBit
from hwloop.scpi.token import challenge, is_answer
from hwloop.sim_backend.server.bounds import Work, WorkLimits
from hwloop.typing import FloatArray

MAKER = "hwloop"
LOG = logging.getLogger(__name__)

Response = bytes | str | float | None
"""What carries out a command and gives back: response data before they are spelt; None for a command."""

_WITHOUT_TOKEN = frozenset(
    {dialect.IDN_Q, dialect.CLS, dialect.ERROR_Q, dialect.LINK_CHALLENGE_Q, dialect.LINK_AUTHENTICATE_Q}
)
_OUTSIDE_CALLS = frozenset({dialect.LINK_OPEN_Q, dialect.LINK_CALL_Q, dialect.LINK_CLOSE})


@dataclass(frozen=True)
class Sizes:
    """What the instrument can hold, bytes."""

    buffer: int = 4 * 2**20
    """Longest program message."""
    memory: int = 2**30
    """Transfer memory."""


@dataclass
class _Session:
    """A client's session: its key, the last call carried out, and the answer to it."""

    key: bytes
    last: int = 0
    answer: bytes = b""


class Instrument:
    """Carries out program messages on a chip."""

    def __init__(
        self,
        chip: Backend,
        *,
        virtual_clock: bool = True,
        sizes: Sizes | None = None,
        work: WorkLimits | None = None,
        token: bytes | None = None,
    ) -> None:
        """Serve `chip`, which stays its maker's to close.

        virtual_clock  its clock moves only by commands
        token          what a client must know; None for anyone
        """
        self.chip = chip
        self.sizes = sizes or Sizes()
        self._limits = work or WorkLimits()
        self._work = Work(self._limits)
        self.status = Status()
        self._virtual_clock = virtual_clock
        self._memory = bytearray()
        self._session: _Session | None = None
        self._attached = False
        self._token, self._challenge = token, ""
        self._admitted = token is None
        self._ranges: dict[int, float] = {}
        self._trims: dict[int, tuple[FloatArray, FloatArray]] = {}
        self._modes: dict[int, str] = {}
        self._handlers = self._table()

    # ---- what the server calls ------------------------------------------------------------------------------

    def connected(self) -> None:
        """Take note that a client has connected; it is in no session until it opens one or comes back to its own."""
        self._attached = False
        self._admitted, self._challenge = self._token is None, ""

    def process(self, message: bytes, unwanted: Callable[[], str] | None = None) -> bytes:
        """Carry out one program message and return its response, without terminator, or nothing.

        The first error ends the message and goes to the error queue; this method raises nothing. `unwanted` is asked
        before every command: where it says why, the rest is not carried out.
        """
        self._work = Work(self._limits, unwanted)
        return self._execute(message, in_call=False)

    def reject(self, error: ScpiError) -> None:
        """Queue an error that the server met before a message was complete."""
        self.status.record(error)

    # ---- messages -------------------------------------------------------------------------------------------

    def _execute(self, message: bytes, *, in_call: bool) -> bytes:
        responses: list[bytes] = []
        path: tuple[str, ...] = ()
        try:
            for unit in parse(message, self._limits.commands):
                self._work.check()
                command, path = DIALECT.find(unit, path)
                self._message_available = bool(responses)
                response = self._carry_out(command, unit, in_call=in_call)
                if command.query:
                    responses.append(_render(response))
        except ScpiError as error:
            self.status.record(error)
            if error is self._unreadable:
                responses.append(self._answer(Answer.UNREADABLE, 1, b""))
        return b";".join(responses)

    _unreadable: ScpiError | None = None
    _message_available = False

    def _carry_out(self, command: Command, unit: Unit, *, in_call: bool) -> Response:
        if not self._admitted and command not in _WITHOUT_TOKEN:
            raise ScpiError(Code.COMMAND_PROTECTED, f"{command.header} needs the token first (LINK:AUTHenticate?)")
        if in_call and command in _OUTSIDE_CALLS:
            raise ScpiError(Code.COMMAND_PROTECTED, f"{command.header} within a call")
        if command.changes and not in_call:
            if self._attached:
                raise ScpiError(Code.COMMAND_PROTECTED, f"{command.header} must come in a LINK:CALL? in this session")
            self._session = None
        try:
            values = command.bind(unit.arguments)
        except ScpiError as error:
            if command is dialect.LINK_CALL_Q:
                self._unreadable = error
            raise
        try:
            return self._handlers[command](*values)
        except LimitError as error:
            raise ScpiError(Code.OUT_OF_RANGE, str(error)) from error
        except BadInputError as error:
            raise ScpiError(Code.ILLEGAL_PARAMETER, str(error)) from error
        except MissingCapabilityError as error:
            raise ScpiError(Code.HARDWARE_MISSING, str(error)) from error
        except HwloopError as error:
            raise ScpiError(Code.HARDWARE_ERROR, str(error)) from error
        except MemoryError as error:
            raise ScpiError(Code.OUT_OF_MEMORY) from error
        except ScpiError:
            raise
        except Exception as error:  # an instrument answers with an error, it does not fall silent
            LOG.exception("%s failed", command.header)
            raise ScpiError(Code.SYSTEM_ERROR, f"{type(error).__name__}: {error}") from error

    # ---- tokens ---------------------------------------------------------------------------------------------

    def _give_challenge(self) -> str:
        self._challenge = "" if self._token is None else challenge()
        return f'"{self._challenge}"'

    def _authenticate(self, given: str) -> int:
        known, self._challenge = self._challenge, ""
        if self._token is not None:
            self._admitted = bool(known) and is_answer(given, self._token, known)
        return int(self._admitted)

    # ---- sessions and calls ---------------------------------------------------------------------------------

    def _open(self, key: bytes) -> bytes:
        if len(key) != 16 or not key.isalnum():
            raise ScpiError(Code.INVALID_BLOCK, "the key must be 16 hexadecimal digits")
        if self._session is None or self._session.key != key:
            self._session = _Session(key)
            self._memory.clear()
        self._attached = True
        return sealed_block(key + b" %d" % self._session.last)

    def _call(self, content: bytes) -> bytes:
        session = self._session
        if session is None or not self._attached:
            raise ScpiError(Code.SETTINGS_CONFLICT, "open a session with LINK:OPEN? first")
        call = Call.decode(content)
        if call.number == session.last and session.answer:
            return session.answer
        if call.number != session.last + 1:
            raise ScpiError(Code.SETTINGS_CONFLICT, f"call {call.number} does not follow call {session.last}")
        errors = self.status.recorded
        response = self._execute(call.message, in_call=True)
        session.answer = self._answer(call.number, self.status.recorded - errors, response)
        session.last = call.number
        return session.answer

    def _answer(self, number: int, errors: int, response: bytes) -> bytes:
        return sealed_block(Answer(number, errors, self.chip.now(), response).encode())

    def _close_session(self) -> None:
        self._session, self._attached = None, False
        self._memory.clear()

    # ---- transfer memory ------------------------------------------------------------------------------------

    def _append(self, data: bytes) -> None:
        if len(self._memory) + len(data) > self.sizes.memory:
            raise ScpiError(Code.OUT_OF_MEMORY, f"the transfer memory has {self.sizes.memory} bytes")
        self._memory += data

    def _fetch(self, offset: int, length: int) -> bytes:
        if offset + length > len(self._memory):
            raise ScpiError(Code.OUT_OF_RANGE, f"the transfer memory holds {len(self._memory)} bytes")
        return sealed_block(bytes(memoryview(self._memory)[offset : offset + length]))

    def _take(self) -> bytes:
        """Return what the memory holds and leave it empty."""
        data, self._memory = bytes(self._memory), bytearray()
        return data

    def _put(self, data: bytes) -> None:
        self._memory.clear()
        self._append(data)

    # ---- the chip -------------------------------------------------------------------------------------------

    def _describe(self) -> bytes:
        whole = Description(self.chip.info, self._virtual_clock, self.sizes.buffer, self.sizes.memory)
        return sealed_block(encode(whole))

    def _reset(self) -> None:
        self._memory.clear()
        for core, full_scale in self._ranges.items():
            self.chip.set_adc_range(core, full_scale)
        for core, trims in self._trims.items():
            self.chip.set_trims(core, *trims)
        for core, mode in self._modes.items():
            self.chip.set_read_mode(core, mode)

    def _set_range(self, core: int, full_scale: float) -> None:
        self._ranges.setdefault(core, self.chip.adc_range(core))
        self.chip.set_adc_range(core, full_scale)

    def _set_trims(self, core: int, offset: FloatArray, gain: FloatArray) -> None:
        self._trims.setdefault(core, self.chip.trims(core))
        self.chip.set_trims(core, offset, gain)

    def _set_mode(self, core: int, mode: str) -> None:
        self._modes.setdefault(core, self.chip.read_mode(core))
        self.chip.set_read_mode(core, mode)

    def _trim_column(self, core: int, column: int, offset: float, gain: float) -> None:
        offsets, gains = self.chip.trims(core)
        self._check_column(column)
        offsets[column], gains[column] = offset, gain
        self._set_trims(core, offsets, gains)

    def _trims_of_column(self, core: int, column: int) -> str:
        offsets, gains = self.chip.trims(core)
        self._check_column(column)
        return f"{float(offsets[column])!r},{float(gains[column])!r}"

    def _check_column(self, column: int) -> None:
        if column >= self.chip.info.columns:
            raise ScpiError(Code.OUT_OF_RANGE, f"the chip has columns 0 to {self.chip.info.columns - 1}")

    def _fire(self, core: int, kind: str, count: int) -> None:
        self.chip.pulse(core, arrays.unpack_pulses(self._take(), PulseKind(kind), count))

    def _pulse(self, core: int, kind: str, device: int, amplitude: float, width: float) -> None:
        self.chip.pulse(core, Pulses.make(PulseKind(kind), [device], amplitude, width))

    def _read_devices(self, core: int, count: int, averages: int) -> None:
        devices = arrays.unpack_indices(self._take(), count)
        self._put(arrays.pack_reals(self.chip.read(core, devices, averages)))

    def _mvm(self, core: int, batch: int, first: int, count: int, transposed: bool = False) -> None:
        info = self.chip.info
        driven, read = (info.columns, info.rows) if transposed else (info.rows, info.columns)
        end = first + count if count else read
        if not first < end <= read:
            lines = "rows" if transposed else "columns"
            raise ScpiError(Code.OUT_OF_RANGE, f"the chip has {lines} 0 to {read - 1}")
        x = arrays.unpack_codes(self._take(), batch, driven, info.input_bits)
        self._put(arrays.pack_codes(self.chip.mvm(core, x, slice(first, end), transposed), info.output_bits))

    def _update(self, core: int, count: int, kind: str) -> None:
        info, before = self.chip.info, self.chip.pulse_counts(core)
        data = self._take()
        self.chip.update(core, *arrays.unpack_updates(data, count, info.rows, info.columns, kind == "STOCHASTIC"))
        self._put((self.chip.pulse_counts(core) - before).astype(arrays.INDEX).tobytes())

    def _mvm_row(self, core: int, row: int, value: int) -> str:
        if row >= self.chip.info.rows:
            raise ScpiError(Code.OUT_OF_RANGE, f"the chip has rows 0 to {self.chip.info.rows - 1}")
        x = np.zeros((1, self.chip.info.rows), np.int64)
        x[0, row] = value
        return ",".join(str(code) for code in self.chip.mvm(core, x)[0])

    def _place(self, core: int, count: int, age: float) -> None:
        self.chip.place(core, *arrays.unpack_placement(self._take(), count), age)

    # ---- the table ------------------------------------------------------------------------------------------

    def _table(self) -> dict[Command, Callable[..., Response]]:
        """Say what carries out each row of the dialect."""
        return self._status_rows() | self._chip_rows() | self._transfer_rows()

    def _status_rows(self) -> dict[Command, Callable[..., Response]]:
        """Say what carries out the commands of IEEE 488.2 and SCPI-99."""
        d, status = dialect, self.status
        return {
            d.CLS: status.clear,
            d.ESE: lambda mask: setattr(status.standard, "enable", mask),
            d.ESE_Q: lambda: status.standard.enable,
            d.ESR_Q: status.standard.take,
            d.IDN_Q: self._identify,
            d.OPC: self._operation_complete,
            d.OPC_Q: lambda: 1,
            d.RST: self._reset,
            d.SRE: lambda mask: setattr(status, "service_enable", mask & ~int(StatusBit.MASTER_SUMMARY)),
            d.SRE_Q: lambda: status.service_enable,
            d.STB_Q: lambda: status.byte(self._message_available),
            d.TST_Q: lambda: 0 if np.isfinite(self.chip.now()) else 1,
            d.WAI: lambda: None,
            d.ERROR_Q: lambda: status.errors.pop().entry,
            d.ERROR_COUNT_Q: lambda: len(status.errors),
            d.VERSION_Q: lambda: "1999.0",
            d.HEADERS_Q: lambda: sealed_block("\n".join(c.header for c in DIALECT.commands).encode()),
            d.PRESET: self._preset_status,
            d.OPERATION_Q: status.operation.take,
            d.OPERATION_CONDITION_Q: lambda: status.operation.condition,
            d.OPERATION_ENABLE: lambda mask: setattr(status.operation, "enable", mask),
            d.OPERATION_ENABLE_Q: lambda: status.operation.enable,
            d.QUESTIONABLE_Q: status.questionable.take,
            d.QUESTIONABLE_CONDITION_Q: lambda: status.questionable.condition,
            d.QUESTIONABLE_ENABLE: lambda mask: setattr(status.questionable, "enable", mask),
            d.QUESTIONABLE_ENABLE_Q: lambda: status.questionable.enable,
        }

    def _chip_rows(self) -> dict[Command, Callable[..., Response]]:
        """Say what carries out questions about the chip and settings of it."""
        d, chip = dialect, self.chip
        info = chip.info
        limits = info.limits
        return {
            d.DESCRIBE_Q: self._describe,
            d.GEOMETRY_Q: lambda: f"{info.cores},{info.rows},{info.columns},{info.devices_per_polarity}",
            d.LIMITS_Q: lambda: (
                f"{limits.amplitude_max!r},{limits.width_min!r},{limits.width_max!r},{limits.pulses_per_device}"
            ),
            d.CAPABILITIES_Q: lambda: ",".join(f'"{name}"' for name in sorted(c.value for c in info.capabilities)),
            d.SNAPSHOT_Q: lambda: sealed_block(json.dumps(chip.snapshot()).encode("ascii")),
            d.PARAMETERS_Q: lambda: sealed_block(json.dumps([_row(row) for row in chip.parameters()]).encode("ascii")),
            d.COUNTS_Q: lambda: f"{chip.counts.pulses},{chip.counts.device_reads},{chip.counts.mvms}",
            d.TIME_Q: chip.now,
            d.WAIT: chip.wait,
            d.TEMPERATURE_Q: chip.temperature,
            d.IDLE: self._memory_clear,
            d.RANGE: self._set_range,
            d.RANGE_Q: chip.adc_range,
            d.TRIM: self._trim_column,
            d.TRIM_Q: self._trims_of_column,
            d.TRIM_LOAD: lambda core: self._set_trims(core, *arrays.unpack_trims(self._take(), info.columns)),
            d.TRIM_SAVE: lambda core: self._put(arrays.pack_trims(*chip.trims(core))),
        }

    def _transfer_rows(self) -> dict[Command, Callable[..., Response]]:
        """Say what carries out commands on the transfer memory, the devices and the link."""
        d, chip = dialect, self.chip
        return {
            d.CLEAR: self._memory_clear,
            d.APPEND: self._append,
            d.SIZE_Q: lambda: len(self._memory),
            d.DATA_Q: self._fetch,
            d.PULSE_FIRE: self._fire,
            d.PULSE_SINGLE: self._pulse,
            d.PULSE_COUNTS: lambda core: self._put(chip.pulse_counts(core).astype(arrays.INDEX).tobytes()),
            d.READ_DEVICES: self._read_devices,
            d.READ_SINGLE_Q: lambda core, device, averages: float(chip.read(core, [device], averages)[0]),
            d.MVM_RUN: self._mvm,
            d.MVM_ROW_Q: self._mvm_row,
            d.MVM_TRANSPOSED: lambda core, batch, first, rows: self._mvm(core, batch, first, rows, True),
            d.UPDATE_RUN: self._update,
            d.READ_MODE: self._set_mode,
            d.READ_MODE_Q: lambda core: f'"{chip.read_mode(core)}"',
            d.PLACE: self._place,
            d.STATE_SAVE: lambda: self._put(arrays.pack_state(chip.export_state())),
            d.STATE_LOAD: lambda: chip.import_state(arrays.unpack_state(self._take())),
            d.LINK_OPEN_Q: self._open,
            d.LINK_CALL_Q: self._call,
            d.LINK_ECHO_Q: sealed_block,
            d.LINK_CLOSE: self._close_session,
            d.LINK_BUFFER_Q: lambda: self.sizes.buffer,
            d.LINK_CHALLENGE_Q: self._give_challenge,
            d.LINK_AUTHENTICATE_Q: self._authenticate,
        }

    def _identify(self) -> str:
        info = self.chip.info
        fields = [
            MAKER,
            info.name,
            info.serial,
            f"dialect {dialect.VERSION[0]}.{dialect.VERSION[1]}/{version('hwloop')}",
        ]
        return ",".join(field.replace(",", " ").replace(";", " ") for field in fields)

    def _operation_complete(self) -> None:
        self.status.standard.event |= Event.OPERATION_COMPLETE

    def _preset_status(self) -> None:
        self.status.operation.enable = self.status.questionable.enable = 0

    def _memory_clear(self) -> None:
        self._memory.clear()


def _render(response: Response) -> bytes:
    """Write response data: integers and strings as they are, numbers with all their digits, blocks untouched."""
    if isinstance(response, bytes):
        return response
    return (repr(response) if isinstance(response, float) else str(response)).encode("ascii")


def _row(parameter: Parameter) -> dict[str, str | int | float | bool]:
    """Write a parameter with the fields that drivers of the dialect know."""
    return {name: getattr(parameter, name) for name in ("name", "value", "unit", "source")}
