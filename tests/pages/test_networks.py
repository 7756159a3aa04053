"""Pages of deployed networks and of what they bear."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import hwloop
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.nn.sensitivity import Limit
from hwloop.pages.networks import _errors, _onward, page_of_sensitivity
from hwloop.plot.networks import strengths_borne

CHIP = "sim:pcm-ideal?rows=32&columns=32&seed=1"


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    """Two layers, deployed and saved; its class is no one's but this test's."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    with hwloop.connect(CHIP) as chip:
        net = hwloop.deploy(model, chip, calibration_data=torch.randn(32, 8), method="exact")
        net.save(tmp_path / "net.h5")
    return tmp_path / "net.h5"


def test_a_network_of_an_unknown_class_has_its_page(network_file: Path) -> None:
    page = hwloop.page_of(network_file)
    assert page.kind == "network"
    assert page.verdict.startswith("MVM error 0.0")
    assert [row[0] for row in page.tables[0].rows] == ["0.weight", "2.weight"]
    axes = page.picture("errors-of-matrices").draw(Figure().subplots())
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0.weight", "2.weight"]
    for picture in page.pictures:
        picture.draw(Figure().subplots())


def test_a_network_that_was_not_finished_is_refused(tmp_path: Path) -> None:
    with hdf5.WholeFileWriter(tmp_path / "n.h5", hdf5.NETWORK_FORMAT) as file:
        file.commit()
    with pytest.raises(BadInputError, match="was not deployed to its end"):
        hwloop.page_of(tmp_path / "n.h5")


def limit(name: str, value: float, factor: float) -> Limit:
    return Limit(name, "LSB", 0.5, value, 0.8 * value, 1.2 * value, factor, 0.97, comparable=True)


def test_the_page_of_a_sensitivity_study_names_the_weakest(found_sensitivity: hwloop.Sensitivity) -> None:
    page = page_of_sensitivity(found_sensitivity)
    assert page.verdict == "Weakest spots: adc noise; layer none."
    assert page.tables[0].rows[0] == ("adc noise", 0.5, 1.0, "0.8 to 1.2", "LSB", 0.97)
    assert page.tables[0].rows[1][2] is None
    assert page.tables[0].note == "A dash: no strength that was tried costs so much."
    assert [one.name for one in page.pictures] == ["nonidealities"]


def test_what_is_borne_to_the_end_has_an_arrow(found_sensitivity: hwloop.Sensitivity) -> None:
    axes = strengths_borne(found_sensitivity.parts)
    dots, arrows = axes.lines[:2]
    assert (dots.get_xdata().tolist(), dots.get_ydata().tolist()) == ([2.0], [0])
    assert (arrows.get_marker(), arrows.get_ydata().tolist()) == (">", [1])
    with pytest.raises(BadInputError, match="nothing was tried"):
        strengths_borne([])


@pytest.fixture
def found_sensitivity() -> hwloop.Sensitivity:
    """Two nonidealities, of which one was borne as far as was tried."""
    parts = (limit("adc noise", 1.0, 2.0), limit("read noise", float("nan"), 64.0))
    return hwloop.Sensitivity("net", CHIP, 0.98, parts, (), hwloop.SensitivitySettings(), images=500)


def test_the_error_of_a_matrix_is_that_of_its_tiles_by_their_cells() -> None:
    def tile(name: str, cells: int, error: float) -> SimpleNamespace:
        return SimpleNamespace(tile=SimpleNamespace(tensor=name, target=np.zeros((cells, 1))), mvm_error=error)

    tiles = [tile("a", 10, 0.1), tile("b", 5, 0.3), tile("a", 30, 0.2), tile("b", 9, math.nan), tile("c", 3, math.nan)]
    found = _errors(SimpleNamespace(tiles=tiles))
    assert list(found) == ["a", "b"]
    assert found["a"] == pytest.approx(np.sqrt((10 * 0.01 + 30 * 0.04) / 40))
    assert found["b"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("name", "factory", "said"),
    [
        ("n.h5", "hwloop.nn.zoo:digits_mlp", "hwloop drift n.h5 --times 1h,30d,1y --out drift.h5"),
        ("n.h5", "m:net", "hwloop drift n.h5 --network m:net --times 1h,30d,1y --out drift.h5"),
        ("n.h5", "", "hwloop drift n.h5 --network FILE.py:FACTORY --times 1h,30d,1y --out drift.h5"),
    ],
)
def test_a_network_says_how_it_is_measured_later(name: str, factory: str, said: str) -> None:
    assert _onward(SimpleNamespace(name=name), factory)[0].name == said
    assert _onward(SimpleNamespace(name=""), factory) == ()
