"""Self-test and discovery, over real sockets."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import hwloop
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.cli.discover import discover as command
from hwloop.drivers.discover import discover
from hwloop.drivers.selftest import _limits, _pattern, _run, self_test
from hwloop.drivers.visa_chip import VisaChip
from hwloop.errors import BadInputError
from hwloop.sim_backend.chip import SimulatedChip
from hwloop.testing.faults import Fault, FaultProxy, Kind
from tests.drivers.conftest import SMALL


@pytest.mark.parametrize("uri", ["sim:hermes-core?seed=1", "sim:pcm-90nm?adc_bits=6&wire_resistance=1", SMALL])
def test_a_good_link_passes_every_check(serve, open_visa, uri):
    chip = open_visa(serve(uri))
    count = chip.info.devices_per_core
    chip.pulse(0, Pulses.make(PulseKind.RESET, np.arange(count), np.linspace(180, 300, count), 100.0))
    checks = self_test(chip)
    assert [check.name for check in checks] == ["identity", "limits", "echo", "pattern"]
    assert all(check.passed for check in checks), checks
    assert chip.counts.pulses == count


def test_a_chip_without_a_link_is_tested_without_the_echo():
    with hwloop.connect(SMALL) as chip:
        assert [check.name for check in self_test(chip)] == ["identity", "limits", "pattern"]


def test_columns_that_do_not_follow_the_input_fail_the_pattern(monkeypatch):
    right = SimulatedChip._mvm
    monkeypatch.setattr(SimulatedChip, "_mvm", lambda self, core, x: np.abs(right(self, core, x)) + 20)
    with hwloop.connect(SMALL) as chip:
        count = chip.info.devices_per_core
        chip.pulse(0, Pulses.make(PulseKind.RESET, np.arange(count), np.linspace(180, 300, count), 100.0))
        (pattern,) = [check for check in self_test(chip) if check.name == "pattern"]
    assert not pattern.passed
    assert "change sign" in pattern.seen


def test_a_dead_link_fails_the_echo_in_words(serve):
    with FaultProxy(serve(SMALL), [Fault(Kind.STALL, True, 10_000 + 5_000 * n) for n in range(400)]) as proxy:
        chip = VisaChip.open(f"TCPIP::127.0.0.1::{proxy.port}::SOCKET", timeout=0.2)
        echo = next(check for check in self_test(chip) if check.name == "echo")
        chip.close()
    assert not echo.passed
    assert "the link failed" in echo.seen


def test_discovery_tells_chips_from_others_and_from_nothing(serve, scripted, free_port):
    other = scripted({b"*IDN?": b"KEITHLEY INSTRUMENTS,MODEL 2450,04412345,1.7.12b\n"})
    ports = (serve(SMALL), other, free_port)
    rows = {row.resource: row for row in discover(timeout=0.5, addresses=[f"127.0.0.1:{port}" for port in ports])}
    chip, keithley, nobody = (rows[f"TCPIP::127.0.0.1::{port}::SOCKET"] for port in ports)
    assert chip.chip
    assert chip.identity.startswith("hwloop,sim:hermes-core,simulated-3-")
    assert ",dialect 1.4/" in chip.identity
    assert not keithley.chip
    assert "MODEL 2450" in keithley.identity
    assert not nobody.chip
    assert "refused" in nobody.problem


@pytest.mark.parametrize("address", ["localhost", ":5025", "host:0", "host:x"])
def test_an_address_that_is_none(address):
    with pytest.raises(BadInputError, match="is not HOST:PORT"):
        discover(addresses=[address])


def test_the_command_prints_one_json_object(serve):
    result = CliRunner().invoke(command, ["--json", "--address", f"127.0.0.1:{serve(SMALL)}"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["resources"][-1]["chip"] is True


@pytest.mark.parametrize(("second", "passed"), [(2.9, True), (3.1, False)])
def test_columns_may_differ_by_three_codes_and_a_quarter_of_their_signal(second, passed):
    """Two ramps whose answers differ, on a chip that answers nothing else."""
    answers = iter([np.zeros((32, 4)), np.full((32, 4), 0.0), np.full((32, 4), second), np.zeros((32, 4))])
    info = SimpleNamespace(rows=5, columns=4, input_max=7, code_max=100)
    chip = SimpleNamespace(info=info, mvm=lambda core, x: next(answers))
    check = _run("pattern", lambda: _pattern(chip, 0))
    assert check.passed == passed
    assert ("do not repeat: 3.10 codes rms off, 3.00 allowed" in check.seen) == (not passed)


@pytest.mark.parametrize(("offset", "answer", "said"), [
    (100.0, 0.0, "a column saturates with no input at all"),
    (-99.0, 40.0, "the columns do not change sign with the input"),
])  # fmt: skip
def test_columns_that_saturate_or_ignore_the_sign_are_named(offset, answer, said):
    sent = []

    def mvm(core, x):
        sent.append(x)
        return np.full((32, 4), offset + answer * bool(x.any()))

    info = SimpleNamespace(rows=5, columns=4, input_max=7, code_max=100)
    check = _run("pattern", lambda: _pattern(SimpleNamespace(info=info, mvm=mvm), 0))
    assert (check.passed, said in check.seen) == (False, True)
    assert [one[0].tolist() for one in sent] == [[0] * 5, *[[-7, -4, 0, 4, 7]] * 2, [7, 4, 0, -4, -7]]


@pytest.mark.parametrize("damage", [
    {"amplitude_max": 0.0}, {"amplitude_max": np.inf}, {"width_min": 0.0}, {"width_min": 30.0}, {"width_max": np.inf},
    {"pulses_per_device": 0},
])  # fmt: skip
def test_limits_that_make_no_sense_fail(damage):
    limits = {"amplitude_max": 400.0, "width_min": 10.0, "width_max": 20.0, "pulses_per_device": 1}
    chip = SimpleNamespace(info=SimpleNamespace(limits=SimpleNamespace(**limits)))
    assert _run("limits", lambda: _limits(chip)).seen == "up to 400 uA, 10 to 20 ns, 1 pulses a device"
    chip.info.limits = SimpleNamespace(**limits | damage)
    assert not _run("limits", lambda: _limits(chip)).passed


def test_the_chips_of_a_lab_are_listed_and_asked(serve, free_port, tmp_path, monkeypatch):
    file = tmp_path / "lab.toml"
    here, gone = (f"visa:TCPIP::127.0.0.1::{port}::SOCKET?timeout=9" for port in (serve(SMALL), free_port))
    file.write_text(f'[chips]\nleft = "{here}"\nright = "{gone}"\ntwin = "sim:pcm-ideal"\n')
    monkeypatch.setenv("HWLOOP_LAB", str(file))
    result = CliRunner().invoke(command, ["--json", "--timeout", "0.5"])
    assert result.exit_code == 0
    left, right, twin = json.loads(result.stdout)["lab"]
    assert (left["name"], left["uri"], left["chip"]) == ("left", here, True)
    assert "refused" in right["problem"]
    assert (twin["uri"], twin["resource"], twin["problem"]) == ("sim:pcm-ideal", "", "")
    monkeypatch.setenv("COLUMNS", "200")
    told = CliRunner().invoke(command, ["--timeout", "0.5"]).stdout.splitlines()
    assert [line.split()[0] for line in told if line.startswith("lab:")] == ["lab:left", "lab:right", "lab:twin"]
    assert told[-1].split() == ["lab:twin", "sim:pcm-ideal"]
    assert any(line.startswith("lab:left") and line.endswith("(hwloop chip)") for line in told)
    monkeypatch.setenv("COLUMNS", "60")
    narrow = CliRunner().invoke(command, ["--timeout", "0.5"]).stdout.splitlines()
    answer = narrow[narrow.index("lab:left") + 1]
    assert answer.startswith("    hwloop,sim:hermes-core")


def test_a_lab_file_that_is_none_is_said(tmp_path, monkeypatch):
    (tmp_path / "lab.toml").write_text("[chip]")
    monkeypatch.setenv("HWLOOP_LAB", str(tmp_path / "lab.toml"))
    result = CliRunner().invoke(command, [])
    assert result.exit_code == 2
    assert "has 'chip'; it is to be a table [chips]" in result.stderr
