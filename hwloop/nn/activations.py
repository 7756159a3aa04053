"""What a network gives its matrices: a sample of activations, from calibration inputs run through it in float."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from hwloop.errors import BadInputError, ProgrammingWarning, first_line
from hwloop.mapping.activations import Sample
from hwloop.nn.bypass import Watch
from hwloop.nn.convert import Converted, Digital
from hwloop.nn.placement import PlacedMatrix
from hwloop.nn.products import Recording
from hwloop.nn.settings import NetworkSettings
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Activations:
    """What calibration inputs showed of a network.

    Parameters
    ----------
    samples
        (vectors, groups * inputs) by the name of the matrix, in the order in which they were used first; a matrix that
        nothing reaches is missing. Those that are given from elsewhere may be weighted.
    around
        Weights that are multiplied by around the chip, and matrices that were never used, with reasons.
    learnt
        Inputs that drive converters fully, by matrix, where training has learnt them.
    """

    samples: Mapping[str, FloatArray | Sample]
    around: tuple[Digital, ...]
    learnt: Mapping[str, float] = field(default_factory=dict)


def repeated(inputs: torch.Tensor, weights: torch.Tensor, most: int = 4) -> torch.Tensor:
    """Repeat inputs by their weights, so that a sample of what they give is one of what they stand for.

    Parameters
    ----------
    inputs, weights
        (inputs, ...) and (inputs,).
    most
        Times as many as there are inputs.
    """
    share = weights.double() / float(weights.double().mean())
    count = min(math.ceil(float(share.max() / share.min())), most) * len(inputs)
    ends = torch.floor(torch.cumsum(share, 0) * (count / len(inputs)) + 0.5).long()
    return inputs.repeat_interleave(torch.diff(ends, prepend=torch.zeros(1, dtype=torch.long)), dim=0)


def record_activations(
    converted: Converted, placed: Sequence[PlacedMatrix], inputs: torch.Tensor, settings: NetworkSettings, seed: int
) -> Activations:
    """Run calibration inputs through the digital network and keep a sample of what every matrix is given.

    What passes the chip by is warned of, since its accuracy would be told as the chip's.

    Raises
    ------
    BadInputError
        When the network does not take the inputs, or its activations are not finite.
    """
    recordings, turns = {}, itertools.count()
    for number, matrix in enumerate(placed):
        recordings[matrix.name] = Recording(settings.ranges.vectors, seed + number, turns)
        for user in matrix.sharing:
            user.layer.products[user.own_name] = recordings[matrix.name]
    try:
        with torch.no_grad(), Watch(converted) as watch:
            converted.network(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise BadInputError(f"the network does not take the data {tuple(inputs.shape)}: {first_line(error)}") from error
    finally:
        for matrix in placed:
            for user in matrix.sharing:
                user.layer.products.pop(user.own_name, None)
    used = sorted(recordings.items(), key=lambda item: item[1].turn)
    samples = {name: one.sample.numpy().astype(np.float64) for name, one in used if one.sample is not None}
    for name, sample in samples.items():
        if not np.all(np.isfinite(sample)):
            raise BadInputError(f"{name}: the network's own activations there are NaN or infinite; look at the data")
    around = (*watch.bypassed, *watch.never_called)
    for one in around:
        warnings.warn(f"{one.name} ({one.kind}): {one.reason}", ProgrammingWarning, stacklevel=2)
    return Activations(samples, around)
