"""The measurements of a file, in the user's hands: a list that can be drawn and looked at as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwloop.errors import BadInputError
from hwloop.files.measurements import Mark, Measurement
from hwloop.notebook.card import card
from hwloop.typing import AnyArray

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes


class Measurements(list[Measurement]):
    """All experiments of a measurement file, in the order in which they were made."""

    def of(self, experiment: str) -> Measurement:
        """Return the last measurement of a kind, such as 'drift'.

        Raises
        ------
        BadInputError
            Where there is none.
        """
        found = [one for one in self if one.experiment.value == experiment]
        if not found:
            kinds = ", ".join(dict.fromkeys(one.experiment.value for one in self)) or "none"
            raise BadInputError(f"there is no measurement of {experiment}; the file has {kinds}")
        return found[-1]

    def plot(self, ax: Axes | None = None, experiment: str | None = None) -> Axes:
        """Draw what a measurement is made for on `ax` or new axes, and return them; None takes the last experiment.

        Raises BadInputError for an experiment that is not there, and for one without reads of good cells.
        """
        from hwloop.plot import main_figure

        if experiment is None and not self:
            raise BadInputError("there is no measurement to draw")
        return main_figure(self[-1] if experiment is None else self.of(experiment), ax)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with a row for each read and what is known of its cell; needs `hwloop[pandas]`."""
        from hwloop.notebook.tables import dataframe

        tables = [one.table() for one in self]
        names = list(dict.fromkeys(name for table in tables for name in table))
        return dataframe({name: np.concatenate([_column(table, name) for table in tables]) for name in names})

    def __repr__(self) -> str:
        return f"<Measurements: {', '.join(repr(one)[1:-1] for one in self) or 'none'}>"

    def _repr_html_(self) -> str:
        rows = [
            (one.experiment.value, len(one.cells), int((one.cells.mark == Mark.GOOD).sum()), len(one.reads))
            for one in self
        ]
        return card("Measurements", head=("experiment", "cells", "good", "reads"), rows=rows)


def _column(table: dict[str, AnyArray], name: str) -> AnyArray:
    """Take a column, or NaN where this experiment has none of that name."""
    return table[name] if name in table else np.full(table["cell"].size, np.nan)
