"""The chips of a lab by names of its own: `lab:NAME` stands for the URI that a file of the user gives it.

The file is TOML, at the place that the variable HWLOOP_LAB names, else `lab.toml` in the user's folder of settings::

    [chips]
    left = "visa:TCPIP::10.0.0.5::5025::SOCKET?timeout=10"
    twin = "sim:/data/left/model.json?seed=1"

A name is replaced before anything is opened, so that runs and ledgers hold the URI itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from hwloop.chip.toml_files import read_toml
from hwloop.custody.places import settings_folder
from hwloop.errors import BadInputError
from hwloop.registry import suggest

SCHEME = "lab"
"""What such URIs begin with."""
VARIABLE = "HWLOOP_LAB"
"""Variable of the environment that names the file."""


def profiles_path() -> Path:
    """Return the file with the names of chips: as HWLOOP_LAB says, else in the user's folder of settings."""
    told = os.environ.get(VARIABLE, "")
    return Path(told).expanduser() if told else settings_folder() / "lab.toml"


def profiles() -> dict[str, str]:
    """Read the URIs of a lab's chips by their names; none where there is no file.

    Raises
    ------
    BadInputError
        For a file that cannot be read, or is not as this module says.
    """
    path = profiles_path()
    if not path.exists() and not os.environ.get(VARIABLE):
        return {}
    told = read_toml(path)
    chips = told.get("chips")
    unknown = sorted(set(told) - {"chips"})
    if unknown or not isinstance(chips, dict):
        what = f"has '{unknown[0]}'" if unknown else "has no table of chips"
        raise BadInputError(f'{path} {what}; it is to be a table [chips] with lines NAME = "URI"')
    for name, uri in chips.items():
        if not isinstance(uri, str) or not uri or uri.startswith(f"{SCHEME}:"):
            raise BadInputError(f"{path}: the chip '{name}' is to be the URI of a chip in quotes, such as \"visa:...\"")
    return dict(chips)


def resolved(uri: str) -> str:
    """Replace `lab:NAME` by the URI that it stands for; any other URI is returned as it is.

    Options behind the name are added to those of the URI: `lab:left?timeout=20`.

    Raises
    ------
    BadInputError
        For a name that the file does not have, and for a file that cannot be used.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme != SCHEME:
        return uri
    name, _, query = rest.partition("?")
    known = profiles()
    if name not in known:
        there = suggest(name, sorted(known)) if known else f"{profiles_path()} names none"
        raise BadInputError(f"the lab has no chip '{name}'; {there}")
    found = known[name]
    return f"{found}{'&' if '?' in found else '?'}{query}" if query else found
