"""The door of the jobs that compute with the noise of a chip: chips, models and data become objects here."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
from numpy.typing import ArrayLike
from torch import nn

from hwloop.chip.backend import Backend
from hwloop.chip.info import ChipInfo
from hwloop.chip.registry import connect
from hwloop.errors import BadInputError, first_line
from hwloop.files.model_file import load_model, save_model
from hwloop.files.models import Model
from hwloop.files.weights import read_state_dict
from hwloop.jobs.deploy_files import fill, shapes_of
from hwloop.nn.accuracy import check_labels
from hwloop.nn.datasets import Dataset, read_dataset
from hwloop.nn.factory import network_from
from hwloop.nn.noise_aware import ChipNoise
from hwloop.nn.noisy_accuracy import Images

ChipLike: TypeAlias = "Backend | ChipInfo | ChipNoise | Model | str | Path"
"""What may say how a chip is: an open one, its description, a fitted model or its file, or a URI."""
DataLike: TypeAlias = "Dataset | str | Path | Mapping[str, ArrayLike] | tuple[ArrayLike, ArrayLike]"
"""Labelled data: a data set or its .npz file, arrays by the names x_train, y_train, x_test, y_test, or (x, y)."""


def noise_of(chip: ChipLike, ages: Sequence[float], *, corrected: bool = False) -> ChipNoise:
    """Find out what a chip does to products.

    Parameters
    ----------
    chip
        Of a model, the simulated twin counts; a `ChipNoise` is taken as it is.
    ages
        Seconds after programming.
    corrected
        Take in what programming and the calibration of columns take away.

    Raises
    ------
    BadInputError
        For a URI or a file that is none.
    """
    if isinstance(chip, ChipNoise):
        return replace(chip, ages=tuple(ages))
    if isinstance(chip, ChipInfo):
        return ChipNoise.of(chip, ages, corrected=corrected)
    if isinstance(chip, Backend):
        return ChipNoise.of(chip.info, ages, parameters=chip.parameters(), corrected=corrected)
    if isinstance(chip, Path) or (isinstance(chip, str) and chip.endswith(".json") and ":" not in chip):
        chip = load_model(chip)
    if isinstance(chip, Model):
        with tempfile.TemporaryDirectory(prefix="hwloop-") as folder:
            path = Path(folder) / "model.json"
            save_model(chip, path)
            with connect(f"sim:{path}") as twin:
                return ChipNoise.of(twin.info, ages, chip, twin.parameters(), corrected=corrected)
    if not isinstance(chip, str):
        raise BadInputError(f"{type(chip).__name__} is no chip; give an open one, a URI, or a fitted model")
    with connect(chip) as opened:
        return noise_of(opened, ages, corrected=corrected)


def name_of(chip: ChipLike) -> str:
    """Say which chip was meant."""
    if isinstance(chip, Model):
        return f"twin of {chip.chip.get('chip', 'a measured chip')}"
    uri = getattr(chip, "uri", "")
    named = getattr(chip, "name", "")
    return str(uri or named or (chip if isinstance(chip, str | Path) else type(chip).__name__))


def network_of(factory: str, weights: str | Path) -> nn.Module:
    """Make a named network, MODULE:FACTORY, and give it its weights. Raises BadInputError where they do not fit."""
    made = network_from(factory)
    fill(made, read_state_dict(weights, shapes_of(made)), str(weights))
    return made


def images_of(data: DataLike, network: nn.Module, *, weighted: bool = False) -> tuple[Images, Images | None]:
    """Take labelled data as training and test images that a network can classify; no test images of a mere pair.

    Parameters
    ----------
    data
        See `DataLike`.
    network
        Is tried on two of them.
    weighted
        Whether the caller heeds the weights of a coreset; refused otherwise.

    Raises
    ------
    BadInputError
        For data that cannot be read, do not belong together, are NaN, or do not fit the network.
    """
    if isinstance(data, str | Path):
        data = read_dataset(data)
    weights: ArrayLike | None = data.weights if isinstance(data, Dataset) else None
    if isinstance(data, Mapping):
        weights = data.get("weights")
    if weights is not None and not weighted:
        raise BadInputError("the data are a coreset, whose weights this does not heed; give the data it was made of")
    if isinstance(data, Dataset):
        data = {name: getattr(data, name) for name in _PARTS}
    if isinstance(data, Mapping):
        missing = [name for name in _PARTS if name not in data]
        if missing:
            raise BadInputError(f"the data lack {', '.join(missing)}; give {', '.join(_PARTS)}, or a pair (x, y)")
        pairs = [(data["x_train"], data["y_train"]), (data["x_test"], data["y_test"])]
    elif isinstance(data, tuple | list) and len(data) == 2:
        pairs = [(data[0], data[1])]
    else:
        raise BadInputError("data must be a data set, its .npz file, or a pair (inputs, labels)")
    made = [_images(inputs, labels, network) for inputs, labels in pairs]
    if weights is not None:
        made[0] = _weighted(made[0], weights)
    return made[0], made[1] if len(made) > 1 else None


def _weighted(images: Images, weights: ArrayLike) -> Images:
    counted = torch.as_tensor(weights, dtype=torch.float64, device=images.labels.device)
    if counted.shape != images.labels.shape or not bool((torch.isfinite(counted) & (counted > 0)).all()):
        raise BadInputError(f"the data need one weight above zero for each of {len(images)} examples")
    return Images(images.inputs, images.labels, counted.float())


_PARTS = ("x_train", "y_train", "x_test", "y_test")


def _images(given: ArrayLike, classes: ArrayLike, network: nn.Module) -> Images:
    try:
        inputs, labels = torch.as_tensor(given), torch.as_tensor(classes)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInputError(f"the data are no arrays: {first_line(error)}") from None
    if not inputs.dim() or not len(inputs) or labels.dim() != 1 or len(inputs) != len(labels):
        shapes = f"inputs {tuple(inputs.shape)} and labels {tuple(labels.shape)}"
        raise BadInputError(f"{shapes} do not belong together; give one label for each of at least one input")
    first = next((one for one in network.parameters() if one.is_floating_point()), torch.empty(0))
    if inputs.is_floating_point():
        if not bool(torch.isfinite(inputs).all()):
            raise BadInputError("the inputs contain NaN or infinity; remove those examples")
        inputs = inputs.to(first.dtype)
    inputs, labels = inputs.to(first.device), labels.to(first.device)
    check_labels(labels, _outputs(network, inputs))
    return Images(inputs, labels.long())


def _outputs(network: nn.Module, inputs: torch.Tensor) -> int:
    """Count the outputs of a network, which must be finite scores. Raises BadInputError where it does not take them."""
    training = network.training
    try:
        with torch.no_grad():
            scores = network.eval()(inputs[:2])
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise BadInputError(f"the network does not take the data {tuple(inputs.shape)}: {first_line(error)}") from None
    finally:
        network.train(training)
    if not isinstance(scores, torch.Tensor) or scores.dim() != 2 or len(scores) != len(inputs[:2]):
        raise BadInputError("the network must give one row of class scores for each input")
    if not bool(torch.isfinite(scores).all()):
        raise BadInputError("the network's outputs are NaN or infinite; look at its weights")
    return int(scores.shape[1])
