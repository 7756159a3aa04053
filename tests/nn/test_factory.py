"""MODULE:FACTORY: a user's network by its name, and which names in a file open anything."""

import os
import sys

import pytest
import torch

from hwloop.errors import BadInputError
from hwloop.nn import zoo
from hwloop.nn.factory import network_from, zoo_network

SOURCE = """
from torch import nn
import helpers

class Net(nn.Linear):
    def __init__(self, outputs=helpers.OUTPUTS):
        super().__init__(4, outputs)

def make(): return Net()
def needs(width): return Net(width)
def fails(): raise RuntimeError("out of\\nchips")
def leaves(): raise SystemExit(2)
def gives_a_dict(): return {}
def gives_a_class(): return Net
settings = {"outputs": 3}
made = Net()
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    """Path of a file with networks, which imports another file beside it."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delitem(sys.modules, "helpers", raising=False)
    (tmp_path / "helpers.py").write_text("OUTPUTS = 3\n")
    path = tmp_path / "my-net.v2.py"
    path.write_text(SOURCE)
    yield path
    sys.modules.pop("helpers", None)


@pytest.mark.parametrize("factory", ["make", "Net"])
def test_a_file_gives_what_its_function_or_class_makes(net, factory):
    before = list(sys.path)
    assert network_from(f"{net}:{factory}").out_features == 3
    assert sys.path == before


def test_a_file_is_read_anew_each_time(net, monkeypatch):
    """Also one that was changed within the second, by which Python knows a compiled copy."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    os.utime(net, (1e9, 1e9))
    network_from(f"{net}:make")
    net.write_text(SOURCE.replace("super().__init__(4, outputs)", "super().__init__(7, outputs)"))
    os.utime(net, (1e9, 1e9))
    assert network_from(f"{net}:make").in_features == 7


def test_a_module_of_the_current_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_networks_here.py").write_text("from torch.nn import ReLU\n")
    assert isinstance(network_from("own_networks_here:ReLU"), torch.nn.ReLU)
    del sys.modules["own_networks_here"]


def test_installed_modules_come_before_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "safetensors.py").write_text("raise AssertionError\n")
    monkeypatch.delitem(sys.modules, "safetensors", raising=False)
    with pytest.raises(BadInputError, match="no 'Net' in safetensors"):
        network_from("safetensors:Net")


def test_the_zoo_is_found_by_name():
    assert isinstance(network_from("hwloop.nn.zoo:digits_cnn"), zoo.DigitsCNN)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("mkae", r"no 'mkae' in .*my-net.v2.py; did you mean 'make'\? known: Net, fails, .*make, needs"),
        ("settings", "settings is an object of type dict; expected a function or class"),
        ("made", "made is an object of type Net; expected a function or class"),
        ("needs", r"raised TypeError: needs\(\) missing 1 required positional argument: 'width'"),
        ("fails", "raised RuntimeError: out of chips"),
        ("leaves", "raised SystemExit: 2"),
        ("gives_a_dict", "made an object of type dict; expected it to return a torch.nn.Module"),
        ("gives_a_class", "made the class Net; expected"),
    ],
)
def test_a_factory_that_makes_no_network_is_told_in_one_line(net, factory, message):
    with pytest.raises(BadInputError, match=message) as caught:
        network_from(f"{net}:{factory}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hwloop.nn.zoo", "expected MODULE:FACTORY, such as hwloop.nn.zoo:digits_cnn"),
        (":make", "expected MODULE:FACTORY"),
        ("net.py:", "expected MODULE:FACTORY"),
        ("nowhere/net.py:make", "nowhere/net.py: no such file"),
        ("no_such_package.nets:make", "no module 'no_such_package'; name one that can be imported"),
        ("hwloop.no_such_room:make", "no module 'hwloop.no_such_room'"),
        ("hwloop.nn.zoo:digit_cnn", r"no 'digit_cnn' in hwloop.nn.zoo; did you mean 'digits_cnn'\?"),
    ],
)
def test_a_name_that_leads_nowhere_says_how_it_should_look(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=message):
        network_from(name)


def test_what_a_file_cannot_import_is_told_apart_from_a_file_that_is_not_there(net):
    before = set(sys.modules)
    (net.parent / "helpers.py").unlink()
    with pytest.raises(BadInputError, match="raised ModuleNotFoundError: No module named 'helpers'"):
        network_from(f"{net}:make")
    net.write_text("def make(:\n")
    with pytest.raises(BadInputError, match=r"raised SyntaxError: .*my-net.v2.py, line 1"):
        network_from(f"{net}:make")
    assert not [name for name in set(sys.modules) - before if name.startswith("hwloop_network_")]


# ---- names that stand in a file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.NAMES)
def test_networks_of_the_zoo_open_from_a_file(name):
    assert type(zoo_network(f"hwloop.nn.zoo:{name}")) is type(getattr(zoo, name)())


@pytest.mark.parametrize(
    "name", ["{net}:make", "os:abort", "hwloop.nn.factory:network_from", "digits_cnn", "", "\x1b[2J:x"]
)
def test_all_other_names_are_to_be_given_again(net, name):
    net.write_text("raise AssertionError('a file imported this')\n")
    with pytest.raises(BadInputError, match="name it again with --network") as caught:
        zoo_network(name.format(net=net))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["digits_cnm", "DigitsCNN", "F", "__name__", ""])
def test_nothing_of_the_zoo_but_its_networks_opens_from_a_file(name):
    with pytest.raises(BadInputError, match=f"no network '{name}' in hwloop.nn.zoo; .*known: digits_mlp, digits_cnn"):
        zoo_network(f"hwloop.nn.zoo:{name}")
