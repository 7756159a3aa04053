"""`hwloop ledger`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import command, file_option, force_option, given, json_option, print_json
from hwloop.errors import printable

if TYPE_CHECKING:
    from hwloop.custody.ledger import ChipEntry
    from hwloop.jobs.ledger import Life


@dataclass(frozen=True)
class LedgerOptions:
    """Options of `hwloop ledger`."""

    chip: str | None = given(click.Argument(["chip"], required=False))
    ledger: str | None = given(file_option("--ledger", "The ledger [default: HWLOOP_LEDGER, else the user's own]."))
    merge: tuple[str, ...] = given(
        click.Option(
            ["--merge"],
            multiple=True,
            type=click.Path(),
            metavar="RUN.h5",
            help="Add the pulses of a run on another machine; repeatable.",
        )
    )
    out: str | None = given(file_option("--out", "Also write the pulses of every device, FILE.npz."))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(LedgerOptions, "ledger", logs=False)
def ledger(options: LedgerOptions) -> None:
    """Show how many pulses the devices of CHIP have received in their life, over all runs.

    CHIP is a backend URI, or the name of a chip as `hwloop ledger` lists it. Without CHIP all chips are listed.

    \b
    Examples:
      hwloop ledger
      hwloop ledger "sim:hermes-core?seed=1"
      hwloop ledger "lab chip, serial 7" --merge run_from_the_other_bench.h5
    """  # noqa: D301  click needs the backspace
    from hwloop.errors import BadInputError
    from hwloop.jobs.ledger import known_chips
    from hwloop.jobs.ledger import ledger as look_up

    if options.chip is None:
        if options.merge or options.out:
            raise BadInputError("name the chip whose pulses are meant: hwloop ledger CHIP")
        chips = known_chips(options.ledger)
        if options.as_json:
            print_json({"chips": [{"chip": chip.identity, "backend": chip.uri} for chip in chips]})
        else:
            _list(chips)
        return
    life = look_up(options.chip, path=options.ledger, merge=options.merge)
    if options.out:
        life.save(options.out, force=options.force)
    if options.as_json:
        print_json(life.to_json())
    else:
        _show(life)


def _list(chips: Sequence[ChipEntry]) -> None:
    if not chips:
        click.echo("No chip has received a pulse yet.")
    for chip in chips:
        click.echo(f"{printable(chip.identity)}  {printable(chip.uri)}{'  (simulated)' if chip.simulated else ''}")


def _show(life: Life) -> None:
    chip = life.chip
    kind = "recorded, not enforced: the chip is simulated" if chip.simulated else "enforced over all sessions"
    click.echo(f"{printable(chip.identity)}\nBudget of {chip.budget} pulses a device, {kind}.\n")
    if not life.cores:
        click.echo("No device has received a pulse yet.")
        return
    click.echo("core      pulses  per device      most")
    for core, counts in sorted(life.cores.items()):
        click.echo(f"{core:>4}{int(counts.sum()):>12}{float(counts.mean()):>12.2f}{int(counts.max()):>10}")
    merged = f", {life.merged_runs} run(s) of other machines" if life.merged_runs else ""
    click.echo(f"\n{len(life.sessions)} session(s){merged}; {life.spent_devices} device(s) have spent their budget.")
    click.echo(f"Ledger {life.ledger}.")
