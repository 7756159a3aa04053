"""Functions that work on numpy arrays and torch tensors alike."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


Floating: TypeAlias = NDArray[np.floating[Any]]
"""Numbers in an array of numpy, of any precision."""
Array = TypeVar("Array", Floating, "torch.Tensor")


def namespace(x: Any) -> Any:
    """Return the module, numpy or torch, whose functions take x."""
    # Whoever passes a tensor has imported torch; who does not need not wait for it.
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else np
