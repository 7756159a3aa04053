"""Results as pandas tables, where pandas is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hwloop.errors import BadInputError
from hwloop.typing import AnyArray, Json

if TYPE_CHECKING:
    import pandas


def dataframe(rows: Sequence[Mapping[str, Json]] | Mapping[str, AnyArray]) -> pandas.DataFrame:
    """Make a table of rows, or of columns by name.

    Raises
    ------
    BadInputError
        Where pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise BadInputError("tables need pandas, which is not installed; pip install 'hwloop[pandas]'") from None
    return pandas.DataFrame(rows)
