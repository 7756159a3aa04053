"""A search of networks: within its limits, on file, stopped and gone on with, and its winner on a chip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

import hwloop
from hwloop.errors import BadInputError
from hwloop.files.weights import read_state_dict
from hwloop.jobs.search import Asked, search_into
from hwloop.jobs.search_result import Found
from hwloop.nn.factory import zoo_network
from hwloop.search import Limits, SearchSettings, Space

CHIP = "sim:hermes-core?rows=128&columns=64&cores=8"
QUICK = SearchSettings(
    budget=4, first=2, batch=2, population=6, generations=2, twins=1, images=20, vectors=64, method="exact", epochs=1,
    finalists=2, again=1,
)  # fmt: skip
"""A search of seconds; exact programming needs no rehearsal."""


def data() -> tuple[np.ndarray, np.ndarray]:
    with np.load(hwloop.data.path("digits.npz")) as stored:
        return stored["images"][:160].astype(np.float32), stored["labels"][:160]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    out = tmp_path_factory.mktemp("search") / "s.h5"
    asked = Asked("hwloop.search.resnet_like", CHIP, QUICK, Limits(weights=3000, cores=2))
    return search_into(out, data(), asked)


def test_networks_keep_their_limits_and_are_all_different(found: Found) -> None:
    assert len(found.trials) == len({one.genome for one in found.trials}) == 4
    assert all(one.footprint.weights <= 3000 and one.footprint.cores <= 2 for one in found.trials)
    assert all(one.footprint.latency > 0 for one in found.trials)
    assert [one.again for one in found.trials].count(()) == 2  # the two best were trained once more
    assert found.winner.again
    assert set(found.weights) == {found.trials.index(one) for one in (*found.front, found.winner)}
    told = found.to_json()
    json.dumps(told, allow_nan=False)
    assert told["evaluated"] == 4
    assert "after a month" in repr(found)
    front, again = hwloop.page_of(found).tables
    assert len(front.rows) == len(found.front)
    assert again.rows[0][-1] == found.winner.proven == max(row[-1] for row in again.rows)
    assert found.plot().get_xlabel() == "drop over a month, points"


def test_a_file_gives_back_all_of_it_and_the_winner_goes_on_a_chip(found: Found, tmp_path: Path) -> None:
    again = hwloop.load(found.file)
    assert isinstance(again, Found)
    assert again.trials == found.trials
    assert again.settings == QUICK
    assert again.limits == found.limits
    assert not Path(f"{found.file}.resume").exists()
    again.save_weights(tmp_path / "w.safetensors")
    network = zoo_network(again.winner.network)
    state = read_state_dict(tmp_path / "w.safetensors")
    network.load_state_dict({name: torch.as_tensor(one) for name, one in state.items()})
    network.eval()
    for name, value in found.weights[found.trials.index(found.winner)].items():
        assert torch.equal(network.state_dict()[name], value)
    lost = next(one for number, one in enumerate(again.trials) if number not in again.weights)
    with pytest.raises(BadInputError, match="were not kept: it is not on the front"):
        again.save_weights(tmp_path / "x.safetensors", lost)


def test_a_file_from_before_trainings_were_repeated(found: Found, tmp_path: Path) -> None:
    shutil.copy(found.file, tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        del file["trials/again"]
    old = Found.load(tmp_path / "old.h5")
    assert [one.again for one in old.trials] == [()] * 4
    assert [one.month for one in old.trials] == [one.month for one in found.trials]
    assert old.winner in old.front


def test_a_search_that_was_stopped_among_the_last_trainings(found: Found, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 6
        if done == 5:
            raise KeyboardInterrupt

    asked = Asked("hwloop.search.resnet_like", CHIP, QUICK, found.limits)
    stopped = search_into(tmp_path / "s.h5", data(), asked, progress=stop)
    assert sum(len(one.again) for one in stopped.trials) == 1
    ended = hwloop.resume(tmp_path / "s.h5")
    assert isinstance(ended, Found)
    assert ended.trials == found.trials
    own, other = (one.weights[one.trials.index(one.winner)] for one in (ended, found))
    assert all(torch.equal(own[name], other[name]) for name in other)


def test_a_search_that_was_stopped_ends_as_one_that_was_not(found: Found, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    asked = Asked("hwloop.search.resnet_like", CHIP, QUICK, found.limits)
    stopped = search_into(tmp_path / "s.h5", data(), asked, progress=stop)
    assert stopped.status == "interrupted"
    assert [one.month for one in stopped.trials] == [one.month for one in found.trials[:3]]
    assert all(not one.again for one in stopped.trials)
    ended = hwloop.resume(tmp_path / "s.h5")
    assert isinstance(ended, Found)
    assert ended.status == "complete"
    assert ended.trials == found.trials
    assert not (tmp_path / "s.h5.resume").exists()
    with pytest.raises(BadInputError, match="is complete: there is nothing to go on with"):
        hwloop.resume(tmp_path / "s.h5")


def test_a_job_folder_imports_nothing(found: Found, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    search_into(tmp_path / "s.h5", data(), Asked("hwloop.search.resnet_like", CHIP, QUICK, Limits()), progress=stop)
    job = tmp_path / "s.h5.resume" / "job.json"
    job.write_text(job.read_text().replace("hwloop.search.resnet_like", "evil"))
    with pytest.raises(BadInputError, match="a file alone never imports other code"):
        hwloop.resume(tmp_path / "s.h5")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda genome: nn.Linear(5, 10), "does not take the data"),
        (lambda genome: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "expected scores for 10 classes"),
        (lambda genome: nn.Unflatten(5, (0,)), "makes no network|does not take the data"),
    ],
)
def test_spaces_whose_networks_are_invalid(make: object, complaint: str) -> None:
    space = Space({"a": tuple(range(20))}, make)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match=complaint):
        hwloop.search_networks(data(), CHIP, space, QUICK)


def test_what_cannot_be_searched_with() -> None:
    x, y = data()
    with pytest.raises(BadInputError, match="fit a model to it"):
        hwloop.search_networks((x, y), "visa:TCPIP::1.2.3.4::INSTR", settings=QUICK)
    with pytest.raises(BadInputError, match="give level=statistical"):
        hwloop.search_networks((x, y), f"{CHIP}&level=pulse", settings=QUICK)
    with pytest.raises(BadInputError, match="sim:reram-sb: chips of this kind have no statistical level"):
        hwloop.search_networks((x, y), "sim:reram-sb", settings=QUICK)
    with pytest.raises(BadInputError, match="unknown option 'color'"):
        hwloop.search_networks((x, y), f"{CHIP}&color=red", settings=QUICK)
    with pytest.raises(BadInputError, match="do not belong together"):
        hwloop.search_networks((x, y[:-1]), CHIP, settings=QUICK)
    flat = Space({"a": tuple(range(20))}, lambda genome: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    with pytest.raises(BadInputError, match="within the limits, fewer than the budget"):
        hwloop.search_networks((x, y), CHIP, flat, QUICK, limits=Limits(weights=20))
    with pytest.raises(BadInputError, match="needs 20 training images"):
        hwloop.search_networks((x[:12], y[:12]), CHIP, settings=QUICK)
