"""`hwloop info` and `hwloop backends`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import command, given, json_option, leave, print_json
from hwloop.cli.screen import show_page
from hwloop.cli.terminal import wrapped
from hwloop.errors import BadInputError, ChipError, printable

if TYPE_CHECKING:
    from hwloop.chip.backend import Backend
    from hwloop.chip.info import ChipInfo, Parameter
    from hwloop.drivers.selftest import Check
    from hwloop.typing import Json


@dataclass(frozen=True)
class InfoOptions:
    """Options of `hwloop info`."""

    uri: str = given(click.Argument(["uri"]))
    testing: bool = given(
        click.Option(
            ["--self-test", "testing"], is_flag=True, help="Check the link and the chip's answers; nothing is pulsed."
        )
    )
    dry_run: bool = given(
        click.Option(["--dry-run"], is_flag=True, help="Read the file of a bench: alone, and open no instrument.")
    )
    as_json: bool = given(json_option())


@command(InfoOptions, "info")
def info(options: InfoOptions) -> None:
    """Show the chip that URI names: identity, geometry, limits, and every parameter with its source.

    \b
    Example:
      hwloop info "sim:hermes-core?seed=1"
    """  # noqa: D301  click needs the backspace
    if options.dry_run:
        _rehearse(options)
        return
    from hwloop.chip.registry import connect

    with connect(options.uri) as backend:
        checks = _self_test(backend) if options.testing else []
        if options.as_json:
            print_json(_describe(options.uri, backend.info, backend.parameters(), checks))
        else:
            from hwloop.pages.chips import page_of_chip
            from hwloop.pages.terminal import ALL

            show_page(page_of_chip(options.uri, backend, checks), ALL)
    if any(check.passed is False for check in checks):
        leave(ChipError.exit_code)


def _rehearse(options: InfoOptions) -> None:
    """Show what would be opened."""
    from hwloop.chip.registry import describe

    if options.testing:
        raise BadInputError("--dry-run opens nothing that could be tested; leave --self-test out")
    chip, parameters = describe(options.uri)
    if options.as_json:
        print_json({**_describe(options.uri, chip, parameters, []), "dry_run": True})
        return
    from hwloop.pages.chips import page_of_description
    from hwloop.pages.terminal import ALL

    show_page(page_of_description(options.uri, chip, parameters, " As its file says; nothing was opened."), ALL)


def _describe(uri: str, chip: ChipInfo, parameters: Sequence[Parameter], checks: Sequence[Check]) -> dict[str, Json]:
    trims = chip.trims
    return {
        "backend": uri,
        "name": chip.name,
        "serial": chip.serial,
        "cores": chip.cores,
        "rows": chip.rows,
        "columns": chip.columns,
        "devices_per_polarity": chip.devices_per_polarity,
        "devices": chip.cores * chip.devices_per_core,
        "input_bits": chip.input_bits,
        "output_bits": chip.output_bits,
        "g_max_uS": chip.g_max,
        "read_voltage_V": chip.read_voltage,
        "adc_range_uS": list(chip.adc_range),
        "offset_trim_step_max_LSB": [trims.offset_step, trims.offset_max] if trims else None,
        "gain_trim_step_max": [trims.gain_step, trims.gain_max] if trims else None,
        "read_modes": [dataclasses.asdict(mode) for mode in chip.read_modes],
        "amplitude_max_uA": chip.limits.amplitude_max,
        "pulse_width_ns": [chip.limits.width_min, chip.limits.width_max],
        "pulses_per_device_limit": chip.limits.pulses_per_device,
        "capabilities": sorted(capability.value for capability in chip.capabilities),
        "self_test": [dataclasses.asdict(check) for check in checks],
        "parameters": [dataclasses.asdict(row) for row in parameters],
    }


def _self_test(backend: Backend) -> list[Check]:
    from hwloop.drivers.selftest import self_test  # loads the VISA stack, which showing a chip does not need

    return self_test(backend)


@dataclass(frozen=True)
class BackendsOptions:
    """Options of `hwloop backends`."""

    as_json: bool = given(json_option())


@command(BackendsOptions, "backends", logs=False)
def backends(options: BackendsOptions) -> None:
    """List the kinds of chip that can be connected to, and the named ones among them.

    \b
    Example:
      hwloop backends
    """  # noqa: D301  click needs the backspace
    from hwloop.chip.profiles import profiles, profiles_path
    from hwloop.chip.registry import schemes

    kinds = {name: (entry.value, entry.load()) for name, entry in sorted(schemes().items())}
    if options.as_json:
        listed = {
            name: {"entry_point": value, "summary": kind.summary, "targets": list(kind.targets)}
            for name, (value, kind) in kinds.items()
        }
        print_json({"backends": listed, "lab": dict(profiles())})
        return
    for name, (_, kind) in kinds.items():
        click.echo(wrapped(kind.summary, f"{name}:  ", "    "))
        for target in kind.targets:
            click.echo(f"  {name}:{target}")
    click.echo(wrapped(f"chips by names of your own, in {profiles_path()}", "lab:  ", "    "))
    for name, uri in profiles().items():
        click.echo(printable(f"  lab:{name}  {uri}"))
