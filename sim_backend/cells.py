"""What a matrix-vector product sees of a core: a conductance and a noise for every cell, not for every device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hwloop.devices.wires import attenuation
from hwloop.sim_backend.devices.pcm import DeviceArray
from hwloop.sim_backend.parameters import ChipParameters


@dataclass(frozen=True)
class Cells:
    """The cells of a core while no conductance changes; all as wires let them through."""

    drifted: torch.Tensor
    """The conductances of the devices (2 * K * rows * columns,) of which this was computed, uS."""
    conductance: torch.Tensor
    """(rows, columns) signed conductance without read noise, uS."""
    variance: torch.Tensor | None
    """(rows, columns) variance of the read noise per unit of flicker, uS^2; None for devices without read noise."""
    slow_scale: torch.Tensor | None
    """(rows, columns) amplitude of the read noise over that at the drift model's reference age without wires."""

    @classmethod
    def of(cls, drifted: torch.Tensor, devices: DeviceArray, parameters: ChipParameters) -> Cells:
        """Add up the devices of each cell, whose conductances (2 * K * rows * columns,) are `drifted` now, in uS."""
        p = parameters
        polarities = _sums(drifted, p)
        factor: torch.Tensor | None = None
        if p.wire_resistance != 0 or p.series_resistance != 0:
            factor = attenuation(polarities.double(), p.wire_resistance, p.series_resistance).to(drifted.dtype)
            polarities = polarities * factor
        conductance = polarities[0] - polarities[1]
        if p.read_noise == 0:
            return cls(drifted, conductance, None, None)
        squares = _sums((drifted * devices.q).square_(), p)
        if factor is not None:
            squares.mul_(factor.square())
        variance = squares[0] + squares[1]
        at_reference = devices.amplitudes.power.view(variance.shape)
        # A cell without noise has none to scale.
        scale = torch.where(at_reference > 0, variance / at_reference, 0.0).sqrt_()
        return cls(drifted, conductance, variance, scale)

    def noisy(self, slow: torch.Tensor | None) -> torch.Tensor:
        """Return signed conductances (rows, columns) with slow noise (rows * columns,), uS at the reference age."""
        if slow is None or self.slow_scale is None:
            return self.conductance
        return torch.addcmul(self.conductance, slow.view(self.slow_scale.shape), self.slow_scale)


def _sums(devices: torch.Tensor, parameters: ChipParameters) -> torch.Tensor:
    """Add up a quantity of all devices (2 * K * rows * columns,) over those of each polarity: (2, rows, columns)."""
    by_device = devices.view(parameters.device_shape)
    return by_device[:, 0] if parameters.devices_per_polarity == 1 else by_device.sum(1)
