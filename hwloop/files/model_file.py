"""Model files: fitted models as readable JSON that notices when it was changed by hand.

docs/fitting.md describes the layout.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwloop.errors import BadInputError
from hwloop.files.models import CellCount, Estimate, Fit, Form, Model
from hwloop.files.output import write_file
from hwloop.typing import Json

MODEL_FORMAT = "hwloop-model"
"""Value of the key 'format' of every model file."""
FORMAT_VERSION = 2
"""Number of the newest layout that is known; files say which theirs is."""


@dataclass(frozen=True)
class ModelLimits:
    """What a model file may hold; a foreign one shall not fill the memory, nor calculate with numbers that overflow."""

    size: int = 64 * 2**20
    """Bytes of a file; a model is a page or two."""
    number: float = 1e30
    """Largest number, of either sign."""


LIMITS = ModelLimits()
"""The limits of every model file."""


def save_model(model: Model, path: str | Path, *, force: bool = False) -> None:
    """Write a model file.

    Raises
    ------
    BadInputError
        When `path` exists (without force) or cannot be written.
    """
    write_file(path, model_content(model), force=force)


def model_content(model: Model) -> bytes:
    """Return the content of a model's file."""
    body: dict[str, Json] = {"format": MODEL_FORMAT, "format_version": FORMAT_VERSION, **model.to_json()}
    body["checksum"] = _checksum(body)
    return (json.dumps(body, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def load_model(path: str | Path) -> Model:
    """Read a model file.

    Raises
    ------
    BadInputError
        When it is missing, truncated, foreign, of a newer version, or not as hwloop wrote it.
    """
    path = Path(path)
    body = _read_json(path)
    if not isinstance(body, dict) or body.get("format") != MODEL_FORMAT:
        raise BadInputError(f"{path} is no model file (its 'format' is not '{MODEL_FORMAT}')")
    version = body.get("format_version")
    if version not in range(1, FORMAT_VERSION + 1):
        raise BadInputError(
            f"{path} has format version {version}; this hwloop reads up to {FORMAT_VERSION}: upgrade it"
        )
    try:
        model = _model(body)
    except BadInputError as error:
        raise BadInputError(f"{path}: not the layout of a model file, as {error}") from None
    if body.get("checksum") != _checksum(body):
        raise BadInputError(
            f"{path} was changed after it was written (its checksum does not match): fit again, "
            "or give changes as options of the sim: URI"
        )
    return model


def _read_json(path: Path) -> Json:
    try:
        if path.exists() and not path.is_file():
            raise BadInputError(f"{path} is no model file, but a folder, a device or a pipe")
        if path.stat().st_size > LIMITS.size:
            raise BadInputError(f"{path} is no model file: it is larger than {LIMITS.size >> 20} MiB")
        content: Json = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror})") from None
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path} is truncated or not JSON (line {error.lineno}: {error.msg})") from None
    except BadInputError:
        raise
    except (ValueError, RecursionError):  # no text, too deep, or a number of thousands of digits
        raise BadInputError(f"{path} is no model file: it is not JSON text") from None
    return content


def _checksum(body: Mapping[str, Json]) -> str:
    """Return the SHA-256 of everything but the checksum itself; the layout of the text does not matter."""
    plain = {name: value for name, value in body.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# ---- parts, each checked on the way in ---------------------------------------------------------------------------


def _model(body: Mapping[str, Json]) -> Model:
    own = {name: value for name, value in body.items() if name not in ("format", "format_version", "checksum")}
    values = _object(own, "the file", ("fits", "chip", "data", "created", "hwloop_version"))
    chip = _object(values["chip"], "'chip'")
    if wrong := [name for name, value in chip.items() if not isinstance(value, str | int | float)]:
        raise BadInputError(f"'chip' has '{wrong[0]}', which is neither a text nor a number")
    return Model(
        fits={name: _fit(name, value) for name, value in _object(values["fits"], "'fits'").items()},
        chip={name: value for name, value in chip.items() if isinstance(value, str | int | float)},
        data={name: _text(value, "'data'") for name, value in _object(values["data"], "'data'").items()},
        created=_text(values["created"], "'created'"),
        hwloop_version=_text(values["hwloop_version"], "'hwloop_version'"),
    )


_FIT = (
    "experiment", "family", "parameters", "forms", "settings", "cells", "conductance_range", "time_range",
    "log_likelihood_per_cell", "calibration_distance", "choice", "warnings", "alternatives",
)  # fmt: skip
_CELLS = ("measured", "used", "stuck", "wild", "left_out", "stuck_addresses", "wild_addresses")
_ESTIMATE = ("name", "value", "low", "high", "unit", "meaning", "note")


def _fit(name: str, value: Json) -> Fit:
    where = f"fit '{name}'"
    fit = _object({"alternatives": (), **_object(value, where)}, where, _FIT)  # version 1 has no alternatives
    cells = _object(fit["cells"], f"the cells of '{name}'", _CELLS)
    return Fit(
        experiment=_text(fit["experiment"], where),
        family=_text(fit["family"], where),
        parameters=tuple(_estimate(name, row) for row in _list(fit["parameters"], where)),
        forms={key: _form(key, form) for key, form in _object(fit["forms"], where).items()},
        settings=_numbers_by_name(fit["settings"], f"the settings of '{name}'"),
        cells=CellCount(
            measured=_count(cells["measured"], where),
            used=_count(cells["used"], where),
            stuck=_count(cells["stuck"], where),
            outliers=_count(cells["wild"], where),
            left_out={key: _count(count, where) for key, count in _object(cells["left_out"], where).items()},
            stuck_addresses=tuple(_count(address, where) for address in _list(cells["stuck_addresses"], where)),
            outlier_addresses=tuple(_count(address, where) for address in _list(cells["wild_addresses"], where)),
        ),
        conductance_range=_pair(fit["conductance_range"], f"{where}: 'conductance_range'"),
        time_range=_pair(fit["time_range"], f"{where}: 'time_range'"),
        log_likelihood_per_cell=_number(fit["log_likelihood_per_cell"], f"{where}: 'log_likelihood_per_cell'"),
        ks_distance=_number(fit["calibration_distance"], f"{where}: 'calibration_distance'"),
        choice=_numbers_by_name(fit["choice"], f"{where}: 'choice'"),
        warnings=tuple(_text(warning, where) for warning in _list(fit["warnings"], where)),
        alternatives=tuple(_fit(name, other) for other in _list(fit["alternatives"], where)),
    )


def _estimate(fit: str, value: Json) -> Estimate:
    row = _object(value, f"a parameter of '{fit}'", _ESTIMATE)
    name = _text(row["name"], f"a parameter of '{fit}'")
    where = f"fit '{fit}': parameter '{name}'"
    low, high = (None if row[end] is None else _number(row[end], where) for end in ("low", "high"))
    unit, meaning, note = (_text(row[key], where) for key in ("unit", "meaning", "note"))
    return Estimate(name, _number(row["value"], where), low, high, unit, meaning, note)


def _form(name: str, value: Json) -> Form:
    form = _object(value, f"form '{name}'", ("kind", "at"))
    at = tuple(_number(place, f"form '{name}'") for place in _list(form["at"], f"form '{name}'"))
    return Form(_text(form["kind"], f"form '{name}'"), at)


def _object(value: Json, where: str, names: Sequence[str] | None = None) -> Mapping[str, Json]:
    """Return an object; where names are given, it must have these keys and no other."""
    if not isinstance(value, Mapping):
        raise BadInputError(f"{where} is no object")
    if names is not None:
        if unknown := sorted(set(value) - set(names)):
            raise BadInputError(f"{where} has the unknown key '{unknown[0]}'")
        if missing := sorted(set(names) - set(value)):
            raise BadInputError(f"{where} lacks the key '{missing[0]}'")
    return value


def _list(value: Json, where: str) -> Sequence[Json]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise BadInputError(f"{where} has no list where one belongs")
    return value


def _text(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise BadInputError(f"{where} has no text where one belongs")
    return value


def _number(value: Json, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LIMITS.number:
        raise BadInputError(f"{where} is not a finite number, {LIMITS.number:g} at most")
    return value


def _count(value: Json, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not abs(value) <= LIMITS.number:
        raise BadInputError(f"{where} has no whole number where one belongs")
    return value


def _pair(value: Json, where: str) -> tuple[float, float]:
    ends = _list(value, where)
    if len(ends) != 2:
        raise BadInputError(f"{where} is no pair of numbers")
    return _number(ends[0], where), _number(ends[1], where)


def _numbers_by_name(value: Json, where: str) -> dict[str, float]:
    return {name: _number(number, where) for name, number in _object(value, where).items()}
