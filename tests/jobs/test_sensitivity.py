"""`hwloop.sensitivity`: of a network and data, and of a deployed network with its own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest
import torch
from torch import nn

import hwloop
from hwloop.jobs import sensitivity as job
from hwloop.jobs.sensitivity import Sensitivity
from tests.jobs.test_retrain import CHIP, both, data, network

BRIEF = hwloop.SensitivitySettings(draws=2, age=200.0, halvings=1, doublings=4)


def trained() -> nn.Module:
    return hwloop.retrain(
        network(), data(), CHIP, hwloop.Retraining(epochs=8, lr=0.01, test_draws=1, noise=0.0, distillation=0.0)
    ).network


@pytest.fixture(scope="module")
def found() -> Sensitivity:
    return hwloop.sensitivity(trained(), both(), CHIP, BRIEF)


def test_every_nonideality_and_every_layer(found: Sensitivity) -> None:
    assert [one.name for one in found.parts] == [
        "input bits", "input range", "programming noise", "stuck devices", "drift", "read noise", "wire resistance",
        "output gain spread", "output offset spread", "output noise", "output bits", "output range",
    ]  # fmt: skip
    assert [one.name for one in found.layers] == ["0.weight", "3.weight"]
    assert (found.status, found.images, found.chip) == ("complete", 100, CHIP)
    assert found.accuracy_digital > 0.6
    assert repr(found).startswith("<Sensitivity of Sequential on sim:hermes-core?seed=1, 1 point of ")


def test_json_and_table(found: Sensitivity) -> None:
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["nonidealities"][0].keys() == {
        "name", "unit", "nominal", "value", "low", "high", "factor", "accuracy", "comparable",
    }  # fmt: skip
    assert told["nonidealities"][0]["nominal"] == 8.0
    assert told["nonidealities"][7]["comparable"] is False  # calibration takes the gains away
    table = found.to_dataframe()
    assert list(table["kind"]) == ["nonideality"] * 12 + ["layer"] * 2


def test_on_file(found: Sensitivity, tmp_path: Path) -> None:
    found.save(tmp_path / "s.h5")
    again = hwloop.load(tmp_path / "s.h5")
    assert isinstance(again, Sensitivity)
    assert {**again.to_json(), "file": None} == found.to_json()
    with h5py.File(tmp_path / "s.h5") as file:
        units = {item.attrs["units"] for item in file["nonidealities/0000"].values()}
        assert units == {"bits", "1"}
    with pytest.raises(hwloop.BadInputError, match="exists"):
        found.save(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "a") as file:
        del file["layers"]
    with pytest.raises(hwloop.BadInputError, match=r"s\.h5 has no layers"):
        hwloop.load(tmp_path / "s.h5")


def test_a_deployed_network_knows_its_chip_and_data() -> None:
    (x, _), test = data(), data(100, 1)
    with hwloop.connect("sim:hermes-core?rows=32&columns=32&seed=1") as chip:
        settings = hwloop.Deployment(test=(torch.tensor(test[0]), torch.tensor(test[1])))
        net = hwloop.deploy(trained(), chip, torch.tensor(x), "exact", settings=settings)
        products = [dict(module.products) for module in net.modules() if hasattr(module, "products")]
        pulses = chip.counts.pulses
        found = hwloop.sensitivity(net, settings=BRIEF)
        assert products == [dict(module.products) for module in net.modules() if hasattr(module, "products")]
        assert chip.counts.pulses == pulses
        alone = hwloop.sensitivity(net, test, "sim:pcm-90nm", BRIEF)
    assert (found.network, found.images) == ("Sequential", 100)
    assert found.chip == "sim:hermes-core?rows=32&columns=32&seed=1"
    assert alone.chip == "sim:pcm-90nm"


def test_a_stop_keeps_what_was_found() -> None:
    def report(done: int, total: int) -> None:
        assert total == 14
        if done == 2:
            raise KeyboardInterrupt

    found = hwloop.sensitivity(trained(), both(), CHIP, BRIEF, progress=report)
    assert (found.status, len(found.parts), len(found.layers)) == ("interrupted", 2, 0)


def test_an_ideal_chip_has_nothing_to_lose_by() -> None:
    found = hwloop.sensitivity(trained(), both(), "sim:pcm-ideal", BRIEF)
    limits = {one.name: one for one in found.parts}
    assert limits["drift"].accuracy == pytest.approx(found.accuracy_digital)
    assert math.isnan(limits["read noise"].value)


def test_what_is_missing() -> None:
    with pytest.raises(hwloop.BadInputError, match="needs labelled data and a chip"):
        hwloop.sensitivity(network(), both())
    with pytest.raises(hwloop.BadInputError, match="needs labelled data and a chip"):
        hwloop.sensitivity(network(), chip=CHIP)


def test_progress_goes_on_from_the_parts_to_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    noisy = SimpleNamespace(noise=SimpleNamespace(parts=[1, 2, 3]), products={"a": 1, "b": 2})
    monkeypatch.setattr(job, "right_exactly", lambda *_: torch.tensor([True, False]))
    monkeypatch.setattr(job, "limits_of_parts", lambda *_: iter("xyz"))
    monkeypatch.setattr(job, "limits_of_layers", lambda *_: iter("ab"))
    found = job._found(noisy, [0, 0], BRIEF, lambda done, total: told.append((done, total)))  # type: ignore[arg-type]
    assert [one for one in told if one[0]] == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert (found.parts, found.layers, found.accuracy_digital) == (tuple("xyz"), tuple("ab"), 0.5)
    assert (found.status, found.images) == ("complete", 2)
