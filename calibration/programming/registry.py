"""Programming methods by name."""

from __future__ import annotations

from hwloop.calibration.programming.base import Method
from hwloop.calibration.programming.exact import Exact, ExactSettings
from hwloop.calibration.programming.gdp import GDP, GDPSettings
from hwloop.calibration.programming.program_verify import ProgramVerify, ProgramVerifySettings
from hwloop.calibration.programming.sgd import SGD, SGDSettings
from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError

METHODS: dict[str, tuple[type[Method], type[Settings]]] = {
    "gdp": (GDP, GDPSettings),
    "iterative": (ProgramVerify, ProgramVerifySettings),
    "exact": (Exact, ExactSettings),
    "sgd": (SGD, SGDSettings),
}


def make_method(name: str, pairs: dict[str, str] | None = None) -> Method:
    """A method by name, with settings as texts. Raises BadInputError for an unknown name or setting."""
    if name not in METHODS:
        raise BadInputError(f"unknown method '{name}'; known: {', '.join(METHODS)}")
    method, settings = METHODS[name]
    try:
        return method(settings.parse(pairs or {}))  # type: ignore[call-arg]
    except BadInputError as error:
        raise BadInputError(f"method {name}: {error}") from None
