"""`hwloop ledger`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hwloop.cli.common import command, file_option, force_option, given, json_option, print_json
from hwloop.cli.screen import show_page


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
      # after the example of hwloop program, which pulses this chip
      hwloop ledger "sim:hermes-core?seed=1"
    """  # noqa: D301  click needs the backspace
    from hwloop.errors import BadInputError
    from hwloop.jobs.ledger import known_chips
    from hwloop.jobs.ledger import ledger as look_up
    from hwloop.pages.lives import page_of_chips, page_of_life
    from hwloop.pages.terminal import ALL

    if options.chip is None:
        if options.merge or options.out:
            raise BadInputError("name the chip whose pulses are meant: hwloop ledger CHIP")
        chips = known_chips(options.ledger)
        if options.as_json:
            print_json({"chips": [{"chip": chip.identity, "backend": chip.uri} for chip in chips]})
        else:
            show_page(page_of_chips(chips), ALL)
        return
    life = look_up(options.chip, path=options.ledger, merge=options.merge)
    if options.out:
        life.save(options.out, force=options.force)
    if options.as_json:
        print_json(life.to_json())
    else:
        show_page(page_of_life(life), ALL)
