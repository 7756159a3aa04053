"""How a network lies on a chip, for people and for scripts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from textwrap import fill

from hwloop.chip.info import ChipInfo
from hwloop.nn.convert import Digital
from hwloop.typing import Json
from hwloop.units import finite


@dataclass(frozen=True)
class LayerRow:
    """One matrix of the network on the chip.

    Parameters
    ----------
    name, kind
        Of the matrix, and of its layer.
    shape
        (groups, inputs, outputs).
    cores
        Numbers of the cores that hold it.
    cells
        Cells that it takes, with those that groups leave empty.
    replicas
        Copies of it.
    shared_with
        Matrices that are the same and use the same cells.
    mvm_error
        Relative error of its outputs for calibration activations, root mean square over its tiles; NaN where unknown.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    cores: tuple[int, ...]
    cells: int
    replicas: int
    shared_with: tuple[str, ...]
    mvm_error: float

    def to_json(self) -> dict[str, Json]:
        """Give every value by its name."""
        return {
            "name": self.name,
            "kind": self.kind,
            "groups": self.shape[0],
            "inputs": self.shape[1],
            "outputs": self.shape[2],
            "cores": list(self.cores),
            "cells": self.cells,
            "replicas": self.replicas,
            "shared_with": list(self.shared_with),
            "mvm_error": finite(self.mvm_error),
        }


@dataclass(frozen=True)
class MappingReport:
    """Which layers of a network lie where, and what stays digital.

    Parameters
    ----------
    info
        The chip.
    layers
        What is on it.
    digital
        What is not, with reasons.
    """

    info: ChipInfo
    layers: tuple[LayerRow, ...]
    digital: tuple[Digital, ...]

    @property
    def cores_used(self) -> int:
        """Cores that hold at least one cell of the network."""
        return len({core for layer in self.layers for core in layer.cores})

    @property
    def utilisation(self) -> float:
        """Cells in use over the cells of the cores in use."""
        cells = sum(layer.cells for layer in self.layers)
        return cells / (self.cores_used * self.info.rows * self.info.columns) if self.cores_used else math.nan

    def to_json(self) -> dict[str, Json]:
        """Give the part of `deploy`'s JSON that tells of the mapping."""
        return {
            "cores_used": self.cores_used,
            "utilisation": self.utilisation,
            "layers": [layer.to_json() for layer in self.layers],
            "digital": [{"name": one.name, "kind": one.kind, "reason": one.reason} for one in self.digital],
        }

    def __str__(self) -> str:
        head = (
            f"{self.cores_used} of {self.info.cores} core(s) of {self.info.name}, {self.utilisation:.0%} of their cells"
        )
        width = max([len("matrix"), *(len(layer.name) for layer in self.layers)])
        lines = [head, "", f"{'matrix':<{width}}  {'shape':>15}  cores      MVM error"]
        for layer in self.layers:
            groups, inputs, outputs = layer.shape
            shape = f"{inputs} x {outputs}" if groups == 1 else f"{groups} x {inputs} x {outputs}"
            error = "   -  " if finite(layer.mvm_error) is None else f"{layer.mvm_error:.4f}"
            copies = f"  {layer.replicas} copies" if layer.replicas > 1 else ""
            shared = f"  shared with {', '.join(layer.shared_with)}" if layer.shared_with else ""
            lines.append(f"{layer.name:<{width}}  {shape:>15}  {_numbers(layer.cores):<9}  {error}{copies}{shared}")
        lines += ["", "MVM errors are those of the network's own activations."]
        if self.digital:
            lines += ["", "digital:", *self._digital_lines()]
        return "\n".join(lines)

    def _digital_lines(self) -> list[str]:
        """Write what stays digital, each reason once."""
        alike: dict[tuple[str, str], list[str]] = {}
        for one in self.digital:
            alike.setdefault((one.kind, one.reason), []).append(one.name or "the network")
        texts = (f"{', '.join(names)} ({kind}): {reason}" for (kind, reason), names in alike.items())
        return [fill(text, 80, initial_indent="  ", subsequent_indent="    ") for text in texts]


def _numbers(cores: tuple[int, ...]) -> str:
    """Write core numbers briefly: 0, 0-3, or 0, 2, 7."""
    if len(cores) > 1 and cores[-1] - cores[0] == len(cores) - 1:
        return f"{cores[0]}-{cores[-1]}"
    return ", ".join(map(str, cores))
