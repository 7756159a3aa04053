"""Predicts conductances from a fitted model."""

from __future__ import annotations

from pathlib import Path

from hwloop.files import predictions
from hwloop.files.model_file import load_model
from hwloop.files.models import Model
from hwloop.files.predictions import Prediction
from hwloop.files.reading import whole


def predict(
    model: Model | str | Path,
    time: float,
    level: float,
    window: tuple[float, float] | None = None,
    *,
    temperature: float | None = None,
    experiment: str | None = None,
) -> Prediction:
    """Predict the conductance of devices of one level at one age.

    Parameters
    ----------
    model
        A fitted model, or its file.
    time
        Age, s.
    level
        Conductance (uS): at the first read for relaxation and bakes, at t0 for drift, the target for programming.
    window
        Lowest and highest conductance (uS) that are well.
    temperature
        K; None for that of the measurement. A fit of bakes needs it: that at which devices are for this time.
    experiment
        'drift' or 'programming'; None for the first that was fitted.

    Returns
    -------
    Prediction
        With `quantiles`, `probability_outside`, `extrapolates`, and a `distribution` to be asked and drawn from.

    Raises
    ------
    BadInputError
        For a model that predicts no conductances, and for numbers that are no age, level or window.
    """
    found = model if isinstance(model, Model) else load_model(model)
    with whole("the model" if isinstance(model, Model) else model, "model", "fit again"):
        return predictions.predict(found, time, level, window, temperature=temperature, experiment=experiment)
