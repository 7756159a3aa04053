"""Pages of trainings: in memory, and for a chip with its noise."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from hwloop.nn.answers import Answers
from hwloop.nn.in_memory.settings import Periphery
from hwloop.optim.rules import RULES
from hwloop.optim.settings import Training
from hwloop.pages.retrainings import page_of_retrained
from hwloop.pages.trainings import page_of_training


def trained(**more: object) -> SimpleNamespace:
    """Two epochs of a network."""
    curves = SimpleNamespace(
        loss=[0.9, 0.4], test_accuracy=[0.7, 0.85], held_out_accuracy=[], pulses=[10.0, 25.0], chip_seconds=[30.0, 60.0]
    )
    task = SimpleNamespace(
        network="m:net",
        dataset="d.npz",
        backend="sim:x",
        chip="x",
        rule=RULES["agad"](),
        training=Training(epochs=2),
        periphery=Periphery(),
        weights="",
        calibration="",
        float_accuracy=0.95,
    )
    made = {
        "task": task,
        "curves": curves,
        "status": "complete",
        "file": "t.h5",
        "weights": {},
        "pulses_per_device": 1234.4,
        "wall_seconds": 5.0,
        "saturated": 0.05,
    }
    return SimpleNamespace(**made | more)


def test_epochs_and_what_came_of_them() -> None:
    page = page_of_training(trained())
    assert page.title == "m:net trained by agad on sim:x"
    assert page.verdict == "85.0% of test images right after 2 epochs; trained in float 95.0%."
    assert page.tables[0].rows == ((1, 0.9, 0.7, 10.0, 30.0), (2, 0.4, 0.85, 25.0, 60.0))
    assert [one.title for one in page.tables[0].columns] == ["epoch", "loss", "test accuracy", "pulses", "chip seconds"]
    facts = {one.name: one.text for one in page.facts}
    assert facts["pulses"] == "1,234 per device in the mean, start weights included"
    assert facts["chip time"] == "1min"
    assert page.warnings == ()
    assert [one.name.split()[1] for one in page.onward] == ["evaluate", "plot", "report"]
    assert {one.name: one.text for one in page.provenance}["settings"] == "epochs 2; else the defaults"
    rows = {row[1]: row[2] for row in page.tables[1].rows}
    assert rows["lr"] == f"{RULES['agad']().lr:g}, the algorithm's own"
    assert rows["input_bits"] == "the chip's"


def test_held_out_images_count_where_there_are_no_test_images() -> None:
    found = trained(file="", saturated=0.051, status="interrupted", weights={"w": 1})
    found.curves.test_accuracy, found.curves.held_out_accuracy, found.curves.chip_seconds = [], [0.6, 0.61], []
    found.task.float_accuracy = math.nan
    page = page_of_training(found)
    assert page.verdict == "61.0% of held-out images right after 2 epochs."
    assert {one.name: one.text for one in page.facts}["chip time"] == "not known"
    assert page.warnings[0] == "The training did not reach its end (interrupted)."
    assert page.warnings[1].startswith("5% of the weights lie at the ends")
    assert [one.name for one in page.pictures] == ["training-curves", "weights"]
    assert page.onward == ()


@pytest.mark.parametrize("status", ["interrupted", "running", "failed"])
def test_a_training_that_was_stopped_goes_on(status: str) -> None:
    page = page_of_training(trained(status=status))
    assert [one.name for one in page.onward] == ["hwloop resume t.h5"]
    assert len(page.warnings) == 1


def test_a_training_that_diverged_says_so_before_any_epoch() -> None:
    found = trained(status="diverged")
    found.curves = SimpleNamespace(loss=[], test_accuracy=[], held_out_accuracy=[], pulses=[], chip_seconds=[])
    page = page_of_training(found)
    assert page.verdict.startswith("No epoch was finished")
    assert page.warnings == ("The loss became NaN; lower the learning rate.",)
    assert [one.title for one in page.tables] == ["Settings"]


def epoch(digital: float, noisy: float) -> SimpleNamespace:
    return SimpleNamespace(loss=0.5, digital=digital, noisy=noisy, noisy_loss=0.6)


def retrained(best: int = 1, keep: str = "better", answers: Answers | None = None, **more: object) -> SimpleNamespace:
    made = {
        "factory": "m:net",
        "course": SimpleNamespace(epochs=[epoch(0.9, 0.7), epoch(0.91, 0.8)], best=best, answers=answers),
        "settings": SimpleNamespace(ages=(60.0, 86400.0), certainty=2.0, keep=keep),
        "chip": "sim:x",
        "status": "complete",
        "file": "w.safetensors",
        "before": SimpleNamespace(digital=0.9, noisy=0.7, spread=0.02),
        "after": SimpleNamespace(digital=0.91, noisy=0.8, spread=0.01),
    }
    return SimpleNamespace(**made | more)


def test_a_network_before_and_after_it_was_trained_for_a_chip() -> None:
    page = page_of_retrained(retrained())
    assert page.title == "m:net trained for sim:x, 1min to 1d"
    assert page.verdict == "70.00% of the test images under noise before, 80.00% after."
    assert page.tables[0].rows == (("before", 0.9, 0.7, 0.02), ("after", 0.91, 0.8, 0.01))
    first, second = page.tables[1].rows
    assert math.isnan(first[1])
    assert (first[0], first[2:]) == (0, (0.9, 0.7, 0.6, ""))
    assert second == (1, 0.5, 0.91, 0.8, 0.6, "kept")
    assert page.warnings == ()
    assert page.onward[0].name.startswith("hwloop deploy --network m:net --weights w.safetensors ")


def test_a_training_that_helped_nothing_says_so() -> None:
    page = page_of_retrained(retrained(0, before=None, file="", factory="", network=3))
    assert page.verdict == "1 epochs; the best one is kept."
    assert [one.title for one in page.tables] == ["Epochs"]
    assert page.warnings[0].startswith("No epoch was better on the held-out images by 2 standard errors")
    assert page.onward == ()
    assert page.facts[1].text == "not saved, with learnt ranges"


def test_a_training_whose_answers_are_no_better_says_by_how_much() -> None:
    page = page_of_retrained(retrained(0, answers=Answers(0.9, 0.904, 0.004, 0.003)))
    assert "gives +0.40 +- 0.30 % more right answers between held-out images, which is no gain by 2" in page.warnings[0]


def test_the_last_epoch_is_kept_and_a_loss_on_test_images_is_told() -> None:
    page = page_of_retrained(retrained(keep="last", before=None))
    assert page.verdict == "1 epochs; the last one is kept."
    assert page.warnings == ()
    worse = SimpleNamespace(digital=0.9, noisy=0.69, spread=0.02)
    assert page_of_retrained(retrained(keep="last", after=worse)).warnings[0].startswith("Fewer test images are right")


@pytest.mark.parametrize(("status", "said"), [("interrupted", "hwloop resume w.safetensors"), ("diverged", "--lr")])
def test_a_training_for_a_chip_that_was_not_finished_says_why(status: str, said: str) -> None:
    page = page_of_retrained(retrained(status=status))
    assert said in page.warnings[0]
    assert (page.onward == ()) == (status == "interrupted")
    only = SimpleNamespace(epochs=[epoch(0.9, 0.7)], best=0)
    assert page_of_retrained(retrained(course=only)).warnings == ()


def test_of_many_epochs_some_are_shown_and_always_the_one_that_is_kept() -> None:
    course = SimpleNamespace(epochs=[epoch(0.9, 0.7)] * 61, best=59, answers=None)
    table = page_of_retrained(retrained(keep="last", course=course)).tables[-1]
    assert [row[0] for row in table.rows] == [*range(0, 60, 4), 59, 60]
    assert table.note == (
        "Epoch 0 is the network as it was. One epoch of 4 is shown; --json has every one. "
        "Held-out images, which it had learnt before, do not choose."
    )
