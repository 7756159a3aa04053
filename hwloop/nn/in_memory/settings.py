"""Settings of arrays that are trained: what goes on around the crossbar in each of the three passes."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from hwloop.registry import suggest

ROUNDINGS = ("nearest", "stochastic")
"""How inputs become codes."""


@dataclass(frozen=True)
class Periphery(Settings):
    """What converters and pulse generators do in forward, backward and update passes.

    Names and defaults after Gokmen, Onen and Haensch, Frontiers in Neuroscience 11, 538 (2017).
    """

    noise_management: int = 1
    """1: every vector is scaled to its own largest magnitude, so that small ones (above all errors) use the whole
    range of the converters too; 0: 1.0 drives a converter fully, whatever the vector."""
    bound_management: int = 10
    """Times that a vector with saturated outputs is repeated at half its scale; forward passes alone."""
    input_bits: int = 0
    """Bits of inputs, where fewer than the chip's shall be used; 0: the chip's."""
    rounding: str = "nearest"
    """'nearest', or 'stochastic': up or down with the probability that keeps the mean."""
    train_length: int = 31
    """Slots of a pulse train at most."""
    length_management: int = 1
    """1: a train has only as many slots as its largest pair of row and column needs; 0: always all."""
    update_management: int = 1
    """1: rows and columns of an update fire with the same largest probability; 0: with those that their values have
    at equal gains."""
    weight_scale: float = 1.0
    """Weight of the network that stands for 1.0 on the chip: the chip's range times this bounds the network's."""
    transfer_noise: float = 0.0
    """Standard deviation of the error of start weights, over the largest of their matrix."""
    devices: int = 1
    """Devices of each weight. Their weights add up, and every update goes to one of them, drawn at random."""
    significance: float = 1.0
    """What a device counts over the one before: 1, all alike; less, and later ones hold what the earlier ones lack."""
    replicas: int = 1
    """Copies of the matrix of a convolution, each of which sees and is updated by its share of the patches, drawn at
    random (RAPA: Rasch et al., Frontiers in Neuroscience 13, 753, 2019)."""
    writing_passes: int = 30
    """Most passes of reading and pulsing in which start weights are written."""

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise BadInputError(f"setting rounding='{self.rounding}': {suggest(self.rounding, ROUNDINGS)}")
        for name, low, high in (
            ("noise_management", 0, 1), ("bound_management", 0, 30), ("input_bits", 0, 16), ("train_length", 1, 10_000),
            ("length_management", 0, 1), ("update_management", 0, 1), ("weight_scale", 1e-6, 1e6),
            ("transfer_noise", 0.0, 10.0), ("devices", 1, 64), ("significance", 1e-3, 1.0), ("replicas", 1, 4096),
            ("writing_passes", 0, 10_000),
        ):  # fmt: skip
            self._require(name, low, high)
