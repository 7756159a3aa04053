"""What has moved on a chip since its calibration: a small probe, compared with what the calibration says."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.certificate.certificate import TEMPERATURE_WINDOW, Calibration
from hwloop.calibration.certificate.renewal import converters_now
from hwloop.calibration.routines.base import whole_core
from hwloop.calibration.routines.converters import idle_inputs
from hwloop.calibration.routines.results import ConverterResult
from hwloop.calibration.settings import Settings
from hwloop.calibration.steps import run
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, CalibrationWarning
from hwloop.typing import BoolArray, FloatArray, Json
from hwloop.units import finite


@dataclass(frozen=True)
class Finding:
    """One comparison of a calibration with a probe."""

    core: int | None
    """None: of the chip as a whole."""
    what: str
    compared: int
    moved: int
    """Values that differ by more than chance explains."""
    worst: float
    """Largest difference in standard deviations."""

    @property
    def expected(self) -> bool:
        """Whether this is what chance alone brings."""
        return self.moved == 0

    def __str__(self) -> str:
        where = "the chip" if self.core is None else f"core {self.core}"
        return f"{where}, {self.what}: {self.moved} of {self.compared} moved; worst {self.worst:.1f} sigma"

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return {
            "core": self.core,
            "what": self.what,
            "compared": self.compared,
            "moved": self.moved,
            "worst_sigmas": finite(self.worst),
        }


@dataclass(frozen=True)
class Check(Settings):
    """The comparison of a calibration with its chip, and its settings."""

    adc_vectors: int = 1024
    """Full-scale input vectors that show the ADCs' curves; twice the rows, at least, are sent."""
    moved_sigmas: float = 4.0
    """Standard deviations of a difference beyond which a value has moved: one in 16 000 does so by chance."""
    idle_resolution: float = 0.01
    """LSB; uncertainty of a mean of idle outputs that never change."""
    stale: float = 1.0
    """LSB; root mean square of what offsets have moved by over the columns of a core, beyond chance, that makes a
    calibration of no use; a single column that has moved by more is warned of."""

    def __post_init__(self) -> None:
        self._require("adc_vectors", 512, 1e7)
        self._require("moved_sigmas", 0, 1000)
        self._require("idle_resolution", 1e-9, 10)
        self._require("stale", 0, 1000)

    def run(self, calibration: Calibration, backend: Backend, seed: int) -> list[Finding]:
        """Compare; see `check`."""
        calibration.for_chip(backend)
        backend.require(Capability.MVM, "checking a calibration")
        calibration.write_trims(backend)
        findings = temperature_finding(calibration, backend)
        for index, core in sorted(calibration.cores.items()):
            if core.converters is not None:
                rng = np.random.default_rng([seed, index])
                findings += self._core(core.converters, backend, index, rng)
        return findings

    def _core(self, known: ConverterResult, backend: Backend, core: int, rng: np.random.Generator) -> list[Finding]:
        """Compare idle outputs, which show the offsets whatever a core holds, and curves where columns conduct."""
        difference, sigma = self._offsets(known, backend, core)
        findings = [self.compare(core, "offsets, by idle outputs", difference, sigma, ~known.unresponsive)]
        now = run(converters_now(backend, core, self.adc_vectors, rng), backend)
        if now is None:
            return findings
        both = ~known.unresponsive & ~now.unresponsive
        for name, label in (
            ("offset", "offsets"),
            ("second_order", "second-order nonlinearities"),
            ("third_order", "third-order nonlinearities"),
        ):
            difference = getattr(now, name) - getattr(known, name)
            sigma = np.hypot(getattr(now, f"{name}_sigma"), getattr(known, f"{name}_sigma"))
            findings.append(self.compare(core, label, difference, sigma, both))
        return findings

    def refuse_stale(self, calibration: Calibration, backend: Backend, cores: Iterable[int]) -> None:
        """Compare idle outputs with a calibration that is about to be used; see `refuse_stale`."""
        for core in cores:
            known = calibration.cores[core].converters if core in calibration.cores else None
            if known is None:
                continue
            difference, sigma = self._offsets(known, backend, core)
            difference[known.unresponsive] = 0.0
            beyond = np.sqrt(max(0.0, float((difference**2 - sigma**2).mean())))
            moved = np.abs(difference) > np.maximum(self.stale, self.moved_sigmas * sigma)
            worst = int(np.argmax(np.abs(difference)))
            text = (
                f"offsets of core {core} are not those of the calibration: {moved.sum()} of {moved.size} columns are "
                f"off by over {self.stale:g} LSB, column {worst} by {difference[worst]:.1f} LSB"
            )
            if beyond > self.stale:
                raise BadInputError(f"{text}; bring it up to date with hwloop calibrate daily")
            if moved.any():
                warnings.warn(f"{text}; hwloop calibrate daily mends that", CalibrationWarning, stacklevel=2)

    def _offsets(self, known: ConverterResult, backend: Backend, core: int) -> tuple[FloatArray, FloatArray]:
        """Measure idle outputs (256 vectors), and return what `idle_difference` makes of them."""
        region = whole_core(backend, core)
        return self.idle_difference(region.mvm(idle_inputs(region)), known, backend.info.code_max)

    def idle_difference(
        self, codes: NDArray[np.integer], known: ConverterResult, code_max: int
    ) -> tuple[FloatArray, FloatArray]:
        """Return mean idle outputs less what rounding makes of the known offsets and noise, and its uncertainty.

        Parameters
        ----------
        codes
            (vectors, columns) idle outputs.
        known
            What the calibration says of the converters.
        code_max
            The largest code.
        """
        expected, sigma = known.idle_mean(code_max)
        of_mean = codes.std(0) / math.sqrt(len(codes)) + self.idle_resolution
        return codes.mean(0) - expected, np.hypot(of_mean, sigma)

    def compare(self, core: int, what: str, difference: FloatArray, sigma: FloatArray, which: BoolArray) -> Finding:
        """Count the differences (columns,) beyond chance among the columns that are chosen by `which`."""
        far = np.abs(difference[which]) / np.maximum(sigma[which], 1e-12)
        worst = float(far.max()) if far.size else 0.0
        return Finding(core, what, int(far.size), int((far > self.moved_sigmas).sum()), worst)


def temperature_finding(calibration: Calibration, backend: Backend) -> list[Finding]:
    """Compare the chip's temperature with that of the calibration, where both are known."""
    if not math.isfinite(calibration.temperature) or Capability.TEMPERATURE not in backend.info.capabilities:
        return []
    away = abs(backend.temperature() - calibration.temperature)
    moved = int(away > TEMPERATURE_WINDOW)
    return [Finding(None, f"temperature ({away:.1f} K away)", 1, moved, away / TEMPERATURE_WINDOW)]


def refuse_stale(calibration: Calibration, backend: Backend, cores: Iterable[int]) -> None:
    """Refuse a calibration whose offsets are not what the chip shows now, before devices are pulsed through it.

    Parameters
    ----------
    calibration
        What is about to be used; its trims have been written.
    backend
        Its chip.
    cores
        Those of its cores that are about to be used: 256 idle MVMs each.

    Raises
    ------
    BadInputError
        Where the offsets of a core's columns have moved by over one LSB in the root mean square, beyond chance. Fewer
        columns that have moved are a CalibrationWarning.
    """
    Check().refuse_stale(calibration, backend, cores)


def check(calibration: Calibration, backend: Backend, settings: Check | None = None, *, seed: int = 1) -> list[Finding]:
    """Measure a small probe, MVMs alone, under the calibration's trims, and compare it with the calibration.

    Parameters
    ----------
    calibration
        What is known.
    backend
        Its chip; idle outputs show the offsets whatever a core holds, curves only where columns conduct enough.
    settings
        Of the comparison.
    seed
        Of the probe inputs.

    Raises
    ------
    BadInputError
        For another chip.
    """
    return (settings or Check()).run(calibration, backend, seed)
