"""Writes a fitted model as code for another simulator, and what a run has programmed for a chip's own tools."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwloop.errors import BadInputError
from hwloop.exporters.export import SIMULATORS, Export, export_model
from hwloop.exporters.programmed import FORMATS, ProgrammedExport, export_programmed
from hwloop.files.model_file import save_model
from hwloop.files.models import Model
from hwloop.files.runs import RunRecord
from hwloop.jobs.load import MODEL, kind_of
from hwloop.jobs.run import Run

if TYPE_CHECKING:
    from hwloop.nn.network import DeployedNetwork

OF_MODELS, OF_RUNS = " or ".join(SIMULATORS), " or ".join([", ".join(list(FORMATS)[:-1]), list(FORMATS)[-1]])


def export(
    source: Model | Run | DeployedNetwork | str | Path,
    to: str,
    out: str | Path,
    *,
    tensor: str | Sequence[str] = (),
    force: bool = False,
) -> Export | ProgrammedExport:
    """Write a fitted model as code for another simulator, or what a run has programmed for a chip's own tools.

    Parameters
    ----------
    source
        A fitted model, a run or a deployed network, or the file of one.
    to
        Of a model: 'aihwkit' (a noise model) or 'crosssim' (a device), a Python file whose first lines say how to use
        it. Of a run: 'npz', 'csv' or 'safetensors', with targets, reached conductances, the place of every device,
        scales and column corrections (docs/exports.md).
    out
        File to write.
    tensor
        Of a run: names or patterns of the tensors to write; all where there is none.
    force
        Replace an existing file.

    Raises
    ------
    BadInputError
        For a format that does not fit, a name that Python cannot import, a model without anything for the simulator,
        and a tensor that the run does not have.
    """
    names = (tensor,) if isinstance(tensor, str) else tuple(tensor)
    what = source if isinstance(source, Model) else _record(source, to)
    if isinstance(what, RunRecord):
        if to in SIMULATORS:
            raise BadInputError(f"a run holds what was programmed: export it to {OF_RUNS}; {to} takes a fitted model")
        return export_programmed(what, to, out, tensor=names, force=force)
    if to in FORMATS:
        raise BadInputError(f"{to} is for what a run has programmed; export a fitted model to {OF_MODELS}")
    if names:
        raise BadInputError(f"a fitted model has no tensors ('{names[0]}'); tensors can be chosen of a run")
    if not isinstance(what, Model):
        return export_model(what, to, out, force=force)
    with tempfile.TemporaryDirectory(prefix="hwloop-") as folder:
        path = Path(folder) / "model.json"
        save_model(what, path)
        return export_model(path, to, out, force=force)


def _record(source: Run | DeployedNetwork | str | Path, to: str) -> RunRecord | Path:
    """Give what a run or a network has programmed, or the file of a model, which is read later."""
    if isinstance(source, Run):
        return source.record
    if not isinstance(source, str | Path):
        return source.open_run.record
    path = Path(source)
    if to not in FORMATS:
        return path
    kind = kind_of(path)
    if kind == "hwloop-run":
        from hwloop.files.run_reader import read_run

        return read_run(path)
    if kind == "hwloop-network":
        from hwloop.jobs.network import read_network_run

        return read_network_run(path)
    if kind == MODEL:
        return path
    raise BadInputError(f"{path} is a {kind} file; what can be exported are runs, networks and models")
