"""The packages whose instruments a bench can use: how an instrument is opened, its attributes read and set.

Neither package is imported before a bench file that names it is opened.
"""

from __future__ import annotations

import abc
import contextlib
import importlib
import inspect
import io
import itertools
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, ClassVar, TypeAlias

from pyvisa.errors import VisaIOError

from hwloop.drivers.bench.adapters.steps import Attribute, Item, Path, Step, Value, Words, worth
from hwloop.drivers.identity import Identity, read_identity
from hwloop.errors import BadInputError, LinkError, first_line

LOG = logging.getLogger(__name__)
Foreign: TypeAlias = Any
"""An object of another package, of which no types are known here: an instrument, a part of one, or what it returns."""
_NAMES = map("hwloop_{}".format, itertools.count(1))
"""Names for instruments of QCoDeS, which must be theirs alone in the whole process."""


@dataclass(frozen=True)
class Place:
    """Where an instrument is.

    Parameters
    ----------
    role
        What it plays in the bench.
    resource
        Its VISA resource.
    visa_library
        The VISA library, such as ``@py``.
    timeout
        Seconds for each exchange.
    options
        Further keyword arguments of its class.
    """

    role: str
    resource: str
    visa_library: str
    timeout: float
    options: Mapping[str, Value]


@dataclass(frozen=True)
class DrainLimits:
    """How late answers are thrown away."""

    seconds: float = 0.2
    """Silence after which there are none left."""
    answers: int = 16
    """Answers that are thrown away at most."""


DRAIN = DrainLimits()
"""The limits of every instrument."""


class Package(abc.ABC):
    """A package of instrument classes."""

    NAME: ClassVar[str]
    """Of the package, of the extra that installs it, and of the drivers in a bench file."""
    BASE: ClassVar[tuple[str, str]]
    """Module and name of the class that all its instruments derive from."""

    def find(self, module: str, name: str) -> type[Foreign]:
        """Import a class, which runs the code of its module; modules in the current folder are found as well.

        Raises
        ------
        BadInputError
            In one line, where the package or the class is not there, or the class is no instrument of the package.
        """
        driver = f"{self.NAME}:{module}:{name}"
        try:
            base = getattr(importlib.import_module(self.BASE[0]), self.BASE[1])
        except ImportError as error:
            raise BadInputError(
                f"the driver '{driver}' needs {self.NAME}, which cannot be imported ({first_line(error)}); "
                f"pip install 'hwloop[{self.NAME}]'"
            ) from None
        try:
            with _current_folder():
                found = getattr(importlib.import_module(module), name, None)
        except (Exception, SystemExit) as error:
            raise BadInputError(
                f"the driver '{driver}': importing {module} raised {type(error).__name__}: {first_line(error)}"
            ) from error
        if not (isinstance(found, type) and issubclass(found, base)):
            what = "is not there" if found is None else f"is no instrument of {self.NAME}"
            raise BadInputError(f"the driver '{driver}': {name} {what}; name a subclass of {'.'.join(self.BASE)}")
        return found

    def open(self, kind: type[Foreign], place: Place) -> Foreign:
        """Make the instrument. Raises LinkError, in one line, for whatever its class raises."""
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), warnings.catch_warnings(record=True) as noted:
                warnings.simplefilter("always")
                made = self._make(kind, place)
        except Exception as error:
            raise LinkError(
                f"{place.role} {place.resource} cannot be opened by {kind.__name__} of {self.NAME}: "
                f"{type(error).__name__}: {first_line(error)}"
            ) from error
        for text in [*said.getvalue().splitlines(), *(str(one.message) for one in noted)]:
            LOG.info("%s %s: %s", place.role, place.resource, text)
        return made

    def drain(self, instrument: Foreign) -> None:
        """Throw away answers that came late, so that none is taken for the answer to the next question."""
        visa = self._visa(instrument)
        before = visa.timeout
        try:
            visa.timeout = 1e3 * DRAIN.seconds
            for _ in range(DRAIN.answers):
                visa.read_raw()
        except (VisaIOError, OSError):
            pass
        finally:
            visa.timeout = before

    @abc.abstractmethod
    def identify(self, instrument: Foreign, name: str) -> Identity:
        """Ask who answers."""

    @abc.abstractmethod
    def close(self, instrument: Foreign) -> None:
        """Release the link."""

    @abc.abstractmethod
    def _make(self, kind: type[Foreign], place: Place) -> Foreign:
        """Call the class."""

    @abc.abstractmethod
    def _visa(self, instrument: Foreign) -> Foreign:
        """Return the VISA resource below an instrument."""

    @abc.abstractmethod
    def _get(self, owner: Foreign, attribute: str) -> Foreign:
        """Read an attribute."""

    @abc.abstractmethod
    def _set(self, owner: Foreign, attribute: str, value: Value) -> None:
        """Set an attribute that is there."""

    def read(self, instrument: Foreign, step: Step, words: Words) -> Foreign:
        """Return what a call returns, or the value of the attribute that a step reads or has set."""
        owner, name = _owner(instrument, step.path)
        if not step.called:
            return self._get(owner, name)
        keywords = {word: worth(value, words) for word, value in step.keywords}
        return getattr(owner, name)(*(worth(value, words) for value in step.arguments), **keywords)

    def assign(self, instrument: Foreign, path: Path, value: Value) -> None:
        """Set an attribute. Raises AttributeError for one that is not there, which Python alone would make anew."""
        owner, name = _owner(instrument, path)
        self._set(owner, name, value)


class Pymeasure(Package):
    """Instruments of pymeasure: attributes are properties, which read and write."""

    NAME, BASE = "pymeasure", ("pymeasure.instruments", "Instrument")

    def identify(self, instrument: Foreign, name: str) -> Identity:
        """Ask who answers."""
        return read_identity(str(instrument.ask("*IDN?")).strip("\0 \r\n"), name)

    def close(self, instrument: Foreign) -> None:
        """Release the link."""
        instrument.adapter.close()

    def _make(self, kind: type[Foreign], place: Place) -> Foreign:
        options: dict[str, Value] = {"visa_library": place.visa_library, "timeout": 1e3 * place.timeout}
        if place.resource.upper().endswith("::SOCKET"):  # which has no end of a message of its own
            options |= {"read_termination": "\n", "write_termination": "\n"}
        return kind(place.resource, **(options | dict(place.options)))

    def _visa(self, instrument: Foreign) -> Foreign:
        return instrument.adapter.connection

    def _get(self, owner: Foreign, attribute: str) -> Foreign:
        return getattr(owner, attribute)

    def _set(self, owner: Foreign, attribute: str, value: Value) -> None:
        inspect.getattr_static(type(owner), attribute)
        setattr(owner, attribute, value)


class Qcodes(Package):
    """Instruments of QCoDeS: attributes are parameters, which are got and set."""

    NAME, BASE = "qcodes", ("qcodes.instrument", "Instrument")

    def identify(self, instrument: Foreign, name: str) -> Identity:
        """Ask who answers."""
        told = instrument.get_idn()
        return Identity(*(str(told.get(field) or "") for field in ("vendor", "model", "serial", "firmware")))

    def close(self, instrument: Foreign) -> None:
        """Release the link."""
        instrument.close()

    def _make(self, kind: type[Foreign], place: Place) -> Foreign:
        options = {"visalib": place.visa_library, "timeout": place.timeout, **place.options}
        return kind(next(_NAMES), place.resource, **options)

    def _visa(self, instrument: Foreign) -> Foreign:
        return instrument.visa_handle

    def _get(self, owner: Foreign, attribute: str) -> Foreign:
        found = getattr(owner, attribute)
        return found.get() if callable(getattr(found, "get", None)) else found

    def _set(self, owner: Foreign, attribute: str, value: Value) -> None:
        found = getattr(owner, attribute)
        if callable(getattr(found, "set", None)):
            found.set(value)
        else:
            inspect.getattr_static(type(owner), attribute)
            setattr(owner, attribute, value)


PACKAGES: dict[str, Package] = {package.NAME: package for package in (Pymeasure(), Qcodes())}


def _owner(instrument: Foreign, path: Path) -> tuple[Foreign, str]:
    """Walk to the object that has the last attribute of a path."""
    *way, last = path
    for part in way:
        instrument = instrument[part.key] if isinstance(part, Item) else getattr(instrument, part.name)
    assert isinstance(last, Attribute)
    return instrument, last.name


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    """Let imports also find what lies in the current folder, after everything installed."""
    before = list(sys.path)
    sys.path.append(str(FilePath.cwd()))
    try:
        yield
    finally:
        sys.path[:] = before
