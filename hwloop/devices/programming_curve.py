"""The programming curve of a device: conductance after one RESET pulse against its amplitude."""

from __future__ import annotations

from dataclasses import dataclass

from hwloop.devices.arrays import Array, namespace


@dataclass(frozen=True)
class ProgrammingCurve:
    """Right flank of the programming curve: conductance after one RESET pulse against its amplitude.

    G(I) = g_min + (g_max - g_min) / (1 + exp((I - midpoint) / steepness)), read at the drift model's reference age.
    """

    g_min: float
    """Fully RESET conductance, uS."""
    g_max: float
    """Fully SET conductance, uS."""
    midpoint: float
    """Amplitude at half height, uA."""
    steepness: float
    """Logistic scale, uA: 80 % of the fall takes 4.4 times this."""
    melt: float
    """Amplitude below which nothing melts and a pulse changes nothing, uA."""
    width: float
    """RESET pulse width the curve was taken at, ns."""
    midpoint_spread: float
    """Device-to-device standard deviation of the midpoint, uA."""
    height_spread: float
    """Device-to-device relative standard deviation of the curve's height at a given distance from its midpoint."""
    jitter: float
    """Pulse-to-pulse standard deviation of the effective amplitude, uA."""
    noise: float
    """Pulse-to-pulse standard deviation of the conductance that remains where the curve is flat, uS."""
    relative_noise: float = 0.0
    """Pulse-to-pulse standard deviation of the conductance over the conductance, besides the others."""

    def conductance(self, amplitude: Array) -> Array:
        """Return the nominal conductance (uS) after a RESET pulse of this amplitude (uA)."""
        xp = namespace(amplitude)
        z = xp.clip((amplitude - self.midpoint) / self.steepness, -60.0, 60.0)
        value: Array = self.g_min + (self.g_max - self.g_min) / (1.0 + xp.exp(z))
        return value

    def amplitude(self, conductance: Array) -> Array:
        """Return the amplitude (uA) whose nominal result is this conductance (uS), the inverse of `conductance`.

        Conductances within 0.5 % of either end of the curve are taken as that end: beyond, the curve is flat and
        its inverse says nothing.
        """
        xp = namespace(conductance)
        h = xp.clip((conductance - self.g_min) / (self.g_max - self.g_min), 0.005, 0.995)
        value: Array = self.midpoint + self.steepness * xp.log(1.0 / h - 1.0)
        return value

    def slope(self, conductance: Array) -> Array:
        """Return |dG/dI| in uS/uA where the curve passes this conductance (uS)."""
        xp = namespace(conductance)
        h = xp.clip((conductance - self.g_min) / (self.g_max - self.g_min), 0.005, 0.995)
        value: Array = (self.g_max - self.g_min) * h * (1.0 - h) / self.steepness
        return value

    def pulse_sigma(self, conductance: Array) -> Array:
        """Return the pulse-to-pulse standard deviation (uS) of a RESET pulse aimed at this conductance (uS)."""
        return ((self.slope(conductance) * self.jitter) ** 2 + self.flat_variance(conductance)) ** 0.5

    def flat_variance(self, conductance: Array) -> Array:
        """Return the variance (uS^2) of pulses at this conductance (uS) that no jitter of the amplitude makes."""
        value: Array = self.noise**2 + (self.relative_noise * conductance) ** 2
        return value
