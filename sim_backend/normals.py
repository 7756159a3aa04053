"""Normal random numbers by table, for the places that draw many thousands at a time.

Sixteen random bits choose one of 65 536 equally likely parts of the normal distribution, and the number is the mean of
that part. The mean is exact and so is the variance; the distribution function is off by 8e-6 at most, the fourth moment
by 6e-5, and nothing lies beyond 4.4 standard deviations. That takes half the time of torch's own normal numbers, which
need 32 random bits each and a logarithm and a cosine.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from scipy.special import ndtri


@functools.lru_cache(maxsize=8)
def equally_likely(device: torch.device) -> torch.Tensor:
    """Return the mean of each part of the distribution in ascending order, scaled together to a variance of one."""
    parts = np.iinfo(np.uint16).max + 1
    density = np.exp(-0.5 * np.square(ndtri(np.linspace(0.0, 1.0, parts + 1)))) / math.sqrt(2.0 * math.pi)
    means = -np.diff(density)
    return torch.from_numpy(means / means.std()).to(torch.float32).to(device)


def normals(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Draw independent standard normal numbers of single precision."""
    count, means = math.prod(shape), equally_likely(generator.device)
    bits = torch.empty((count + 3) // 4, dtype=torch.int64, device=generator.device)
    parts = bits.random_(torch.iinfo(bits.dtype).min, None, generator=generator).view(torch.int16)[:count]
    return means.index_select(0, parts.to(torch.int32).add_(means.numel() // 2)).view(shape)
