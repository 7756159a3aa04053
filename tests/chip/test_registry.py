"""Backends by URI."""

import pytest

import hwloop
from hwloop.chip import registry as backends
from hwloop.chip.backend import Backend
from hwloop.chip.registry import Scheme, connect, schemes, split_uri
from hwloop.errors import BadInputError, LinkError
from tests.chip.test_backend import Recorder


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("sim:hermes-core", ("sim", "hermes-core", {})),
        ("sim:hermes-core?", ("sim", "hermes-core", {})),
        ("sim:a?seed=7&adc_bits=6", ("sim", "a", {"seed": "7", "adc_bits": "6"})),
        ("sim:models/my%20chip.json?seed=7", ("sim", "models/my%20chip.json", {"seed": "7"})),
        ("sim:a?seed=", ("sim", "a", {"seed": ""})),
        ("sim:a?path=%2Fdev%2FttyUSB0", ("sim", "a", {"path": "/dev/ttyUSB0"})),
        (
            "visa:TCPIP::127.0.0.1::5025::SOCKET?visa_library=@py&timeout=5",
            ("visa", "TCPIP::127.0.0.1::5025::SOCKET", {"visa_library": "@py", "timeout": "5"}),
        ),
        ("sim:", ("sim", "", {})),
    ],
)
def test_a_uri_has_a_scheme_a_target_and_options(uri, parts):
    assert split_uri(uri) == parts


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "is not a backend URI; expected SCHEME:TARGET, for example sim:hermes-core"),
        ("hermes-core", "is not a backend URI"),
        (":hermes-core", "is not a backend URI"),
        ("sim:a?seed", "the query 'seed' is not of the form name=value&name=value"),
        ("sim:a?seed=1&&adc_bits=6", "is not of the form"),
        ("sim:a?seed=1&seed=2", "an option is given twice"),
    ],
)
def test_what_is_no_uri_is_explained(uri, reason):
    with pytest.raises(BadInputError, match=reason) as caught:
        split_uri(uri)
    assert f"'{uri}'" in str(caught.value)


def test_an_unknown_scheme_lists_the_installed_ones():
    with pytest.raises(BadInputError, match=r"no backend for 'simm:'; did you mean 'sim'\? known: .*sim"):
        connect("simm:hermes-core")


def test_an_unknown_target_lists_the_known_ones():
    with pytest.raises(BadInputError, match=r"known: .*hermes-core"):
        connect("sim:")


def test_the_simulator_is_installed_and_introduces_itself():
    scheme = schemes()["sim"].load()
    assert "hermes-core" in scheme.targets
    assert scheme.summary


def test_connect_opens_a_backend():
    with hwloop.connect("sim:pcm-ideal?rows=4&columns=4") as chip:
        assert isinstance(chip, Backend)
        assert chip.info.name == "sim:pcm-ideal"


def test_a_third_partys_scheme_gets_target_and_options_as_text(monkeypatch):
    calls = []

    def open_it(target, query):
        calls.append((target, query))
        return Recorder()

    class Entry:
        name = "acme"

        def load(self):
            return Scheme(open_it, "a chip in a lab")

    monkeypatch.setattr(backends, "entry_points", lambda group: [Entry()] if group == "hwloop.backends" else [])
    connect("acme:bench 3?volts=0.2").close()
    assert calls == [("bench 3", {"volts": "0.2"})]
    with pytest.raises(BadInputError, match="no backend for 'sim:'; known: acme"):
        connect("sim:pcm-ideal")


@pytest.mark.parametrize(
    ("uri", "meant"),
    [("simm:pcm-ideal", "sim"), ("sim:hermes-cor", "hermes-core"), ("sim:pcm-ideal?sead=1", "seed")],
)
def test_what_is_nearly_right_is_suggested(uri, meant):
    with pytest.raises(BadInputError, match=rf"did you mean '{meant}'\? known: .*{meant}"):
        connect(uri)


def test_an_entry_point_that_names_no_scheme_is_its_packages_fault(monkeypatch):
    class Entry:
        name = "acme"

        def load(self):
            return connect

    monkeypatch.setattr(backends, "entry_points", lambda group: [Entry()])
    with pytest.raises(BadInputError, match=r"the backend for 'acme:' is broken: .* names a function, not a Scheme"):
        connect("acme:bench")


def test_a_chip_has_one_user_by_whatever_way_it_is_reached(monkeypatch):
    """Two addresses of one chip are told by its name and serial number, once it is open, and the second is closed."""
    opened, closed = [], []

    class Told(Recorder):
        def close(self):
            closed.append(self)
            super().close()

    def open_it(target, query):
        opened.append(Told())
        return opened[-1]

    class Entry:
        name = "acme"

        def load(self):
            return Scheme(open_it, "a chip in a lab")

    monkeypatch.setattr(backends, "entry_points", lambda group: [Entry()])
    first = connect("acme:by cable")
    with pytest.raises(LinkError):
        connect("acme:by network")
    assert closed == opened[1:]
    assert len(opened) == 2
    with pytest.raises(LinkError):
        connect("acme:by cable")
    assert len(opened) == 2, "a place that is taken is not opened"
    first.close()
    connect("acme:by network").close()
