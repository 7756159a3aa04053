"""A network whose matrices lie on a chip: it computes through the chip, ages with it, and is compensated as a whole."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.drift.aged_run import AgedRun, end_on_this_clock
from hwloop.calibration.drift.compensation import Compensation
from hwloop.calibration.drift.predictive import Predicted
from hwloop.calibration.drift.programmed_tile import ProgrammedTile
from hwloop.calibration.drift.registry import compensation_from
from hwloop.calibration.drift.strategy import NOTHING, Chain, Strategy, uncompensated
from hwloop.calibration.steps import rest, run_together
from hwloop.chip.backend import Backend
from hwloop.chip.claims import Claim
from hwloop.chip.info import Capability
from hwloop.devices.model import DeviceModel
from hwloop.durations import format_duration, parse_duration
from hwloop.errors import BadInputError
from hwloop.files.runs import RunRecord
from hwloop.mapping.activations import Sample, sample_of
from hwloop.mapping.tile import Tile
from hwloop.nn.accuracy import Accuracy, Batches, DeployedAccuracy, accuracy_of
from hwloop.nn.batch_norm import (
    adapts_batch_norm,
    estimate_statistics,
    statistics_of,
    use_statistics,
)
from hwloop.nn.convert import Converted
from hwloop.nn.cost import Cost, cost_of
from hwloop.nn.on_chip import LayerTile, OnChip
from hwloop.nn.placement import Block, PlacedMatrix
from hwloop.nn.report import LayerRow, MappingReport
from hwloop.nn.settings import NetworkNames, NetworkSettings
from hwloop.notebook.card import Cell, card
from hwloop.typing import FloatArray, Json
from hwloop.units import finite, finite_interval


@dataclass(frozen=True)
class OpenRun:
    """What holds a network: the run that programmed it, and the open chip.

    Parameters
    ----------
    record
        The complete run.
    backend
        The open chip, some time after it.
    calibration
        Through which outputs are read; None without one.
    """

    record: RunRecord
    backend: Backend
    calibration: Calibration | None = None

    @functools.cached_property
    def end(self) -> float:
        """End of programming on the chip's clock, seconds; a real clock may have begun anew since."""
        if Capability.STATE in self.backend.info.capabilities:
            return self.record.end()
        return end_on_this_clock(self.record, self.backend)[0]

    def tiles(self, seed: int, model: DeviceModel | None = None) -> list[ProgrammedTile]:
        """Find the tiles on the chip, with the drift of `model`, or else the chip's nominal one, to predict by."""
        known = self.backend.info.device_model if model is None else model
        return AgedRun(self.record, self.end, known, self.calibration, seed).tiles(self.backend)


class DeployedNetwork(nn.Module):
    """A network with its matrices on a chip: a module that takes the inputs of the original and gives its outputs.

    What stays digital is an ordinary part of the module. Gradients through the chip are those of the digital matrices,
    so that digital parts can be trained on what the chip really gives.
    """

    def __init__(
        self,
        converted: Converted,
        placed: Sequence[PlacedMatrix],
        open_run: OpenRun,
        inputs: torch.Tensor,
        settings: NetworkSettings | None = None,
        test: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        """Join a converted network and the run that programmed its matrices; `hwloop.deploy` does all of it.

        Parameters
        ----------
        converted, placed
            The network and where its matrices lie.
        open_run
            The run and its chip.
        inputs
            Calibration inputs, which ranges, columns and batch statistics are taken from.
        settings
            Ranges and replicas.
        test
            Inputs and labels that the network is tested on; its file keeps them.
        """
        super().__init__()
        self.network, self.digital = converted.network, converted.digital
        self.placed, self.open_run, self.inputs, self.test = tuple(placed), open_run, inputs, test
        self.settings = settings or NetworkSettings()
        self.input_weights: torch.Tensor | None = None
        """(inputs,) how many each of the calibration inputs stands for; None: itself."""
        self.compensation = NOTHING
        """Name of the compensation in use."""
        self.adaptation_mvms = 0
        """Input vectors that went through the chip to adapt the digital part to the last compensation."""
        self.names = NetworkNames()
        """Where it came from, for its file."""
        self.refreshed = False
        """Whether cells were pulsed again since programming."""
        self.tested: DeployedAccuracy | None = None
        """Accuracies as it was deployed; None without test data."""
        self._as_programmed = open_run.tiles(open_run.record.provenance.seed)
        self.tiles = [LayerTile(tile, slice(0), slice(0)) for tile in self._as_programmed]
        """Tiles of all matrices, in the order of the run's."""
        self._claim = Claim(open_run.backend, [tile.tile.place for tile in self._as_programmed])
        for matrix in self.placed:
            product = self._product(matrix)
            for user in matrix.sharing:
                user.layer.products[user.own_name] = product
        self.statistics = statistics_of(self.network)
        """Of batch norms, as trained: what compensations start from."""
        self.eval()

    def _product(self, matrix: PlacedMatrix) -> OnChip:
        """Make the product of a matrix of its tiles."""
        replicas = [[tile for block in blocks for tile in self._of_block(block, matrix)] for blocks in matrix.replicas]
        groups, _, outputs = matrix.shape
        random = np.random.default_rng(self.open_run.record.provenance.seed)
        use, ranges = self.settings.replica_use, self.settings.ranges
        return OnChip(replicas, groups * outputs, ranges, use, random, self._claim)

    def _of_block(self, block: Block, matrix: PlacedMatrix) -> list[LayerTile]:
        inputs, outputs = block.slices(matrix.shape)
        found = [tile for tile in self.tiles if tile.programmed.tile.tensor == block.name]
        for tile in found:
            tile.inputs, tile.outputs = within(tile.programmed.tile, inputs.start, outputs.start)
        return found

    # ---- use -------------------------------------------------------------------------------------------------

    @property
    def forward(self) -> Callable[..., torch.Tensor]:  # type: ignore[override]  # torch declares a field
        """What computes the network's outputs through the chip: it takes what the original takes."""
        return self.network

    def fit(self, samples: Mapping[str, FloatArray | Sample], learnt: Mapping[str, float] | None = None) -> None:
        """Choose the ranges of all tiles and fit their columns.

        Parameters
        ----------
        samples
            Activations by matrix, which may be weighted.
        learnt
            Inputs that drive converters fully, by matrix, where training has learnt them.
        """
        for matrix in self.placed:
            if matrix.name not in samples:
                continue
            sample, scale = sample_of(samples[matrix.name]), (learnt or {}).get(matrix.name)
            for replica in self._on_chip(matrix).replicas:
                for tile in replica:
                    tile.fit(sample.inputs(tile.inputs), self.settings.ranges, scale)

    def _on_chip(self, matrix: PlacedMatrix) -> OnChip:
        user = matrix.sharing[0]
        product = user.layer.products[user.own_name]
        assert isinstance(product, OnChip)
        return product

    def accuracy(self, data: Batches | None = None, batch: int = 500) -> Accuracy:
        """Measure the share of right answers on labelled data, with its 95 % interval.

        Parameters
        ----------
        data
            (inputs, labels), or batches of them such as a DataLoader gives; None: the network's own test data.
        batch
            Images at a time, of arrays.

        Raises
        ------
        BadInputError
            For data that do not fit the network, and without data.
        """
        data = self.test if data is None else data
        if data is None:
            raise BadInputError("the network has no test data of its own; give inputs and labels")
        return accuracy_of(self, data, batch)

    # ---- time ------------------------------------------------------------------------------------------------

    @property
    def seconds_after_programming(self) -> float:
        """Age of the weights now."""
        return self.open_run.backend.now() - self.open_run.end

    def age(self, to: str | float) -> None:
        """Let the chip reach an age after the end of programming: a simulated one at once, a real one by waiting.

        Raises BadInputError for an age that has passed.
        """
        until, now = parse_duration(to) if isinstance(to, str) else float(to), self.seconds_after_programming
        if not until >= now:
            raise BadInputError(
                f"the network is {format_duration(now)} old already; {format_duration(until)} has passed"
            )
        rest(self.open_run.backend, until - now)

    def compensate(self, name: str | Strategy) -> tuple[Compensation, ...]:
        """Correct for drift as it is now, in place of what was corrected for before.

        Parameters
        ----------
        name
            'none', 'global', 'column', 'predictive', 'refresh', 'batchnorm' (statistics of batch norms from the
            calibration inputs, through the chip), several joined by plus signs, or a strategy. Probes are calibration
            activations. After a refresh the columns are fitted anew.

        Returns
        -------
        tuple
            The digital compensation of every tile.

        Raises
        ------
        BadInputError, MissingCapabilityError
            For an unknown name, and for what this network or chip does not have.
        """
        strategy = compensation_from(name) if isinstance(name, str) else name
        self.check(strategy)
        if self.refreshed and _predicts(strategy):
            raise BadInputError(
                f"compensation '{strategy.name}': cells were refreshed, and the drift since programming is no longer "
                "theirs; use 'global' or 'column', which measure"
            )
        self._forget()
        if strategy.changes_chip:
            self._pulse(strategy)
        else:
            for tile in self.tiles:
                tile.compensation = strategy.make(tile.programmed, uncompensated(tile.programmed))
        self._follow(strategy)
        return tuple(tile.compensation for tile in self.tiles if tile.compensation is not None)

    def check(self, strategy: Strategy) -> None:
        """Refuse a compensation that this network or its chip does not have.

        Raises
        ------
        BadInputError, MissingCapabilityError
            With what is missing, or what its cells were programmed over by.
        """
        self._claim.check()
        if adapts_batch_norm(strategy) and not self.statistics:
            raise BadInputError(
                f"compensation '{strategy.name}': the network has no batch norm with running statistics"
            )
        for tile in self._as_programmed:
            strategy.check(tile)

    def _follow(self, strategy: Strategy) -> None:
        """Adapt the digital part to a compensation that was made."""
        backend = self.open_run.backend
        before = backend.counts.mvms
        if adapts_batch_norm(strategy):
            estimate_statistics(self.network, self.inputs, self.input_weights)
        self.adaptation_mvms = backend.counts.mvms - before
        self.compensation = strategy.name

    def _forget(self) -> None:
        for tile in self.tiles:
            tile.compensation = None
        use_statistics(self.network, self.statistics)
        self.compensation = NOTHING

    def accuracy_after(self, strategy: Strategy, data: Batches | None = None) -> Accuracy:
        """Measure the accuracy that a compensation gives now, and leave the network's digital part as it was.

        Parameters
        ----------
        strategy
            One that changes cells was carried out just before; columns are fitted anew after it.
        data
            Inputs and labels; None: the network's own test data.
        """
        kept = [(tile.programmed, tile.compensation) for tile in self.tiles]
        name, statistics = self.compensation, statistics_of(self.network)
        try:
            self._forget()
            for tile in self.tiles:
                if strategy.changes_chip:
                    tile.refit()
                else:
                    tile.compensation = strategy.make(tile.programmed, uncompensated(tile.programmed))
            self._follow(strategy)
            return self.accuracy(data)
        finally:
            for tile, (programmed, compensation) in zip(self.tiles, kept, strict=True):
                tile.programmed, tile.compensation = programmed, compensation
            use_statistics(self.network, statistics)
            self.compensation = name

    def _pulse(self, strategy: Strategy) -> None:
        """Let a strategy change cells, at the ranges of programming, then fit the columns anew."""
        known, self.refreshed = self._as_programmed, True
        run_together([strategy.steps(tile, uncompensated(tile)) for tile in known], self.open_run.backend)
        for tile in self.tiles:
            tile.refit()

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write a network file. Raises BadInputError when it exists (without force) or cannot be written."""
        from hwloop.nn.network_file import save_network  # it makes networks, too

        save_network(path, self, force=force)

    # ---- what it is ------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        report = self.mapping_report()
        kind, chip = type(self.network).__name__, self.open_run.backend.info.name
        told = "" if self.tested is None else f", accuracy {self.tested.on_chip.value:.4f} as deployed"
        return f"<DeployedNetwork {kind} on {chip}: {report.cores_used} core(s), {len(report.layers)} matrices{told}>"

    def _repr_html_(self) -> str:
        report, tested = self.mapping_report(), self.tested
        rows = [
            (one.name, one.kind, " x ".join(map(str, one.shape[one.shape[0] == 1 :])),
             ", ".join(map(str, one.cores)), one.mvm_error)
            for one in report.layers
        ]  # fmt: skip
        facts: dict[str, Cell] = {
            "cores": f"{report.cores_used} of {report.info.cores}, {report.utilisation:.0%} of their cells",
            "stays digital": len(report.digital),
        }
        told = "" if tested is None else f"{tested.on_chip.value:.1%} on the chip, {tested.digital.value:.1%} digitally"
        title = f"{type(self.network).__name__} on {report.info.name}"
        return card(title, told, facts, ("matrix", "layer", "shape", "cores", "MVM error"), rows)

    def to_json(self) -> dict[str, Json]:
        """Summarise the network as the JSON object of `hwloop deploy`."""
        record, tested = self.open_run.record, self.tested
        return {
            "method": record.method,
            "backend": record.backend,
            "network": self.names.factory or type(self.network).__name__,
            "weights": self.names.weights or None,
            "dataset": self.names.dataset or None,
            **({} if tested is None else tested.to_json()),
            **self.mapping_report().to_json(),
            "cost": self.cost().to_json(),
            "mvm_error": finite(record.mvm_error),
            "mvm_error_interval": finite_interval(record.mvm_error_interval),
            "pulses": sum(int(tile.pulses.sum()) for tile in record.tiles if tile.pulses is not None),
            "seconds_after_programming": record.age,
            "wall_seconds": record.wall_seconds,
            "file": record.name or None,
            "hwloop_version": importlib.metadata.version("hwloop"),
        }

    def cost(self) -> Cost:
        """Estimate time and energy of one inference on this chip, and the digital work beside it.

        Raises BadInputError without calibration inputs, the first of which is counted with.
        """
        if not len(self.inputs):
            raise BadInputError("the network has no calibration input to count its vectors with")
        matrices = [(matrix, self._on_chip(matrix)) for matrix in self.placed]
        return cost_of(self.network, matrices, self.open_run.backend, self.inputs[:1])

    def mapping_report(self) -> MappingReport:
        """Say which layers lie where, how well the cores are used, and what stays digital."""
        rows = [self._row(matrix) for matrix in self.placed]
        return MappingReport(self.open_run.backend.info, tuple(rows), self.digital)

    def _row(self, matrix: PlacedMatrix) -> LayerRow:
        tiles = self._on_chip(matrix).tiles
        errors = np.array([tile.fit_error for tile in tiles])
        cells = np.array([tile.programmed.tile.target.size for tile in tiles], np.float64)
        known = np.isfinite(errors)
        error = float(np.sqrt(np.average(errors[known] ** 2, weights=cells[known]))) if known.any() else float("nan")
        return LayerRow(
            name=matrix.name,
            kind=matrix.sharing[0].layer.kind,
            shape=matrix.shape,
            cores=tuple(sorted({tile.programmed.tile.place.core for tile in tiles})),
            cells=int(cells.sum()),
            replicas=len(matrix.replicas),
            shared_with=tuple(user.name for user in matrix.sharing[1:]),
            mvm_error=error,
        )


def _predicts(strategy: Strategy) -> bool:
    """Tell whether a strategy, or a part of it, goes by the drift model alone."""
    parts = strategy.parts if isinstance(strategy, Chain) else (strategy,)
    return any(isinstance(part, Predicted) for part in parts)


def within(tile: Tile, first_input: int, first_output: int) -> tuple[slice, slice]:
    """Give the slices of a layer's vectors that a tile takes and gives, where its tensor begins at these."""
    row, column = first_input + tile.first_input, first_output + tile.first_output
    return slice(row, row + tile.place.rows), slice(column, column + tile.place.columns)
