"""How long the parts of a calibration are taken to be valid."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Validity:
    """How long a part is valid, and why."""

    days: float
    reason: str

    @property
    def span(self) -> timedelta:
        """The time from measurement to the end of validity."""
        return timedelta(days=self.days)


VALIDITY: dict[str, Validity] = {
    "devices": Validity(90.0, "devices fail by wear, not by time (assumed)"),
    "converters": Validity(7.0, "references and amplifiers age and follow the supply (assumed)"),
    "gains": Validity(7.0, "as the converters"),
    "programming_curve": Validity(30.0, "pulse drivers age; devices change with the number of their pulses (assumed)"),
    "drift": Validity(365.0, "a property of the material (assumed)"),
    "trims": Validity(3650.0, "written anew whenever the calibration is used"),
    "wires": Validity(3650.0, "wires do not change"),
    "ranges": Validity(3650.0, "follow from weights and inputs"),
    "floor": Validity(7.0, "as the converters"),
    "symmetry_point": Validity(30.0, "devices change with the number of their pulses (assumed)"),
}
"""Of each part of a calibration, by name."""
