"""Results as tables of pandas and datasets of xarray, where these are installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hwloop.errors import BadInputError
from hwloop.typing import AnyArray, Json

if TYPE_CHECKING:
    import pandas
    import xarray


About: TypeAlias = Mapping[str, str | int | float | bool]
"""What is said of a dataset as a whole."""


class Variable(NamedTuple):
    """A variable of a dataset.

    Parameters
    ----------
    dims
        Names of its axes.
    values
        Its values.
    unit
        Theirs; empty for texts, '1' for bare numbers.
    meaning
        What it is.
    """

    dims: tuple[str, ...]
    values: AnyArray
    unit: str
    meaning: str


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


def dataset(
    variables: Mapping[str, Variable],
    coordinates: Mapping[str, Variable],
    about: Mapping[str, str | int | float | bool],
) -> xarray.Dataset:
    """Make a dataset whose variables carry their unit and meaning, as `units` and `long_name`.

    Raises
    ------
    BadInputError
        Where xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise BadInputError("datasets need xarray, which is not installed; pip install 'hwloop[xarray]'") from None

    def lay(found: Mapping[str, Variable]) -> dict[str, tuple[tuple[str, ...], AnyArray, dict[str, str]]]:
        return {name: (one.dims, one.values, _attributes(one)) for name, one in found.items()}

    return xarray.Dataset(lay(variables), lay(coordinates), dict(about))


def _attributes(one: Variable) -> dict[str, str]:
    return {**({"units": one.unit} if one.unit else {}), "long_name": one.meaning}
