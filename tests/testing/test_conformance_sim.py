"""The simulated chips pass the conformance suite, and a chip that breaks the contract fails it where it should."""

import dataclasses
import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.registry import connect
from hwloop.sim_backend.chip import SimulatedChip
from hwloop.sim_backend.options import apply_options
from hwloop.sim_backend.presets import PRESETS
from hwloop.testing import conformance
from hwloop.testing.conformance import BackendConformance

SMALL = "rows=32&columns=24"


class TestSimulatedChips(BackendConformance):
    @pytest.fixture(
        params=[
            f"sim:hermes-core?{SMALL}&seed=1",
            f"sim:pcm-90nm?{SMALL}&seed=2",
            f"sim:pcm-ideal?{SMALL}",
        ]
    )
    def backend(self, request):
        with connect(request.param) as chip:
            yield chip


class TestSteppingChips(BackendConformance):
    """Chips whose devices step, for training in memory."""

    @pytest.fixture(
        params=[
            f"sim:rpu-baseline?{SMALL}&seed=1",
            f"sim:reram-sb?{SMALL}&seed=2&symmetry_point_mean=0&adc_offset_spread=1&adc_nonlinearity=1",
            f"sim:capacitor?{SMALL}&seed=3&adc_bits=8&leak=1e4",
            f"sim:pcm-pair?{SMALL}&seed=4",
        ]
    )
    def backend(self, request):
        with connect(request.param) as chip:
            yield chip


class TestStatisticalChips(BackendConformance):
    """Chips that take targets in place of pulses."""

    @pytest.fixture(
        params=[
            f"sim:hermes-core?{SMALL}&seed=1&level=statistical",
            f"sim:pcm-90nm?{SMALL}&seed=2&level=statistical&stuck_rate=0.01&adc_nonlinearity=1",
        ]
    )
    def backend(self, request):
        with connect(request.param) as chip:
            yield chip


class TestUnkindChips(BackendConformance):
    """All imperfections at once, the second of two cores, and a warm chip."""

    core = 1

    @pytest.fixture
    def backend(self):
        options = (
            "cores=2&stuck_rate=0.02&weak_rate=0.05&wire_resistance=2&temperature=330&adc_nonlinearity=1&adc_bits=7"
        )
        with connect(f"sim:pcm-90nm?{SMALL}&{options}") as chip:
            yield chip


class Bare(SimulatedChip):
    """A chip that can do nothing beyond the obligatory."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._info = dataclasses.replace(self.info, capabilities=frozenset())


class TestABareChip(BackendConformance):
    @pytest.fixture
    def backend(self):
        with small(Bare) as chip:
            yield chip


def small(kind=SimulatedChip, preset="pcm-90nm", cores=1):
    parameters, options = apply_options(PRESETS[preset](), {"rows": "32", "columns": "24", "cores": str(cores)})
    return kind(parameters, options)


# ---- one way to break the contract per class, and the test that notices -----------------------------------------


class ClampsAmplitudes(SimulatedChip):
    def pulse(self, core, pulses):
        safe = np.clip(np.nan_to_num(pulses.amplitude), 1.0, self.info.limits.amplitude_max)
        super().pulse(core, dataclasses.replace(pulses, amplitude=safe))


class ForgetsToCount(SimulatedChip):
    def _pulse(self, core, pulses):
        super()._pulse(core, pulses)
        self._counts.pulses -= 1


class SharesItsCounts(SimulatedChip):
    @property
    def counts(self):
        return self._counts


class PulsesBackwards(SimulatedChip):
    def _pulse(self, core, pulses):
        mirrored = 500.0 - pulses.amplitude
        super()._pulse(core, dataclasses.replace(pulses, amplitude=mirrored))


class AnswersInFloats(SimulatedChip):
    def _mvm(self, core, x):
        return super()._mvm(core, x).astype(float)


class DropsTheSign(SimulatedChip):
    def _mvm(self, core, x):
        return np.abs(super()._mvm(core, x))


class WrapsInsteadOfSaturating(SimulatedChip):
    def _mvm(self, core, x):
        return super()._mvm(core, x) + 200


class ScribblesOnInputs(SimulatedChip):
    def _mvm(self, core, x):
        x[:] = 0
        return super()._mvm(core, x)


class IgnoresAverages(SimulatedChip):
    def _read(self, core, devices, averages):
        return super()._read(core, devices, 1)


class StopsTheClock(SimulatedChip):
    def _wait(self, seconds):
        pass


class IgnoresTheRange(SimulatedChip):
    def _mvm(self, core, x):
        self._core(core).adc_range = 256.0
        return super()._mvm(core, x)


class ClampsTrims(SimulatedChip):
    def _registers(self, core, offset, gain):
        limits = self.info.trims
        return super()._registers(
            core,
            np.clip(np.nan_to_num(offset), -limits.offset_max, limits.offset_max),
            np.clip(np.nan_to_num(gain), -limits.gain_max, limits.gain_max),
        )


class ForgetsTrims(SimulatedChip):
    def _set_trims(self, core, offset, gain):
        pass


class SwapsTheSignOfOffsets(SimulatedChip):
    def _set_trims(self, core, offset, gain):
        super()._set_trims(core, -offset, gain)

    def _trims(self, core):
        offset, gain = super()._trims(core)
        return -offset, gain


class TrimsOnlyMvms(SimulatedChip):
    def _read(self, core, devices, averages):
        offset, gain = self._trims(core)
        self._set_trims(core, offset, 0 * gain)
        values = super()._read(core, devices, averages)
        self._set_trims(core, offset, gain)
        return values


class LosesTrims(SimulatedChip):
    def _import_state(self, state):
        super()._import_state({name: array for name, array in state.items() if "trim" not in name})


class MisplacesDevices(SimulatedChip):
    def _place(self, core, devices, conductance, age):
        super()._place(core, devices, conductance * 0.9, age)


class ForgetsItsGenerator(SimulatedChip):
    def _import_state(self, state):
        super()._import_state(state)
        for core in self._cores.values():
            core.dynamics.manual_seed(0)


class SavesAView(SimulatedChip):
    def _export_state(self):
        return super()._export_state() | {"core0/g": self._core(0).devices.g.numpy()}


class PromisesTooMuch(Bare):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._info = dataclasses.replace(self.info, capabilities=frozenset({Capability.TEMPERATURE}))

    def _temperature(self):
        return math.nan


class TalksAfterTheEnd(SimulatedChip):
    def _check_open(self):
        pass


class SnapsObjects(SimulatedChip):
    def _snapshot(self):
        return {"limits": self.info.limits}


class ImpossibleRange(SimulatedChip):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._info = dataclasses.replace(self.info, adc_range=(100.0, 10.0))


class ForgetsTheReadMode(SimulatedChip):
    def _set_read_mode(self, core, mode):
        pass


class OneReadModeForAll(SimulatedChip):
    def _set_read_mode(self, core, mode):
        for each in range(self.info.cores):
            super()._set_read_mode(each, mode)


class TooFastForItsMode(SimulatedChip):
    def _way(self, unit):
        return dataclasses.replace(super()._way(unit), seconds=133e-9)


class ScalesByReadMode(SimulatedChip):
    def _mvm(self, core, x):
        return super()._mvm(core, x if self._read_mode(core) == "one-phase" else x // 2)


BROKEN = {
    ForgetsTheReadMode: "test_a_read_mode_stays_until_another_is_set",
    OneReadModeForAll: "test_a_read_mode_stays_until_another_is_set",
    TooFastForItsMode: "test_an_mvm_takes_the_time_of_its_mode_at_least",
    ScalesByReadMode: "test_the_read_mode_leaves_the_scale_of_the_codes",
    ClampsAmplitudes: "test_an_impossible_amplitude_is_refused",
    ForgetsToCount: "test_every_pulse_is_counted_once",
    SharesItsCounts: "test_counts_handed_out_do_not_change",
    PulsesBackwards: "test_a_higher_reset_amplitude_leaves_less_conductance",
    AnswersInFloats: "test_mvm_answers_with_codes_of_the_stated_kind",
    DropsTheSign: "test_opposite_inputs_give_opposite_codes",
    WrapsInsteadOfSaturating: "test_zero_input_gives_codes_near_the_offset",
    ScribblesOnInputs: "test_a_request_is_not_altered",
    IgnoresAverages: "test_averaging_reads_does_not_add_noise",
    StopsTheClock: "test_waiting_lets_time_pass",
    IgnoresTheRange: "test_half_the_converter_range_doubles_the_codes",
    ClampsTrims: "test_trims_outside_their_registers_are_refused",
    ForgetsTrims: "test_trims_are_read_back_in_steps_of_their_registers",
    SwapsTheSignOfOffsets: "test_an_offset_trim_moves_idle_outputs_and_zero_restores_them",
    TrimsOnlyMvms: "test_a_gain_trim_scales_device_reads_too",
    LosesTrims: "test_a_restored_chip_goes_on_as_the_saved_one_did",
    MisplacesDevices: "test_a_placed_conductance_is_reached_at_its_age",
    ForgetsItsGenerator: "test_a_restored_chip_goes_on_as_the_saved_one_did",
    SavesAView: "test_a_restored_chip_goes_on_as_the_saved_one_did",
    PromisesTooMuch: "test_the_temperature_is_in_kelvin",
    TalksAfterTheEnd: "test_a_closed_backend_refuses_everything",
    SnapsObjects: "test_snapshot_has_plain_names_and_values",
    ImpossibleRange: "test_info_describes_a_possible_chip",
}
MODES = (ForgetsTheReadMode, OneReadModeForAll, TooFastForItsMode, ScalesByReadMode)
"""Chips with read modes, on the second of two cores."""
SAID = {
    ClampsAmplitudes: "amplitude nan: expected LimitError",
    PulsesBackwards: r"uS after 220 uA, .* uS after 340 uA",
    DropsTheSign: r"correlation 0\.\d+",
    WrapsInsteadOfSaturating: r"a column answers .* to zero input",
    IgnoresAverages: r"variance .* of one, .* of sixteen",
    ClampsTrims: r"a trim of .*: expected LimitError",
    SwapsTheSignOfOffsets: r"idle outputs after trims of .* LSB",
    LosesTrims: "codes differ after the state was restored",
    MisplacesDevices: r"mean error -\d.* uS",
    ForgetsItsGenerator: "codes differ after the state was restored",
    SavesAView: "a saved state must not change",
    TalksAfterTheEnd: "pulse on a closed backend: expected ClosedError",
    SnapsObjects: "limits: PulseLimits",
}
"""What the test says, where it says more than the comparison that failed."""


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_backend_fails_the_test_that_is_about_it(kind):
    arguments = {"kind": PulseKind.RESET, "amplitude": math.nan} if kind is ClampsAmplitudes else {}
    check = getattr(BackendConformance(), BROKEN[kind])
    chip = {"preset": "hermes-core", "cores": 2} if kind in MODES else {}
    check(small(**chip), **arguments)
    with pytest.raises((AssertionError, pytest.fail.Exception), match=SAID.get(kind, "^(assert |$)")):
        check(small(kind, **chip), **arguments)


def test_the_example_in_the_documentation_runs(tmp_path):
    text = textwrap.dedent(conformance.__doc__.split("run pytest:\n")[1].split("Every test gets")[0])
    example = text.replace("mychip:/dev/ttyUSB0", f"sim:pcm-ideal?{SMALL}")
    (tmp_path / "test_my_chip.py").write_text(example)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "info or closing", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout


def test_forgetting_the_fixture_is_explained(tmp_path):
    class TestForgetful(BackendConformance):
        pass

    with pytest.raises(pytest.fail.Exception, match="TestForgetful must override the fixture 'backend'"):
        BackendConformance.backend.__wrapped__(TestForgetful())


def test_without_pytest_the_suite_says_what_is_missing():
    code = textwrap.dedent(
        """
        import sys
        sys.modules["pytest"] = None
        import hwloop.testing
        try:
            import hwloop.testing.conformance
        except ImportError as error:
            print(error)
        """
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'hwloop[test]'" in result.stdout
