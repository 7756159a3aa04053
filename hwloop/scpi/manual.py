"""The programming manual, printed from the table: `python -m hwloop.scpi.manual > docs/scpi.md`."""

from __future__ import annotations

import math

from hwloop.scpi.arrays import LAYOUTS
from hwloop.scpi.codes import Code
from hwloop.scpi.command import Command
from hwloop.scpi.dialect import SECTIONS, VERSION
from hwloop.scpi.parameters import SUFFIXES, Parameter

_INTRODUCTION = f"""\
# The hwloop SCPI dialect, version {VERSION[0]}.{VERSION[1]}

Programming manual of a chip behind an instrument interface. This page is printed from the table in
`hwloop/scpi/dialect.py` (`python -m hwloop.scpi.manual > docs/scpi.md`), which the driver `visa:` and the emulated
instrument `hwloop serve` both use. Firmware that answers as this page says works with the driver.

## Messages

* A program message is one or more commands separated by `;` and ends with a newline. A response ends with a newline;
  the responses of several queries in one message are separated by `;`.
* Mnemonics have a long and a short form (the capitals), in any case: `CHIP:TEMPerature?`, `chip:temp?`. Nodes in
  brackets may be left out. A command that follows a `;` without a leading colon starts from the node where the
  command before it ended: `DATA:CLE;SIZE?` asks `DATA:SIZE?`. Common commands (`*OPC?`) leave that node alone.
* Numbers are decimal, or `#H`, `#Q`, `#B` for integers. Numbers with a unit may carry a suffix:
{{suffixes}}
* Nothing is clamped, and nothing rounded but trims, to the steps of their registers: a value that cannot be used is an
  error, and nothing is done.
* A message has at most 4096 commands (error -223), must end within 60 s of its first byte, and no command of it but the
  first eight begins when those before it have taken 60 s (error -365).
* A message is read as a whole before its first command is carried out, and the first error ends it. The rest of a
  message never runs on the remains of a command that failed.
* Commands are carried out one after the other; a response to `*OPC?` means that all before it is done.

## Blocks

Arrays and texts travel as IEEE 488.2 blocks: `#`, one digit that says how many digits follow, the length in bytes, the
bytes; or `#0`, the bytes, and the end of the message. **The last four bytes of every block are the CRC-32 of all bytes
before them** (polynomial of IEEE 802.3, as `zlib.crc32` computes it, least significant byte first), counted in the
block's length. A block whose checksum does not fit is refused with error -161.

## Transfer memory

`DATA:APPend` fills it, in pieces that fit the message buffer; a command that needs arrays takes them from it and
empties it; a command that gives arrays leaves them there for `DATA?`. A command checks that the memory holds exactly
the bytes it needs. Layouts, little endian, C order, with nothing between the fields:

{{layouts}}

## Calls

Over a link that can lose, repeat or damage bytes, a client works in a session. `LINK:OPEN?` opens one under a key of
the client's choice. From then on, whatever changes the chip, its clock or the transfer memory is refused on this
connection (error -203) unless it comes inside `LINK:CALL?`, whose block holds the call's number, a space and a program
message.

* Numbers count from 1. The instrument carries out number n + 1 after number n, and refuses any other with error -221.
* It keeps the answer to the last call, and gives it again, without carrying anything out, when that number comes again.
* After a lost connection the client connects again and sends `LINK:OPEN?` with its key: the response says which call
  was carried out last. It may then send its last call again; no pulse can be applied twice.
* A call that cannot be read (its checksum does not fit) is answered with number 0.
* The answer tells how many errors the call added to the error queue, and the chip's clock after it.

A plain client that types commands needs none of this; the first command of such a client that changes something ends a
session that was left open.

## Tokens

An instrument that can be reached from other machines may ask for a token. Until a connection has proved that it knows
it, every command but `*IDN?`, `*CLS`, `SYSTem:ERRor?` and the two here is refused with error -203. `LINK:CHALlenge?`
answers a random number, and `LINK:AUTHenticate?` takes the HMAC-SHA256 of its text under the token, in hexadecimal; a
challenge is good for one try. So the token itself never goes over the link.

## Description

`CHIP:DESCribe?` answers a JSON object: `chip` (name, serial, cores, rows, columns, devices_per_polarity, input_bits,
output_bits, g_max in uS, read_voltage in V, adc_range in uS, limits, capabilities, device_model or null),
`trims` (offset_step and offset_max in LSB, gain_step and gain_max relative) or null, `read_modes` (a list of name,
seconds of an MVM, joules of one of a whole core or null, source), `virtual_clock` (true where the clock moves only by
commands), `buffer` and `memory` in bytes. An instrument of version 1.0 has no `trims`, one of version 1.1 no
`read_modes`.

## Trims

Offset and gain registers in front of each column's converter. A converter of gain a and offset c (LSB) that would make
a S + c of the ideal code S makes a (1 + gain) S + c + offset of it; nonlinearity, rounding and saturation come after.
Single devices are read through the same converters: the gain acts there too, and offsets of both kinds cancel. A chip
that has trims says so with the capability `converter-trims`.

## Read modes

Ways in which a core does an MVM that differ in time, energy and error, such as HERMES' `one-phase` and `four-phase`
reads. A chip whose mode can be chosen says so with the capability `read-mode`; without it, `MVM:MODE` is refused with
error -241.
"""


def manual() -> str:
    """Return the whole manual, Markdown."""
    suffixes = "\n".join(f"  {unit}: {', '.join(f'`{name}`' for name in known)}" for unit, known in SUFFIXES.items())
    layouts = "\n".join(f"* `{name}`: {text}" for name, text in LAYOUTS.items())
    parts = [_INTRODUCTION.replace("{suffixes}", suffixes).replace("{layouts}", layouts)]
    for title, commands in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts.extend(map(_entry, commands))
    parts.append("## Errors\n")
    parts.append("| code | text |\n| --- | --- |\n" + "\n".join(f"| {code} | {code.text} |" for code in Code))
    return "\n".join(parts) + "\n"


def _entry(command: Command) -> str:
    lines = [f"### `{command.header}`\n", f"{command.meaning}\n"]
    lines += [_parameter(parameter) for parameter in command.parameters]
    if command.reply:
        lines.append(f"* reply: {command.reply}")
    if command.errors:
        lines.append(
            "* errors: " + ", ".join(f"{code} {code.text}" for code in sorted(set(command.errors), reverse=True))
        )
    if command.changes:
        lines.append("* within a session: only in a call")
    lines.append(f"* example: `{command.example}`\n")
    return "\n".join(lines)


def _parameter(parameter: Parameter) -> str:
    kind = " or ".join(f"`{word}`" for word in parameter.words) or parameter.form
    text = f"* `{parameter.name}`: {kind}"
    text += f", {parameter.unit}" if parameter.unit else ""
    text += f"; {parameter.meaning}"
    if math.isfinite(parameter.low) and math.isfinite(parameter.high):
        text += f"; {parameter.low:.12g} to {parameter.high:.12g}"
    elif math.isfinite(parameter.low):
        text += f"; from {parameter.low:g}"
    return text + (f"; {parameter.default!r} when left out" if parameter.default is not None else "")


if __name__ == "__main__":
    print(manual(), end="")
