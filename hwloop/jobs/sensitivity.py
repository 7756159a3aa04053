"""Finds out how much accuracy each nonideality of a chip costs a network, one at a time, and which layer is weakest."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from torch import nn

from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.reading import whole
from hwloop.jobs.noise import ChipLike, DataLike, images_of, name_of, noise_of
from hwloop.jobs.progress import Progress, reporting
from hwloop.nn.convert import Converted, convert
from hwloop.nn.layers.base import AnalogLayer
from hwloop.nn.network import DeployedNetwork
from hwloop.nn.noise_aware import NoisyNetwork
from hwloop.nn.noisy_accuracy import Images, right_exactly
from hwloop.nn.sensitivity import Limit, SensitivitySettings, limits_of_layers, limits_of_parts, weakest
from hwloop.notebook.card import card
from hwloop.typing import Json
from hwloop.units import finite

if TYPE_CHECKING:
    import pandas
    import xarray


@dataclass(frozen=True, repr=False)
class Sensitivity:
    """What a network bears on a chip.

    Parameters
    ----------
    network, chip
        Class of the network, and the chip.
    accuracy_digital
        Of the network as it is.
    parts
        Each nonideality alone.
    layers
        Each matrix alone, with all nonidealities together.
    settings
        What may be lost, and how it was found.
    status
        'complete', or 'interrupted'.
    images
        Test images.
    file
        Empty for none.
    """

    network: str
    chip: str
    accuracy_digital: float
    parts: tuple[Limit, ...]
    layers: tuple[Limit, ...]
    settings: SensitivitySettings
    status: str = "complete"
    images: int = 0
    file: str = ""

    @property
    def weakest_part(self) -> str | None:
        """The nonideality that is borne least, in strengths of the chip's own; None where all are borne."""
        found = weakest(self.parts)
        return None if found is None else found.name

    @property
    def weakest_layer(self) -> str | None:
        """The matrix that bears least; None where each alone bears all that was tried."""
        found = weakest(self.layers)
        return None if found is None else found.name

    def to_json(self) -> dict[str, Json]:
        """Summarise as the JSON object of `hwloop sensitivity`."""
        return {
            "network": self.network,
            "chip": self.chip,
            "status": self.status,
            "accuracy_digital": self.accuracy_digital,
            "images": self.images,
            "loss": self.settings.loss,
            "age_s": self.settings.age,
            "nonidealities": [_row(one) for one in self.parts],
            "layers": [_row(one) for one in self.layers],
            "weakest_nonideality": self.weakest_part,
            "weakest_layer": self.weakest_layer,
            "settings": dataclasses.asdict(self.settings),
            "hwloop_version": importlib.metadata.version("hwloop"),
            "file": self.file or None,
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each nonideality and matrix; needs the extra `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        rows = [{"kind": "nonideality", **_row(one)} for one in self.parts]
        return dataframe(rows + [{"kind": "layer", **_row(one)} for one in self.layers])

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray dataset of what is borne, by nonideality and matrix; needs the extra `hwloop[xarray]`."""
        from hwloop.notebook.tables import Variable, dataset

        limits = (*self.parts, *self.layers)
        kinds = ["nonideality"] * len(self.parts) + ["layer"] * len(self.layers)
        texts = {"name": [one.name for one in limits], "unit": [one.unit for one in limits], "kind": kinds}
        names = {key: Variable(("limit",), np.array(values, np.str_), "", key) for key, values in texts.items()}
        shares = {"factor": "strengths of the chip's own that are borne", "accuracy": "accuracy with that on the chip"}
        found = {
            key: Variable(("limit",), np.array([getattr(one, key) for one in limits], np.float64), unit, meaning)
            for unit, meanings in (("as `unit` says", _NUMBERS), ("1", shares))
            for key, meaning in meanings.items()
        }
        return dataset(found, names, {"network": self.network, "chip": self.chip, "status": self.status})

    def _repr_html_(self) -> str:
        rows = [(one.name, one.nominal, one.value, one.unit, one.factor) for one in (*self.parts, *self.layers)]
        told = f"{self.accuracy_digital:.1%} digitally; what costs {100 * self.settings.loss:g} points"
        head = ("nonideality or matrix", "on the chip", "borne", "unit", "strengths")
        return card(f"Sensitivity of {self.network} on {self.chip}", told, head=head, rows=rows)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write an HDF5 file. Raises BadInputError when it exists (without force) or cannot be written."""
        with hdf5.WholeFileWriter(path, hdf5.SENSITIVITY_FORMAT, force=force) as writer:
            told = {name: getattr(self, name) for name in ("network", "chip", "status", "images")}
            version = importlib.metadata.version("hwloop")
            hdf5.put_attributes(writer.file, {**told, "hwloop_version": version, "created": hdf5.utc_now()})
            hdf5.put_attributes(writer.file.create_group("settings"), dataclasses.asdict(self.settings))
            hdf5.put(writer.file, "accuracy_digital", self.accuracy_digital, "1", "accuracy of the network as it is")
            for name, limits in (("nonidealities", self.parts), ("layers", self.layers)):
                _write(writer.file.create_group(name), limits)
            writer.commit()

    @classmethod
    def load(cls, path: str | Path) -> Sensitivity:
        """Read a file that `save` has written. Raises BadInputError for one that is damaged or of another kind."""
        with (
            hdf5.open_file(path, hdf5.SENSITIVITY_FORMAT) as file,
            whole(path, "sensitivity file", "make it again"),
        ):
            told = hdf5.get_attributes(file)
            missing = [name for name in ("nonidealities", "layers", "settings") if name not in file]
            if missing:
                raise BadInputError(f"{path} has no {missing[0]}; the file is not whole")
            values = {name: str(value) for name, value in hdf5.get_attributes(file["settings"]).items()}
            return cls(
                network=str(told.get("network", "")),
                chip=str(told.get("chip", "")),
                accuracy_digital=float(hdf5.get(file, "accuracy_digital", "1")),
                parts=tuple(_read(file["nonidealities"])),
                layers=tuple(_read(file["layers"])),
                settings=SensitivitySettings.parse(values),
                status=str(told.get("status", "")),
                images=int(str(told.get("images", 0))),
                file=str(path),
            )

    def __repr__(self) -> str:
        points = f"{100 * self.settings.loss:g} point" + ("s" if self.settings.loss != 0.01 else "")
        spots = f"weakest {self.weakest_part or 'none'}, layer {self.weakest_layer or 'none'}"
        return f"<Sensitivity of {self.network} on {self.chip}, {points} of {self.accuracy_digital:.4f}: {spots}>"


def sensitivity(
    network: nn.Module,
    data: DataLike | None = None,
    chip: ChipLike | None = None,
    settings: SensitivitySettings | None = None,
    *,
    exclude: Sequence[str] = (),
    progress: Progress = False,
) -> Sensitivity:
    """Raise each nonideality of a chip alone until a network loses a point of accuracy, and so each layer alone.

    Parameters
    ----------
    network
        Gives (batch, classes); a deployed one, or any other. It stays as it is.
    data
        Labelled data; test images are classified, and training images choose the ranges. A mere pair is both. None:
        what a network was deployed with.
    chip
        An open chip, its URI or `ChipInfo`, or a fitted model of its devices; None: the chip of a deployed network. No
        chip is used but for what it is.
    settings
        What may be lost, at which age, and how finely it is looked for.
    exclude
        Paths of layers that stay digital, or patterns.
    progress
        True draws a bar; a function is told (done, total) and may raise KeyboardInterrupt to stop.

    Raises
    ------
    BadInputError
        For data that do not fit the network, and a network without layers for a chip.
    """
    settings = settings or SensitivitySettings()
    deployed = network if isinstance(network, DeployedNetwork) else None
    data = deployed.test if data is None and deployed is not None else data
    chip = deployed.open_run.backend if chip is None and deployed is not None else chip
    if data is None or chip is None:
        raise BadInputError("sensitivity needs labelled data and a chip, or a network that was deployed with both")
    with _converted(network, exclude) as converted:
        training, test = images_of(data, converted.network)
        sample = training.some(settings.calibration, settings.seed).inputs
        images = (training if test is None else test).some(settings.images, settings.seed)
        noisy = NoisyNetwork(converted, noise_of(chip, (settings.age,), corrected=True), settings.seed)
        noisy.fit_ranges(sample if deployed is None else deployed.inputs[: settings.calibration])
        found = _found(noisy, images, settings, progress)
    made = network if deployed is None else deployed.network
    return dataclasses.replace(found, network=type(made).__name__, chip=name_of(chip))


@contextmanager
def _converted(network: nn.Module, exclude: Sequence[str]) -> Iterator[Converted]:
    """Convert a network; one that is on a chip is lent without it, and has its products again in the end."""
    if not isinstance(network, DeployedNetwork):
        yield convert(network, exclude)
        return
    whole = network.network
    layers = {path: layer for path, layer in whole.named_modules() if isinstance(layer, AnalogLayer)}
    kept = {path: dict(layer.products) for path, layer in layers.items()}
    for layer in layers.values():
        layer.products.clear()
    try:
        yield Converted(whole, layers, network.digital)
    finally:
        for path, layer in layers.items():
            layer.products.clear()
            layer.products.update(kept[path])


def _found(noisy: NoisyNetwork, images: Images, settings: SensitivitySettings, progress: Progress) -> Sensitivity:
    """Look for all limits, until it is stopped."""
    digital = float(right_exactly(noisy, images).double().mean())
    total = len(noisy.noise.parts) + len(noisy.products)
    parts: list[Limit] = []
    layers: list[Limit] = []
    status = "complete"
    with reporting(progress, "sensitivity") as report:
        try:
            _collect(limits_of_parts(noisy, images, settings), parts, lambda done: report(done, total))
            before = len(parts)
            _collect(limits_of_layers(noisy, images, settings), layers, lambda done: report(before + done, total))
        except KeyboardInterrupt:
            status = "interrupted"
    return Sensitivity("", "", digital, tuple(parts), tuple(layers), settings, status=status, images=len(images))


def _collect(found: Iterable[Limit], into: list[Limit], report: Callable[[int], None]) -> None:
    for one in found:
        into.append(one)
        report(len(into))


def _row(limit: Limit) -> dict[str, Json]:
    return {key: finite(value) if isinstance(value, float) else value for key, value in vars(limit).items()}


_NUMBERS = {
    "nominal": "amount on the chip",
    "value": "amount at which the accuracy is lost",
    "low": "start of its 95 % interval",
    "high": "end of its 95 % interval",
}
"""Numbers of a limit in its own unit; NaN where it was not found."""


def _write(group: h5py.Group, limits: Sequence[Limit]) -> None:
    for number, limit in enumerate(limits):
        own = group.create_group(f"{number:04d}")
        hdf5.put_attributes(own, {"name": limit.name, "unit": limit.unit, "comparable": limit.comparable})
        for name, meaning in _NUMBERS.items():
            hdf5.put(own, name, getattr(limit, name), limit.unit, meaning)
        hdf5.put(own, "factor", limit.factor, "1", "the amount at which it is lost, in strengths of the chip's own")
        hdf5.put(own, "accuracy", limit.accuracy, "1", "accuracy with the amount on the chip and nothing else")


def _read(group: h5py.Group) -> Iterable[Limit]:
    for number in sorted(group):
        own = group[number]
        told = hdf5.get_attributes(own)
        name, unit = str(told.get("name", "")), str(told.get("unit", ""))
        numbers = {key: float(hdf5.get(own, key, unit)) for key in _NUMBERS}
        factor, accuracy = (float(hdf5.get(own, key, "1")) for key in ("factor", "accuracy"))
        comparable = bool(told.get("comparable", True))
        yield Limit(name, unit, factor=factor, accuracy=accuracy, comparable=comparable, **numbers)
