"""Small parts of jobs: patterns of files, changes of studies, chips among arguments, hosts that go together."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hwloop
from hwloop.errors import BadInputError
from hwloop.importers.files import ImportOptions
from hwloop.jobs.coreset import Coreset, _check_together, _width
from hwloop.jobs.exclusive import _chips
from hwloop.jobs.import_measurement import import_to, matching
from hwloop.jobs.task import _shorter
from hwloop.jobs.train import TrainingJob
from hwloop.jobs.training_study import StudyPlan, TrainingStudy, _changed, training_study
from hwloop.optim.settings import Training

# ---- imports -------------------------------------------------------------------------------------------------


def test_patterns_stand_for_files_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("dev10.csv", "dev2.csv", "dev1.csv", "other.txt", "a[1].csv"):
        (tmp_path / name).write_text("x")
    pattern = str(tmp_path / "dev*.csv")
    assert [one.name for one in matching(pattern)] == ["dev1.csv", "dev2.csv", "dev10.csv"]
    assert [one.name for one in matching([pattern, tmp_path / "other.txt"])][-1] == "other.txt"
    assert [one.name for one in matching(tmp_path / "a[1].csv")] == ["a[1].csv"]  # a file is no pattern
    assert matching("none.csv") == [Path("none.csv")]  # whoever opens it will tell
    with pytest.raises(BadInputError, match=r"no file matches .*none\*"):
        matching(str(tmp_path / "none*"))


def test_an_import_does_not_add_to_what_it_deletes(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="append goes on with what force would delete; give one of them"):
        import_to("a.csv", tmp_path / "a.h5", ImportOptions(), append=True, force=True)


# ---- studies of trainings ------------------------------------------------------------------------------------


def test_each_training_of_a_study_has_its_chip_and_its_seed() -> None:
    job = TrainingJob(training=Training(seed=10))
    plan = StudyPlan("sim:x", "states", [10.0, 100.0], seeds=3)
    uri, changed = _changed(job, plan, 1, 2)
    assert (uri, changed.training.seed) == ("sim:x?seed=2&states=100.0", 12)
    uri, _ = _changed(job, StudyPlan("sim:x?a=1", "states", [10.0]), 0, 0)
    assert uri == "sim:x?a=1&seed=0&states=10.0"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"of": "colour"}, "a study of 'colour' is not known"),
        ({"values": []}, "a study needs values to set, all of them finite, and one seed at least"),
        ({"values": [math.nan]}, "all of them finite"),
        ({"values": [1.0, math.inf]}, "all of them finite"),
        ({"seeds": 0}, "one seed at least"),
    ],
)
def test_studies_that_cannot_be(words: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        StudyPlan(**{"chip": "sim:x", "of": "states", "values": [1.0]} | words)  # type: ignore[arg-type]
    assert StudyPlan("sim:x", "states", [1.0], 1).seeds == 1


def test_a_study_writes_no_training_files() -> None:
    with pytest.raises(BadInputError, match="a study writes no training files; leave out away"):
        training_study(None, None, StudyPlan("sim:x", "states", [1.0]), job=TrainingJob(out="t.h5"))  # type: ignore[arg-type]


STUDY = TrainingStudy("states", (10.0, 100.0), np.array([[0.5, 0.75], [0.75, math.nan]]), 0.875, "agad", "sim:x")


def test_a_study_tells_its_means_and_all_it_knows(tmp_path: Path) -> None:
    assert repr(STUDY) == "<TrainingStudy of states by agad on sim:x: 10: 0.6250, 100: nan>"
    told = STUDY.to_json()
    assert told["accuracies"] == [[0.5, 0.75], [0.75, None]]
    assert (told["values"], told["float_accuracy"], told["of"]) == ([10.0, 100.0], 0.875, "states")
    html = STUDY._repr_html_()
    assert [word in html for word in ("agad on sim:x", "0.625", "0.5", "0.75", "least", "most")] == [True] * 6
    STUDY.save(tmp_path / "s.json")
    assert '"algorithm": "agad"' in (tmp_path / "s.json").read_text()
    with pytest.raises(BadInputError, match="exists"):
        STUDY.save(tmp_path / "s.json")


# ---- chips and weights ---------------------------------------------------------------------------------------


def test_the_chips_of_a_job_are_found_once_each() -> None:
    uri = "sim:hermes-core?rows=8&columns=8"
    with hwloop.connect(uri) as one, hwloop.connect(uri) as other:
        run = hwloop.program(one, np.eye(4), "exact")
        assert _chips(["w.npy", one, 3, one, run, other]) == [one, other]
        assert _chips([run]) == [one]
        assert _chips([None, uri]) == []


def test_weights_on_file_are_as_short_as_nothing_is_lost() -> None:
    assert _shorter(np.array([0.5, 1.0])).dtype == np.float32
    assert _shorter(np.array([0.1, 1.0])).dtype == np.float64


# ---- coresets ------------------------------------------------------------------------------------------------


def source(name: str, inputs: int, origin: str = "h1", **more: object) -> SimpleNamespace:
    sample = SimpleNamespace(vectors=np.zeros((2, inputs)))
    return SimpleNamespace(**{"name": name, "origin": origin, "sample": sample, "shape": (), "labels": None} | more)


def test_hosts_have_tensors_of_the_same_inputs() -> None:
    _check_together([source("a", 3), source("b", 4), source("a", 3, "h2")])  # type: ignore[list-item]
    with pytest.raises(
        BadInputError, match="'a' has 4 inputs in h2, and 3 in h1; give hosts that run the same network"
    ):
        _check_together([source("a", 3), source("a", 4, "h2")])  # type: ignore[list-item]
    with pytest.raises(BadInputError, match="'a' has 4 inputs in h2, and 4 in h1"):
        _check_together([source("a", 4, shape=(2, 2)), source("a", 4, "h2", shape=(4, 1))])  # type: ignore[list-item]
    with pytest.raises(BadInputError, match="activations and data sets do not go into one coreset"):
        _check_together([source("a", 3), source("x_train", 3, labels=np.zeros(2))])  # type: ignore[list-item]


@pytest.mark.parametrize(("shape", "width"), [((5, 3), 3), ((5,), -1), ((5, 3, 2), -1)])
def test_the_inputs_of_an_array_are_its_second_axis(shape: tuple[int, ...], width: int) -> None:
    assert _width(shape) == width


@pytest.mark.parametrize("bits", [0, -1, 1.5, True, "9"])
def test_a_budget_is_a_whole_number_of_bits(bits: object) -> None:
    with pytest.raises(BadInputError, match="expected a whole number of bits above 0"):
        hwloop.coreset({"a": np.ones((4, 3))}, bits)  # type: ignore[arg-type]


def test_a_coreset_is_a_npz_file_and_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = hwloop.coreset([{"a": rng.random((80, 4))}, {"a": rng.random((70, 4))}], 4000)
    with pytest.raises(BadInputError, match=r"c\.h5: a coreset is a \.npz file; give such a name"):
        made.save(tmp_path / "c.h5")
    made.save(tmp_path / "c.NPZ")
    again = Coreset.load(tmp_path / "c.NPZ")
    assert (again.rows, again.budget, again.settings, again.bits) == (made.rows, 4000, made.settings, made.bits)
    assert [(row.host, row.vectors, row.inputs) for row in made.rows] == [("host 0", 80.0, 4), ("host 1", 70.0, 4)]
    assert sum(row.bits for row in made.rows) == made.bits <= 4000
    told = made.to_json()
    assert (told["bits"], told["budget"], told["file"]) == (made.bits, 4000, None)
    points = sum(row.choice.points for row in made.rows)
    assert told["points"] == points
    assert repr(made) == f"<Coreset of 150 vectors: {points} points, {made.bits} of 4000 bits>"
