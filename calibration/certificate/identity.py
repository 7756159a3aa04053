"""Whose calibration it is: what a chip must have in common with the calibrated one."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hwloop.chip.info import ChipInfo


@dataclass(frozen=True)
class Identity:
    """What a chip must have in common with the calibrated one."""

    name: str
    serial: str
    cores: int
    rows: int
    columns: int
    devices_per_polarity: int
    input_bits: int
    output_bits: int

    @classmethod
    def of(cls, info: ChipInfo) -> Identity:
        """Return the identity of a chip."""
        return cls(**{f.name: getattr(info, f.name) for f in fields(cls)})

    @property
    def shapes(self) -> set[tuple[int, ...]]:
        """Shapes of what can be known of a core: a number, or one for each row, column, cell or device."""
        cells = (self.rows, self.columns)
        return {(), (self.rows,), (self.columns,), cells, (2, self.devices_per_polarity, *cells)}
