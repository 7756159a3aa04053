"""The statistical simulated chip: no pulses, but what programming by pulses leaves, for networks and error bars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from hwloop.chip import checks
from hwloop.chip.info import Capability
from hwloop.chip.pulses import Pulses
from hwloop.chip.targets import Programmer, Targets
from hwloop.errors import BadInputError, LimitError
from hwloop.sim_backend.base import Core, Seen, SimulatedBase
from hwloop.sim_backend.converters import ALL_COLUMNS, ColumnConverters
from hwloop.sim_backend.noise import FlickerLadder
from hwloop.sim_backend.options import SimOptions
from hwloop.sim_backend.parameters import ChipParameters
from hwloop.sim_backend.statistical.learning import LEARNT, Plan, PulseLevel, rehearsing
from hwloop.sim_backend.statistical.patch import Patch, blocks
from hwloop.sim_backend.statistical.rehearsal import Rehearsal
from hwloop.sim_backend.statistical.settings import SETTINGS
from hwloop.typing import AnyArray, CodeArray, State

CAPABILITIES = frozenset(Capability) - {
    Capability.DEVICE_READ,
    Capability.EXACT_PLACEMENT,
    Capability.TRANSPOSED_MVM,
    Capability.UPDATE,
}
"""What it can do: it has cells, not devices that could be read or placed one by one."""
CORE_PARTS = frozenset(("generator", "adc_range", "read_mode", "offset_trim", "gain_trim"))
"""What a saved core has beside its cells."""
A = TypeVar("A")


@dataclass
class _Core(Core):
    """One core, made when it is first used."""

    specimen: torch.Generator
    patches: list[Patch] = field(default_factory=list)
    """The later ones lie above the earlier ones."""
    stuck: tuple[torch.Tensor, torch.Tensor] | None = None
    """(n,) flat cells with a stuck device and a number from 0 to 1 that tells which; None until they are wanted."""


class StatisticalChip(SimulatedBase[_Core, ChipParameters]):
    """A chip whose cells are drawn from what a rehearsal on simulated pulses left, with its drift and its noise.

    Cells that were never programmed do not conduct. Which cells have a stuck device belongs to the chip; all else is
    drawn anew whenever a cell is programmed.
    """

    def __init__(self, parameters: ChipParameters, options: SimOptions, pulse_level: PulseLevel) -> None:
        """Make the chip; cores take memory when they are first touched.

        Parameters
        ----------
        parameters, options
            As of the chip with pulses.
        pulse_level
            Makes that chip, for rehearsals.

        Raises
        ------
        BadInputError
            For a chip with wires: what a cell contributes then depends on its place and on all other cells.
        """
        for name in ("wire_resistance", "series_resistance"):
            if getattr(parameters, name) > 0:
                raise BadInputError(f"option {name}: the statistical level has no wires; use level=pulse")
        self._pulse_level = pulse_level
        super().__init__(parameters, options, CAPABILITIES)
        generator = torch.Generator(options.device)
        self._ladder = FlickerLadder(parameters.device.read_noise.t_read, (1,), generator, now=0.0)
        self._rehearsals: list[Rehearsal] = []

    def sibling(self, seed: int) -> StatisticalChip:
        """Make the chip that this one's URI with another seed opens: of the same kind, and it knows the same."""
        return StatisticalChip(self._chip, replace(self._options, seed=seed), self._pulse_level)

    def conductances(self, core: int) -> NDArray[np.float32]:
        """Return signed conductances (rows, columns) in uS of a core as they are now, without read noise."""
        unit = self._core(self._check_core(core))
        cells = torch.zeros((self._chip.rows, self._chip.columns), device=self._options.device)
        for patch in unit.patches:
            cells[patch.place] = patch.at(self._clock)[0]
        return cells.cpu().numpy()

    # ---- the contract's hooks --------------------------------------------------------------------------------

    def _refuse_pulse(self, pulses: Pulses) -> None:
        raise LimitError(
            f"{self.info.name}: the statistical level takes no pulses; hwloop.program hands it targets, and "
            "level=pulse takes pulses"
        )

    def _pulse(self, core: int, pulses: Pulses) -> None:
        self._refuse_pulse(pulses)

    def _program_targets(self, targets: Sequence[Targets], age: float, by: Programmer) -> None:
        largest = self._chip.devices_per_polarity * self.info.g_max
        kinds = [
            (SETTINGS.rows(len(one.cells), self._chip.rows), SETTINGS.width(one.cells, largest)) for one in targets
        ]
        known = {kind: self._rehearsed(*kind, age, by) for kind in sorted(set(kinds))}
        for one in targets:
            self._core(one.core)
        works = list(zip(targets, kinds, strict=True))
        self._on_each_core(works, lambda work: work[0].core, lambda work: self._lay(work[0], known[work[1]]))

    def _rehearsed(self, rows: int, width: int, age: float, by: Programmer) -> Rehearsal:
        plan = Plan(rehearsing(self._chip, rows), width, self._options.device, by, age)
        found = LEARNT.rehearsal(plan, self._pulse_level)
        if not any(found is one for one in self._rehearsals):
            self._rehearsals.append(found)
        return found

    def _lay(self, targets: Targets, rehearsal: Rehearsal) -> None:
        """Program one rectangle."""
        unit, (rows, columns) = self._cores[targets.core], targets.cells.shape
        wanted = self._tensor(targets.cells, torch.float32).reshape(-1)
        chosen = torch.empty(wanted.numel(), dtype=torch.int32, device=wanted.device)
        for part in blocks(wanted.numel()):
            chosen[part] = rehearsal.choose(wanted[part], unit.dynamics)
        where = slice(targets.row, targets.row + rows), slice(targets.column, targets.column + columns)
        patch = Patch(where, wanted, rehearsal, self._clock, chosen)
        self._put_stuck(unit, patch)
        gains = rehearsal.gains
        patch.gains = gains[torch.randint(len(gains), (columns,), generator=unit.dynamics, device=gains.device)]
        unit.patches = [other for other in unit.patches if not patch.covers(other)] + [patch]

    def _put_stuck(self, unit: _Core, patch: Patch) -> None:
        """Let cells with a stuck device copy such cells."""
        if self._chip.stuck_rate == 0:
            return
        cells, which = self._stuck(unit)
        height, width = patch.shape
        rows = cells // self._chip.columns - patch.place[0].start
        columns = cells % self._chip.columns - patch.place[1].start
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        own = rows[inside] * width + columns[inside]
        patch.chosen[own] = patch.rehearsal.choose_stuck(patch.targets[own], which[inside])

    def _stuck(self, unit: _Core) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the cells of a core that have a stuck device, once."""
        if unit.stuck is None:
            p, torch_device = self._chip, unit.specimen.device
            rate = 1.0 - (1.0 - p.stuck_rate) ** (2 * p.devices_per_polarity)
            drawn = torch.rand(p.rows * p.columns, generator=unit.specimen, device=torch_device)
            cells = (drawn < rate).nonzero().squeeze(1)
            unit.stuck = cells, drawn[cells] / rate
        return unit.stuck

    def _mvm(self, core: int, x: CodeArray) -> CodeArray:
        return self._mvm_columns(core, x, ALL_COLUMNS)

    def _mvm_columns(self, core: int, x: CodeArray, columns: slice) -> CodeArray:
        unit = self._core(core)
        codes = self._codes(unit, x, columns)
        self._clock += x.shape[0] * self._way(unit).seconds
        return codes

    def mvms(self, inputs: Mapping[int, AnyArray]) -> dict[int, CodeArray]:
        """Return output codes (batch, columns) of several cores by number, which compute at once.

        The chip's time passes once, as long as the slowest of them takes.

        Parameters
        ----------
        inputs
            (batch, rows) signed integers for each core.

        Raises
        ------
        BadInputError, LimitError
            As `mvm` does, before any core computes.
        """
        self.require(Capability.MVM, "matrix-vector products")
        checked = {self._check_core(core): checks.mvm_inputs(self.info, x) for core, x in inputs.items()}
        for core in checked:
            self._core(core)
        codes: dict[int, CodeArray] = {}

        def work(core: int) -> None:
            codes[core] = self._codes(self._cores[core], checked[core])

        self._on_each_core(list(checked), lambda core: core, work)
        self._counts.mvms += sum(len(x) for x in checked.values())
        times = [len(x) * self._way(self._cores[core]).seconds for core, x in checked.items()]
        duration = max(times, default=0.0)
        self._clock += duration
        self._counts.chip_seconds += duration
        return {core: codes[core] for core in checked}

    def _codes(self, unit: _Core, x: CodeArray, columns: slice = ALL_COLUMNS) -> CodeArray:
        duration = x.shape[0] * self._way(unit).seconds
        conductance, noise = self._cells(unit, duration)
        variance = noise.square() if self._chip.read_noise > 0 else None
        return self._product(unit, x, Seen(conductance, variance, self._ladder.fast_variance(duration)), columns)

    def _cells(self, unit: _Core, duration: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return conductances with slow noise and noise amplitudes (rows, columns) in uS, as a batch sees them."""
        shape = (self._chip.rows, self._chip.columns)
        seen = [(patch, *self._seen(patch, unit, duration)) for patch in unit.patches]
        if len(seen) == 1 and seen[0][0].shape == shape:
            return seen[0][1:]
        conductance, noise = torch.zeros((2, *shape), device=self._options.device)
        for patch, own, amplitude in seen:
            conductance[patch.place], noise[patch.place] = own, amplitude
        return conductance, noise

    def _seen(self, patch: Patch, unit: _Core, duration: float) -> tuple[torch.Tensor, torch.Tensor]:
        if self._chip.read_noise == 0:
            return patch.at(self._clock)
        return patch.noisy(self._clock, duration, unit.dynamics)

    # ---- saving ----------------------------------------------------------------------------------------------

    def _saved_cells(self, core: _Core) -> dict[str, torch.Tensor]:
        saved: dict[str, torch.Tensor] = {}
        for number, patch in enumerate(core.patches):
            own = patch.export() | {"rehearsal": torch.tensor(self._number(patch.rehearsal))}
            saved |= {f"patch{number}/{name}": tensor for name, tensor in own.items()}
        return saved

    def _number(self, rehearsal: Rehearsal) -> int:
        return next(number for number, one in enumerate(self._rehearsals) if one is rehearsal)

    def _state_parts(self) -> Iterator[tuple[str, AnyArray]]:
        yield from super()._state_parts()
        for number, rehearsal in enumerate(self._rehearsals):
            for name, tensor in rehearsal.export().items():
                yield f"rehearsal{number}/{name}", tensor.cpu().numpy()

    def _import_state(self, state: State) -> None:
        before = self._rehearsals
        try:
            self._rehearsals = self._restored_rehearsals(state)
            super()._import_state({name: part for name, part in state.items() if not name.startswith("rehearsal")})
        except BadInputError:
            self._rehearsals = before
            raise

    def _restored_rehearsals(self, state: State) -> list[Rehearsal]:
        """Make the rehearsals of a saved state again. Raises BadInputError for what are none."""
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, array in state.items():
            if name.startswith("rehearsal"):
                which, _, part = name.partition("/")
                parts.setdefault(which, {})[part] = torch.from_numpy(np.array(array))
        try:
            return [self._restored_rehearsal(parts[f"rehearsal{number}"]) for number in range(len(parts))]
        except (LookupError, ArithmeticError, ValueError, TypeError, RuntimeError) as error:
            raise BadInputError(
                f"{self.info.name}: the saved state has a rehearsal that is none ({error}); connect with the URI "
                "it was saved from"
            ) from error

    def _restored_rehearsal(self, own: dict[str, torch.Tensor]) -> Rehearsal:
        chip = rehearsing(self._chip, own["targets"].shape[0])
        with self._pulse_level(chip, SimOptions(seed=SETTINGS.seed, device=self._options.device)) as pulsed:
            return Rehearsal.restored(pulsed, chip, own)

    def _restore_cells(self, core: _Core, own: dict[str, torch.Tensor]) -> None:
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in own.items():
            which, slash, part = name.partition("/")
            if slash:
                parts.setdefault(which, {})[part] = tensor
            elif name not in CORE_PARTS:
                raise ValueError(f"'{name}' is nothing that the statistical level has")
        for number in range(len(parts)):
            own_parts = parts[f"patch{number}"]
            which_one = int(own_parts["rehearsal"])
            if not 0 <= which_one < len(self._rehearsals):
                raise ValueError(f"there is no rehearsal {which_one}")
            patch = Patch.restored(self._rehearsals[which_one], own_parts)
            rows, columns = patch.place
            if min(rows.start, columns.start) < 0 or rows.stop > self._chip.rows or columns.stop > self._chip.columns:
                raise ValueError("a patch of cells lies outside of the core")
            core.patches.append(patch)

    # ---- inside ----------------------------------------------------------------------------------------------

    def _new_core(self, index: int) -> _Core:
        specimen, dynamics = self._generator(2 * index), self._generator(2 * index + 1)
        return _Core(ColumnConverters(self._chip, specimen), dynamics, self._chip.adc_range[1], specimen)

    @staticmethod
    def _on_each_core(items: Sequence[A], core_of: Callable[[A], int], work: Callable[[A], None]) -> None:
        """Do some work, that of each core in order and different cores at once, a core a thread."""
        by_core: dict[int, list[A]] = {}
        for item in items:
            by_core.setdefault(core_of(item), []).append(item)

        def one_core(own: Iterable[A]) -> None:
            for item in own:
                work(item)

        threads = min(torch.get_num_threads(), len(by_core))
        if threads <= 1:
            one_core(item for own in by_core.values() for item in own)
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one_core, by_core.values()))
