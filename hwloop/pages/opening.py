"""Makes the page of any file that hwloop writes, and of what `hwloop.load` gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hwloop.errors import BadInputError
from hwloop.files.reading import whole
from hwloop.files.resume_folder import onward
from hwloop.pages.page import Page

if TYPE_CHECKING:
    from hwloop.jobs.evaluate import Evaluation
    from hwloop.jobs.load import Loaded

Shown: TypeAlias = "Loaded | Evaluation | str | Path"


def page_of(what: Shown) -> Page:
    """Make the page of a file, or of what was loaded from one.

    Parameters
    ----------
    what
        Path of any file that hwloop writes; or a run, comparison, study, calibration, measurements or model.

    Raises
    ------
    BadInputError
        For a file that is missing, damaged or not hwloop's, and for anything else. Nothing but the file is opened.
    """
    if isinstance(what, str | Path):
        with whole(what, "file", "make it anew"):
            return _page_of_file(Path(what))
    return _page_of_data(what, "") or _page_of_result(what)


def _page_of_file(path: Path) -> Page:
    from hwloop.jobs.load import kind_of, load

    kind = kind_of(path)
    if kind == "hwloop-run":  # the record alone: nothing of the chip and the algorithms is loaded for it
        from hwloop.files.run_reader import read_run
        from hwloop.pages.runs import page_of_run

        return page_of_run(read_run(path))
    if kind == "hwloop-training":  # the same
        from hwloop.jobs.trained import read_training
        from hwloop.pages.trainings import page_of_training

        return page_of_training(read_training(path))
    if kind == "hwloop-network":
        return _page_of_network(path)
    found = load(path)
    return _page_of_data(found, str(path)) or _page_of_result(found)


def _page_of_network(path: Path) -> Page:
    """Make the page of a network's file without its class, which a file alone may not import."""
    from hwloop.files import hdf5
    from hwloop.files.run_reader import read_record
    from hwloop.nn.network_file import RUN_GROUP, read_network
    from hwloop.pages.networks import page_of_network

    with hdf5.open_file(path, hdf5.NETWORK_FORMAT) as file, whole(path, "network file", "deploy it again"):
        if RUN_GROUP not in file:
            raise BadInputError(f"{path}: the network was not deployed to its end; {onward(path, 'deploy it again')}")
        stored = read_network(file)
        return page_of_network(read_record(file[RUN_GROUP], str(path)), stored, stored.report)


def _page_of_data(what: Loaded | Evaluation, name: str) -> Page | None:
    """Make the page of a calibration, measurements or a model; None for anything else."""
    from hwloop.calibration.certificate.certificate import Calibration
    from hwloop.files.measurements import Measurement
    from hwloop.files.models import Model
    from hwloop.pages.calibrations import page_of_calibration
    from hwloop.pages.measurements import page_of_measurements
    from hwloop.pages.models import page_of_model

    if isinstance(what, Calibration):
        return page_of_calibration(what, name)
    if isinstance(what, Model):
        return page_of_model(what, name)
    if isinstance(what, list | tuple) and all(isinstance(one, Measurement) for one in what):
        return page_of_measurements(what, name)
    return None


def _page_of_result(what: Loaded | Evaluation) -> Page:
    """Make the page of what a job gave."""
    from hwloop.jobs.run import Run
    from hwloop.pages.runs import page_of_comparison, page_of_run

    if isinstance(what, Run):  # before anything of networks is loaded
        return page_of_run(what.record)
    from hwloop.jobs.compare import Comparison
    from hwloop.jobs.coreset import Coreset
    from hwloop.jobs.drift_result import DriftResult
    from hwloop.jobs.evaluate import Evaluation
    from hwloop.jobs.fewshot import FewShotResult
    from hwloop.jobs.search_result import Found
    from hwloop.jobs.sensitivity import Sensitivity
    from hwloop.jobs.trained import Trained
    from hwloop.nn.network import DeployedNetwork
    from hwloop.nn.network_file import report_of
    from hwloop.pages.coresets import page_of_coreset
    from hwloop.pages.drifts import page_of_drift
    from hwloop.pages.evaluations import page_of_evaluation
    from hwloop.pages.memories import page_of_few_shot
    from hwloop.pages.networks import page_of_network, page_of_sensitivity
    from hwloop.pages.searches import page_of_search
    from hwloop.pages.trainings import page_of_training

    if isinstance(what, Comparison):
        return page_of_comparison(what)
    if isinstance(what, DriftResult):
        return page_of_drift(what)
    if isinstance(what, Sensitivity):
        return page_of_sensitivity(what)
    if isinstance(what, FewShotResult):
        return page_of_few_shot(what)
    if isinstance(what, Trained):
        return page_of_training(what)
    if isinstance(what, Found):
        return page_of_search(what)
    if isinstance(what, Coreset):
        return page_of_coreset(what)
    if isinstance(what, Evaluation):
        return page_of_evaluation(what)
    if isinstance(what, DeployedNetwork):
        return page_of_network(what.open_run.record, what, report_of(what))
    raise BadInputError(f"a {type(what).__name__} has no page; save it, and give the file")
