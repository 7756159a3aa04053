"""The `hwloop` command, by that name or as `python -m hwloop`."""

import sys

from hwloop.cli import main
from hwloop.cli.events import told


def run() -> None:
    """Run the command line, and tell a file of events what it does where one is asked for."""
    with told(sys.argv[1:]):
        main(prog_name="hwloop")


if __name__ == "__main__":  # worker processes import this module too
    run()
