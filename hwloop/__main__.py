"""`python -m hwloop` is the `hwloop` command."""

from hwloop.cli import main

if __name__ == "__main__":  # worker processes import this module too
    main(prog_name="hwloop")
