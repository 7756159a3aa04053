"""The datasets of a calibration file: how results are written, and what is checked before a file is read.

A file that comes from elsewhere may be of any content. So the shapes and kinds of all its datasets, and the room that
they take in memory, are looked at before a single value is read.
"""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np

from hwloop.calibration.certificate.identity import Identity
from hwloop.calibration.certificate.validity import VALIDITY
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.results import (
    ConverterResult,
    CurveResult,
    DeviceResult,
    DriftResult,
    FloorResult,
    GainResult,
    PartResult,
    TrimResult,
    WireResult,
    stored_fields,
)
from hwloop.calibration.routines.symmetry_result import SymmetryResult
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.mapping.ranges import RangeResult
from hwloop.typing import AnyArray

MAY_BE_UNKNOWN = ("sigma", "adc_noise")
"""Ends of the names of values that may be NaN or infinite, where they are not known."""
LARGEST_SMALL = 2**26
"""Bytes that the values of a file may take in memory, whatever its own size is."""
LARGEST_EXPANSION = 100
"""Times its own size that a larger file may take in memory; measured values compress tenfold at most."""

KINDS: dict[str, type[PartResult]] = {
    "devices": DeviceResult,
    "converters": ConverterResult,
    "gains": GainResult,
    "trims": TrimResult,
    "wires": WireResult,
    "programming_curve": CurveResult,
    "drift": DriftResult,
    "ranges": RangeResult,
    "floor": FloorResult,
    "symmetry_point": SymmetryResult,
}
"""Parts of a core, by the names of their groups."""


def write_core(file: h5py.File, index: int, core: CoreCalibration) -> None:
    """Write what is known of a core, a group for each part."""
    for name, part in core.parts().items():
        group = file.create_group(f"cores/{index:04d}/{name}")
        validity = VALIDITY[name]
        hdf5.put_attributes(group, {"holds_for_days": validity.days, "holds_because": validity.reason})
        _write(group, part)


def _write(group: h5py.Group, result: PartResult) -> None:
    for item in stored_fields(result):
        values = np.asarray(getattr(result, item.name))
        if values.dtype == np.float64 and values.ndim >= 2:
            values = values.astype(np.float32)  # per device: seven digits are more than any measurement has
        packing = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if values.ndim >= 2 else {}
        dataset = group.create_dataset(item.stored, data=values, **packing)
        dataset.attrs["units"] = item.unit
        dataset.attrs["description"] = item.meaning


def read_cores(file: h5py.File) -> dict[int, CoreCalibration]:
    """Read what is known of all cores of a file that `check_datasets` has passed.

    Raises BadInputError for what is missing or cannot be right.
    """
    return {int(index): _read_core(group) for index, group in file.get("cores", {}).items()}


def _read_core(group: h5py.Group) -> CoreCalibration:
    parts = {name: _read(group[name], KINDS[name]) for name in group if name in KINDS}
    return CoreCalibration(**parts)  # type: ignore[arg-type]


def _read(group: h5py.Group, kind: type[PartResult]) -> PartResult:
    values: dict[str, AnyArray | float] = {}
    for item in stored_fields(kind):
        if item.optional and item.stored not in group:
            continue
        array = hdf5.get(group, item.stored, item.unit)
        if array.dtype == np.float32:
            array = array.astype(np.float64)
        if not (item.stored.endswith(MAY_BE_UNKNOWN) or np.all(np.isfinite(array))):
            raise BadInputError(f"{group.file.filename}: {group.name}/{item.stored} has values that are not finite")
        values[item.name] = array if array.ndim else array.item()
    return kind(**values)  # type: ignore[arg-type]


def check_datasets(file: h5py.File, chip: Identity) -> None:
    """Refuse a file whose datasets are none of a chip of this geometry, or too large; no value is read.

    Raises BadInputError.
    """
    path, found = file.filename, list[h5py.Dataset]()

    def note(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(item)

    file.visititems(note)
    shapes = chip.shapes
    for dataset in found:
        if dataset.shape not in shapes:
            raise BadInputError(
                f"{path}: {dataset.name} has the shape {dataset.shape}, which is none of a core of {chip.rows} x "
                f"{chip.columns} cells"
            )
        if dataset.dtype.kind not in "biuf":
            raise BadInputError(f"{path}: {dataset.name} holds no numbers (its type is {dataset.dtype})")
    most = max(LARGEST_SMALL, LARGEST_EXPANSION * file.id.get_filesize())
    size = sum(dataset.nbytes for dataset in found)
    for dataset in _linked(file):
        size += dataset.nbytes
        if size > most:
            break
    if size > most:
        raise BadInputError(
            f"{path} would take more than {most / 1e6:.0f} MB in memory, which no calibration of that file size does; "
            "calibrate again"
        )


def _linked(file: h5py.File) -> Iterator[h5py.Dataset]:
    """Go through the datasets of cores as often as they are read: one dataset can be linked to under many names."""
    cores = file.get("cores", {})
    for index in cores:
        for part in cores[index].values():
            if isinstance(part, h5py.Group):
                yield from (item for item in part.values() if isinstance(item, h5py.Dataset))
