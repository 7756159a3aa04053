"""Figures of trainings in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hwloop.errors import BadInputError
from hwloop.plot.style import BLUE, GREY, VERMILION, axes_of, grid
from hwloop.typing import FloatArray

if TYPE_CHECKING:
    from hwloop.optim.settings import Curves


def training_curves(curves: Curves, float_accuracy: float = float("nan"), ax: Axes | None = None) -> Axes:
    """Draw the error rate of a training against its epochs, with its loss on an axis of its own.

    Raises BadInputError for a training of which no epoch was finished.
    """
    if not curves.loss:
        raise BadInputError("no epoch was finished: there is no curve to draw")
    axes = axes_of(ax)
    epochs = np.arange(1, len(curves.loss) + 1)
    for name, values, style in (
        ("test images", curves.test_accuracy, "-"),
        ("held-out images", curves.held_out_accuracy, ":"),
    ):
        if values:
            axes.plot(epochs, 100 * (1 - np.array(values)), style, color=BLUE, label=name)
    if np.isfinite(float_accuracy):
        axes.axhline(100 * (1 - float_accuracy), color=VERMILION, ls="--", label="in float, at the end")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="wrong answers (%)", title="Training in memory", ylim=(0, None))
    grid(axes)
    loss = axes.twinx()
    loss.plot(epochs, curves.loss, color=GREY, lw=1, label="loss of training images")
    loss.set(ylabel="loss (nat)", ylim=(0, None))
    lines = [*axes.get_lines(), *loss.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], fontsize="small")
    return axes


def weight_histogram(weights: Mapping[str, FloatArray], ax: Axes | None = None) -> Axes:
    """Draw how the weights of each matrix are spread. Raises BadInputError without any."""
    if not weights:
        raise BadInputError("no weights were read from the chip: the training did not come so far")
    axes = axes_of(ax)
    for name, values in weights.items():
        axes.hist(values.reshape(-1), bins=60, histtype="step", density=True, label=name)
    axes.set(xlabel="weight", ylabel="density", title="Weights as read from the chip")
    axes.legend(fontsize="small")
    return axes


def accuracy_against(
    values: Sequence[float], accuracies: FloatArray, what: str, float_accuracy: float, ax: Axes | None = None
) -> Axes:
    """Draw the accuracy of trainings against what was changed between them.

    Parameters
    ----------
    values
        What was set, (settings,).
    accuracies
        (settings, seeds).
    what
        Was set, with its unit.
    float_accuracy
        Of training in float.
    ax
        To draw on.
    """
    axes = axes_of(ax)
    mean, spread = accuracies.mean(1), accuracies.std(1, ddof=min(1, accuracies.shape[1] - 1))
    axes.errorbar(values, 100 * mean, 100 * spread, fmt="o-", color=BLUE, capsize=3, label="trained in memory")
    if np.isfinite(float_accuracy):
        axes.axhline(100 * float_accuracy, color=VERMILION, ls="--", label="trained in float")
    axes.set(xlabel=what, ylabel="right answers (%)", title="Accuracy after training in memory")
    grid(axes)
    axes.legend(fontsize="small")
    return axes
