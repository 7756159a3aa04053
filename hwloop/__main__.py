"""`python -m hwloop` is the `hwloop` command."""

from hwloop.cli import main

main(prog_name="hwloop")
