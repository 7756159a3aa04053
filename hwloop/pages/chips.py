"""Page of a chip: identity, geometry, limits, and every parameter with its source."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwloop.pages.page import Column, Fact, Page, Table
from hwloop.pages.texts import counted

if TYPE_CHECKING:
    from hwloop.chip.backend import Backend
    from hwloop.chip.info import ChipInfo, Parameter
    from hwloop.drivers.selftest import Check

ASSUMED = "assumed"
"""What stands for a source where there is none."""


def page_of_chip(uri: str, chip: Backend, checks: Sequence[Check] = ()) -> Page:
    """Make the page of an open chip.

    Parameters
    ----------
    uri
        By which it was opened.
    chip
        The chip.
    checks
        Outcome of its self-test; empty for none.
    """
    failed = [check for check in checks if check.passed is False]
    page = page_of_description(uri, chip.info, chip.parameters())
    return dataclasses.replace(
        page,
        tables=tuple(table for table in (_checks(checks), *page.tables) if table.rows),
        warnings=tuple(f"the self-test failed: {check.name}: {check.seen}" for check in failed),
    )


def page_of_description(uri: str, info: ChipInfo, parameters: Sequence[Parameter], how: str = "") -> Page:
    """Make the page of a chip that need not be open.

    Parameters
    ----------
    uri
        What names it.
    info, parameters
        What is known of it.
    how
        Sentence about where that comes from; empty for the chip itself.
    """
    cells = f"{info.rows} x {info.columns} cells"
    return Page(
        kind="chip",
        title=f"{info.name} {info.serial}".rstrip(),
        verdict=f"{counted(info.cores, 'core')} of {cells} with {counted(info.devices_per_polarity, 'device')} "
        f"per polarity, {counted(info.cores * info.devices_per_core, 'device')} in all.{how}",
        facts=(Fact("backend", uri), *_facts(info)),
        tables=tuple(table for table in (_read_modes(info), *_parameters(parameters)) if table.rows),
    )


def _facts(info: ChipInfo) -> tuple[Fact, ...]:
    limits, trims = info.limits, info.trims
    facts = [
        Fact("inputs and outputs", f"{info.input_bits} bits in, {info.output_bits} bits out"),
        Fact("highest conductance", f"{info.g_max:g} uS"),
        Fact("read voltage", f"{info.read_voltage:g} V"),
        Fact("ADC range", f"{info.adc_range[0]:g} to {info.adc_range[-1]:g} uS"),
        Fact("pulses", f"up to {limits.amplitude_max:g} uA, {limits.width_min:g} to {limits.width_max:g} ns"),
        Fact("pulses of a device", f"{limits.pulses_per_device:,} at most"),
        Fact("capabilities", ", ".join(sorted(one.value for one in info.capabilities))),
    ]
    if trims:
        offset = f"offset in steps of {trims.offset_step:g} up to {trims.offset_max:g} LSB"
        facts.append(Fact("converter trims", f"{offset}, gain of {trims.gain_step:g} up to {trims.gain_max:g}"))
    return tuple(facts)


def _checks(checks: Sequence[Check]) -> Table:
    outcome = {True: "passed", False: "FAILED", None: "not run"}
    rows = tuple((outcome[check.passed], check.name, check.seen) for check in checks)
    return Table("Self-test", (Column("outcome"), Column("check"), Column("seen")), rows)


def _read_modes(info: ChipInfo) -> Table:
    columns = (Column("read mode"), Column("an MVM takes", "ns", ".4g"), Column("energy", "nJ a core", ".4g"))
    rows = tuple(
        (mode.name, 1e9 * mode.seconds, 1e9 * mode.joules if mode.joules else None) for mode in info.read_modes
    )
    return Table("Read modes", columns, rows)


def _parameters(known: Sequence[Parameter]) -> tuple[Table, Table]:
    """Make the table of parameters, and the numbered list of their sources, which would not fit beside them."""
    sources = list(dict.fromkeys(row.source for row in known if row.source != ASSUMED))
    numbers = {source: f"[{number}]" for number, source in enumerate(sources, 1)}
    meant = any(row.meaning for row in known)
    meaning = [Column("meaning")] if meant else []
    columns = [Column("parameter", names=True), Column("value"), Column("unit"), *meaning, Column("source")]
    rows = tuple(
        (row.name, str(row.value), row.unit, *([row.meaning or "-"] if meant else []), numbers.get(row.source, ASSUMED))
        for row in known
    )
    listed = tuple((numbers[source], source) for source in sources)
    return (
        Table("Parameters", tuple(columns), rows),
        Table("Sources", (Column("number"), Column("source")), listed),
    )
