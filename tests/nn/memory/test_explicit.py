"""A memory that learns classes from examples, on chips of several kinds."""

from collections.abc import Iterator

import numpy as np
import pytest

import hwloop
from hwloop.nn import ExplicitMemory, MemorySettings
from hwloop.typing import FloatArray, IndexArray

CLASSES, WIDTH = 6, 64


@pytest.fixture
def chip() -> Iterator[hwloop.Backend]:
    with hwloop.connect("sim:hermes-core?seed=21&rows=64&columns=16") as chip:
        yield chip


@pytest.fixture
def memory(chip: hwloop.Backend) -> ExplicitMemory:
    return ExplicitMemory(chip, WIDTH)


@pytest.fixture
def centres() -> FloatArray:
    return np.random.default_rng(1).normal(size=(CLASSES, WIDTH))


def asked(centres: FloatArray, noise: float) -> tuple[FloatArray, IndexArray]:
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(len(centres)), 100)
    return centres[labels] + noise * rng.normal(size=(len(labels), centres.shape[1])), labels


def learn(memory: ExplicitMemory, centres: FloatArray, shots: int = 5) -> FloatArray:
    """Write examples of each class; return their averages."""
    rng = np.random.default_rng(3)
    examples = centres[:, None] + rng.normal(size=(len(centres), shots, centres.shape[1]))
    for number, of_class in enumerate(examples):
        memory.write(number, of_class)
    averages: FloatArray = examples.mean(1)
    return averages


@pytest.mark.parametrize("preset", ["hermes-core", "pcm-90nm", "pcm-ideal"])
def test_classes_are_found_nearly_as_well_as_by_exact_averages(preset: str, centres: FloatArray) -> None:
    x, labels = asked(centres, 2.5)
    with hwloop.connect(f"sim:{preset}?seed=4&rows=64&columns=16") as chip:
        memory = ExplicitMemory(chip, WIDTH)
        averages = learn(memory, centres)
        right = (np.array(memory.classify(x)) == labels).mean()
    cosines = x @ (averages / np.linalg.norm(averages, axis=1, keepdims=True)).T
    exact = (cosines.argmax(1) == labels).mean()
    assert 0.7 < exact < 0.95  # a task with room on both sides
    assert right > exact - 0.08  # measured 0.01 to 0.05 below, three standard errors of 600 answers are 0.05


def test_similarities_are_cosines(memory: ExplicitMemory, centres: FloatArray) -> None:
    averages = learn(memory, centres)
    found = memory.similarities(averages)
    unit = averages / np.linalg.norm(averages, axis=1, keepdims=True)
    assert found == pytest.approx(unit @ unit.T, abs=0.25)
    assert found.diagonal() == pytest.approx(np.ones(CLASSES), abs=0.2)
    assert memory.similarities(3 * averages) == pytest.approx(found, abs=0.05)


def test_a_day_of_drift_costs_little(chip: hwloop.Backend, memory: ExplicitMemory, centres: FloatArray) -> None:
    x, labels = asked(centres, 2.0)
    learn(memory, centres[:-1])
    chip.wait(86_400.0)
    memory.write(CLASSES - 1, centres[-1] + np.random.default_rng(8).normal(size=(5, WIDTH)))
    right = np.array(memory.classify(x)) == labels
    # A young class beside old ones: it draws no answers to itself, and loses none.
    assert right.mean() > 0.9
    assert right[labels == CLASSES - 1].mean() > 0.85


def test_new_classes_leave_old_devices_alone(chip: hwloop.Backend, memory: ExplicitMemory, centres: FloatArray) -> None:
    learn(memory, centres[:3])
    before = chip.pulse_counts(0)[..., :3]
    written = memory.write("new", centres[4])
    assert (chip.pulse_counts(0)[..., :3] == before).all()
    assert written.examples == 1
    assert written.pulses_per_device < 3
    assert chip.counts.device_reads == 0


def test_what_a_write_says_is_what_the_chip_counts(chip: hwloop.Backend, centres: FloatArray) -> None:
    memory = ExplicitMemory(chip, WIDTH)
    written = memory.write("one", np.stack([centres[0], centres[1]]))
    received = chip.pulse_counts(0)[..., 0]
    erased = 1  # RESET of every device of a new class
    assert written.pulses_per_device == pytest.approx((received - erased).mean() / 2)
    assert memory.cost.pulses == received.sum()


def test_full_devices_lead_to_a_refresh_that_keeps_the_class(chip: hwloop.Backend, centres: FloatArray) -> None:
    memory = ExplicitMemory(chip, WIDTH, MemorySettings(most_pulses=6))
    rng = np.random.default_rng(5)
    for number in range(CLASSES):
        memory.write(number, centres[number])
    seen = [memory.write(0, centres[0] + rng.normal(size=(2, WIDTH))) for _ in range(8)]
    assert any(one.refreshed for one in seen)
    x, labels = asked(centres, 1.0)
    assert (np.array(memory.classify(x)) == labels).mean() > 0.95
    memory.refresh(0)
    assert memory.full(0) < 0.2
    assert memory.similarities(centres[:1])[0].argmax() == 0


def test_a_forgotten_class_makes_room(chip: hwloop.Backend, memory: ExplicitMemory, centres: FloatArray) -> None:
    learn(memory, centres[:2])
    memory.forget(0)
    assert memory.classes == (1,)
    memory.write("again", centres[5])
    assert memory.classify(centres[[5, 1]]) == ["again", 1]
    with pytest.raises(hwloop.BadInputError, match="there is no class 0; there are 1, 'again'"):
        memory.forget(0)


def test_more_classes_than_columns_are_refused(centres: FloatArray) -> None:
    with hwloop.connect("sim:pcm-ideal?seed=1&rows=64&columns=2") as chip:
        memory = ExplicitMemory(chip, WIDTH)
        learn(memory, centres[:2])
        with pytest.raises(hwloop.BadInputError, match="it holds 2 classes; forget one, or give it more cores"):
            memory.write("third", centres[2])
        assert memory.classes == (0, 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.ones((2, 5)), "expected .n, 64., not .2, 5."),
        (np.full(WIDTH, np.nan), "NaN or infinity"),
        (np.zeros(WIDTH), "all zero"),
        (np.empty((0, WIDTH)), "expected .n, 64."),
        (["a"], "real numbers"),
    ],
)
def test_what_is_no_example_is_refused(memory: ExplicitMemory, given: FloatArray, said: str) -> None:
    with pytest.raises(hwloop.BadInputError, match=said):
        memory.write("one", given)
    assert memory.classes == ()
    assert memory.chip.counts.pulses == 0


def test_an_empty_memory_knows_nothing(memory: ExplicitMemory, centres: FloatArray) -> None:
    with pytest.raises(hwloop.BadInputError, match="the memory holds no class; write one first"):
        memory.classify(centres)


def test_devices_that_do_not_accumulate_are_found_out(chip: hwloop.Backend, centres: FloatArray) -> None:
    weak = MemorySettings(set_amplitude=20.0)  # below what crystallises
    memory = ExplicitMemory(chip, WIDTH, weak)
    with pytest.raises(hwloop.ChipError, match="SET pulses of 20 uA and 50 ns add no conductance"):
        memory.write("one", centres[0])
    assert memory.classes == ()


@pytest.mark.parametrize(
    ("uri", "said"),
    [("hermes-core?level=statistical", "takes no pulses"), ("reram-sb?rows=64&columns=16", "nothing is known")],
)
def test_chips_that_do_not_accumulate_pulses_are_refused(uri: str, said: str, centres: FloatArray) -> None:
    with hwloop.connect(f"sim:{uri}") as chip, pytest.raises(hwloop.HwloopError, match=said):
        ExplicitMemory(chip, WIDTH).write("one", centres[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dimension": 0}, "expected a whole number of elements"),
        ({"dimension": 65}, "need 2 cores of 64 rows beside each other; this memory has 1"),
        ({"cores": [1]}, "expected some of 0 to 0, each once"),
        ({"settings": MemorySettings(reset_amplitude=10.0)}, "a RESET pulse must be stronger"),
    ],
)
def test_memories_that_cannot_be_are_refused(chip: hwloop.Backend, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(hwloop.BadInputError, match=said):
        ExplicitMemory(chip, **{"dimension": WIDTH, **arguments})  # type: ignore[arg-type]


def test_its_repr_says_how_full_it_is(memory: ExplicitMemory, centres: FloatArray) -> None:
    learn(memory, centres[:2])
    assert repr(memory) == "<ExplicitMemory of 2 of 16 classes, 64 elements each>"
    assert memory.capacity == 16
