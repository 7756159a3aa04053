"""Types that the whole package uses: arrays, what JSON can hold, and the saved state of a piece of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
CodeArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]
AnyArray = NDArray[Any]

State: TypeAlias = Mapping[str, AnyArray]
"""Named arrays from which a piece of work, or a simulated chip, goes on where it was."""

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""What `to_json` of a result may hold."""
