"""`hwloop resume`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import click

from hwloop.cli.common import command, given, json_option, watched
from hwloop.cli.program import finish


@dataclass(frozen=True)
class ResumeOptions:
    """Options of `hwloop resume`."""

    file: str = given(click.Argument(["file"], type=click.Path()))
    backend: str | None = given(
        click.Option(["--backend"], help="Chip of the job; needed for one that is no simulated preset.")
    )
    as_json: bool = given(json_option())


@command(ResumeOptions, "resume")
def resume(options: ResumeOptions) -> None:
    """Go on with a job that was stopped, failed or was killed; FILE is what it writes.

    What it needs lies beside FILE, in FILE.resume. A simulated chip is brought back to where it was, and the result is
    that of a job that was never stopped. A real chip is named with --backend; what it holds now is measured again.

    \b
    Examples:
      hwloop program data/digits_mlp.safetensors --backend "sim:hermes-core?seed=1" --out run.h5    # stopped or killed
      hwloop resume run.h5
    """  # noqa: D301  click needs the backspace
    import hwloop

    with contextlib.ExitStack() as stack:
        report = stack.enter_context(watched("   resume"))
        chip = None if options.backend is None else stack.enter_context(hwloop.connect(options.backend))
        run = hwloop.resume(options.file, chip, progress=report)
    finish(run, None, as_json=options.as_json)
