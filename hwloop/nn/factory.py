"""Networks by name: `MODULE:FACTORY`, a function or class that makes a torch.nn.Module.

A user who types a name has its code run. A name that stands in a file is data, and opens nothing but hwloop's own zoo
and spaces.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from torch import nn

from hwloop.errors import BadInputError
from hwloop.nn import zoo
from hwloop.registry import suggest

SPACES = ("hwloop.search.resnet_like",)
"""Modules of hwloop's own whose networks are named by codes."""


def network_from(name: str) -> nn.Module:
    """Make the network that a name stands for, which runs the code of that module.

    Parameters
    ----------
    name
        ``hwloop.nn.zoo:digits_cnn``, ``package.module:Class``, or ``path/to/file.py:make``. What comes after the colon
        is called without arguments. Modules and files may import what lies in the current folder, and files what lies
        beside them.

    Raises
    ------
    BadInputError
        In one line, where the module or the factory is not there, fails, or makes something else.
    """
    place, colon, factory = name.rpartition(":")
    if not (colon and place and factory):
        raise BadInputError(
            f"network '{name}': expected MODULE:FACTORY, such as hwloop.nn.zoo:digits_cnn or net.py:make"
        )
    path = Path(place) if place.endswith(".py") or "/" in place or "\\" in place else None
    with _importable(path.parent if path else Path()), _told(name):
        module = _from_file(path) if path else _from_name(name, place)
        made = _factory(name, module, factory)()
    if not isinstance(made, nn.Module):
        what = f"the class {made.__name__}" if isinstance(made, type) else f"an object of type {type(made).__name__}"
        raise BadInputError(f"network '{name}' made {what}; expected it to return a torch.nn.Module")
    return made


def zoo_network(name: str) -> nn.Module:
    """Make the network of a name that stood in a file, where it is of hwloop's own zoo or spaces; import nothing else.

    Raises
    ------
    BadInputError
        For all other names, which the user must give again.
    """
    place, _, factory = name.rpartition(":")
    if place in SPACES:  # a space of hwloop's own, which reads a code and runs nothing that it says
        coded: nn.Module = importlib.import_module(place).network(factory)
        return coded
    if place != zoo.__name__:
        shown = ascii(name)[:200]
        raise BadInputError(
            f"the network {shown} is not one of {zoo.__name__}, and a file alone never imports other code; if you "
            f"trust it, name it again with --network MODULE:FACTORY"
        )
    if factory not in zoo.NAMES:
        raise BadInputError(f"no network {ascii(factory)[:200]} in {zoo.__name__}; {suggest(factory, zoo.NAMES)}")
    made: nn.Module = getattr(zoo, factory)()
    return made


class _FromText(SourceFileLoader):
    """Compiles a file as it is now: a compiled copy is told from a newer text by its size and whole seconds alone."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the text, and leave no copy beside the file."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; a network's file is named as path/to/file.py:FACTORY")
    # A name of its own: the file may be called like a module that others import.
    name = f"hwloop_network_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInputError(f"{path} is no Python file; a network's file is named as path/to/file.py:FACTORY")
    if isinstance(spec.loader, SourceFileLoader):
        spec.loader = _FromText(name, str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _from_name(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise  # the module is there, and something that it imports is not
        raise BadInputError(
            f"network '{name}': no module '{error.name}'; name one that can be imported, or a file as path/to/file.py"
        ) from None


def _factory(name: str, module: ModuleType, wanted: str) -> Callable[[], nn.Module]:
    own = [
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and callable(value) and getattr(value, "__module__", "") == module.__name__
    ]
    own = list(zoo.NAMES) if module is zoo else own
    if not hasattr(module, wanted):
        raise BadInputError(f"network '{name}': no '{wanted}' in {_file(module)}; {suggest(wanted, sorted(own))}")
    found = getattr(module, wanted)
    if isinstance(found, nn.Module) or not callable(found):
        raise BadInputError(
            f"network '{name}': {wanted} is an object of type {type(found).__name__}; expected a function or class "
            f"that makes the network, called without arguments"
        )
    factory: Callable[[], nn.Module] = found
    return factory


def _file(module: ModuleType) -> str:
    return str(module.__file__) if module.__name__.startswith("hwloop_network_") else module.__name__


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let imports also find what lies in the current folder and in this one, after everything installed."""
    before = list(sys.path)
    sys.path += [str(folder.resolve()), str(Path.cwd())]
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one line; the traceback stays attached for --debug."""
    try:
        yield
    except BadInputError:
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split()) or "no message"
        told = "; it is called without arguments" if isinstance(error, TypeError) and " argument" in text else ""
        raise BadInputError(f"network '{name}' raised {type(error).__name__}: {text}{told}") from error
