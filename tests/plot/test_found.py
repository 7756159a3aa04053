"""Figures of coresets, memories, networks, searches and trainings show the numbers that they are given."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from hwloop import plot
from hwloop.errors import BadInputError
from hwloop.plot.style import BLUE, ORANGE, SKY
from tests.plot.seen import FAINT, grid, legend, line, points, words

# ---- coresets ------------------------------------------------------------------------------------------------


def share(tensor: str, host: str, bits: int) -> SimpleNamespace:
    return SimpleNamespace(
        tensor=tensor, host=host, bits=bits, choice=SimpleNamespace(points=10, bits=4, bound=0.123)
    )  # fmt: skip


def test_bars_of_a_coreset_are_as_long_as_its_bits() -> None:
    hosts = ["a", "a", "b", "c", "d"]
    axes = plot.shares_of_budget([share("w", host, 1000 * at) for at, host in enumerate(hosts, 1)])
    assert [bar.get_width() for bar in axes.patches] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == [BLUE, BLUE, SKY, ORANGE, BLUE]
    assert [text.get_position() for text in axes.texts] == [(float(at + 1), float(at)) for at in range(5)]
    assert axes.texts[0].get_text() == " 10 points of 4 bits, bound 0.12"
    assert [one.get_text() for one in axes.get_yticklabels()] == ["w, a", "w, a", "w, b", "w, c", "w, d"]
    assert words(axes) == ("What the budget was spent on", "thousand bits", "")
    low, high = axes.get_xlim()
    assert low == 0
    assert high == pytest.approx(9.5)  # room for the texts beside the longest bar
    assert axes.yaxis_inverted()


def test_a_coreset_of_one_host_does_not_name_it() -> None:
    axes = plot.shares_of_budget([share("v", "a", 500), share("w", "a", 1500)])
    assert [one.get_text() for one in axes.get_yticklabels()] == ["v", "w"]


# ---- memories ------------------------------------------------------------------------------------------------


def test_sessions_have_intervals_and_later_answers_stand_beside_the_last() -> None:
    def asked(moment: str, classes: int, value: float) -> SimpleNamespace:
        on_chip = SimpleNamespace(value=value, interval=(value - 0.1, value + 0.05))
        return SimpleNamespace(moment=moment, classes=classes, on_chip=on_chip, in_float=SimpleNamespace(value=0.95))

    each = [asked("session 0", 10, 0.9), asked("session 1", 30, 0.8), asked("1d", 30, 0.7), asked("1y", 30, 0.6)]
    axes = plot.accuracy_by_session(each)
    (bars,) = axes.containers
    assert bars[0].get_xydata().tolist() == [[10.0, 0.9], [30.0, 0.8]]
    assert np.array(bars[2][0].get_segments()) == pytest.approx(
        np.array([[[10, 0.8], [10, 0.95]], [[30, 0.7], [30, 0.85]]])
    )
    assert [cap.get_markersize() for cap in bars[1]] == [6.0, 6.0]
    assert points(axes, "in float") == [(10.0, 0.95), (30.0, 0.95)]
    assert points(axes, "1d") == [(31.0, 0.7)]
    assert points(axes, "1y") == [(32.0, 0.6)]
    assert words(axes) == ("Learning in sessions", "classes that are known", "accuracy on their test images")
    assert axes.get_xticks().tolist() == [10, 30]
    assert set(legend(axes)) == {"on the chip", "in float", "1d", "1y"}
    assert grid(axes) == FAINT


# ---- networks ------------------------------------------------------------------------------------------------


def test_matrices_have_bars_in_the_order_of_the_network() -> None:
    axes = plot.errors_of_matrices({"first": 0.1, "second": 0.05}, Figure().subplots())
    assert [bar.get_width() for bar in axes.patches] == [0.1, 0.05]
    assert [one.get_text() for one in axes.get_yticklabels()] == ["first", "second"]
    assert words(axes) == ("Error of each matrix", "relative MVM error", "")
    assert axes.yaxis_inverted()
    assert grid(axes) == (0.3, None)


def borne(name: str, factor: float) -> SimpleNamespace:
    return SimpleNamespace(name=name, factor=factor, value=factor)


def test_what_is_borne_as_far_as_was_tried_has_an_arrow_at_the_edge() -> None:
    axes = plot.strengths_borne([borne("noise", 4.0), borne("drift", math.inf), borne("wires", 0.5)])
    assert points(axes, "accuracy has fallen") == [(4.0, 0.0), (0.5, 2.0)]
    assert points(axes, "all that was tried is borne") == [(8.0, 1.0)]
    assert set(line(axes, "this chip").get_xdata()) == {1.0}
    assert np.array(axes.collections[0].get_segments()).tolist() == [[[1, 0], [4, 0]], [[1, 2], [0.5, 2]]]
    assert (axes.collections[0].get_alpha(), axes.collections[0].get_linewidth()[0]) == (0.5, 1)
    assert [one.get_text() for one in axes.get_yticklabels()] == ["noise", "drift", "wires"]
    assert words(axes) == ("What the network bears", "strength, in the chip's own", "")
    assert axes.get_xscale() == "log"
    assert axes.xaxis.get_major_formatter()(0.5) == "0.5"
    assert axes.yaxis_inverted()
    assert grid(axes) == (0.3, None)
    assert len(legend(axes)) == 3
    assert axes.get_legend()._ncols == 3
    below = axes.get_legend().get_bbox_to_anchor().transformed(axes.transAxes.inverted())
    assert (below.x0, below.y0) == pytest.approx((0.5, -0.18))


def test_all_that_was_tried_may_be_lost_or_borne() -> None:
    lost = plot.strengths_borne([borne("noise", 0.25), borne("drift", 0.5)])
    assert "all that was tried is borne" not in legend(lost)
    kept = plot.strengths_borne([borne("noise", math.inf)])
    assert points(kept, "all that was tried is borne") == [(2.0, 0.0)]
    with pytest.raises(BadInputError, match="nothing was tried before the study was stopped"):
        plot.strengths_borne([])


# ---- searches ------------------------------------------------------------------------------------------------


def trial(accuracy: float, drop: float) -> SimpleNamespace:
    later = accuracy - drop
    takes = SimpleNamespace(weights=1)
    return SimpleNamespace(accuracy=accuracy, drop_month=drop, lasting=later, proven=later, again=(), footprint=takes)


def test_the_front_has_the_networks_to_which_no_other_is_better() -> None:
    axes = plot.accuracy_against_drop([trial(0.9, 0.05), trial(0.8, 0.01), trial(0.85, 0.06), trial(0.95, 0.25)])
    assert points(axes, "4 networks") == [(5.0, 90.0), (1.0, 80.0), (6.0, 85.0), (25.0, 95.0)]
    assert sorted(points(axes, "front")) == [(1.0, 80.0), (5.0, 90.0), (25.0, 95.0)]
    assert points(axes, "winner") == [(5.0, 90.0)]
    assert line(axes, "4 networks").get_alpha() == 0.5
    assert words(axes) == ("Networks of a search", "drop over a month, points", "accuracy after programming, %")
    assert legend(axes) == ["4 networks", "front", "winner"]
    assert grid(axes) == FAINT


def test_the_best_so_far_never_falls() -> None:
    axes = plot.best_so_far([trial(0.5, 0.25), trial(0.75, 0.25), trial(0.5, 0.125)])
    assert points(axes, "each") == [(1.0, 25.0), (2.0, 50.0), (3.0, 37.5)]
    assert points(axes, "best so far") == [(1.0, 25.0), (2.0, 50.0), (3.0, 50.0)]
    assert line(axes, "each").get_alpha() == 0.5
    assert words(axes) == ("Course of a search", "networks", "accuracy after a month, %")
    assert legend(axes) == ["each", "best so far"]
    assert grid(axes) == FAINT


# ---- trainings -----------------------------------------------------------------------------------------------


def curves(**more: list[float]) -> SimpleNamespace:
    return SimpleNamespace(**{"loss": [0.75, 0.5], "test_accuracy": [0.5, 0.75], "held_out_accuracy": []} | more)


def test_wrong_answers_fall_and_the_loss_has_an_axis_of_its_own() -> None:
    axes = plot.training_curves(curves(held_out_accuracy=[0.25, 0.5]), 0.875)
    (loss,) = [one for one in axes.figure.axes if one is not axes]
    assert points(axes, "test images") == [(1.0, 50.0), (2.0, 25.0)]
    assert points(axes, "held-out images") == [(1.0, 75.0), (2.0, 50.0)]
    assert set(line(axes, "in float, at the end").get_ydata()) == {12.5}
    assert points(loss, "loss of training images") == [(1.0, 0.75), (2.0, 0.5)]
    assert line(loss, "loss of training images").get_linewidth() == 1
    assert words(axes) == ("Training in memory", "epoch", "wrong answers (%)")
    assert loss.get_ylabel() == "loss (nat)"
    assert axes.get_ylim()[0] == loss.get_ylim()[0] == 0
    assert legend(axes) == ["test images", "held-out images", "in float, at the end", "loss of training images"]
    assert grid(axes) == FAINT
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_what_a_training_lacks_is_not_drawn() -> None:
    assert legend(plot.training_curves(curves())) == ["test images", "loss of training images"]
    with pytest.raises(BadInputError, match="no epoch was finished"):
        plot.training_curves(curves(loss=[]))
    with pytest.raises(BadInputError, match="no weights were read from the chip"):
        plot.weight_histogram({})


def test_weights_are_counted_in_sixty_bins() -> None:
    weights = np.linspace(-1, 1, 240).reshape(12, 20)
    axes = plot.weight_histogram({"first": weights, "second": 2 * weights})
    first, second = axes.patches
    assert len(first.get_xy()) == 2 * 60 + 2
    assert (first.get_xy()[:, 1].max(), second.get_xy()[:, 1].max()) == pytest.approx((0.5, 0.25))  # densities
    assert words(axes) == ("Weights as read from the chip", "weight", "density")
    assert set(legend(axes)) == {"first", "second"}


def test_accuracies_are_means_over_seeds_with_their_spread() -> None:
    axes = plot.accuracy_against([1.0, 2.0], np.array([[0.5, 0.75], [0.75, 0.75]]), "noise, uS", 0.875)
    (bars,) = axes.containers
    assert bars[0].get_xydata().tolist() == [[1.0, 62.5], [2.0, 75.0]]
    low, high = bars[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(100 * np.std([0.5, 0.75], ddof=1))
    assert bars[1][0].get_markersize() == 6.0
    assert set(line(axes, "trained in float").get_ydata()) == {87.5}
    assert words(axes) == ("Accuracy after training in memory", "noise, uS", "right answers (%)")
    assert set(legend(axes)) == {"trained in memory", "trained in float"}
    assert grid(axes) == FAINT
    alone = plot.accuracy_against([1.0], np.array([[0.5]]), "noise", math.nan)
    assert alone.containers[0][2][0].get_segments()[0].tolist() == [[1.0, 50.0], [1.0, 50.0]]
    assert legend(alone) == ["trained in memory"]
