"""Arrays in HDF5 and netCDF: named datasets, axes, units and what netCDF says of values."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import netcdf_file

from hwloop.errors import BadInputError
from hwloop.importers.arrays import ArraysImport
from hwloop.importers.files import ImportOptions, import_file
from hwloop.importers.layout import TextOptions
from tests.importers.conftest import Import

TIME = np.array([1.0, 10.0, 100.0])
G = np.array([[5.0, 2.0], [4.5, 1.8], [4.0, 1.6]])
"""(times, cells) uS."""


def write(path: Path, **datasets: tuple[object, str | None]) -> Path:
    with h5py.File(path, "w") as file:
        for name, (values, unit) in datasets.items():
            file[name.replace("__", "/")] = np.asarray(values)
            if unit is not None:
                file[name.replace("__", "/")].attrs["units"] = unit
    return path


def by_cell(found: object) -> np.ndarray:
    """(times, cells) as they were imported."""
    table = np.full((TIME.size, len(found.cells)), np.nan)
    table[np.searchsorted(TIME, found.reads.time), found.reads.cell] = found.reads.conductance
    return table


@pytest.mark.parametrize("turned", [False, True])
def test_times_by_cells_and_cells_by_times(imported: Import, tmp_path: Path, turned: bool) -> None:
    path = write(tmp_path / "lab.h5", t=(TIME, "s"), g=(1e-6 * (G.T if turned else G), None))
    found, report = imported(path, "time[s]=t,conductance[S]=g")
    assert report.reads == 6
    np.testing.assert_allclose(by_cell(found), G)


def test_columns_of_equal_length_and_parts_of_an_array(
    imported: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, time, values = np.tile([7, 3], 3), np.repeat(TIME, 2), G.ravel()
    path = write(tmp_path / "lab.h5", run__cell=(cell, None), run__t=(time, "min"), run__R=(1e3 / values, "kΩ"))
    whole, _ = imported(path, "cell=run/cell,time=run/t,resistance=run/R")
    assert whole.cells.address.tolist() == [7, 3]
    np.testing.assert_allclose(whole.reads.time, 60 * time)
    np.testing.assert_allclose(whole.reads.conductance, values)
    monkeypatch.setattr(ArraysImport, "rows_at_once", 1, raising=False)
    monkeypatch.setattr(ArraysImport.__init__, "__defaults__", (1,))
    parts, _ = imported(path, "cell=run/cell,time=run/t,resistance=run/R")
    np.testing.assert_array_equal(parts.reads.conductance, whole.reads.conductance)
    square = write(tmp_path / "two.h5", t=(TIME, "s"), g=(G, "uS"))
    np.testing.assert_allclose(by_cell(imported(square, "time=t,conductance=g")[0]), G)
    turned = write(tmp_path / "three.h5", t=(TIME, "s"), g=(G.T, "uS"))
    np.testing.assert_allclose(by_cell(imported(turned, "time=t,conductance=g")[0]), G)


def test_names_of_datasets_are_recognised(imported: Import, tmp_path: Path) -> None:
    path = write(tmp_path / "lab.h5", time=(TIME, "s"), conductance=(G, "µS"), comment=([1.0], None))
    with pytest.raises(BadInputError, match=r'looks like --columns "conductance=conductance,time=time"'):
        imported(path)
    found, report = imported(path, "auto")
    np.testing.assert_allclose(by_cell(found), G)
    assert report.notes == ["columns taken as conductance=conductance,time=time"]


def test_a_table_and_a_row_of_matlab(imported: Import, tmp_path: Path) -> None:
    table = np.array(list(zip([1, 1], [1.0, 10.0], [5.0, 4.0], strict=True)), [("c", "i4"), ("t", "f8"), ("g", "f4")])
    found, _ = imported(
        write(tmp_path / "t.h5", data=(table, None)), "cell=data/c,time[s]=data/t,conductance[uS]=data/g"
    )
    assert found.reads.conductance.tolist() == [5, 4]
    path = write(tmp_path / "m.h5", t=(TIME[None], None), g=(G[:, :1].T, None))
    assert imported(path, "time[s]=t,conductance[uS]=g")[0].reads.conductance.tolist() == [5, 4.5, 4]


def test_what_netcdf_says_of_values_is_obeyed(imported: Import, tmp_path: Path) -> None:
    path = write(tmp_path / "lab.nc", t=(TIME, "seconds since 2023-11-14 22:13:20"), g=([[500, -1], [450, 180]], "uS"))
    with h5py.File(path, "r+") as file:
        del file["t"]
        file["t"] = TIME[:2]
        file["t"].attrs["units"] = "seconds since 2023-11-14 22:13:20"
        file["g"].attrs.update({"_FillValue": -1, "scale_factor": 0.01, "add_offset": 0.5})
        for name in ("t", "cells"):
            if name not in file:
                file[name] = np.arange(2)
            file[name].make_scale(name)
        file["g"].dims[0].attach_scale(file["t"])
        file["g"].dims[1].attach_scale(file["cells"])
    with pytest.raises(BadInputError, match="times are moments of a clock"):
        imported(path, "time=t,conductance=g")
    found, report = imported(path, "time=t,conductance=g", start=1.0)
    assert found.reads.time.tolist() == [1, 10, 10]
    np.testing.assert_allclose(found.reads.conductance, [5.5, 5.0, 2.3])
    assert report.dropped["conductance is missing or not finite"].count == 1


def test_old_netcdf(imported: Import, tmp_path: Path) -> None:
    with netcdf_file(tmp_path / "old.nc", "w") as file:
        file.createDimension("time", 3)
        file.createDimension("cell", 2)
        file.createVariable("t", "f8", ("time",))[:] = TIME
        file.variables["t"].units = "s"
        file.createVariable("g", "f8", ("time", "cell"))[:] = G
        file.variables["g"].units = "uS"
    found, _ = imported(tmp_path / "old.nc", "time=t,conductance=g")
    np.testing.assert_allclose(by_cell(found), G)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("time[s]=t,conductance[uS]=nothing", "has no numeric dataset 'nothing'; it has g, square, t, x"),
        ("time[s]=t,conductance[uS]", "name the dataset of every quantity, or of none"),
        ("time[s],conductance[uS]", "name the dataset of each column"),
        ("time=t,conductance[uS]=g", "'t' does not say its unit; give it"),
        ("time[s]=t,conductance[uS]=square", "time of shape (3,) may run along either axis"),
        ("time[s]=x,conductance[uS]=g", "time of shape (5,) fits no axis of (3, 2)"),
        ("conductance[uS]=g", "no time among the datasets named"),
    ],
)
def test_arrays_that_cannot_be_placed_are_refused(imported: Import, tmp_path: Path, columns: str, message: str) -> None:
    path = write(
        tmp_path / "lab.h5", t=(TIME, None), g=(G, None), square=(np.ones((3, 3)), None), x=(np.arange(5), None)
    )
    with pytest.raises(BadInputError) as caught:
        imported(path, columns)
    assert message in str(caught.value)


def test_a_file_of_arrays_is_imported_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "lab.h5", t=(TIME, "s"), g=(1e-6 * G, None))
    (tmp_path / "more.csv").write_text("time,g\n1,2\n")
    options = ImportOptions(TextOptions("time[s]=t,conductance[S]=g"))
    for paths in ([path, tmp_path / "more.csv"], [tmp_path / "more.csv", path]):
        with pytest.raises(BadInputError, match=r"lab\.h5 holds arrays; import such files one at a time"):
            import_file(paths, tmp_path / "out.h5", options, "w")
    assert import_file([path], tmp_path / "out.h5", options, "w").reads == 6
