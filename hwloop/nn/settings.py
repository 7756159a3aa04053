"""How a network computes through its chip, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.nn.ranges import RangeSettings

REPLICA_USES = ("average", "share", "random")


@dataclass(frozen=True)
class NetworkSettings(Settings):
    """How a network computes through its chip."""

    ranges: RangeSettings = field(default_factory=RangeSettings)
    """Ranges of the converters."""
    replica_use: str = "average"
    """What copies of a layer are for: 'average' adds up their outputs, 'share' gives each its part of the vectors,
    'random' shares them out at random."""

    def __post_init__(self) -> None:
        if self.replica_use not in REPLICA_USES:
            known = ", ".join(REPLICA_USES)
            raise BadInputError(f"setting replica_use='{self.replica_use}' is unknown; known: {known}")


@dataclass(frozen=True)
class NetworkNames:
    """What a network's file tells of its origin, for people and for opening it again.

    Parameters
    ----------
    factory
        MODULE:FACTORY that makes the network; empty for one that was given as a module.
    weights, weights_sha256
        File of its weights, and its fingerprint.
    dataset
        File of the data that it was deployed with.
    exclude
        Patterns of layers that stay digital.
    replicas
        Copies of layers, by pattern.
    """

    factory: str = ""
    weights: str = ""
    weights_sha256: str = ""
    dataset: str = ""
    exclude: tuple[str, ...] = ()
    replicas: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, factory: str, weights: str | Path, dataset: str | Path) -> NetworkNames:
        """Name a network by its factory and its files; a file of weights is known by its content too."""
        content = fingerprint(weights) if Path(weights).is_file() else ""
        return cls(factory, str(weights), content, str(dataset))
