"""Fitted models as code for other simulators.

What is written is a Python file that runs by itself beside the simulator, shows every number with its unit and says at
its top how it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hwloop.errors import BadInputError
from hwloop.exporters.aihwkit import noise_model
from hwloop.exporters.content import Content
from hwloop.exporters.crosssim import device_model
from hwloop.files.model_file import load_model
from hwloop.files.output import write_file
from hwloop.files.reading import whole
from hwloop.registry import suggest
from hwloop.typing import Json

SIMULATORS: dict[str, Callable[[Content], str]] = {"aihwkit": noise_model, "crosssim": device_model}
"""Name of a simulator -> what writes the code for it."""


@dataclass(frozen=True)
class Export:
    """What was written."""

    model: str
    """Model file."""
    to: str
    """Name of the simulator."""
    out: str
    """Python file that was written."""
    fits: tuple[str, ...]
    """Experiments whose fits are in it."""

    def to_json(self) -> dict[str, Json]:
        """Return what `hwloop export --json` prints."""
        return {"model": self.model, "to": self.to, "out": self.out, "fits": list(self.fits)}


def export_model(path: str | Path, to: str, out: str | Path, *, force: bool = False) -> Export:
    """Write the export of a model file.

    Parameters
    ----------
    path
        Model file of `hwloop fit`.
    to
        Name of the simulator, one of `SIMULATORS`.
    out
        Python file to write.
    force
        Replace a file that exists.

    Raises
    ------
    BadInputError
        For an unknown simulator, a file name that Python cannot import, a bad model file, and one with nothing that
        the simulator can use.
    """
    if to not in SIMULATORS:
        raise BadInputError(f"unknown simulator '{to}'; {suggest(to, list(SIMULATORS))}")
    out = Path(out)
    if out.suffix != ".py" or not out.stem.isidentifier():
        raise BadInputError(f"{out} would be no Python module; give a name such as fitted_devices.py")
    model = load_model(path)
    content = Content(model, Path(path).name, out.stem)
    if not content.fits:
        raise BadInputError(
            f"{path} has no programming, drift or read-noise fit, which is what {to} can use "
            f"(it has: {', '.join(model.fits)})"
        )
    with whole(path, "model", "fit again"):
        text = SIMULATORS[to](content)
    write_file(out, text.encode(), force=force)
    return Export(str(path), to, str(out), tuple(fit.experiment for fit in content.fits))
