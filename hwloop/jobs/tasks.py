"""The jobs behind the commands: program a chip into a run file, compare methods, evaluate what a chip holds."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.use import calibration_of_run, region_of, use_calibration
from hwloop.calibration.evaluation import evaluate_tile, finite, overall_error
from hwloop.calibration.programming.base import Method
from hwloop.calibration.programming.registry import make_method
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.registry import connect, connect_recorded, split_uri
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.hashing import fingerprint
from hwloop.files.runs import read_run
from hwloop.files.weights import load_weights
from hwloop.jobs import program as runs
from hwloop.jobs.recorders import Job, RunRecorder
from hwloop.mapping.activations import load_activations
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import MappingSettings
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Task:
    """Weights for a chip, and everything but the method."""

    weights: str
    backend: str
    tensor: str | None = None
    layout: str = "outputs-first"
    mapping: MappingSettings = dataclasses.field(default_factory=MappingSettings)
    age: float | None = None
    seed: int = 0
    calibration: str | None = None
    """Calibration file of the chip."""
    inputs: str | None = None
    """File of sample activations."""

    def activations(self, matrices: Sequence[Matrix]) -> dict[str, FloatArray] | None:
        """Sample activations by tensor, if there are any."""
        return load_activations(self.inputs, matrices) if self.inputs else None

    def known(self) -> Calibration | None:
        """The chip's calibration, if there is one."""
        return Calibration.load(self.calibration) if self.calibration else None

    def load(self) -> list[Matrix]:
        """The matrices to program."""
        return load_weights(self.weights, self.tensor, self.layout)


def program_to_file(
    task: Task,
    method: str,
    out: str | Path,
    *,
    settings: Mapping[str, str] | None = None,
    force: bool = False,
    observer: runs.Observer | None = None,
) -> dict[str, Any]:
    """Program with one method and record it; returns the JSON object of docs/commands.md."""
    chosen, matrices = make_method(method, dict(settings or {})), task.load()
    with hdf5.WholeFileWriter(out, hdf5.RUN_FORMAT, force=force) as writer, connect(task.backend) as backend:
        _spare_inputs(task, out)
        _, result = _recorded(task, chosen, matrices, backend, writer, writer.file, observer)
        result["run"] = str(out)
    return result


def compare_to_file(
    task: Task,
    methods: Sequence[str],
    out: str | Path,
    *,
    settings: Mapping[str, Mapping[str, str]] | None = None,
    repeats: int = 1,
    force: bool = False,
    observer: runs.Observer | None = None,
) -> dict[str, Any]:
    """Program the same chip with each method, `repeats` times one after the other, and record all runs.

    A simulated chip is made afresh for each method, so that all start from the same specimen.
    """
    if len(set(methods)) < len(methods):
        raise BadInputError(f"methods: '{','.join(methods)}' names a method twice; name each once")
    chosen = [make_method(name, dict((settings or {}).get(name, {}))) for name in methods]
    matrices = task.load()
    results: dict[str, Any] = {}
    with hdf5.WholeFileWriter(out, hdf5.COMPARISON_FORMAT, force=force) as writer:
        _spare_inputs(task, out)
        hdf5.put_attributes(
            writer.file,
            {"status": "running", "backend": task.backend, "weights": task.weights, "methods": ",".join(methods)},
        )
        with connect(task.backend) as backend:  # what the last method cannot do is known before the first one runs
            for method in chosen:
                runs.start(backend, matrices, method, mapping=task.mapping, age=task.age, calibration=task.known())
        for method in chosen:
            with connect(task.backend) as backend:
                for repeat in range(repeats):
                    group = writer.file.create_group(f"{method.name}/run_{repeat}")
                    repeated = dataclasses.replace(task, seed=task.seed + repeat)
                    run, result = _recorded(repeated, method, matrices, backend, writer, group, observer)
                    _collect(results, method.name, result)
                    if run.interrupted:
                        return _comparison(task, results, out, writer)
        return _comparison(task, results, out, writer)


def evaluate_file(
    path: str | Path, backend_uri: str | None = None, seed: int = 1, calibration: str | None = None
) -> dict[str, Any]:
    """MVM error of what the chip of a run holds now, with fresh column gains and fresh inputs.

    A simulated chip is brought back to the state in which the run left it; a real one is measured as it is. Outputs are
    read through the calibration that the run was programmed with, or through the given one.
    """
    run = read_run(path)
    uri = backend_uri or run.backend
    with connect(backend_uri) if backend_uri else connect_recorded(run.backend, path) as backend:
        if Capability.STATE in backend.info.capabilities:
            _same_chip(path, run.backend, uri)
            run.restore(backend)
        known = calibration_of_run(run, calibration)
        if known is not None:
            use_calibration(known[1], backend)
        tiles = [record.tile for record in run.tiles]
        items = [(tile, region_of(backend, tile, known and known[1])) for tile in tiles]
        judged = [(tile, evaluate_tile(region, tile, seed, k)[1]) for k, (tile, region) in enumerate(items)]
        return {
            "run": str(path),
            "backend": uri,
            "method": run.method,
            "calibration": known and known[0],
            "mvm_error": finite(overall_error(judged)),
            "mvm_error_from": "mvm" if Capability.MVM in backend.info.capabilities else "device-reads",
            "mvm_error_in_run": finite(run.mvm_error),
            "chip_clock_seconds": backend.now(),
            "cores": [
                {"core": tile.place.core, "tensor": tile.tensor, "mvm_error": finite(outputs.mvm_error)}
                for tile, outputs in judged
            ],
            "hwloop_version": importlib.metadata.version("hwloop"),
        }


def noise_floor(task: Task) -> float | None:
    """MVM error with every conductance exactly on target, on a chip of its own; None where that cannot be done."""
    with connect(task.backend) as backend:
        if Capability.EXACT_PLACEMENT not in backend.info.capabilities:
            return None
        run = runs.program(
            backend,
            task.load(),
            "exact",
            mapping=task.mapping,
            age=task.age,
            seed=task.seed,
            calibration=task.known(),
        )
        return finite(run.mvm_error)


def _recorded(
    task: Task,
    method: Method,
    matrices: Sequence[Matrix],
    backend: Backend,
    writer: hdf5.WholeFileWriter,
    group: Any,
    observer: runs.Observer | None,
) -> tuple[runs.Run, dict[str, Any]]:
    """Program and record into `group`, committing the file as it grows.

    Nothing is on disk before the first pulse: what was refused by then leaves no file.
    """
    settings = dataclasses.asdict(method.settings)
    job = Job(
        task.backend,
        task.weights,
        fingerprint(task.weights),
        method.name,
        settings,
        task.mapping,
        task.seed,
        task.calibration or "",
    )
    recorder: RunRecorder | None = None
    known = task.known()

    def record(progress: runs.Progress) -> None:
        assert recorder is not None
        recorder.step(progress)
        writer.commit_if_due()
        if observer is not None:
            observer(progress)

    def begin(run: runs.Run) -> None:
        nonlocal recorder
        recorder = RunRecorder(group, job, run, backend)

    def programmed(run: runs.Run) -> None:
        assert recorder is not None
        recorder.programmed(run)

    try:
        run = runs.program(
            backend,
            matrices,
            method,
            mapping=task.mapping,
            age=task.age,
            seed=task.seed,
            observer=record,
            on_start=begin,
            calibration=known,
            activations=task.activations(matrices),
            on_programmed=programmed,
        )
        result = summary(task, run) | {"calibration": _calibration(task, known)}
        assert recorder is not None
        recorder.finish(result)
    except Exception as error:
        if writer.committed or (recorder is not None and recorder.pulsed):
            if recorder is not None:
                recorder.fail()
            writer.file.attrs["status"] = group.attrs["status"] = "failed"
            group.attrs["error"] = str(error)
            writer.commit()
            error.add_note(f"what was done until then is in {writer.path}")
        raise
    writer.commit()
    return run, result


def summary(task: Task, run: runs.Run) -> dict[str, Any]:
    """The JSON object of `program`."""
    return {
        "method": run.method.name,
        "backend": task.backend,
        "weights": task.weights,
        "status": "interrupted" if run.interrupted else "complete",
        "mvm_error": None if run.interrupted else finite(run.mvm_error),
        "cores": [item.as_json() for item in run.tiles],
        "seconds_after_programming": run.age,
        "wall_seconds": run.wall_seconds,
        "run": None,
        "hwloop_version": importlib.metadata.version("hwloop"),
    }


def _calibration(task: Task, known: Calibration | None) -> dict[str, Any] | None:
    """What a result says of the calibration that was used."""
    if known is None:
        return None
    return {"file": task.calibration, "created": known.created.isoformat(), "parts": known.measured()}


def _collect(results: dict[str, Any], name: str, result: dict[str, Any]) -> None:
    """Keep the first run's details and the errors of all repeats."""
    first = results.setdefault(name, result | {"mvm_errors": []})
    first["mvm_errors"].append(result["mvm_error"])


def _comparison(task: Task, results: dict[str, Any], out: str | Path, writer: hdf5.WholeFileWriter) -> dict[str, Any]:
    """The JSON object of `compare`; ends the file."""
    runs_done = [group.attrs["status"] for method in writer.file.values() for group in method.values()]
    status = "interrupted" if "interrupted" in runs_done else "complete"
    writer.file.attrs["status"] = status
    writer.commit()
    for result in results.values():
        measured = sorted(error for error in result["mvm_errors"] if error is not None)
        middle = len(measured) // 2
        if measured:
            result["mvm_error"] = measured[middle] if len(measured) % 2 else sum(measured[middle - 1 : middle + 1]) / 2
        result["run"] = str(out)
    floor = results.get("exact", {}).get("mvm_error")
    for result in results.values():
        error = result["mvm_error"]
        known = floor is not None and error is not None
        result["over_floor"] = error / floor if known else None
        result["excess_over_floor"] = max(error**2 - floor**2, 0.0) ** 0.5 if known else None
    return {
        "backend": task.backend,
        "weights": task.weights,
        "status": status,
        "noise_floor": floor,
        "methods": results,
        "run": str(out),
        "hwloop_version": importlib.metadata.version("hwloop"),
    }


def _same_chip(path: str | Path, recorded: str, asked: str) -> None:
    if split_uri(recorded) != split_uri(asked):
        raise BadInputError(
            f"{path} was programmed on {recorded}; a simulated chip's state fits that chip alone, not {asked}: "
            "leave --backend out"
        )


def _spare_inputs(task: Task, out: str | Path) -> None:
    if Path(out).exists() and Path(task.weights).exists() and Path(out).samefile(task.weights):
        raise BadInputError(f"{out} holds the weights to program; give another name for the output")
