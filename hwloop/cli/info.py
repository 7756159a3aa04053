"""`hwloop info` and `hwloop backends`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from hwloop.chip.backend import Backend
from hwloop.chip.registry import connect, schemes
from hwloop.cli.common import Command, json_option, print_json
from hwloop.errors import ChipError

if TYPE_CHECKING:
    from hwloop.drivers.selftest import Check


@click.command(cls=Command)
@click.argument("uri")
@click.option("--self-test", "testing", is_flag=True, help="Check the link and the chip's answers; nothing is pulsed.")
@json_option
@click.pass_context
def info(context: click.Context, /, uri: str, testing: bool, as_json: bool) -> None:
    """Show the chip that URI names: identity, geometry, limits, and every parameter with its source.

    \b
    Example:
      hwloop info "sim:hermes-core?seed=1"
    """  # noqa: D301  click needs the backspace
    with connect(uri) as backend:
        checks = _self_test(backend) if testing else []
        chip, trims = backend.info, backend.info.trims
        result: dict[str, Any] = {
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
            "amplitude_max_uA": chip.limits.amplitude_max,
            "pulse_width_ns": [chip.limits.width_min, chip.limits.width_max],
            "pulses_per_device_limit": chip.limits.pulses_per_device,
            "capabilities": sorted(capability.value for capability in chip.capabilities),
            "self_test": [dataclasses.asdict(check) for check in checks],
            "parameters": [dataclasses.asdict(row) for row in backend.parameters()],
        }
    if as_json:
        print_json(result)
    else:
        _show(result)
    if any(check.passed is False for check in checks):
        context.exit(ChipError.exit_code)


def _self_test(backend: Backend) -> list[Check]:
    from hwloop.drivers.selftest import self_test  # loads the VISA stack, which showing a chip does not need

    return self_test(backend)


def _show(result: dict[str, Any]) -> None:
    for check in result["self_test"]:
        outcome = {True: "passed", False: "FAILED", None: "not run"}[check["passed"]]
        click.echo(f"{outcome:<7}  {check['name']}: {check['seen']}")
    for name, value in result.items():
        if name not in ("parameters", "self_test") and value is not None:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            click.echo(f"{name.replace('_', ' '):<26} {text}")
    if result["parameters"]:
        click.echo("\nparameter                         value                  unit   source")
    for row in result["parameters"]:
        click.echo(f"{row['name']:<32}  {row['value']!s:<21}  {row['unit']:<5}  {row['source']}")


@click.command(cls=Command)
@json_option
def backends(as_json: bool) -> None:
    """List the kinds of chip that can be connected to, and the named ones among them.

    \b
    Example:
      hwloop backends
    """  # noqa: D301  click needs the backspace
    listed = {}
    for scheme, entry in sorted(schemes().items()):
        kind = entry.load()
        listed[scheme] = {"entry_point": entry.value, "summary": kind.summary, "targets": list(kind.targets)}
    if as_json:
        print_json({"backends": listed})
        return
    for scheme, row in listed.items():
        click.echo(f"{scheme}:  {row['summary']}")
        for name in row["targets"]:
            click.echo(f"  {scheme}:{name}")
