"""The `hwloop` command, by that name or as `python -m hwloop`."""

import os
import sys

from hwloop.cli import main
from hwloop.cli.events import told


def run() -> None:
    """Run the command line, and tell a file of events what it does where one is asked for."""
    # Threads of torch that wait for the next short task sleep: those that spin, as is usual, take the processor from
    # the rest of hwloop, which makes a deployment on two cores half as long again. OpenMP reads this when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with told(sys.argv[1:]):
        main(prog_name="hwloop")


if __name__ == "__main__":  # worker processes import this module too
    run()
