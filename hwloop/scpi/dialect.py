"""The table of the hwloop SCPI dialect: the one truth for the driver, the emulated instrument and docs/scpi.md.

Each row is a `Command`. The instrument binds what it received to the row's parameters, the driver writes messages
from the same row, and the manual is printed from it.
"""

from __future__ import annotations

import itertools

from hwloop.chip.checks import REQUESTS
from hwloop.scpi.codes import Code
from hwloop.scpi.command import Command, Dialect
from hwloop.scpi.link_commands import LINK_AUTHENTICATE_Q as LINK_AUTHENTICATE_Q
from hwloop.scpi.link_commands import LINK_BUFFER_Q as LINK_BUFFER_Q
from hwloop.scpi.link_commands import LINK_CALL_Q as LINK_CALL_Q
from hwloop.scpi.link_commands import LINK_CHALLENGE_Q as LINK_CHALLENGE_Q
from hwloop.scpi.link_commands import LINK_CLOSE as LINK_CLOSE
from hwloop.scpi.link_commands import LINK_ECHO_Q as LINK_ECHO_Q
from hwloop.scpi.link_commands import LINK_OPEN_Q as LINK_OPEN_Q
from hwloop.scpi.parameters import Parameter

VERSION = (1, 4)
"""Major and minor version of the dialect; a driver works with every minor version of its own major one.

1.1 added converter trims, 1.2 read modes, 1.3 tokens and products of some columns, 1.4 transposed
products and pulsed updates."""

# ---- parameters that several commands share ----------------------------------------------------------------

_CORE = Parameter("core", "integer", "core of the chip, counted from 0", low=0, high=2**31 - 1)
_COUNT = Parameter("count", "integer", "devices in the transfer memory", low=1, high=2**31 - 1)
_DEVICE = Parameter(
    "device", "integer", "flat device index, C order of (polarity, device, row, column)", low=0, high=2**31 - 1
)
_COLUMN = Parameter("column", "integer", "column of the core, counted from 0", low=0, high=2**31 - 1)
_KIND = Parameter("kind", "word", "kind of pulse", words=("SET", "RESet"))
_AVERAGES = Parameter(
    "averages", "integer", "conversions averaged per device", low=1, high=REQUESTS.averages, default=1
)
_MASK = Parameter("mask", "integer", "sum of bit values", low=0, high=255)
_WIDE_MASK = Parameter("mask", "integer", "sum of bit values", low=0, high=65535)
_CHIP_ERRORS = (Code.OUT_OF_RANGE, Code.ILLEGAL_PARAMETER, Code.HARDWARE_ERROR)
_MEMORY_ERRORS = (Code.SETTINGS_CONFLICT, *_CHIP_ERRORS)

# ---- IEEE 488.2 common commands -----------------------------------------------------------------------------

CLS = Command("*CLS", "Empty the error queue and clear all event registers.", example="*CLS")
ESE = Command("*ESE", "Choose the standard events that set bit 5 of the status byte.", (_MASK,), example="*ESE 60")
ESE_Q = Command("*ESE?", "The mask set by *ESE.", reply="integer", example="*ESE?")
ESR_Q = Command(
    "*ESR?", "Standard events since it was last read; reading clears them.", reply="integer", example="*ESR?"
)
IDN_Q = Command(
    "*IDN?",
    "Identification: maker, model, serial number, firmware. Firmware begins with the version of this dialect.",
    reply="four fields separated by commas, the last one `dialect MAJOR.MINOR/FIRMWARE`",
    example="*IDN?",
)
OPC = Command("*OPC", "Set bit 0 of the standard events when all commands before it are done.", example="*OPC")
OPC_Q = Command("*OPC?", "Answer 1 when all commands before it are done.", reply="1", example="*OPC?")
RST = Command(
    "*RST",
    "Idle state, converter ranges, trims and read modes as at power-on; the devices, the clock and the pulse counts "
    "stay as they are.",
    example="*RST",
    changes=True,
)
SRE = Command("*SRE", "Choose the status bits that request service.", (_MASK,), example="*SRE 32")
SRE_Q = Command("*SRE?", "The mask set by *SRE.", reply="integer", example="*SRE?")
STB_Q = Command("*STB?", "Status byte; bit 2: error queue not empty.", reply="integer", example="*STB?")
TST_Q = Command("*TST?", "Self-test without any pulse: 0 when it passed.", reply="integer", example="*TST?")
WAI = Command("*WAI", "Wait until all commands before it are done; commands are never overlapped here.", example="*WAI")

# ---- SCPI-99 required commands ------------------------------------------------------------------------------

ERROR_Q = Command(
    "SYSTem:ERRor[:NEXT]?",
    "Oldest entry of the error queue, removed from it.",
    reply='integer, string; `0,"No error"` when the queue is empty',
    example="SYST:ERR?",
)
ERROR_COUNT_Q = Command("SYSTem:ERRor:COUNt?", "Entries in the error queue.", reply="integer", example="SYST:ERR:COUN?")
VERSION_Q = Command("SYSTem:VERSion?", "Version of SCPI.", reply="`1999.0`", example="SYST:VERS?")
HEADERS_Q = Command(
    "SYSTem:HELP:HEADers?",
    "All headers of this instrument, one per line, before a checksum as in every block.",
    reply="block",
    example="SYST:HELP:HEAD?",
)
PRESET = Command(
    "STATus:PRESet", "Clear the enable masks of the OPERation and QUEStionable registers.", example="STAT:PRES"
)
OPERATION_Q = Command(
    "STATus:OPERation[:EVENt]?", "Operation events; reading clears them.", reply="integer", example="STAT:OPER?"
)
OPERATION_CONDITION_Q = Command(
    "STATus:OPERation:CONDition?", "Operation condition.", reply="integer", example="STAT:OPER:COND?"
)
OPERATION_ENABLE = Command(
    "STATus:OPERation:ENABle", "Operation events that count.", (_WIDE_MASK,), example="STAT:OPER:ENAB 16"
)
OPERATION_ENABLE_Q = Command("STATus:OPERation:ENABle?", "The mask.", reply="integer", example="STAT:OPER:ENAB?")
QUESTIONABLE_Q = Command(
    "STATus:QUEStionable[:EVENt]?", "Questionable events; reading clears them.", reply="integer", example="STAT:QUES?"
)
QUESTIONABLE_CONDITION_Q = Command(
    "STATus:QUEStionable:CONDition?", "Questionable condition.", reply="integer", example="STAT:QUES:COND?"
)
QUESTIONABLE_ENABLE = Command(
    "STATus:QUEStionable:ENABle", "Questionable events that count.", (_WIDE_MASK,), example="STAT:QUES:ENAB 1"
)
QUESTIONABLE_ENABLE_Q = Command("STATus:QUEStionable:ENABle?", "The mask.", reply="integer", example="STAT:QUES:ENAB?")

# ---- the chip -----------------------------------------------------------------------------------------------

DESCRIBE_Q = Command(
    "CHIP:DESCribe?",
    "Identity, geometry, converters, limits, capabilities and nominal device model.",
    reply="block: JSON in ASCII (see Description)",
    example="CHIP:DESC?",
)
GEOMETRY_Q = Command(
    "CHIP:GEOMetry?",
    "Cores, rows, columns, devices per polarity K.",
    reply="four integers",
    example="CHIP:GEOM?",
)
LIMITS_Q = Command(
    "CHIP:LIMits?",
    "Largest pulse amplitude (uA), shortest and longest pulse (ns), pulses that one device may receive.",
    reply="three numbers and an integer",
    example="CHIP:LIM?",
)
CAPABILITIES_Q = Command(
    "CHIP:CAPabilities?", "What this chip can do beyond pulses and MVMs.", reply="strings", example="CHIP:CAP?"
)
SNAPSHOT_Q = Command("CHIP:SNAPshot?", "Every setting, by name.", reply="block: a JSON object", example="CHIP:SNAP?")
PARAMETERS_Q = Command(
    "CHIP:PARameters?",
    "Every number known of the chip.",
    reply="block: a JSON list of objects with name, value, unit and source",
    example="CHIP:PAR?",
)
COUNTS_Q = Command(
    "CHIP:COUNts?",
    "Pulses, single-device reads and MVM input vectors since power-on.",
    reply="three integers",
    example="CHIP:COUN?",
)
TIME_Q = Command("CHIP:TIME?", "The chip's clock, seconds.", reply="number", example="CHIP:TIME?")
WAIT = Command(
    "CHIP:WAIT",
    "Let time pass on the chip's clock; virtual time passes at once.",
    (Parameter("seconds", "number", "how long", unit="s", low=0, high=1e12),),
    errors=(Code.OUT_OF_RANGE,),
    example="CHIP:WAIT 20",
    changes=True,
)
TEMPERATURE_Q = Command(
    "CHIP:TEMPerature?",
    "Chip temperature, kelvin.",
    reply="number",
    errors=(Code.HARDWARE_MISSING,),
    example="CHIP:TEMP?",
)
IDLE = Command(
    "CHIP:IDLE",
    "Safe idle state: nothing armed, transfer memory empty.",
    example="CHIP:IDLE",
    changes=True,
)
RANGE = Command(
    "CONVerter:RANGe",
    "Full scale of a core's column converters.",
    (_CORE, Parameter("range", "number", "column sum at the largest output code", unit="uS", low=0)),
    errors=(Code.HARDWARE_MISSING, *_CHIP_ERRORS),
    example="CONV:RANG 0,256",
    changes=True,
)
RANGE_Q = Command("CONVerter:RANGe?", "That full scale, uS.", (_CORE,), "number", _CHIP_ERRORS, "CONV:RANG? 0")
TRIM = Command(
    "CONVerter:TRIM[:COLumn]",
    "Trims of one column's converter, rounded to the steps of its registers.",
    (
        _CORE,
        _COLUMN,
        Parameter("offset", "number", "added to the column's output, LSB"),
        Parameter("gain", "number", "the column's output is multiplied by 1 + gain"),
    ),
    errors=(Code.HARDWARE_MISSING, *_CHIP_ERRORS),
    example="CONV:TRIM 0,17,-1.25,0.012",
    changes=True,
)
TRIM_Q = Command(
    "CONVerter:TRIM[:COLumn]?",
    "Those trims: offset (LSB) and gain.",
    (_CORE, _COLUMN),
    "two numbers",
    (Code.HARDWARE_MISSING, *_CHIP_ERRORS),
    "CONV:TRIM? 0,17",
)
TRIM_LOAD = Command(
    "CONVerter:TRIM:LOAD",
    "Take the trims of all columns of a core from the transfer memory (layout `trims`), rounded to the steps of their "
    "registers; empties the memory.",
    (_CORE,),
    errors=(Code.HARDWARE_MISSING, *_MEMORY_ERRORS),
    example="CONV:TRIM:LOAD 0",
    changes=True,
)
TRIM_SAVE = Command(
    "CONVerter:TRIM:SAVE",
    "Put the trims of all columns of a core into the transfer memory (layout `trims`).",
    (_CORE,),
    errors=(Code.HARDWARE_MISSING, Code.OUT_OF_MEMORY, *_CHIP_ERRORS),
    example="CONV:TRIM:SAVE 0",
    changes=True,
)
READ_MODE = Command(
    "MVM:MODE",
    "How a core does its MVMs from now on.",
    (_CORE, Parameter("mode", "string", "one of `read_modes` of the description")),
    errors=(Code.HARDWARE_MISSING, *_CHIP_ERRORS),
    example='MVM:MODE 0,"one-phase"',
    changes=True,
)
READ_MODE_Q = Command(
    "MVM:MODE?", "That mode.", (_CORE,), "string", (Code.HARDWARE_MISSING, *_CHIP_ERRORS), "MVM:MODE? 0"
)

# ---- transfer memory ----------------------------------------------------------------------------------------

CLEAR = Command("DATA:CLEar", "Empty the transfer memory.", example="DATA:CLE", changes=True)
APPEND = Command(
    "DATA:APPend",
    "Add bytes to the end of the transfer memory.",
    (Parameter("bytes", "block", "what to add"),),
    errors=(Code.INVALID_BLOCK, Code.OUT_OF_MEMORY),
    example="DATA:APP #14....",
    changes=True,
)
SIZE_Q = Command("DATA:SIZE?", "Bytes in the transfer memory.", reply="integer", example="DATA:SIZE?")
DATA_Q = Command(
    "DATA[:VALue]?",
    "Bytes of the transfer memory, which stay there.",
    (
        Parameter("offset", "integer", "first byte", low=0, high=2**40),
        Parameter("length", "integer", "number of bytes", low=0, high=2**30),
    ),
    "block",
    (Code.OUT_OF_RANGE,),
    "DATA? 0,262144",
)

# ---- what the chip does -------------------------------------------------------------------------------------

PULSE_FIRE = Command(
    "PULSe:FIRE",
    "One programming pulse on each device in the transfer memory (layout `pulses`), at once and in that order; "
    "empties the memory.",
    (_CORE, _KIND, _COUNT),
    errors=_MEMORY_ERRORS,
    example="PULS:FIRE 0,RES,256",
    changes=True,
)
PULSE_SINGLE = Command(
    "PULSe[:SINGle]",
    "One pulse on one device.",
    (
        _CORE,
        _KIND,
        _DEVICE,
        Parameter("amplitude", "number", "peak current", unit="uA", low=0),
        Parameter("width", "number", "duration", unit="ns", low=0),
    ),
    errors=_CHIP_ERRORS,
    example="PULS 0,RES,17,240UA,100NS",
    changes=True,
)
PULSE_COUNTS = Command(
    "PULSe:COUNts",
    "Put the pulses that each device of a core has received into the transfer memory (layout `counts`).",
    (_CORE,),
    errors=_CHIP_ERRORS,
    example="PULS:COUN 0",
    changes=True,
)
READ_DEVICES = Command(
    "READ:DEVices",
    "Read the devices in the transfer memory (layout `devices`); conductances replace it (layout `conductances`).",
    (_CORE, _COUNT, _AVERAGES),
    errors=(Code.HARDWARE_MISSING, *_MEMORY_ERRORS),
    example="READ:DEV 0,256,8",
    changes=True,
)
READ_SINGLE_Q = Command(
    "READ[:SINGle]?",
    "Conductance of one device, uS.",
    (_CORE, _DEVICE, _AVERAGES),
    "number",
    (Code.HARDWARE_MISSING, *_CHIP_ERRORS),
    "READ? 0,17,8",
    changes=True,
)
MVM_RUN = Command(
    "MVM:RUN",
    "Send the input vectors in the transfer memory (layout `inputs`) through a core; the output codes of all columns, "
    "or of so many from the first on, replace them (layout `outputs`).",
    (
        _CORE,
        Parameter("batch", "integer", "input vectors", low=1, high=2**31 - 1),
        Parameter("first", "integer", "first column", low=0, high=2**31 - 1, default=0),
        Parameter("columns", "integer", "columns; 0 for all from the first on", low=0, high=2**31 - 1, default=0),
    ),
    errors=_MEMORY_ERRORS,
    example="MVM:RUN 0,1024",
    changes=True,
)
MVM_TRANSPOSED = Command(
    "MVM:TRANsposed",
    "Drive the columns of a core by the vectors in the transfer memory (layout `inputs`, of columns in place of rows); "
    "the codes of all rows, or of so many from the first on, replace them (layout `outputs`, of rows).",
    (
        _CORE,
        Parameter("batch", "integer", "input vectors", low=1, high=2**31 - 1),
        Parameter("first", "integer", "first row", low=0, high=2**31 - 1, default=0),
        Parameter("rows", "integer", "rows; 0 for all from the first on", low=0, high=2**31 - 1, default=0),
    ),
    errors=(Code.HARDWARE_MISSING, *_MEMORY_ERRORS),
    example="MVM:TRAN 0,1024",
    changes=True,
)
UPDATE_RUN = Command(
    "UPDate:RUN",
    "Apply the pulsed updates in the transfer memory (layout `updates`) in order: pulse trains on rows and columns "
    "step the devices where they meet. The steps that each device made replace them (layout `counts`).",
    (
        _CORE,
        Parameter("count", "integer", "updates", low=1, high=2**31 - 1),
        Parameter("kind", "word", "whether slots fire at random, or are counted", words=("STOChastic", "COUNted")),
    ),
    errors=(Code.HARDWARE_MISSING, *_MEMORY_ERRORS),
    example="UPD:RUN 0,16,STOC",
    changes=True,
)
MVM_ROW_Q = Command(
    "MVM:ROW?",
    "Output codes of all columns with one row driven and the others at zero.",
    (
        _CORE,
        Parameter("row", "integer", "row", low=0, high=2**31 - 1),
        Parameter("input", "integer", "signed input value", low=-(2**31), high=2**31 - 1),
    ),
    "integers",
    _CHIP_ERRORS,
    "MVM:ROW? 0,3,127",
    changes=True,
)
PLACE = Command(
    "PLACe",
    "Put the devices in the transfer memory exactly on a conductance (layout `placement`); simulated chips only.",
    (_CORE, _COUNT, Parameter("age", "number", "from now until the conductance is reached", unit="s", low=0)),
    errors=(Code.HARDWARE_MISSING, *_MEMORY_ERRORS),
    example="PLAC 0,256,20",
    changes=True,
)
STATE_SAVE = Command(
    "MEMory:STATe:SAVE",
    "Put the state of the whole chip into the transfer memory (layout `state`); simulated chips only.",
    errors=(Code.HARDWARE_MISSING, Code.OUT_OF_MEMORY),
    example="MEM:STAT:SAVE",
    changes=True,
)
STATE_LOAD = Command(
    "MEMory:STATe:LOAD",
    "Take the state of the whole chip from the transfer memory (layout `state`); simulated chips only.",
    errors=(Code.HARDWARE_MISSING, *_MEMORY_ERRORS),
    example="MEM:STAT:LOAD",
    changes=True,
)

SECTIONS: dict[str, tuple[Command, ...]] = {
    "Common commands (IEEE 488.2)": (CLS, ESE, ESE_Q, ESR_Q, IDN_Q, OPC, OPC_Q, RST, SRE, SRE_Q, STB_Q, TST_Q, WAI),
    "System and status (SCPI-99)": (
        ERROR_Q,
        ERROR_COUNT_Q,
        VERSION_Q,
        HEADERS_Q,
        PRESET,
        OPERATION_Q,
        OPERATION_CONDITION_Q,
        OPERATION_ENABLE,
        OPERATION_ENABLE_Q,
        QUESTIONABLE_Q,
        QUESTIONABLE_CONDITION_Q,
        QUESTIONABLE_ENABLE,
        QUESTIONABLE_ENABLE_Q,
    ),
    "Chip": (
        DESCRIBE_Q,
        GEOMETRY_Q,
        LIMITS_Q,
        CAPABILITIES_Q,
        SNAPSHOT_Q,
        PARAMETERS_Q,
        COUNTS_Q,
        TIME_Q,
        WAIT,
        TEMPERATURE_Q,
        IDLE,
        RANGE,
        RANGE_Q,
        TRIM,
        TRIM_Q,
        TRIM_LOAD,
        TRIM_SAVE,
    ),
    "Transfer memory": (CLEAR, APPEND, SIZE_Q, DATA_Q),
    "Pulses, reads, MVMs": (
        PULSE_FIRE,
        PULSE_SINGLE,
        PULSE_COUNTS,
        READ_DEVICES,
        READ_SINGLE_Q,
        MVM_RUN,
        MVM_ROW_Q,
        MVM_TRANSPOSED,
        UPDATE_RUN,
        READ_MODE,
        READ_MODE_Q,
    ),
    "Simulated chips": (PLACE, STATE_SAVE, STATE_LOAD),
    "Link": (LINK_OPEN_Q, LINK_CALL_Q, LINK_ECHO_Q, LINK_CLOSE, LINK_BUFFER_Q, LINK_CHALLENGE_Q, LINK_AUTHENTICATE_Q),
}
"""All commands by section of the manual."""

DIALECT = Dialect(tuple(itertools.chain.from_iterable(SECTIONS.values())))
