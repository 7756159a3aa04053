"""Example data that comes with hwloop: small trained networks, the images to test them on, and a measurement.

`README.md` beside this file says where each comes from. Examples of the command line name them as ``data/NAME``, which
`copy_examples` makes true in any folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from hwloop.errors import BadInputError
from hwloop.registry import suggest

FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """List the files that there are."""
    return sorted(path.name for path in FOLDER.iterdir() if path.is_file() and path.suffix not in (".py", ".pyc"))


def path(name: str) -> Path:
    """Return where an example lies.

    Raises
    ------
    BadInputError
        For a name that none of them has.
    """
    if name not in names():
        raise BadInputError(f"there is no example '{name}'; {suggest(name, names())}")
    return FOLDER / name


def copy_examples(folder: str | Path, *, force: bool = False) -> list[Path]:
    """Copy all examples into FOLDER/data, so that every example of the command line runs in FOLDER.

    Parameters
    ----------
    folder
        It is made where it is missing.
    force
        Replace files that exist.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    BadInputError
        When a file exists (without force), or the folder cannot be written.
    """
    target = Path(folder) / "data"
    wanted = [target / name for name in names()]
    existing = [one for one in wanted if one.exists()]
    if existing and not force:
        raise BadInputError(f"{existing[0]} exists; use --force to replace it, or another folder")
    if target.resolve() == FOLDER:
        raise BadInputError(f"{target} is where the examples come from; give another folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for one in wanted:
            shutil.copyfile(FOLDER / one.name, one)
    except OSError as error:
        raise BadInputError(f"{target} cannot be written ({error.strerror}); give another folder") from None
    return wanted
