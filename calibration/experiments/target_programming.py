"""Experiments that begin by bringing devices to target conductances, on all cores at the same time.

Program-and-verify does it, and says in the end which devices would not go.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwloop.calibration.experiments.base import DeviceExperiment, RunningExperiment, Sink
from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.cells import Chosen, Levels, ListedLevels, choose_cells, spread_levels
from hwloop.calibration.experiments.clock import TimedRegion
from hwloop.calibration.programming.base import known_devices
from hwloop.calibration.programming.verified_devices import DEFAULT_TOLERANCE, VerifiedDevices, verify_noise
from hwloop.chip.pulses import PulseKind
from hwloop.files.measurements import Attributes, Cells, Mark, MarkArray
from hwloop.typing import AnyArray, BoolArray, FloatArray, IndexArray, Json, State


@dataclass(frozen=True)
class TargetExperiment(DeviceExperiment):
    """Base of the experiments that begin by bringing devices to target conductances."""

    repeats_last_pulse: ClassVar[bool] = False
    """Whether the pulse that a device was accepted for is repeated at the end without a verification: what was accepted
    by a read that noise or fast drift had brought into the window is no fair sample of what pulses leave."""

    levels: Levels | ListedLevels = Levels(16)
    """Target conductances."""
    tolerance: float = 0.0
    """Half width of the acceptance window, uS; 0 chooses 2.5 % of g_max, or the read noise where that is larger."""
    gain: float = 0.4
    """Fraction of the error, expressed on the programming curve, that one step corrects."""
    max_pulses_per_device: int = 15
    """Pulses one device may receive, the first included."""
    settle: float = 0.1
    """Rest between pulse and verification, seconds."""
    target_age: float = 0.0
    """Age of a device, seconds, at which its target counts; 0 chooses the reference age of the chip's drift."""
    stuck_distance: float = 2 / 3
    """A device that will not converge counts as stuck when it conducts this much of g_max more, or less, than its last
    pulse should have left on a nominal device: the amplitude was stepped and stepped, and nothing followed."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings that no chip could follow."""
        super().__post_init__()
        self._require("tolerance", 0, 1000)
        self._require("gain", 0.01, 2)
        self._require("max_pulses_per_device", 1, 1_000_000)
        self._require("settle", 0, 1e6)
        self._require("target_age", 0, 1e9)
        self._require("stuck_distance", 0.01, 10)

    def stored(self) -> dict[str, Json]:
        """Return the settings by the names that measurement files have for them."""
        values = super().stored()
        return values | {"age": values.pop("target_age")}


class _TimedDevices(VerifiedDevices):
    """Devices whose pulses and reads are stamped."""

    def __init__(self, timed: TimedRegion, age: float, within: float) -> None:
        super().__init__(timed.region, known_devices(timed.region))
        self._timed, self._age, self._within = timed, age, within

    def _age_at_target(self, devices: IndexArray) -> float:
        return self._age

    def _fire(self, devices: IndexArray, amplitude: FloatArray, width: float) -> FloatArray:
        return self._timed.pulse(PulseKind.RESET, devices, amplitude, width, self._within)

    def _look(self, devices: IndexArray, averages: int) -> tuple[FloatArray, FloatArray]:
        return self._timed.read(devices, averages, self._within)

    _KEPT: ClassVar[dict[str, str]] = {
        "value": "value",
        "born": "born",
        "spent": "spent",
        "silent": "streak",
        "gave_up": "gave_up",
        "seen": "seen",
        "_amplitude": "_amplitude",
        "_loaded": "_loaded",
        "_aimed_from": "_aimed_from",
        "unanswered": "_without_answer",
    }
    """What must come back after an interruption: its name in measurement files, and the attribute."""

    def state(self, devices: IndexArray) -> dict[str, AnyArray]:
        kept: dict[str, AnyArray] = {name: getattr(self, attribute)[devices] for name, attribute in self._KEPT.items()}
        return kept | {"answers": self._answer.sums[:, devices]}

    def restore(self, devices: IndexArray, state: State) -> None:
        for name, attribute in self._KEPT.items():
            if name != "unanswered" or name in state:  # files of earlier versions know nothing of answers
                getattr(self, attribute)[devices] = state[name]
        if "answers" in state:
            self._answer.sums[:, devices] = state["answers"]


class TargetProgramming:
    """The chosen devices on their way to their targets."""

    def __init__(
        self, bench: Bench, chosen: Chosen, target: FloatArray, plan: TargetExperiment, target_age: float
    ) -> None:
        """Look up what is known of the devices; nothing is sent yet.

        Devices that are known to be bad, or have not enough pulses left in their budget, are left alone from the start.

        Parameters
        ----------
        bench, chosen
            The devices, (n,).
        target
            Conductances (n,) in uS.
        plan
            How they get there.
        target_age
            Age of each device, seconds, at which its target counts.
        """
        self._bench, self._chosen, self._target, self._plan, self._age = bench, chosen, target, plan, target_age
        model = known_devices(bench.region(int(chosen.core[0])).region).model
        noise = float(np.median(verify_noise(model, target, plan.averages, max(plan.settle, 1e-6))))
        self.tolerance = plan.tolerance or max(DEFAULT_TOLERANCE * bench.info.g_max, noise)
        self._faults = bench.known_faults(chosen)
        enough = bench.spare_pulses(chosen) >= plan.max_pulses_per_device
        self.usable: BoolArray = enough & (self._faults == Mark.GOOD)
        self._make()

    def _make(self) -> None:
        within = self._plan.age_resolution * self._plan.settle
        self._cores: dict[int, _TimedDevices] = {}
        self._active: dict[int, IndexArray] = {}
        for core, here in self._chosen.cores():
            devices = _TimedDevices(self._bench.region(core), self._age, within)
            mine = self._chosen.device[here]
            devices.target[mine] = self._target[here]
            self._cores[core] = devices
            self._active[core] = mine[self.usable[here]]

    @property
    def born(self) -> FloatArray:
        """When each device was pulsed last, (n,), seconds on the measurement's clock."""
        return self._gather({core: devices.born for core, devices in self._cores.items()})

    def first_pulses(self) -> int:
        """Send one pulse per device, by its programming curve; return the number of pulses."""
        return sum(self._cores[core].pulse_open_loop(active) for core, active in self._active.items())

    def correct(self) -> int:
        """Verify what is not accepted yet, and pulse it again; return the number of pulses, 0 when all is done."""
        plan, pulses = self._plan, 0
        for core, devices in self._cores.items():
            active = devices.verify(self._active[core], plan.averages, self.tolerance)
            pulses += devices.correct(active, plan.gain, max(plan.max_pulses_per_device - plan.repeats_last_pulse, 1))
            self._active[core] = active
        return pulses

    def finish(self) -> tuple[FloatArray, MarkArray]:
        """Leave alone what is still off target; where the plan says so, repeat the last pulse of all that answer.

        Returns
        -------
        verify
            Accepted verify reads (n,) in uS, NaN where there is none.
        mark
            One `Mark` per device, (n,).
        """
        cores = self._cores.items()
        for core, devices in cores:
            devices.give_up(self._active[core])
        value = self._gather({core: devices.value for core, devices in cores})
        gave_up = self._gather({core: devices.gave_up for core, devices in cores})
        surprise = self._gather({core: devices.surprise() for core, devices in cores})
        far = self._plan.stuck_distance * self._bench.info.g_max
        mark = np.full(len(self._chosen), Mark.GOOD, np.uint8)
        mark[gave_up] = Mark.UNCONVERGED
        mark[gave_up & (surprise > far)] = Mark.STUCK_SET
        mark[gave_up & (surprise < -far)] = Mark.STUCK_RESET
        mark[~self.usable] = Mark.SPENT
        mark[self._faults != Mark.GOOD] = self._faults[self._faults != Mark.GOOD]
        verify = np.where(mark == Mark.GOOD, value, np.nan)
        if self._plan.repeats_last_pulse:
            mark[mark == Mark.UNCONVERGED] = Mark.GOOD  # no target was to be met; where it is, its reads will tell
            self._pulse_again(mark == Mark.GOOD)
        return verify, mark

    def _pulse_again(self, wanted: BoolArray) -> None:
        for core, here in self._chosen.cores():
            devices, mine = self._cores[core], self._chosen.device[here][wanted[here]]
            devices.pulse_again(mine[devices.spent[mine] < self._plan.max_pulses_per_device])

    def _gather(self, by_core: dict[int, AnyArray]) -> AnyArray:
        """Return the values of the chosen devices, (n,), out of arrays of whole cores."""
        return np.concatenate([by_core[core][self._chosen.device[here]] for core, here in self._chosen.cores()])

    def state(self) -> dict[str, AnyArray]:
        """Return where it stands, as named arrays."""
        state: dict[str, AnyArray] = {"placing/usable": self.usable}
        for core, here in self._chosen.cores():
            kept = self._cores[core].state(self._chosen.device[here]) | {"active": self._active[core]}
            state |= {f"placing/{core}/{name}": array for name, array in kept.items()}
        return state

    def restore(self, state: State) -> None:
        """Go on from what `state` gave."""
        self.usable = state["placing/usable"].astype(bool)
        self._make()
        for core, here in self._chosen.cores():
            prefix = f"placing/{core}/"
            kept = {name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)}
            self._cores[core].restore(self._chosen.device[here], kept)
            self._active[core] = kept["active"]


class ProgrammedDevices(RunningExperiment):
    """Base of the experiments that program first, one round of pulses per step, and measure then."""

    def __init__(self, bench: Bench, plan: TargetExperiment, seed: int) -> None:
        """Choose devices and levels with `seed`; nothing is sent yet."""
        super().__init__(bench, plan.kind)
        self.plan = plan
        rng = np.random.default_rng(seed)
        self.chosen = choose_cells(bench.info, plan.cells, plan.cores, rng)
        targets = plan.levels.targets(bench.info)
        self.level = spread_levels(len(self.chosen), plan.levels.count, rng)
        self.target: FloatArray = targets[self.level]
        self.target_age = plan.target_age or bench.info.reference_age
        self._check_budget(plan.max_pulses_per_device)
        self.programming = TargetProgramming(bench, self.chosen, self.target, plan, self.target_age)
        self._begun = 0.0
        """Clock at the end of programming, seconds; ages on the plan count from here."""
        self._programmed_after = -1
        """Number of steps that programming took; -1 while it goes on."""

    @property
    @abc.abstractmethod
    def steps_after_programming(self) -> int:
        """Number of steps after programming."""

    @abc.abstractmethod
    def _measure(self, sink: Sink) -> Iterator[str]:
        """Take the steps after programming, from step `done` on."""

    @property
    def total(self) -> int:
        """Steps in all; while programming goes on, as many as it takes at most."""
        programming = self._programmed_after if self._programmed_after >= 0 else self.plan.max_pulses_per_device + 1
        return programming + self.steps_after_programming

    def cells(self) -> Cells:
        """Return targets and levels; nothing is verified yet."""
        return self.chosen.as_cells(self.target, self.level)

    def attributes(self) -> Attributes:
        """Return the plan of programming."""
        return {
            "target_age": self.target_age,
            "verify_tolerance": self.programming.tolerance,
            "averages": self.plan.averages,
            "levels": self.plan.levels.count,
        }

    def _steps(self, sink: Sink) -> Iterator[str]:
        while self._programmed_after < 0:
            pulses = self.programming.first_pulses() if self.done == 0 else self.programming.correct()
            self.done += 1
            if not pulses:
                verify, mark = self.programming.finish()
                sink.update_cells(verify=verify, mark=mark)
                self._begun, self._programmed_after = self.bench.clock.now(), self.done
            now = self.bench.clock.now()
            self._until = self._next_moment(now + self.plan.settle if pulses else now)
            yield "program-and-verify" if pulses else "measure"
        yield from self._measure(sink)

    def _next_moment(self, moment: float) -> float:
        """Return when the step after this one may begin, at the earliest at `moment`."""
        return moment

    def _verifying_reads(self) -> int:
        """Return how many reads verification takes at most: every device twice in every round."""
        return 2 * self.plan.max_pulses_per_device * self.plan.averages * len(self.chosen)

    def _own_state(self) -> dict[str, AnyArray]:
        return self.programming.state() | {"placed": np.array([self._begun, self._programmed_after])}

    def _restore(self, state: State) -> None:
        self.programming.restore(state)
        self._begun, self._programmed_after = float(state["placed"][0]), int(state["placed"][1])
