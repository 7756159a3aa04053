"""Types of arrays that the whole package uses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
CodeArray = NDArray[np.int32]

BoolArray = NDArray[np.bool_]
