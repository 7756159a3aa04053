"""Programming methods by name, the built-in ones and those of other packages."""

from __future__ import annotations

from collections.abc import Mapping

from hwloop.calibration.programming.base import Method
from hwloop.errors import BadInputError
from hwloop.registry import Registry

# mypy asks for a concrete class where a type is expected as a value; the registry only checks against it.
METHODS: Registry[Method] = Registry("hwloop.methods", "method", Method)  # type: ignore[type-abstract]


def method_from(name: str, texts: Mapping[str, str] | None = None) -> Method:
    """Make a method from its name and the texts of its settings.

    Parameters
    ----------
    name
        Name of the entry point in the group ``hwloop.methods``.
    texts
        Texts of numbers by the names of settings; those that are not named keep their defaults.

    Raises
    ------
    BadInputError
        For an unknown name, with the known ones, and for a setting that the method refuses.
    """
    method = METHODS.find(name)
    try:
        return method.parse(texts or {})
    except BadInputError as error:
        raise BadInputError(f"method {name}: {error}") from None
