"""Text files and their import into a temporary folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurements import Measurement
from hwloop.importers.checks import ImportReport
from hwloop.importers.files import ImportOptions, import_file
from hwloop.importers.layout import TextOptions

Import = Callable[..., tuple[Measurement, ImportReport]]


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    """`imported(text or path, columns, ...)` gives the measurement and the report."""

    def run(
        source: str | bytes | Path | list[Path], columns: str | None = None, **options: Any
    ) -> tuple[Measurement, ImportReport]:
        path = source if isinstance(source, Path | list) else tmp_path / "lab.csv"
        if isinstance(source, str):
            path.write_text(source, encoding="utf-8")
        elif isinstance(source, bytes):
            path.write_bytes(source)
        of_text = {name: options.pop(name) for name in list(options) if name in TextOptions.__dataclass_fields__}
        report = import_file(path, tmp_path / "out.h5", ImportOptions(TextOptions(columns, **of_text), **options), "w")
        [measurement] = read_measurements(tmp_path / "out.h5")
        return measurement, report

    return run
