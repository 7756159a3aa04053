"""Writes a fitted model as code for another simulator."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hwloop.exporters.export import Export, export_model
from hwloop.files.model_file import save_model
from hwloop.files.models import Model


def export(model: Model | str | Path, to: str, out: str | Path, *, force: bool = False) -> Export:
    """Write a fitted model as a Python file for another simulator.

    Parameters
    ----------
    model
        A fitted model, or its file.
    to
        'aihwkit' (a noise model) or 'crosssim' (a device).
    out
        Python file to write; its first lines say how to use it.
    force
        Replace an existing file.

    Raises
    ------
    BadInputError
        For an unknown simulator, a name that Python cannot import, and a model without anything for the simulator.
    """
    if not isinstance(model, Model):
        return export_model(model, to, out, force=force)
    with tempfile.TemporaryDirectory(prefix="hwloop-") as folder:
        path = Path(folder) / "model.json"
        save_model(model, path)
        return export_model(path, to, out, force=force)
