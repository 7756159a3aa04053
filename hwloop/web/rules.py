"""What a page may ask for: files of the data folder, chips that a command line would open, networks that are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from hwloop.chip.profiles import SCHEME as LAB
from hwloop.chip.profiles import resolved
from hwloop.chip.registry import SIMULATED, schemes, split_uri
from hwloop.errors import BadInputError, printable
from hwloop.registry import suggest
from hwloop.web.fields import Field, Form, Role, Values
from hwloop.web.folder import DataFolder
from hwloop.web.settings import SETTINGS

ZOO = "hwloop.nn.zoo:"
"""What the networks that come with hwloop are named by."""
SPACES = ("hwloop.search.resnet_like",)
"""Modules whose networks are named by codes, which run nothing."""
VISA_OPTIONS = ("timeout", "token_env")
"""Options of a link that load nothing and write nothing."""
SAME_CHIP = ("temperature", "device", "read_mode")
"""Options that make no other chip of a simulated one."""
SETTING = ".toml"
"""Ending of the files that name instruments, their classes and chips."""
COMPUTER = "this computer"
"""What jobs without a chip queue for."""


def check_values(form: Form, values: Values, folder: DataFolder) -> None:
    """Check what a form asks for against what a page may.

    Raises
    ------
    BadInputError
        For a file outside of the data folder, a chip that is not opened from a page, a network that would run code
        from elsewhere, and for a text that looks like a path to elsewhere.
    """
    for field in form.fields:
        for text in values.get(field.name, ()):
            if len(text) > SETTINGS.line or any(not one.isprintable() for one in text):
                raise BadInputError(f"{field.label}: signs that cannot be read, or too many")
            try:
                _check(field, text, folder)
            except BadInputError as error:
                raise BadInputError(f"{field.label}: {error}") from None


def _check(field: Field, text: str, folder: DataFolder) -> None:
    if field.role is Role.CHIP:
        if text:
            check_chip(text, folder)
    elif field.role is Role.NETWORK:
        check_network(text, folder)
    elif field.name == "space":
        check_space(text)
    elif field.role is Role.INPUT:
        folder.path(text)
        if field.name == "fleet":
            check_put_there(text)
            for uri in _fleet(folder.file(text).as_posix()):
                check_chip(uri, folder)
    elif field.role is Role.OUTPUT:
        folder.path(text)
        if PurePosixPath(text).suffix.lower() in (".py", SETTING):
            raise BadInputError("code and settings are not written from a page; use the command line")
    elif text and _leads_away(text):
        raise BadInputError(f"'{printable(text)}' looks like a path to elsewhere; a page works within its data folder")


def _leads_away(text: str) -> bool:
    """Tell whether any part of a text looks like a path out of the data folder."""
    return any(re.match(r"[/~\\]|[A-Za-z]:[/\\]", one) or ".." in PurePosixPath(one).parts for one in text.split("="))


def check_chip(uri: str, folder: DataFolder) -> None:
    """Check a chip's URI: what it reads or writes is in the data folder, and it loads no library.

    Raises BadInputError for any other.
    """
    scheme, target, query = split_uri(uri)
    if scheme == LAB:
        _, _, before = split_uri(resolved(f"{LAB}:{target}"))  # which its owner has written
        _check_options({name: text for name, text in query.items() if before.get(name) != text}, folder)
        return
    known = schemes()
    if scheme not in known:
        raise BadInputError(f"no backend for '{printable(scheme)}:'; {suggest(scheme, sorted(known))}")
    if scheme == SIMULATED:
        if target not in known[scheme].load().targets:
            folder.path(target)
    elif scheme == "bench":
        folder.path(target)
        check_put_there(target)
    _check_options(query, folder)


def check_put_there(name: str) -> None:
    """Check that a file which makes hwloop import or connect is one that a browser can neither send nor write.

    Raises BadInputError for any other.
    """
    if PurePosixPath(name).suffix != SETTING:
        raise BadInputError(
            f"'{printable(name)}' is no {SETTING} file, which whoever runs the bench puts there by hand"
        )


def _check_options(query: dict[str, str], folder: DataFolder) -> None:
    for name, text in query.items():
        if name == "visa_library" and text != "@py":
            raise BadInputError("option visa_library: a page loads no library but @py; use the command line")
        if name in ("log", "token_file"):
            folder.path(text)
            if name == "log" and PurePosixPath(text).suffix not in (".txt", ".log"):
                raise BadInputError("option log: a log that a page asks for is a .txt or .log file")
        elif _leads_away(text):
            raise BadInputError(f"option {printable(name)}: a path to elsewhere")


def check_network(text: str, folder: DataFolder) -> None:
    """Check what makes a network: one of the zoo, or a file of the data folder, which is never sent by a browser.

    Raises BadInputError for any other: whatever is named there is run.
    """
    module, _, name = text.rpartition(":")
    if (text.startswith(ZOO) or module in SPACES) and name.isidentifier():
        return
    file, colon, factory = text.rpartition(":")
    if not (colon and file.endswith(".py") and factory.isidentifier()):
        raise BadInputError(
            f"'{printable(text)}' is neither {ZOO}NAME nor FILE.py:FACTORY with a file that lies in the data folder; "
            "the command line takes any module"
        )
    folder.file(file)


def check_space(text: str) -> None:
    """Check what makes a space of networks. Raises BadInputError for any but those of hwloop: a module is run."""
    if text and text not in SPACES:
        raise BadInputError(
            f"'{printable(text)}' is no space of hwloop ({', '.join(SPACES)}); the command line takes any"
        )


def chips_of(form: Form, values: Values, folder: DataFolder) -> tuple[str, ...]:
    """Name the chips that a job is asked to use, each by its URI without options that do not make another chip."""
    uris = [text for field in form.fields if field.role is Role.CHIP for text in values.get(field.name, ()) if text]
    for text in values.get("fleet", ()):
        uris += _fleet(str(folder.file(text)))
    return tuple(dict.fromkeys(chip_of(uri) for uri in uris))


def inputs_of(form: Form, values: Values) -> list[str]:
    """List the files that a job reads."""
    return [text for field in form.fields if field.role is Role.INPUT for text in values.get(field.name, ())]


def chip_of(uri: str) -> str:
    """Name the chip of a URI: without options that do not make another chip."""
    try:
        scheme, target, query = split_uri(resolved(uri))
    except BadInputError:
        return uri
    if scheme != SIMULATED:
        return f"{scheme}:{target}"
    kept = "&".join(f"{name}={query[name]}" for name in sorted(query) if name not in SAME_CHIP)
    return f"{scheme}:{target}?{kept}" if kept else f"{scheme}:{target}"


def _fleet(path: str) -> Sequence[str]:
    from hwloop.fleet.chips import Fleet

    return [member.backend for member in Fleet.read(path).members]
