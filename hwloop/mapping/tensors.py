"""A tensor of a network before its values are read, and its values as numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from hwloop.errors import BadInputError, printable
from hwloop.typing import AnyArray

if TYPE_CHECKING:
    import torch

    from hwloop.mapping.layouts import Reading

    Values: TypeAlias = "AnyArray | torch.Tensor"

Number: TypeAlias = Literal["float", "integer", "other"]
"""What kind of numbers a tensor holds; 'other' is all that is no real number."""


class Role(Enum):
    """What a tensor is for; the value is what a note calls it."""

    WEIGHT = "weight"
    EMBEDDING = "look-up table"
    BIAS = "bias or mask"
    NORM = "normalisation"
    BUFFER = "buffer, mask or data"
    INTEGER = "integers"
    OTHER = "no weight by its name"
    COPY = "a copy by its name"


@dataclass(frozen=True)
class Tensor:
    """A named tensor whose values are read when they are asked for."""

    key: str
    """Name in the state dict, without what wrappers have put around it."""
    shape: tuple[int, ...]
    """Size along each axis."""
    dtype: str
    """Kind of its values, in the words of the file."""
    load: Callable[[], Values]
    """Reads the values as they are kept."""
    alias: str = ""
    """Full name in the file, where it is another than `key`."""
    storage: Hashable = None
    """Tensors of one file with the same storage are one tensor; None where a file does not tell."""
    trouble: str = ""
    """Why the values are of no use, such as 'is sparse'; empty where they are."""
    aside: str = ""
    """Why it is no part of the network that the file is about; empty for all that are."""
    alone: bool = False
    """Whether it is all that was given, so that it is meant whatever it is called."""
    flat: bool = False
    """Whether a kernel lies in it as a matrix (outputs, inputs x kernel)."""
    role: Role | None = None
    """What it is for, where its layer is known."""
    reading: Reading | None = None
    """How it becomes a matrix, where its layer is known."""

    @property
    def name(self) -> str:
        """The name as it can be printed."""
        return printable(self.key)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values, in whole numbers that cannot overflow."""
        product = 1
        for length in self.shape:
            product *= length
        return product

    @property
    def number(self) -> Number:
        """What kind of numbers it holds."""
        return number_of(self.dtype)


def number_of(dtype: str) -> Number:
    """Tell from the name of a dtype, numpy's, torch's or that of safetensors, what kind of numbers it holds."""
    text = dtype.lower().removeprefix("torch.")
    if text.startswith(("float", "bfloat", "bf16", "f16", "f32", "f64", "f8", "longdouble")):
        return "float"
    if text.startswith(("int", "uint", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")):
        return "integer"
    return "other"


def tensor_of(name: str, values: ArrayLike) -> Tensor:
    """Wrap an array, a nested sequence of numbers or a torch tensor, also one with a gradient.

    Raises
    ------
    BadInputError
        For what is no array.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        return torch_tensor(name, values)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"weights '{printable(name)}' are no array: {error}") from None
    return Tensor(name, array.shape, str(array.dtype.newbyteorder("=")), lambda: array)


def torch_tensor(name: str, values: torch.Tensor) -> Tensor:
    """Wrap a tensor of torch."""
    import torch

    plain = values.layout == torch.strided and not values.is_quantized and not values.is_meta
    trouble = "" if plain else "is sparse, quantised or without values; save it dense"
    storage = (values.data_ptr(), tuple(values.shape), values.stride()) if plain and values.numel() else None
    return Tensor(
        name, tuple(values.shape), str(values.dtype), lambda: values.detach(), storage=storage, trouble=trouble
    )


def numbers(tensor: Tensor) -> AnyArray:
    """Read a tensor as an array of numpy's; what numpy does not know, such as bfloat16, is widened to float64."""
    values = tensor.load()
    if isinstance(values, np.ndarray):
        return values
    plain = values.resolve_conj().resolve_neg().cpu()
    array: AnyArray = (plain.double() if plain.is_floating_point() else plain).numpy()
    return array
