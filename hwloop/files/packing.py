"""How large arrays are compressed in HDF5 files: by gzip, which every HDF5 tool reads, and faster than HDF5 does it.

HDF5 looks for repeated pieces in the last digits of measured numbers, where there are none. Here the bytes of numbers,
sorted by their place, are packed by how often each occurs, which takes half the time and less room, and by zlib-ng,
which halves it again; the result is what HDF5's own filters would unpack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from zlib_ng import zlib_ng

from hwloop.typing import AnyArray

ZLIB_HEAD = b"\x78\x01"
"""What a stream of zlib begins with: a window of 32 kB, packed quickly."""


@dataclass(frozen=True)
class Packing:
    """How arrays are compressed; other settings give the same values and other sizes."""

    level: int = 2
    """Of gzip, where whole numbers repeat: higher ones take twice the time for a tenth of the size."""
    chunk: int = 1 << 24
    """Bytes up to which an array is compressed as one piece."""
    small: int = 4096
    """Bytes up to which an array is not worth packing."""
    sample: int = 1024
    """Numbers that are looked at to learn whether an array repeats a few of them."""
    dice: int = 4096
    """Bytes that are looked at to learn whether all are as frequent."""
    bits: float = 7.0
    """Entropy of a byte above which packing wins too little for the time that it takes."""
    runs: float = 0.9
    """Share of a byte among all above which it stands in runs that are worth looking for."""

    def write(self, group: h5py.Group, name: str, array: AnyArray) -> h5py.Dataset:
        """Make a dataset of an array, compressed without loss unless it is small."""
        if array.nbytes <= self.small:
            return group.create_dataset(name, data=array)
        how: dict[str, Any] = {
            "compression": "gzip",
            "compression_opts": self.level,
            "shuffle": array.itemsize > 1 and not self._repeats(array),
        }
        if array.nbytes > self.chunk:
            return group.create_dataset(name, data=array, **how)
        dataset = group.create_dataset(name, array.shape, array.dtype, chunks=array.shape, **how)
        self.rewrite(dataset, array)
        return dataset

    def rewrite(self, dataset: h5py.Dataset, array: AnyArray) -> None:
        """Replace the values of a dataset by others of the same shape and type; it stays compressed if it is."""
        if dataset.compression != "gzip" or dataset.chunks != array.shape:
            dataset[...] = array
            return
        dataset.id.write_direct_chunk((0,) * array.ndim, self._packed(array, sort=bool(dataset.shuffle)))

    def _packed(self, array: AnyArray, *, sort: bool) -> bytes:
        """Compress the bytes of an array, as they lie or sorted by their place within each number."""
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if not sort and array.itemsize > 1:
            return zlib_ng.compress(raw.data, self.level)
        places = np.ascontiguousarray(raw.reshape(-1, array.itemsize).T)
        # Pieces packed one by one, each of which ends with a whole byte, make one stream when they are put together.
        pieces = [self._piece(place, zlib_ng.Z_FULL_FLUSH) for place in places[:-1]]
        pieces.append(self._piece(places[-1], zlib_ng.Z_FINISH))
        return b"".join([ZLIB_HEAD, *pieces, zlib_ng.adler32(places.data).to_bytes(4, "big")])

    def _piece(self, values: AnyArray, end: int) -> bytes:
        """Compress bytes by how often each occurs, or leave them as they are where all are almost as frequent."""
        some = values[:: max(1, len(values) // self.dice)]
        shares = np.bincount(some) / len(some)
        shares = shares[shares > 0]
        level = 0 if -shares @ np.log2(shares) > self.bits else self.level
        strategy = zlib_ng.Z_RLE if shares.max() > self.runs else zlib_ng.Z_HUFFMAN_ONLY
        pack = zlib_ng.compressobj(level, wbits=-zlib_ng.MAX_WBITS, strategy=strategy)
        return pack.compress(values.data) + pack.flush(end)

    def _repeats(self, array: AnyArray) -> bool:
        """Tell whether numbers of many bytes repeat as wholes, so that sorting their bytes hides what repeats."""
        some = array.reshape(-1)[:: max(1, array.size // self.sample)]
        return array.dtype.kind == "f" and len(np.unique(some)) < len(some) // 4


PACKING = Packing()
"""The packing of every file."""
