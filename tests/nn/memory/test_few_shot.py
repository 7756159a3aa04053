"""Plans of sessions, vectors of networks without their head, and answers of float arithmetic."""

import numpy as np
import pytest
import torch
from torch import nn

import hwloop
from hwloop.nn import zoo
from hwloop.nn.memory.embedding import embedding_of
from hwloop.nn.memory.few_shot import FewShot, Lessons, of_classes, right_by_averages
from hwloop.nn.noisy_accuracy import Images


def images(labels: list[int]) -> Images:
    return Images(torch.arange(float(len(labels)))[:, None], torch.tensor(labels))


def test_every_class_is_learnt_once_from_images_of_its_own() -> None:
    known = images([0, 1, 2, 3, 4, 5, 6] * 4)
    lessons = Lessons.plan(known, FewShot(sessions=2, ways=2, shots=3, seed=5))
    assert [len(one) for one in lessons.classes] == [3, 2, 2]
    assert sorted(lessons.every) == list(range(7))
    assert lessons.until(1) == lessons.every[:5]
    for label, which in zip(lessons.every, lessons.examples, strict=True):
        assert len(set(which.tolist())) == 3
        assert (known.labels[which] == label).all()


def test_seeds_choose_other_classes() -> None:
    known = images(list(range(10)) * 5)
    first = {Lessons.plan(known, FewShot(seed=seed)).classes[1:] for seed in range(8)}
    assert len(first) == 8


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (FewShot(sessions=3, ways=2), "3 sessions of 2 new classes need 8 classes, two to begin with; the data have 7"),
        (FewShot(sessions=1, shots=5), "class 0 has 4 training images; 5 shots need as many"),
    ],
)
def test_plans_that_the_data_cannot_fill_are_refused(settings: FewShot, said: str) -> None:
    with pytest.raises(hwloop.BadInputError, match=said):
        Lessons.plan(images([0, 1, 2, 3, 4, 5, 6] * 4), settings)


def test_images_of_classes_are_all_of_them() -> None:
    found = of_classes(images([3, 1, 3, 2]), [3, 2])
    assert found.labels.tolist() == [3, 3, 2]
    assert found.inputs.flatten().tolist() == [0, 2, 3]


def test_the_nearest_average_answers() -> None:
    examples = torch.tensor([[[1.0, 0.0], [0.8, 0.4]], [[0.0, 2.0], [0.0, 1.0]]])
    shown = torch.tensor([[5.0, 1.0], [0.1, 0.3], [1.0, 0.2]])
    assert right_by_averages(examples, shown, torch.tensor([7, 4, 4]), [7, 4]) == 2


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn", "digits_lstm", "digits_transformer", "small_resnet"])
def test_an_embedding_is_what_the_head_receives(name: str) -> None:
    torch.manual_seed(1)
    network = getattr(zoo, name)().eval()
    x = torch.rand(6, 64)
    body = embedding_of(network, x, 0, seed=0)
    heads = [one for one in network.modules() if isinstance(one, nn.Linear)]
    head = [one for one in heads if one.out_features == 10][-1]
    with torch.no_grad():
        assert head(body(x)) == pytest.approx(network(x), abs=1e-6)


def test_a_projection_keeps_angles() -> None:
    network = nn.Sequential(nn.Linear(64, 100), nn.Linear(100, 4)).eval()
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(2))
    short, long = embedding_of(network, x, 0, 0), embedding_of(network, x, 4096, 0)
    with torch.no_grad():
        a, b = (nn.functional.normalize(one(x), dim=1) for one in (short, long))
    # The standard deviation of a cosine is 1 / sqrt(4096).
    assert float((a @ a.T - b @ b.T).abs().max()) < 5 / np.sqrt(4096)


def test_a_network_that_ends_otherwise_is_refused() -> None:
    network = nn.Sequential(nn.Linear(64, 4), nn.Softmax(1))
    with pytest.raises(hwloop.BadInputError, match="Sequential does not end in a linear layer that gives its scores"):
        embedding_of(network, torch.zeros(2, 64), 16, 0)
