"""Backends by URI: `connect("sim:hermes-core?seed=1")`.

A backend is found through the entry-point group `hwloop.backends`: the entry point's name is the URI's scheme, its
object a `Scheme`. A third party's chip is thus a package of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from urllib.parse import parse_qsl

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability, ChipInfo, Parameter
from hwloop.chip.lifetime import KeptLifetime
from hwloop.chip.profiles import resolved
from hwloop.custody.lock import Lock, lock_named
from hwloop.custody.places import lock_folder
from hwloop.errors import BadInputError, LinkError
from hwloop.registry import suggest

GROUP = "hwloop.backends"
SIMULATED = "sim"
"""The one scheme whose presets are opened because a file names them: they touch nothing outside this process."""

LOG = logging.getLogger(__name__)
Describer = Callable[[str, Mapping[str, str]], tuple[ChipInfo, list[Parameter]]]
"""Tells what a target is without opening it: as the chip would, with its settings."""
Opener = Callable[[str, Mapping[str, str]], Backend]
"""Opens the chip for a URI's target and its options, all of them text."""


@dataclass(frozen=True)
class Scheme:
    """One kind of chip: how the URIs that begin with its name are opened.

    An entry point in the group `hwloop.backends` names an object of this class, and the entry point's own name is
    what URIs begin with. With `mychip = "my_package.chip:SCHEME"`, `connect("mychip:/dev/ttyUSB0?rate=9600")` calls
    `SCHEME.open("/dev/ttyUSB0", {"rate": "9600"})`. docs/backends.md has a whole example.
    """

    open: Opener
    """Makes an open backend of the URI's target, which may be empty, and its options, all of them text as they stand
    in the URI. It raises BadInputError for a target or an option that it does not know (`refuse_unknown_options`) or
    cannot use, and LinkError where no chip answers; then it leaves nothing open."""
    summary: str
    """One line for `hwloop backends`."""
    targets: tuple[str, ...] = ()
    """The targets that have names, if any, in the order in which they are listed."""
    private: bool = False
    """Whether its chips live in the process that opens them, so that nobody else can reach them. All others have one
    user at a time, under a lock."""
    describe: Describer | None = None
    """Tells of a target and its options what would be opened, and opens nothing; None for a kind that cannot."""


def schemes() -> dict[str, EntryPoint]:
    """Find the installed backends, by URI scheme; nothing of theirs is imported."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def refuse_unknown_options(scheme: str, query: Mapping[str, str], known: Sequence[str]) -> None:
    """Check the options of a URI against those that a scheme knows.

    Raises
    ------
    BadInputError
        For the first unknown one, with the known ones and, where one is close to it, that this may be meant.
    """
    if unknown := sorted(set(query) - set(known)):
        raise BadInputError(f"unknown option '{unknown[0]}' of {scheme}:; {suggest(unknown[0], known)}")


def split_uri(uri: str) -> tuple[str, str, dict[str, str]]:
    """Split a backend URI into scheme, target and options.

    Raises
    ------
    BadInputError
        When it is not one.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or not scheme:
        raise BadInputError(f"'{uri}' is not a backend URI; expected SCHEME:TARGET, for example sim:hermes-core?seed=1")
    target, _, text = rest.partition("?")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
    except ValueError:
        raise BadInputError(f"'{uri}': the query '{text}' is not of the form name=value&name=value") from None
    query = dict(pairs)
    if len(query) < len(pairs):
        raise BadInputError(f"'{uri}': an option is given twice")
    return scheme, target, query


def connect(uri: str) -> Backend:
    """Open the chip that a URI names; close it with `close()` or use it with `with`.

    `lab:NAME` is one of the names that a lab gives its chips, see `hwloop.chip.profiles`.

    >>> with connect("sim:pcm-ideal?rows=4&columns=4&seed=1") as chip:
    ...     chip.read(0, [0, 1]).shape
    (2,)

    Raises
    ------
    BadInputError
        For an unknown scheme, target or option, and for a name that the lab has not.
    LinkError
        For a real or served chip that somebody else is using, or that does not answer.
    """
    return _opened(resolved(uri))


def describe(uri: str) -> tuple[ChipInfo, list[Parameter]]:
    """Tell what a URI names without opening anything: the chip as it would say, and its settings.

    Raises BadInputError for a kind of chip that can only be asked, and for a URI or file that cannot be used.
    """
    name, target, query = split_uri(resolved(uri))
    scheme = _scheme(name)
    if scheme.describe is None:
        raise BadInputError(f"{name}: has nothing to read but the chip itself; leave --dry-run out")
    return scheme.describe(target, query)


def same_chip(one: str, other: str) -> bool:
    """Tell whether two URIs name the same chip with the same options, in whatever order."""
    try:
        return split_uri(one) == split_uri(other)
    except BadInputError:
        return False


def identity_of(info: ChipInfo, place: str = "") -> str:
    """Return what tells a chip from every other: its name and serial number.

    A simulated chip behind an instrument is one of many with the same seed; its `place` tells which.
    """
    where = f", at {place}" if place and Capability.STATE in info.capabilities else ""
    return f"{info.name}, serial {info.serial}{where}"


def _opened(uri: str) -> Backend:
    chip = _under_locks(uri)
    LOG.info("opened %s: %s", chip.uri, chip.info.summary)
    return chip


def _under_locks(uri: str) -> Backend:
    """Open a chip under the lock of its place and, once it has said who it is, that of its identity."""
    name, target, query = split_uri(uri)
    scheme = _scheme(name)
    if scheme.private:
        backend = scheme.open(target, query)
        backend.uri, backend.lifetime = uri, KeptLifetime(identity_of(backend.info), uri, backend.info)
        return backend
    with ExitStack() as undo:
        locks = [_lock(f"{name}:{target}")]
        undo.callback(locks[0].release)
        backend = scheme.open(target, query)
        undo.callback(backend.close)
        identity = identity_of(backend.info, target)
        locks.append(_lock(identity))
        backend.uri, backend.lifetime = uri, KeptLifetime(identity, uri, backend.info)
        backend.locks = tuple(locks)
        undo.pop_all()
    return backend


def _lock(chip: str) -> Lock:
    """Take the sole right to a chip. Raises LinkError where somebody has it, with who that is."""
    try:
        return lock_named(lock_folder(), chip, "use another chip")
    except BadInputError as error:
        raise LinkError(str(error)) from None


def is_harmless(uri: str) -> bool:
    """Tell whether a URI is that of a simulated preset: whoever opens it loads, reads and connects to nothing."""
    try:
        scheme, target, _ = split_uri(uri)
        return scheme == SIMULATED and target in _scheme(scheme).targets
    except BadInputError:
        return False


def connect_recorded(uri: str, path: str | Path) -> Backend:
    """Open the chip that the file `path` names, if it is a simulated preset.

    Any other URI can load a library, connect to a host, or read or write a file. A file that came from elsewhere must
    not make hwloop do that, so it takes a user who names the chip.

    Raises
    ------
    BadInputError
        For any other URI.
    """
    if not is_harmless(uri):
        raise BadInputError(
            f"{path} names the chip {uri!r}; from a file alone only simulated presets are opened: "
            "if you trust it, name the chip with --backend"
        )
    return _opened(uri)


def _scheme(name: str) -> Scheme:
    """Load the installed scheme of this name.

    Raises BadInputError where there is none, and for an entry point that names something else.
    """
    known = schemes()
    if name not in known:
        raise BadInputError(f"no backend for '{name}:'; {suggest(name, sorted(known))}")
    scheme = known[name].load()
    if not isinstance(scheme, Scheme):
        raise BadInputError(
            f"the backend for '{name}:' is broken: its entry point in {GROUP} names a {type(scheme).__name__}, "
            "not a Scheme; mend or remove the package that installed it"
        )
    return scheme
