"""A deployed network: time, compensation, what it tells of itself, and its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

import hwloop
from hwloop.calibration.drift.digital import ColumnAffine
from hwloop.calibration.drift.registry import compensation_from
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.nn.batch_norm import statistics_of
from tests.conftest import OpenChip
from tests.nn.conftest import IDEAL, NOISY, Deploy, difference, images, labelled, small_cnn

DRIFTING = "sim:pcm-90nm?rows=64&columns=64&cores=4&read_noise=0&programming_noise=0&adc_bits=14&dac_bits=14&seed=3"


def test_columns_bring_back_what_drift_takes(deployed: Deploy) -> None:
    network, x = small_cnn(), images(100, seed=7)
    found = deployed(network, DRIFTING)
    with torch.no_grad():
        ideal = network(x)
        fresh = difference(found(x), ideal)
        found.age("30d")
        drifted = difference(found(x), ideal)
        errors = {}
        for name in ("none", "global", "column", "predictive"):
            found.compensate(name)
            errors[name] = difference(found(x), ideal)
    assert errors["none"] == pytest.approx(drifted, rel=0.02)
    assert fresh < 0.05 < 0.5 * drifted
    assert max(errors["global"], errors["column"], errors["predictive"]) < 0.6 * drifted
    assert errors["column"] < 1.1 * errors["global"]


def test_statistics_of_batch_norm_follow_the_chip(deployed: Deploy) -> None:
    """What reaches the norm is scaled by 0.7: the mean and the variance of its statistics follow, and go back."""
    network = small_cnn()
    found, x = deployed(network), images(200)
    for tile in found.tiles[: len(found.placed[0].tensors())]:
        known = tile.programmed.origin.correction
        object.__setattr__(known, "gain", 0.7 * known.gain)
        object.__setattr__(known, "offset", 0.7 * known.offset)
    before = statistics_of(found.network)["1"]
    found.compensate("batchnorm")
    with torch.no_grad():
        seen = 0.7 * (network[0](x) - network[0].bias[:, None, None]) + network[0].bias[:, None, None]
    adapted = statistics_of(found.network)["1"]
    np.testing.assert_allclose(adapted["running_mean"], seen.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(adapted["running_var"], seen.var((0, 2, 3)), rtol=2e-3)
    assert not found.network[1].training
    found.compensate("none")
    np.testing.assert_array_equal(statistics_of(found.network)["1"]["running_mean"], before["running_mean"])


def test_a_refresh_is_followed_by_a_fit_of_the_columns(deployed: Deploy, tmp_path: Path) -> None:
    """Untouched for a year, outputs are far off; refreshed, with no other compensation, they are near again."""
    network, x = small_cnn(), images(100, seed=7)
    found = deployed(network, "sim:pcm-90nm?rows=64&columns=64&cores=4&seed=3", "gdp")
    with torch.no_grad():
        ideal = network(x)
        fresh = difference(found(x), ideal)
        found.age("1y")
        drifted = difference(found(x), ideal)
        pulses = found.open_run.backend.counts.pulses
        assert not found.compensate("refresh")
        refreshed = difference(found(x), ideal)
    assert found.open_run.backend.counts.pulses > pulses
    assert refreshed < 2.0 * fresh < 0.5 * drifted
    assert found.compensation == "refresh"
    found.save(tmp_path / "net.h5")
    for one in (found, hwloop.load_network(tmp_path / "net.h5", small_cnn())):
        with pytest.raises(BadInputError, match="the drift since programming is no longer theirs"):
            one.compensate("predictive")
        one.compensate("column")
        with torch.no_grad():
            assert difference(one(x), ideal) < 2.0 * fresh


def test_trying_a_compensation_leaves_no_trace(deployed: Deploy) -> None:
    network = small_cnn()
    found = deployed(network, NOISY)
    found.age("1d")
    found.compensate("global")
    gains = [tile.compensation.gain.copy() for tile in found.tiles]
    accuracy = found.accuracy_after(compensation_from("column+batchnorm"), labelled(network))
    assert accuracy.value > 0.5
    assert found.compensation == "global"
    for tile, gain in zip(found.tiles, gains, strict=True):
        np.testing.assert_array_equal(tile.compensation.gain, gain)


def test_a_network_tells_where_it_lies(deployed: Deploy) -> None:
    report = deployed(small_cnn(), exclude=("5",)).mapping_report()
    assert [layer.name for layer in report.layers] == ["0.weight", "3.weight"]
    assert [layer.kind for layer in report.layers] == ["Conv2d", "Conv2d"]
    assert {one.name: one.reason for one in report.digital}["5"] == "excluded"
    assert report.utilisation == pytest.approx((18 * 8 + 63 * 7 + 9) / (report.cores_used * 64 * 32))
    assert "18 x 8" in str(report)
    assert "8 x 9 x 1" in str(report)
    assert report.to_json()["cores_used"] == report.cores_used


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda net: net.age("1s"), "has passed"),
        (lambda net: net.compensate("colum"), "'colum' is unknown"),
        (lambda net: net.accuracy(), "no test data"),
        (lambda net: net.compensate("refresh"), "no record"),
        (lambda net: net(torch.zeros(3, 7)), r"\(batch, channels, 2 sizes\)"),
    ],
)
def test_what_a_network_cannot_do(deployed: Deploy, wrong: object, complaint: str) -> None:
    found = deployed(small_cnn(), NOISY)
    with pytest.raises((BadInputError, RuntimeError), match=complaint):
        wrong(found)


def test_a_network_without_batch_norm_has_no_statistics_to_adapt(deployed: Deploy) -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten()).eval()
    with pytest.raises(BadInputError, match="no batch norm"):
        deployed(network).compensate("batchnorm")


# ---- its file --------------------------------------------------------------------------------------------------


def test_a_file_goes_on_where_the_network_was(deployed: Deploy, tmp_path: Path) -> None:
    network = small_cnn()
    data = labelled(network)
    ranges = hwloop.RangeSettings(inputs="dynamic", bound_management=1, fewest=20, candidates=9, values=5000)
    settings = hwloop.Deployment(
        test=data, replicas={"0": 2}, network=hwloop.NetworkSettings(ranges, "share"), out=tmp_path / "net.h5"
    )
    found = deployed(network, NOISY, "gdp", settings, exclude=("5",))
    found.age("1d")
    found.compensate("column")
    found.save(tmp_path / "aged.h5")
    again = hwloop.load_network(tmp_path / "aged.h5", small_cnn())
    assert again.seconds_after_programming == pytest.approx(86400)
    assert (again.compensation, again.settings) == ("column", found.settings)
    assert again.tested == found.tested
    with torch.no_grad():
        torch.testing.assert_close(again(data[0]), found(data[0]), rtol=0, atol=0)  # the same noise, too
    fresh = hwloop.load_network(tmp_path / "net.h5", small_cnn())
    assert fresh.seconds_after_programming == pytest.approx(fresh.open_run.record.age)
    for one in (again, fresh):
        one.open_run.backend.close()


def test_parameters_come_from_the_file(deployed: Deploy, tmp_path: Path) -> None:
    found = deployed(small_cnn())
    found.save(tmp_path / "net.h5")
    other = small_cnn()
    for parameter in other.parameters():
        nn.init.constant_(parameter, 0.5)
    again = hwloop.load_network(tmp_path / "net.h5", other)
    with torch.no_grad():
        torch.testing.assert_close(again(images(4)), found(images(4)), rtol=1e-3, atol=1e-3)


def test_a_file_alone_imports_nothing(deployed: Deploy, tmp_path: Path) -> None:
    deployed(small_cnn()).save(tmp_path / "net.h5")
    with pytest.raises(BadInputError, match=r"given as a module in Python; hand one of its class to"):
        hwloop.load(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "a") as file:
        file["network"].attrs["factory"] = f"{tmp_path}/evil.py:make"
        file.attrs[hdf5.FINGERPRINT] = hdf5.fingerprint(file)
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    with pytest.raises(BadInputError, match="--network"):
        hwloop.load(tmp_path / "net.h5")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda file: file.pop("network"), "not deployed to its end"),
        (lambda file: file.pop("run"), "not deployed to its end"),
        (lambda file: file["network/tiles"].pop("0000"), "tiles are missing"),
        (lambda file: file["network"].pop("tiles"), "is not a whole network file"),
        (lambda file: file["network"].pop("statistics"), "statistics are missing"),
        (lambda file: file["network"].attrs.pop("replica_use"), "is not a whole network file"),
        (lambda file: file["network/ranges"].attrs.modify("inputs", "auto"), "inputs='auto' is unknown"),
        (lambda file: file["network/parameters"].pop("0.bias"), "another network"),
    ],
)
def test_damaged_files(deployed: Deploy, tmp_path: Path, damage: object, complaint: str) -> None:
    deployed(small_cnn()).save(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "a") as file:
        damage(file)
        file.attrs[hdf5.FINGERPRINT] = hdf5.fingerprint(file)
    with pytest.raises(BadInputError, match=complaint):
        hwloop.load_network(tmp_path / "net.h5", small_cnn())


def test_one_wrong_bit_in_any_values_is_noticed(deployed: Deploy, tmp_path: Path) -> None:
    deployed(small_cnn(), NOISY).save(tmp_path / "net.h5")
    written, places = (tmp_path / "net.h5").read_bytes(), []

    def note(_: str, item: h5py.HLObject) -> None:
        """Note the middle of its values; a chunk may be empty there."""
        if isinstance(item, h5py.Dataset) and item.id.get_offset() is not None and item.nbytes:
            places.append(item.id.get_offset() + item.nbytes // 2)

    with h5py.File(tmp_path / "net.h5") as file:
        file.visititems(note)
    assert len(places) > 50
    for place in places[:: len(places) // 10]:
        changed = bytearray(written)
        changed[place] ^= 1
        (tmp_path / "net.h5").write_bytes(changed)
        with pytest.raises(BadInputError):
            hwloop.load_network(tmp_path / "net.h5", small_cnn())


def test_a_file_of_absurd_size_is_refused(deployed: Deploy, tmp_path: Path) -> None:
    deployed(small_cnn()).save(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "a") as file:
        del file["network/inputs"]
        file["network"].create_dataset("inputs", (10**9, 1000), "f8", chunks=(1, 1000)).attrs["units"] = "1"
    with pytest.raises(BadInputError, match="8000000000000 bytes"):
        hwloop.load_network(tmp_path / "net.h5", small_cnn())


def test_trained_statistics_come_back_after_loading(deployed: Deploy, tmp_path: Path) -> None:
    found = deployed(small_cnn(), DRIFTING)
    found.age("30d")
    found.compensate("batchnorm")
    found.save(tmp_path / "net.h5")
    again = hwloop.load_network(tmp_path / "net.h5", small_cnn())
    assert not torch.equal(again.network[1].running_mean, small_cnn()[1].running_mean)
    again.compensate("none")
    torch.testing.assert_close(again.network[1].running_mean, small_cnn()[1].running_mean, rtol=0, atol=0)


@pytest.mark.parametrize("wait", ["the chip's own clock", "a drift study"])
def test_a_file_has_the_chip_as_it_is_whoever_aged_it(deployed: Deploy, tmp_path: Path, wait: str) -> None:
    network = small_cnn()
    found = deployed(network, DRIFTING, settings=hwloop.Deployment(test=labelled(network)))
    if wait == "a drift study":
        hwloop.drift(found, times=["30d"], compensations=["none"])
    else:
        found.open_run.backend.wait(30 * 86400.0)
    found.save(tmp_path / "net.h5")
    again = hwloop.load_network(tmp_path / "net.h5", small_cnn())
    assert again.seconds_after_programming == found.seconds_after_programming > 30 * 86400
    with torch.no_grad():
        torch.testing.assert_close(again(images(4)), found(images(4)), rtol=0, atol=0)


def test_statistics_survive_a_compensation_that_fails(deployed: Deploy) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 4), nn.BatchNorm1d(4)).eval()
    found = deployed(network)
    found.inputs = found.inputs[:1]
    before = statistics_of(found.network)["2"]
    with pytest.raises(BadInputError, match="1 calibration input"):
        found.compensate("batchnorm")
    np.testing.assert_array_equal(statistics_of(found.network)["2"]["running_var"], before["running_var"])


def test_modules_with_unusual_state_are_kept(deployed: Deploy, tmp_path: Path) -> None:
    """A number type that numpy lacks, a path with a slash in it, and state that is no tensor."""

    class Own(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"steps": 7}

        def set_extra_state(self, state: dict[str, int]) -> None:
            assert state == {"steps": 7}

    def make() -> nn.Sequential:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten())
        network.add_module("a/b", nn.Linear(72, 4))
        network.add_module("own", Own(4, 3))
        return network.bfloat16().eval()

    found = hwloop.deploy(make(), hwloop.connect(IDEAL), images(50).bfloat16(), "exact", exclude=["own"])
    found.save(tmp_path / "net.h5")
    again = hwloop.load_network(tmp_path / "net.h5", make())
    with torch.no_grad():
        assert torch.equal(again(found.inputs), found(found.inputs))
    assert (again.inputs.dtype, again(again.inputs).dtype) == (torch.bfloat16, torch.bfloat16)


def test_another_network_or_chip_is_refused(deployed: Deploy, open_chip: OpenChip, tmp_path: Path) -> None:
    deployed(small_cnn()).save(tmp_path / "net.h5")
    with pytest.raises(BadInputError, match="another network than the one given"):
        hwloop.load_network(tmp_path / "net.h5", nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(BadInputError, match="fits that chip alone"):
        hwloop.load_network(tmp_path / "net.h5", small_cnn(), open_chip(NOISY))
    assert IDEAL.split("?")[0] in hwloop.load_network(tmp_path / "net.h5", small_cnn()).open_run.record.backend


class Activated(nn.Module):
    """A convolution and an activation that is a function of its forward method, or of its own."""

    def __init__(self, own: Callable[[torch.Tensor], torch.Tensor] = nn.functional.relu) -> None:
        super().__init__()
        self.layer, self.own = nn.Conv2d(2, 3, 3, padding=1), own

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.own(torch.tanh(self.layer(x))).mean((2, 3))


class Otherwise(Activated):
    """The same parameters, computed with otherwise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.own(torch.sigmoid(self.layer(x))).mean((2, 3))


def padded() -> nn.Module:
    """The same with another setting of a layer."""
    made = Activated()
    made.layer = nn.Conv2d(2, 3, 3, padding=0)
    return made


def test_a_network_that_computes_otherwise_is_refused(deployed: Deploy, tmp_path: Path) -> None:
    deployed(Activated()).save(tmp_path / "net.h5")
    hwloop.load_network(tmp_path / "net.h5", Activated().train())
    otherwise = Otherwise()
    type(otherwise).__name__ = "Activated"
    for other in (Activated(nn.functional.gelu), otherwise, padded()):
        with pytest.raises(BadInputError, match="a layer, an activation, an operation or a setting of it differs"):
            hwloop.load_network(tmp_path / "net.h5", other)


def test_a_strategy_with_settings_can_be_given(deployed: Deploy) -> None:
    found = deployed(small_cnn(), NOISY)
    made = found.compensate(ColumnAffine(probes=32))
    assert {one.made.inputs for one in made} == {"sample inputs"}
    assert {one.mvms for one in made} == {32}
