"""The VISA driver against the emulated instrument on a real socket."""

from __future__ import annotations

import struct
import time
import zlib

import numpy as np
import pytest
import pyvisa

import hwloop
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.session import calibrate
from hwloop.calibration.programming.gdp import GDP
from hwloop.calibration.programming.program_verify import ProgramVerify
from hwloop.chip.backend import Backend
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.region import Region
from hwloop.drivers.visa_chip import VisaChip
from hwloop.errors import BadInputError, ClosedError, InstrumentError, LimitError, LinkError
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import map_weights
from hwloop.scpi import dialect
from hwloop.sim_backend.server.instrument import Sizes
from tests.drivers.conftest import SMALL, resource


def resets(chip: Backend, seed: int = 0) -> Pulses:
    count = chip.info.devices_per_core
    return Pulses.make(PulseKind.RESET, np.arange(count), np.random.default_rng(seed).uniform(180, 300, count), 100.0)


def inputs(chip: Backend, batch: int = 32, seed: int = 0) -> np.ndarray:
    top = chip.info.input_max
    return np.random.default_rng(seed).integers(-top, top + 1, (batch, chip.info.rows))


def assert_same_state(one: Backend, other: Backend) -> None:
    left, right = one.export_state(), other.export_state()
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype, name
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@pytest.mark.parametrize("preset", ["hermes-core", "hermes-64", "pcm-90nm", "pcm-ideal"])
def test_the_instrument_tells_all_of_the_chip(serve, open_visa, preset):
    direct = hwloop.connect(f"sim:{preset}?seed=7")
    chip = open_visa(serve(f"sim:{preset}?seed=7"))
    assert chip.info == direct.info
    assert chip.parameters() == direct.parameters()
    assert chip.snapshot().items() >= direct.snapshot().items()


def test_a_read_mode_over_the_link_is_that_of_the_chip_bit_for_bit(serve, open_visa):
    uri = "sim:hermes-core?rows=16&columns=16&seed=3"
    direct, chip = hwloop.connect(uri), open_visa(serve(uri))
    for backend in (direct, chip):
        backend.pulse(0, resets(backend))
        backend.set_read_mode(0, "one-phase")
    assert chip.read_mode(0) == direct.read_mode(0) == "one-phase"
    np.testing.assert_array_equal(chip.mvm(0, inputs(chip)), direct.mvm(0, inputs(direct)))
    assert chip.now() == direct.now()
    assert_same_state(chip, direct)


def test_every_operation_equals_the_direct_one_bit_for_bit(serve, open_visa):
    direct, chip = hwloop.connect(SMALL), open_visa(serve(SMALL))
    for backend in (direct, chip):
        backend.pulse(0, resets(backend))
        backend.set_adc_range(0, 100.0 / 3.0)
        backend.set_trims(0, np.linspace(-8, 8, 16), np.linspace(0.12, -0.12, 16))
        backend.wait(1e-3)
        backend.pulse(0, Pulses.make(PulseKind.SET, [5, 3], [120.0, 130.1], [1000.0, 333.3]))
        backend.place(0, [9, 8], [1.1, 2.2], 20.0)
    np.testing.assert_array_equal(chip.read(0, [5, 3, 3], 7), direct.read(0, [5, 3, 3], 7))
    np.testing.assert_array_equal(chip.mvm(0, inputs(chip)), direct.mvm(0, inputs(direct)))
    np.testing.assert_array_equal(chip.pulse_counts(0), direct.pulse_counts(0))
    assert (chip.now(), chip.temperature(), chip.adc_range(0)) == (direct.now(), direct.temperature(), 100.0 / 3.0)
    assert_same_state(chip, direct)
    spent, cost = chip.counts, direct.counts
    assert spent.link_bytes > 0
    spent.link_bytes = 0
    assert spent == cost


@pytest.mark.parametrize(
    "method",
    [GDP(max_vectors=1000), ProgramVerify(max_steps=4)],
    ids=["gdp", "iterative"],
)
def test_programming_through_the_socket_is_the_same_run(serve, open_visa, method):
    weights = Matrix("w", np.random.default_rng(0).standard_normal((16, 16)))
    chips = hwloop.connect(SMALL), open_visa(serve(SMALL))
    estimates = []
    for chip in chips:
        (tile,) = map_weights([weights], chip.info)
        region = Region(chip, tile.place, tile.full_scale)
        found = []
        for step in method.steps(region, tile, 20.0, np.random.default_rng(1)):
            chip.wait(step.rest)
            found.append((step.mvm_error, step.pulses))
        estimates.append(found)
    np.testing.assert_array_equal(*estimates)
    assert_same_state(*chips)


def test_arrays_larger_than_the_buffer_go_in_pieces(serve, open_visa):
    direct = hwloop.connect(SMALL)
    chip = open_visa(serve(SMALL, sizes=Sizes(buffer=2048)))
    for backend in (direct, chip):
        backend.pulse(0, resets(backend))
    x = inputs(chip, 300)
    np.testing.assert_array_equal(chip.mvm(0, x), direct.mvm(0, x))
    devices = np.arange(chip.info.devices_per_core)
    np.testing.assert_array_equal(chip.read(0, devices), direct.read(0, devices))
    assert_same_state(chip, direct)


def test_a_state_goes_back_through_the_wire_with_its_pulse_counts(serve, open_visa):
    chip = open_visa(serve(SMALL))
    chip.pulse(0, resets(chip))
    state, before = chip.export_state(), chip.mvm(0, inputs(chip))
    chip.pulse(0, resets(chip, 1))
    chip.import_state(state)
    np.testing.assert_array_equal(chip.mvm(0, inputs(chip)), before)
    assert chip.pulse_counts(0).max() == 1


def test_the_exact_exchange_of_an_mvm(serve, open_visa, tmp_path):
    def block(content: bytes) -> bytes:
        sealed = content + struct.pack("<I", zlib.crc32(content))
        return b"#%d%d" % (len(str(len(sealed))), len(sealed)) + sealed

    log = tmp_path / "wire.txt"
    chip = open_visa(serve("sim:pcm-ideal?rows=2&columns=2&adc_bits=8"), log=log)
    chip.mvm(0, [[1, -1]])
    sent, received = log.read_text().splitlines()[-2:]
    call = b":LINK:CALL? " + block(b"4 :DATA:CLE;:DATA:APP " + block(b"\x01\xff") + b";:MVM:RUN 0,1;:DATA? 0,2")
    answer = block(b"4 0 1e-06 " + block(b"\x00\x00"))
    for line, direction, message in ((sent, ">", call), (received, "<", answer)):
        assert line.split(maxsplit=3)[1:] == [direction, str(len(message)), repr(message)[2:-1]]


def test_limits_hold_in_the_instrument_as_well(serve, open_visa):
    """What the driver's own checks would stop is sent past them: the instrument refuses it and nothing is pulsed."""
    chip = open_visa(serve(SMALL))
    limits = chip.info.limits
    for amplitude, width in [(limits.amplitude_max * 1.001, 100.0), (200.0, limits.width_min / 2), (200.0, 1e9)]:
        batch = Pulses.make(PulseKind.RESET, [1], amplitude, width)
        with pytest.raises(LimitError, match="outside"):
            chip._pulse(0, batch)
    with pytest.raises(BadInputError, match="twice"):
        chip._pulse(0, Pulses.make(PulseKind.RESET, [1, 1], 200.0, 100.0))
    assert chip._session.call([dialect.COUNTS_Q.write()]) == b"0,0,0"


def test_the_budget_of_pulses_outlives_the_client(serve, open_visa):
    chip = hwloop.connect(SMALL)
    object.__setattr__(chip.info.limits, "pulses_per_device", 2)
    port = serve(chip)
    for _ in range(2):
        with VisaChip.open(resource(port)) as client:
            client.pulse(0, Pulses.make(PulseKind.RESET, [4], 200.0, 100.0))
    with pytest.raises(LimitError, match="budget of 2 pulses"):
        open_visa(port).pulse(0, Pulses.make(PulseKind.RESET, [4], 200.0, 100.0))


def test_an_error_of_the_instrument_has_code_text_and_command(serve, open_visa):
    chip = open_visa(serve(SMALL))
    with pytest.raises(InstrumentError, match="-113") as caught:
        chip._session.call([b"*OPC?", b"FOO:BAR 1"])
    assert caught.value.code == -113
    assert caught.value.message == "Undefined header;FOO:BAR"
    assert "FOO:BAR" in caught.value.command
    assert chip._session.call([dialect.ERROR_COUNT_Q.write()]) == b"0"


@pytest.mark.parametrize(("already", "error"), [(3, LimitError), (40, InstrumentError)])
def test_an_error_is_told_from_those_that_were_in_the_queue_before(serve, open_visa, already, error):
    """Messages that a link damaged leave errors of their own, up to a full queue, which says that some were lost."""
    chip = open_visa(serve(SMALL))
    for _ in range(already):
        chip._session._link.write(b"GARBAGE", time.monotonic() + 1)
    with pytest.raises(error, match=r"outside 0 to 1e\+12" if error is LimitError else "-350, Queue overflow"):
        chip._session.call([b"CHIP:WAIT -1"])
    assert chip._session.call([dialect.ERROR_COUNT_Q.write()]) == b"0"


def test_an_open_resource_is_used_and_left_open(serve):
    port = serve(SMALL)
    manager = pyvisa.ResourceManager("@py")
    opened = manager.open_resource(resource(port), read_termination="\n", write_termination="\n")
    opened.write("*IDN?")  # an answer nobody read
    time.sleep(0.1)
    with VisaChip.open(opened) as chip:
        assert chip.mvm(0, inputs(chip)).shape == (32, 16)
    assert opened.query("*OPC?") == "1"
    opened.close()


def test_close_is_idempotent_and_frees_the_instrument(serve):
    port = serve(SMALL)
    for _ in range(3):
        chip = VisaChip.open(resource(port))
        chip.close()
        chip.close()
        with pytest.raises(ClosedError, match="was closed; connect again"):
            chip.now()


def test_a_plain_visa_shell_can_use_what_a_session_left(serve, open_visa):
    port = serve(SMALL)
    with VisaChip.open(resource(port)) as chip:
        chip.pulse(0, resets(chip))
    shell = pyvisa.ResourceManager("@py").open_resource(resource(port), read_termination="\n", write_termination="\n")
    assert shell.query("CHIP:GEOMetry?") == "1,16,16,2"
    shell.write("puls 0,res,17,0.2mA,0.1us")
    assert shell.query("syst:err?;:chip:coun?") == '0,"No error";1025,0,0'
    assert float(shell.query("READ? 0,17")) > 0
    assert len(shell.query("MVM:ROW? 0,3,127").split(",")) == 16
    shell.close()


def test_a_calibration_over_the_link_trims_as_the_direct_one_does(serve, open_visa):
    """The same trims, in the certificate and in the registers behind the link, bit for bit."""
    uri, plan = "sim:hermes-core?seed=3&rows=32&columns=16&adc_offset_spread=3", Plan(("adc",))
    direct = hwloop.connect(uri)
    chip = open_visa(serve(uri))
    one, other = (calibrate(backend, plan, seed=1).cores[0].trims for backend in (direct, chip))
    assert one.offset.any()
    for left, right, behind in zip((one.offset, one.gain), (other.offset, other.gain), chip.trims(0), strict=True):
        np.testing.assert_array_equal(left, right)
        np.testing.assert_array_equal(right, behind)


# ---- who answers ---------------------------------------------------------------------------------------------


def test_a_second_client_is_refused_with_the_name_of_the_first(serve, open_visa):
    port = serve(SMALL)
    first = open_visa(port)
    with pytest.raises(LinkError, match=r"busy: in use by 127\.0\.0\.1:\d+"):
        open_visa(port)
    assert first.mvm(0, inputs(first)).shape == (32, 16)


def test_nobody_there(open_visa, free_port):
    with pytest.raises(LinkError, match="refused"):
        open_visa(free_port, timeout=1.0)


@pytest.mark.parametrize("name", ["", "hello", "TCPIP::", "127.0.0.1:5025"])
def test_not_a_resource_name(name):
    with pytest.raises(BadInputError, match="not a VISA resource name"):
        hwloop.connect(f"visa:{name}")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("speed=9", "unknown option 'speed' of visa:; known: visa_library, timeout, log"),
        ("timeout=soon", "expected seconds"),
        ("timeout=-1", "between 0 and 3600"),
        ("timeout=nan", "between 0 and 3600"),
        ("visa_library=/nowhere/libvisa.so", "cannot be used"),
        ("log=/nowhere/wire.txt", "log /nowhere/wire.txt cannot be written .No such file"),
    ],
)
def test_options_that_cannot_be_used(query, message):
    with pytest.raises(BadInputError, match=message):
        hwloop.connect(f"visa:{resource(1)}?{query}")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"KEITHLEY INSTRUMENTS,MODEL 2450,04412345,1.7.12b\n", "'MODEL 2450' by 'KEITHLEY INSTRUMENTS'"),
        (b"hwloop,sim:x,1,dialect 2.0/9.9\n", r"version 2\.0 of the hwloop dialect and this driver version 1\.4"),
        (b"SSH-2.0-OpenSSH_9.6\n", "not an instrument"),
        (b"\xff" * 3000, "no newline"),
        (b"", r"TCPIP\S* does not say who it is \(\*IDN\?\): no reply in time"),
    ],
)
def test_another_instrument_answers(scripted, open_visa, answer, message):
    port = scripted({b"*IDN?": answer})
    with pytest.raises(LinkError, match=message):
        open_visa(port, timeout=0.3)


def test_an_instrument_that_falls_silent_costs_a_bounded_time(scripted, open_visa):
    port = scripted({b"*IDN?": b"hwloop,sim:x,1,dialect 1.7/9.9\n"})
    begin = time.monotonic()
    with pytest.raises(LinkError, match=r"TCPIP\S* opens no session: no reply in time"):
        open_visa(port, timeout=0.3)
    assert time.monotonic() - begin < 2.0
