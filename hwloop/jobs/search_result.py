"""What a search of networks found, and the file that holds it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.reading import whole
from hwloop.nn.learnt_ranges import save_weights
from hwloop.notebook.card import card
from hwloop.search.settings import Limits, SearchSettings
from hwloop.search.trials import Footprint, Trial, front, hypervolume, winner
from hwloop.typing import AnyArray, Json

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

ACCURACIES = ("programmed", "day", "month")
"""When a twin is asked."""


@dataclass(frozen=True, repr=False)
class Found:
    """Networks that a search evaluated, and the front of the best.

    Parameters
    ----------
    trials
        In the order of their evaluation.
    weights
        State dicts of the networks of the front, by the number of the trial.
    space, chip
        Names.
    settings, limits
        How it was done.
    status
        'complete', or 'interrupted'.
    file, run
        Empty for none; what tells a search that can be gone on with from every other.
    """

    trials: tuple[Trial, ...]
    weights: Mapping[int, Mapping[str, torch.Tensor]]
    space: str
    chip: str
    settings: SearchSettings
    limits: Limits = field(default_factory=Limits)
    status: str = "complete"
    file: str = ""
    run: str = ""

    @property
    def front(self) -> tuple[Trial, ...]:
        """Networks to which no other is better both in accuracy and in drop over a month, by rising drop."""
        return tuple(self.trials[number] for number in front(self.trials))

    @property
    def winner(self) -> Trial:
        """The network that is the most accurate after a month, of those that were trained again if any were."""
        return self.trials[winner(self.trials)]

    @property
    def hypervolume(self) -> float:
        """Area that the front covers in accuracy and drop, from an accuracy of 0 and a drop of 1 on."""
        return hypervolume(self.trials)

    def save_weights(self, path: str | Path, trial: Trial | None = None, *, force: bool = False) -> None:
        """Write the weights of the winner, or of a network of the front: a .safetensors file, as `deploy` takes.

        Those of the winner are of a training with all of the training data.

        Raises
        ------
        BadInputError
            For a network that is not on the front, whose weights were not kept, and for another ending.
        """
        number = self.trials.index(trial or self.winner)
        if number not in self.weights:
            why = "it is not on the front" if self.status == "complete" else "the search was stopped; hwloop resume"
            raise BadInputError(f"the weights of {self.trials[number].network} were not kept: {why}")
        save_weights(path, self.weights[number], {}, force=force)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw accuracy against drop over a month, with the front."""
        from hwloop.plot.searches import accuracy_against_drop

        return accuracy_against_drop(self.trials, ax)

    def to_json(self) -> dict[str, Json]:
        """Summarise as the JSON object of `hwloop search`."""
        return {
            "space": self.space,
            "chip": self.chip,
            "status": self.status,
            "evaluated": len(self.trials),
            "hypervolume": self.hypervolume,
            "winner": self.winner.to_json(),
            "front": [one.to_json() for one in self.front],
            "settings": dataclasses.asdict(self.settings),
            "limits": dataclasses.asdict(self.limits),
            "hwloop_version": importlib.metadata.version("hwloop"),
            "file": self.file or None,
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each network; needs the extra `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        return dataframe([one.to_json() for one in self.trials])

    def _repr_html_(self) -> str:
        head = ("network", "weights", "accuracy", "drop in a month")
        rows = [(one.network, one.footprint.weights, one.accuracy, one.drop_month) for one in self.front]
        return card(repr(self)[1:-1], head=head, rows=rows)

    def __repr__(self) -> str:
        best = self.winner
        return (
            f"<Found {len(self.front)} networks on the front of {len(self.trials)} for {self.chip}, {self.status}: "
            f"{best.proven:.4f} after a month with {best.footprint.weights} weights>"
        )

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write an HDF5 file. Raises BadInputError when it exists (without force) or cannot be written."""
        with hdf5.WholeFileWriter(path, hdf5.SEARCH_FORMAT, force=force) as writer:
            self.write(writer)

    def write(self, writer: hdf5.WholeFileWriter) -> None:
        """Write all of it into a new file, and commit it."""
        told = {name: getattr(self, name) for name in ("space", "chip", "status")}
        version = importlib.metadata.version("hwloop")
        about = {**told, "run_id": self.run, "hwloop_version": version, "created": hdf5.utc_now()}
        hdf5.put_attributes(writer.file, about)
        hdf5.put_attributes(writer.file.create_group("settings"), dataclasses.asdict(self.settings))
        hdf5.put_attributes(writer.file.create_group("limits"), dataclasses.asdict(self.limits))
        group = writer.file.create_group("trials")
        for name, (values, unit, meaning) in columns_of(self.trials).items():
            hdf5.put(group, name, values, unit, meaning)
        names = "\n".join(one.network for one in self.trials)
        group.attrs["networks"] = names
        kept = writer.file.create_group("weights")
        for number, state in self.weights.items():
            one = kept.create_group(str(number))
            for key, tensor in state.items():
                hdf5.put(one, key.replace("/", "|"), tensor.detach().cpu().numpy(), "1", "of the state dict")
        writer.commit()

    @classmethod
    def load(cls, path: str | Path) -> Found:
        """Read a file that `save` has written. Raises BadInputError for one that is damaged or of another kind."""
        with hdf5.open_file(path, hdf5.SEARCH_FORMAT) as file, whole(path, "search file", "make it again"):
            told = hdf5.get_attributes(file)
            missing = [name for name in ("trials", "weights", "settings", "limits") if name not in file]
            if missing:
                raise BadInputError(f"{path} has no {missing[0]}; the file is not whole")
            texts = {
                group: {name: str(value) for name, value in hdf5.get_attributes(file[group]).items()}
                for group in ("settings", "limits")
            }
            group = file["trials"]
            columns = {
                name: np.asarray(hdf5.get(group, name, unit))
                for name, unit in UNITS.items()
                if name in group or name != "again"
            }
            weights = {
                int(number): {key.replace("|", "/"): torch.from_numpy(np.array(hdf5.get(one, key, "1"))) for key in one}
                for number, one in file["weights"].items()
            }
            return cls(
                trials=trials_of(columns, str(group.attrs["networks"]).split("\n")),
                weights=weights,
                space=str(told.get("space", "")),
                chip=str(told.get("chip", "")),
                settings=SearchSettings.parse(texts["settings"]),
                limits=Limits.parse(texts["limits"]),
                status=str(told.get("status", "")),
                file=str(path),
                run=str(told.get("run_id", "")),
            )


UNITS = {
    "genomes": "1", "weights": "1", "cores": "1", "latency": "s", "in_float": "1", "programmed": "1", "day": "1",
    "month": "1", "again": "1",
}  # fmt: skip
"""Unit of what is known of trials."""


def columns_of(trials: Sequence[Trial]) -> dict[str, tuple[AnyArray, str, str]]:
    """Give trials as arrays, with unit and meaning."""
    meanings = {
        "genomes": "value of every gene (trial, gene)",
        "weights": "weights of its matrices",
        "cores": "cores that hold it",
        "latency": "MVMs of one inference, one after the other",
        "in_float": "accuracy of the digital network, held-out images",
        "programmed": "accuracy after programming (trial, twin)",
        "day": "accuracy at the first later age (trial, twin)",
        "month": "accuracy at the second later age (trial, twin)",
        "again": "the same after each further training (trial, training); NaN where there was none",
    }
    values: dict[str, AnyArray] = {
        "genomes": np.array([one.genome for one in trials], np.int64),
        "in_float": np.array([one.in_float for one in trials]),
    }
    for name in ("weights", "cores", "latency"):
        values[name] = np.array([getattr(one.footprint, name) for one in trials])
    for name in ACCURACIES:
        values[name] = np.array([getattr(one, name) for one in trials])
    often = max((len(one.again) for one in trials), default=0)
    values["again"] = np.array([[*one.again, *[np.nan] * (often - len(one.again))] for one in trials], np.float64)
    return {name: (values[name], UNITS[name], meaning) for name, meaning in meanings.items()}


def trials_of(columns: Mapping[str, AnyArray], names: Sequence[str]) -> tuple[Trial, ...]:
    """Make trials of what `columns_of` gave."""
    found = []
    for number, name in enumerate(names):
        row = {key: values[number] for key, values in columns.items()}
        takes = Footprint(int(row["weights"]), int(row["cores"]), float(row["latency"]))
        genome = tuple(int(one) for one in row["genomes"])
        asked = [tuple(float(one) for one in row[key]) for key in ACCURACIES]
        again = tuple(float(one) for one in row.get("again", ()) if np.isfinite(one))  # older files have none
        found.append(Trial(genome, name, takes, float(row["in_float"]), asked[0], asked[1], asked[2], again))
    return tuple(found)
