"""The bench as a backend: safe in every end, and programmed from the command line."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hwloop
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.cli import main
from hwloop.drivers.bench.wire import WireLimits
from hwloop.drivers.selftest import self_test
from hwloop.errors import ChipError, InstrumentError, LimitError, LinkError
from tests.drivers.bench.emulated import DUT, Rig, bench_text, rig

RESET = Pulses.make(PulseKind.RESET, [0, 5, 31], [250.0, 300.0, 350.0], 100.0)


def test_pulses_reach_the_devices_they_are_for(emulated: Rig):
    with hwloop.connect(f"bench:{emulated.file}") as chip:
        chip.pulse(0, RESET)
        assert np.array_equal(chip.pulse_counts(0), emulated.crossbar.chip.pulse_counts(0))
        assert emulated.idle
        values = chip.read(0, np.arange(32), 4)
    direct = emulated.crossbar.chip.read(0, np.arange(32), 4)
    assert np.allclose(
        values, direct, atol=2.5, rtol=0.1
    )  # read noise, relative to the value, and drift between the two
    assert np.argsort(values)[-2:].tolist() == [5, 0]
    assert emulated.pulser.pulses == [(1.25, 1e-7), (1.5, 1e-7), (1.75, 1e-7)]
    assert emulated.idle
    assert not emulated.crossbar.violations


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(amplitude=st.floats(), width=st.floats())
def test_no_pulse_beyond_the_limits_reaches_the_generator(emulated: Rig, amplitude: float, width: float):
    before = len(emulated.pulser.pulses)
    with hwloop.connect(f"bench:{emulated.file}") as chip:
        heard = len(emulated.pulser.heard)
        allowed = 0.4 <= amplitude <= 500 and 20 <= width <= 20_000
        try:
            chip.pulse(0, Pulses.make(PulseKind.SET, [0], amplitude, width))
            assert allowed
        except LimitError:
            assert not allowed
            assert len(emulated.pulser.heard) == heard
    assert len(emulated.pulser.pulses) == before + allowed


def test_a_pulse_too_small_for_the_generator_is_neither_sent_nor_counted(emulated: Rig):
    with hwloop.connect(f"bench:{emulated.file}") as chip:
        heard = len(emulated.pulser.heard)
        with pytest.raises(LimitError, match=r"no pulse below 0.4 uA \(0.002 V\); nothing was sent"):
            chip.pulse(0, Pulses.make(PulseKind.SET, [1, 2], [100.0, 0.3], 100.0))
        assert len(emulated.pulser.heard) == heard
        assert not chip.pulse_counts(0).any()
        assert chip.counts.pulses == 0


def test_a_device_at_compliance_reads_as_full_scale_and_is_named(emulated: Rig, caplog: pytest.LogCaptureFixture):
    with hwloop.connect(f"bench:{emulated.file}") as chip:
        emulated.crossbar.current = lambda: 3e-4  # type: ignore[method-assign]  # a short: 1.5 mS at 0.2 V
        assert chip.read(0, [3, 3, 5], 2).tolist() == [500.0] * 3 == [chip.info.adc_range[1]] * 3
        assert chip.snapshot()["devices_at_compliance"] == "3,5"
        assert [record.getMessage() for record in caplog.records] == [
            f"device {device} is held at the compliance of 0.0001 A: a short, or a compliance too low"
            for device in (3, 5)
        ]
    assert emulated.idle


def test_a_source_that_limits_at_a_small_current_stops_the_bench(emulated: Rig):
    """An oscillation or a bad contact, no conductance."""
    with hwloop.connect(f"bench:{emulated.file}") as chip:
        emulated.source.compliance = 1e-6  # as if the instrument had another limit than it was told
        emulated.crossbar.current = lambda: 5e-6  # type: ignore[method-assign]
        with pytest.raises(ChipError, match=r"keeps to a compliance of 1e-06 A and not to 0\.0001 A as it was told"):
            chip.read(0, [0])
        assert emulated.idle
        with pytest.raises(ChipError, match="stopped after a failure"):
            chip.read(0, [0])


def test_a_refused_command_stops_the_bench_idle(emulated: Rig):
    with hwloop.connect(f"bench:{emulated.file}") as chip:
        emulated.pulser.limit = 1.6
        with pytest.raises(InstrumentError, match="-222"):
            chip.pulse(0, RESET)
        assert emulated.idle
        assert len(emulated.pulser.pulses) == 2
        with pytest.raises(ChipError, match=r"stopped after a failure .*connect again"):
            chip.read(0, [0])
    assert emulated.pulser.pulses == [(1.25, 1e-7), (1.5, 1e-7)]


def test_a_relay_that_does_not_close_means_no_pulse(emulated: Rig):
    with hwloop.connect(f"bench:{emulated.file}") as chip:
        emulated.matrix.stuck_open = True
        with pytest.raises(ChipError, match="closed crosspoints are none where 1C01, 1D05 should be"):
            chip.pulse(0, RESET)
    assert not emulated.pulser.pulses
    assert emulated.idle


def test_ctrl_c_in_a_read_leaves_the_bench_idle(emulated: Rig, monkeypatch: pytest.MonkeyPatch):
    with hwloop.connect(f"bench:{emulated.file}") as chip:

        def interrupt() -> float:
            raise KeyboardInterrupt("in the read")

        monkeypatch.setattr(chip._source, "measure", interrupt)  # type: ignore[attr-defined]
        assert not emulated.crossbar.source_on
        with pytest.raises(KeyboardInterrupt, match="in the read"):
            chip.read(0, [0])
        assert emulated.idle


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Late answers are waited for a tenth of a second in place of ten."""
    monkeypatch.setattr("hwloop.drivers.bench.wire.LIMITS", WireLimits(seconds=0.1))


@pytest.mark.parametrize("role", ["source", "pulser", "matrix"])
@pytest.mark.usefixtures("impatient")
def test_an_instrument_that_dies_is_a_link_error_in_bounded_time(tmp_path: Path, role: str):
    with rig(tmp_path, timeout=0.2) as emulated:
        chip = hwloop.connect(f"bench:{emulated.file}")
        dead = getattr(emulated, role)
        dead.mute_after = len(dead.heard)
        use = partial(chip.pulse, 0, RESET) if role == "pulser" else partial(chip.read, 0, [0])
        with pytest.raises(ChipError, match=rf"{role} TCPIP.*(no reply in time).*could not be made safe"):
            use()
        with pytest.raises(ChipError, match="switch it off by hand"):
            chip.close()
        assert role == "source" or not emulated.crossbar.source_on
        assert role == "pulser" or not emulated.crossbar.pulser_on
        assert not emulated.pulser.pulses


def read_while_the_source_dies(emulated: Rig) -> None:
    with hwloop.connect(f"bench:{emulated.file}") as chip:
        emulated.source.mute_after = len(emulated.source.heard)
        chip.read(0, [0])


@pytest.mark.usefixtures("impatient")
def test_what_failed_first_is_what_is_reported(tmp_path: Path):
    message = r"source TCPIP.*no reply in time; the bench could not be made safe"
    with rig(tmp_path, timeout=0.2) as emulated, pytest.raises(ChipError, match=message) as caught:
        read_while_the_source_dies(emulated)
    assert caught.value.__notes__ == [
        "the bench still could not be made safe when it was closed, switch it off by hand"
    ]


def test_a_bench_without_one_of_its_instruments_does_not_open(emulated: Rig, free_port: int):
    text = emulated.file.read_text()
    source = next(line for line in text.splitlines() if line.startswith("resource"))
    emulated.file.write_text(text.replace(source, f'resource = "TCPIP::127.0.0.1::{free_port}::SOCKET"'))
    with pytest.raises(LinkError, match=r"source TCPIP.*cannot be opened"):
        hwloop.connect(f"bench:{emulated.file}")


def test_two_instruments_exchanged_are_noticed(emulated: Rig):
    text = emulated.file.read_text()
    first, second = [line for line in text.splitlines() if line.startswith("resource")][:2]
    emulated.file.write_text(text.replace(first, "#").replace(second, first).replace("#", second))
    with pytest.raises(LinkError, match="is '33611A' by 'Keysight Technologies', not a Keithley 2450"):
        hwloop.connect(f"bench:{emulated.file}")


def test_a_closed_bench_is_idle_and_its_snapshot_names_its_instruments(emulated: Rig):
    with hwloop.connect(f"bench:{emulated.file}") as chip:
        assert chip.info.capabilities == {Capability.DEVICE_READ}
        assert chip.info.device_shape == (2, 1, 4, 4)
        assert chip.snapshot()["source.identity"] == "KEITHLEY INSTRUMENTS,MODEL 2450,01234567,1.7.0d"
        assert {check.name: check.passed for check in self_test(chip)} == {
            "identity": True,
            "limits": True,
            "pattern": None,
        }
    assert emulated.idle


def test_a_failed_idle_state_is_not_kept_quiet(emulated: Rig):
    chip = hwloop.connect(f"bench:{emulated.file}")

    def fail() -> None:
        raise LinkError("gone")

    chip._pulser.idle = fail  # type: ignore[attr-defined]
    with pytest.raises(ChipError, match="switch it off by hand: gone"):
        chip.close()
    assert not emulated.crossbar.closed


QUIET = "&read_noise=0&programming_noise=0&drift=0"
"""What is left is the spread between devices, so that the outcome does not hang on luck or on the time of day."""


@pytest.mark.parametrize(("quality", "error"), [(QUIET, 0.05), ("", 0.6)])
def test_programmed_from_the_command_line(tmp_path: Path, quality: str, error: float):
    weights, out = tmp_path / "small.npy", tmp_path / "run.h5"
    np.save(weights, np.random.default_rng(0).uniform(-1, 1, (4, 4)))
    with rig(tmp_path, dut=DUT + quality) as emulated:
        if quality:
            text = emulated.file.read_text()
            emulated.file.write_text(text.replace("low = 0.049, high = 0.1", "low = 0, high = 0"))
        arguments = ["program", str(weights), "--backend", f"bench:{emulated.file}", "--out", str(out), "--json"]
        done = CliRunner().invoke(main, [*arguments, "--method", "iterative", "--age", "1"])
        assert done.exit_code == 0, done.output
        (core,) = json.loads(done.stdout)["cores"]
        assert core["mvm_error_from"] == "device-reads"
        assert core["mvm_error"] < error
        assert not quality or core["mvm_error"] < core["mvm_error_before"]
        assert core["mvms"] == 0
        assert core["device_reads"] > 0
        assert len(emulated.pulser.pulses) == round(32 * core["pulses_per_device"])
        assert emulated.idle
        assert not emulated.crossbar.violations
    with h5py.File(out) as file:
        assert file.attrs["status"] == "complete"


def test_gdp_says_what_is_missing_and_pulses_nothing(emulated: Rig, tmp_path: Path):
    weights = tmp_path / "small.npy"
    np.save(weights, np.eye(4))
    for method in ("gdp", "sgd"):
        arguments = ["--backend", f"bench:{emulated.file}", "--method", method, "--out", str(tmp_path / "run.h5")]
        done = CliRunner().invoke(main, ["program", str(weights), *arguments])
        assert done.exit_code == 2
        assert "capability 'mvm'" in done.stderr
        assert "use the method iterative" in done.stderr
    assert not emulated.pulser.pulses


def test_a_bad_bench_file_is_one_line_and_exit_code_2(tmp_path: Path):
    file = tmp_path / "bench.toml"
    file.write_text(bench_text().replace("load = 5000.0", "lode = 5000.0"))
    done = CliRunner().invoke(main, ["info", f"bench:{file}"])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "pulser: unknown key 'lode'; known: driver, resource" in done.stderr
