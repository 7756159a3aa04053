"""What a page may ask for, and what is left to the terminal."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from hwloop.cli import main
from hwloop.errors import BadInputError
from hwloop.web.fields import Form, Values, form_of, values_of, words_of
from hwloop.web.folder import DataFolder
from hwloop.web.rules import check_chip, check_network, check_values, chip_of, chips_of

REFUSED = (
    "program ../w.npy --backend sim:hermes-core --out r.h5",
    "program w.npy --backend sim:hermes-core --out ../r.h5",
    "program w.npy --backend sim:hermes-core --out /tmp/r.h5",
    "program w.npy --backend sim:../model.json --out r.h5",
    "program w.npy --backend bench:/etc/bench.toml --out r.h5",
    "program w.npy --backend bench:sent.txt --out r.h5",
    "program w.npy --fleet sent.txt --out r.h5",
    "program w.npy --backend 'visa:TCPIP::h::5::SOCKET?visa_library=/tmp/evil.so' --out r.h5",
    "program w.npy --backend 'visa:TCPIP::h::5::SOCKET?visa_library=evil.yaml@sim' --out r.h5",
    "program w.npy --backend 'visa:TCPIP::h::5::SOCKET?log=/etc/cron.d/x' --out r.h5",
    "program w.npy --backend 'visa:TCPIP::h::5::SOCKET?log=w.npy' --out r.h5",
    "program w.npy --backend 'visa:TCPIP::h::5::SOCKET?token_file=/etc/shadow' --out r.h5",
    "program w.npy --backend nope:x --out r.h5",
    "program w.npy --backend sim:hermes-core --out r.h5 --plot /tmp/x.png",
    "program w.npy --fleet fleet.toml --scheduler tcp://evil:8786 --out r.h5",
    "program w.npy --backend sim:hermes-core --out r.h5 --log /tmp/x",
    "program w.npy --backend sim:hermes-core --out r.h5 --debug",
    "serve --chip sim:hermes-core --host 0.0.0.0",
    "serve --chip sim:hermes-core --stdio",
    "discover --visa-library /tmp/evil.so",
    "ledger --ledger /tmp/x.sqlite",
    "train --network os:abort --dataset d.npz --backend sim:reram-sb --out t.h5",
    "train --network /tmp/evil.py:f --dataset d.npz --backend sim:reram-sb --out t.h5",
    "search --dataset d.npz --chip sim:hermes-64 --out s.h5 --space os",
    "search --dataset d.npz --chip sim:hermes-64 --out s.h5 --weights-out /tmp/w.safetensors",
    "coreset /etc/passwd --bits 9000 --out p.npz",
    "import /etc/passwd --out m.h5",
    "fit m.h5 --out m.json --figures ../x",
    "export m.json --to aihwkit --out mine.py",
    "ledger --out fleet.toml",
    "examples ../elsewhere",
    "web --port 0",
    "program w.npy --backend sim:hermes-core --out r.h5 --help",
)


def opened(words: list[str], folder: DataFolder) -> tuple[Form, Values]:
    """Open a command line as a page does."""
    form = form_of(main, words)
    values = values_of(form, words[len(form.path) :])
    check_values(form, values, folder)
    return form, values


@pytest.mark.parametrize("line", REFUSED)
def test_what_leads_elsewhere_is_refused(lab: Path, line: str) -> None:
    folder, words = DataFolder(lab), shlex.split(line)
    (lab / "sent.txt").write_text('[[chip]]\nbackend = "sim:hermes-core?seed=1"\n')
    with pytest.raises(BadInputError):
        opened(words, folder)


ALLOWED = (
    "program w.npy --backend sim:hermes-core?seed=7 --out r.h5 --set max_steps=6",
    "program w.npy --backend 'visa:TCPIP::127.0.0.1::5025::SOCKET?timeout=5&visa_library=@py&log=w.log' --out s/r.h5",
    "train --network hwloop.nn.zoo:digits_mlp --dataset d.npz --backend sim:reram-sb --out t.h5",
    "measure drift --backend sim:hermes-core --cells 100 --out m.h5",
    "serve --chip sim:hermes-core --port 0",
    "search --dataset d.npz --chip sim:hermes-64 --out s.h5 --params 16k",
    "info bench:bench.toml",
)


@pytest.mark.parametrize("line", ALLOWED)
def test_what_stays_inside_is_taken_and_comes_back_as_it_was(lab: Path, line: str) -> None:
    form, values = opened(shlex.split(line), DataFolder(lab))
    again = words_of(form, values)
    assert values_of(form, again[len(form.path) :]) == values


def test_every_parameter_is_one_of_those_that_were_looked_at() -> None:
    """A new option whose text could load, write or connect must not slip in: who adds one decides where it belongs."""
    from hwloop.web.fields import NEVER, Role, _field
    from tests.test_docs import all_commands

    free = {
        "tensor", "layout", "scale", "split", "clip", "age", "methods", "exclude", "replicas", "replica_use", "ranges",
        "times", "compensation", "algorithm", "method", "levels", "settle", "cores", "first", "until", "ages",
        "interval", "start", "early", "columns", "experiment", "split_by", "delimiter", "comment", "where", "start_age",
        "family", "time", "level", "window", "to", "picture", "addresses", "decimal", "hold_out", "params", "latency",
        "space",
    }  # fmt: skip
    found = set()
    for command in all_commands():
        for parameter in command.params:
            if str(parameter.name) not in NEVER and _field(parameter).role in (Role.TEXT, Role.CHOICE, Role.ANY):
                found.add(str(parameter.name))
    assert found - free == set()


def test_a_network_of_ones_own_lies_in_the_data_folder(lab: Path) -> None:
    folder = DataFolder(lab)
    check_network("hwloop.nn.zoo:digits_cnn", folder)
    check_network("hwloop.search.resnet_like:i1_o10_s8_b1w8k3_h2", folder)
    (lab / "mine.py").write_text("def net(): ...")
    check_network("mine.py:net", folder)
    for wrong in ("os:abort", "mine.py", "other.py:net", "hwloop.nn.zoo:os.abort", "hwloop.nn.zoo.os:abort"):
        with pytest.raises(BadInputError):
            check_network(wrong, folder)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sim:hermes-core?seed=1", "sim:hermes-core?temperature=350&seed=1", True),
        ("sim:hermes-core?seed=1&rows=8", "sim:hermes-core?rows=8&seed=1", True),
        ("sim:hermes-core?seed=1", "sim:hermes-core?seed=2", False),
        ("visa:TCPIP::h::1::SOCKET?timeout=5", "visa:TCPIP::h::1::SOCKET", True),
        ("visa:TCPIP::h::1::SOCKET", "visa:TCPIP::h::2::SOCKET", False),
    ],
)
def test_a_chip_is_known_by_what_makes_it(one: str, other: str, same: bool) -> None:
    assert (chip_of(one) == chip_of(other)) is same


def test_names_of_the_lab_stand_for_what_its_owner_wrote(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab.parent / "lab.toml").write_text('[chips]\nleft = "visa:TCPIP::h::1::SOCKET?visa_library=/opt/vendor.so"\n')
    monkeypatch.setenv("HWLOOP_LAB", str(lab.parent / "lab.toml"))
    folder = DataFolder(lab)
    check_chip("lab:left?timeout=5", folder)
    assert chip_of("lab:left") == "visa:TCPIP::h::1::SOCKET"
    with pytest.raises(BadInputError):
        check_chip("lab:left?visa_library=/tmp/evil.so", folder)


def test_a_fleet_needs_all_its_chips(lab: Path) -> None:
    chips = "\n".join(f'[[chip]]\nbackend = "sim:hermes-core?seed={seed}"' for seed in (1, 2))
    (lab / "fleet.toml").write_text(chips)
    form = form_of(main, ["program"])
    values = values_of(form, ["w.npy", "--fleet", "fleet.toml", "--out", "r.h5"])
    assert chips_of(form, values, DataFolder(lab)) == ("sim:hermes-core?seed=1", "sim:hermes-core?seed=2")
