"""Settings of explicit memories, and the pulses that they stand for on one chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from hwloop.calibration.programming.base import RESET_MARGIN
from hwloop.calibration.settings import Settings
from hwloop.chip.info import Capability, ChipInfo
from hwloop.errors import BadInputError


@dataclass(frozen=True)
class MemorySettings(Settings):
    """How an explicit memory writes and asks."""

    levels: int = 3
    """SET pulses for the strong elements of an example; weaker ones get fewer, in proportion, or none. 1: signs."""
    strong: float = 0.9
    """Quantile of an example's magnitudes from which an element is strong."""
    most_pulses: int = 20
    """SET pulses after which a device counts as full: by the law of simulated devices (Nandakumar et al. 2018) the next
    one adds a sixteenth of what the first did."""
    full_share: float = 0.1
    """Share of the pulses of a write that would meet full devices above which the class is refreshed first."""
    kept: float = 0.4
    """SET pulses of the strongest devices of a class after a refresh, over `most_pulses`."""
    set_amplitude: float = 0.0
    """uA of a SET pulse; 0: `set_share` of the nominal melting amplitude."""
    set_share: float = 0.6
    """Amplitude of a SET pulse over the nominal melting amplitude, where `set_amplitude` is 0."""
    set_width: float = 50.0
    """ns of a SET pulse: so short that it crystallises a part of a device (Nandakumar et al. 2018)."""
    reset_amplitude: float = 0.0
    """uA of the RESET pulse that erases; 0: eight steepnesses beyond the nominal midpoint."""
    reset_width: float = 0.0
    """ns of it; 0: that of the nominal curve, or the shortest that the chip makes."""
    aging: float = 2.0
    """Norms are measured anew before an answer when the youngest class is this many times as old as it was at the last
    measurement: what was just written drifts fastest."""
    headroom: float = 1.3
    """Full scale of the converters over the largest output of a probe."""
    seed: int = 0
    """Of the order and signs of the probes."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("levels", 1, 100), ("strong", 0.01, 1.0), ("most_pulses", 1, 10_000), ("full_share", 0.0, 1.0),
            ("kept", 0.05, 1.0), ("set_amplitude", 0.0, 1e6), ("set_share", 0.01, 1.0), ("set_width", 1e-3, 1e9),
            ("reset_amplitude", 0.0, 1e6), ("reset_width", 0.0, 1e9), ("aging", 1.0, 1e12), ("headroom", 1.0, 100.0),
            ("seed", 0, 2**32 - 1),
        ):  # fmt: skip
            self._require(name, low, high)


@dataclass(frozen=True)
class MemoryPulses:
    """The two pulses of a memory on one chip."""

    set_amplitude: float
    """uA."""
    set_width: float
    """ns."""
    reset_amplitude: float
    """uA."""
    reset_width: float
    """ns."""

    @classmethod
    def of(cls, info: ChipInfo, settings: MemorySettings) -> Self:
        """Take them from the settings, and from the chip's device model where those leave it open.

        Raises
        ------
        BadInputError
            For a chip that takes no pulses, one of which no model is known when the settings leave an amplitude open,
            and a SET pulse that melts.
        """
        if Capability.TARGETS in info.capabilities:
            raise BadInputError(
                f"{info.name} programs targets by itself and takes no pulses, so nothing accumulates; use a chip that "
                "does, such as sim:hermes-64 without level=statistical"
            )
        curve = info.device_model.curve if info.device_model else None
        if curve is None and not (settings.set_amplitude and settings.reset_amplitude):
            raise BadInputError(
                f"{info.name}: nothing is known of its devices; give set_amplitude and reset_amplitude, in uA, in "
                "MemorySettings"
            )
        set_amplitude = settings.set_amplitude or (settings.set_share * curve.melt if curve else 0.0)
        reset_amplitude = settings.reset_amplitude or (
            min(curve.midpoint + RESET_MARGIN * curve.steepness, info.limits.amplitude_max) if curve else 0.0
        )
        if not reset_amplitude > set_amplitude:
            raise BadInputError(
                f"setting reset_amplitude={reset_amplitude:g} uA: a RESET pulse must be stronger than the SET pulse of "
                f"{set_amplitude:g} uA, or it melts nothing"
            )
        width = settings.reset_width or (curve.width if curve else info.limits.width_min)
        return cls(set_amplitude, settings.set_width, reset_amplitude, width)
