"""What families share, and how one is chosen, on a family as plain as can be: a normal distribution of reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy import stats

from hwloop.calibration.fitting import selection
from hwloop.calibration.fitting.base import SHARED, WIDEST, Description, Family
from hwloop.calibration.fitting.checks import rows_of
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.layout import Block, Coefficient, Layout
from hwloop.calibration.fitting.likelihood import LogLikelihood, NoMaximumError, Optimum, tensor
from hwloop.calibration.fitting.screening import Screening
from hwloop.calibration.fitting.selection import AUTO, Selection
from hwloop.calibration.steps import exhaust
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Values:
    """One value a cell, and something that all have in common."""

    value: FloatArray
    common: FloatArray = field(metadata=SHARED)
    unit: str = "uS"


@dataclass(frozen=True)
class Plain(Family[Values]):
    """Values are normal: a mean and the logarithm of a standard deviation."""

    name = "plain"
    experiment = Experiment.PROGRAMMING
    summary = "normal"
    preference: ClassVar[int] = 1
    extrapolates: ClassVar[bool] = False
    shift: float = 0.0
    """By which the mean that it uses is off."""

    def prepare(self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN) -> tuple[Values, Screening]:
        screening = Screening.of(measurement)
        rows = rows_of(measurement)
        screening.drop(rows.counts == 0, "not read")
        return Values(rows.conductance[screening.kept, 0], np.arange(3.0)), screening

    def layout(self, table: Values) -> Layout:
        rows = (Coefficient("mean", "uS", "mean", start=1.0), Coefficient("sigma", "uS", "spread", log=True))
        hidden = Block("hidden", (Coefficient("hidden", "1", "of no interest"),), shown=False)
        return Layout((Block("shape", rows), hidden))

    def likelihood(self, table: Values) -> LogLikelihood:
        value = tensor(table.value)

        def each(theta: torch.Tensor) -> torch.Tensor:
            z = (value - theta[0] - self.shift) / torch.exp(theta[1])
            return -0.5 * z**2 - theta[1] - 0.5 * math.log(2 * math.pi) - 0.5 * theta[2] ** 2 / len(value)

        return each

    def quantiles(self, table: Values, theta: FloatArray) -> FloatArray:
        return np.asarray(stats.norm.cdf((table.value - theta[0] - self.shift) / math.exp(theta[1])))

    def describe(self, table: Values) -> Description:
        return Description((1.0, 2.0), (3.0, 4.0), {"age": 25.0}, {"bias": Form("polynomial")})

    def caveats(self, table: Values) -> list[str]:
        return ["a caveat"]

    def predict(self, table: Values, theta: FloatArray, earlier: Measurement, later: Measurement) -> FloatArray:
        read = rows_of(later).conductance[:, 0]
        return np.where(np.arange(read.size) == 1, np.nan, stats.norm.logpdf(read, theta[0], math.exp(theta[1])))


def measured(values: FloatArray, ages: int = 1) -> Measurement:
    reads = np.asarray(values, float).reshape(ages, -1)
    return Measurement.of("programming", 10.0 ** np.arange(ages), reads, np.full(reads.shape[1], 5.0), 300.0)


REST = np.random.default_rng(1).normal(5.0, 0.5, 200)

# ---- what families share -------------------------------------------------------------------------------------


def test_a_fit_is_the_maximum_with_intervals_and_a_record() -> None:
    """Mean and standard deviation; of a normal distribution errors of s / sqrt(n), and of ln s 1 / sqrt(2 n)."""
    values = np.r_[REST, np.nan]
    fitted, table = Plain().fit(measured(values))
    mean, sigma = fitted.record.parameters
    s = REST.std()
    assert (mean.name, mean.unit, mean.value, mean.note) == ("mean", "uS", pytest.approx(REST.mean(), abs=1e-4), "")
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * s / math.sqrt(200), rel=0.02)  # type: ignore[operator]
    assert sigma.value == pytest.approx(s, rel=1e-3)
    # The sandwich of the scatter of scores: kurtosis of the sample included.
    kurtosis = float(stats.kurtosis(REST)) + 2
    half = 1.96 * math.sqrt(kurtosis) / math.sqrt(4 * 200)
    assert math.log(sigma.high / sigma.value) == pytest.approx(half, rel=0.03)  # type: ignore[operator]
    record = fitted.record
    assert (record.experiment, record.family, record.settings) == ("programming", "plain", {"age": 25.0})
    assert (record.conductance_range, record.time_range) == ((1.0, 2.0), (3.0, 4.0))
    assert (record.cells.measured, record.cells.used, record.cells.left_out) == (201, 200, {"not read": 1})
    assert record.warnings == ("a caveat",)
    assert record.log_likelihood_per_cell == pytest.approx(stats.norm.logpdf(REST, REST.mean(), s).mean(), abs=1e-6)
    assert record.ks_distance == pytest.approx(stats.kstest(REST, stats.norm(REST.mean(), s).cdf).statistic, abs=1e-4)
    assert repr(fitted) == "Fitted(plain, 2 parameters, 200 cells)"
    assert table.value == pytest.approx(REST)
    (panel,) = Plain().panels(table, fitted.optimum.theta)
    assert panel.title.startswith("Predicted quantiles")
    assert Plain().start(table).tolist() == [1.0, 0.0, 0.0]
    assert Plain().checks(table, fitted.optimum.theta, measured(values)) == []


def test_a_part_of_a_table_has_all_that_cells_have_in_common() -> None:
    table = Values(np.arange(5.0), np.arange(3.0))
    part = Plain().subset(table, np.arange(5) > 2)
    assert (part.value.tolist(), part.common.tolist(), part.unit) == ([3.0, 4.0], [0.0, 1.0, 2.0], "uS")
    assert (Plain().size(table), Plain().size(part)) == (5, 2)


def test_five_cells_support_a_parameter_that_is_shown() -> None:
    Plain().require_support(Values(np.arange(10.0), np.zeros(0)))
    said = (
        r"^programming: 9 usable cells cannot support the 2 parameters of 'plain', which needs 10; measure more cells$"
    )
    with pytest.raises(BadInputError, match=said):
        Plain().require_support(Values(np.arange(9.0), np.zeros(0)))


def estimates(variances: list[float], held: dict[str, str] | None = None, widest: float = math.inf) -> Any:
    """What is stated of a mean of 5 and a standard deviation of 2 whose ln has these variances."""

    class Own(Plain):
        def layout(self, table: Values) -> Layout:
            (shape, hidden) = super().layout(table).blocks
            rows = tuple(replace(one, widest=widest) for one in shape.coefficients)
            return Layout((replace(shape, coefficients=rows), hidden))

    optimum = Optimum(np.array([5.0, math.log(2.0), 0.0]), np.diag([*variances, 1.0]), 0.0, True)
    return Own()._estimates(Values(np.zeros(1), np.zeros(0)), optimum, held or {})


def test_intervals_are_of_95_percent_and_those_of_logarithms_are_not_symmetric() -> None:
    mean, sigma = estimates([0.25, 0.01])
    assert (mean.low, mean.high) == (pytest.approx(5 - 0.98, abs=1e-3), pytest.approx(5 + 0.98, abs=1e-3))
    assert (sigma.low, sigma.high) == (
        pytest.approx(2 * math.exp(-0.196), rel=1e-3), pytest.approx(2 * math.exp(0.196), rel=1e-3),
    )  # fmt: skip
    assert sigma.value == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("variances", "held", "widest", "note"),
    [
        ([math.inf, math.inf], {}, math.inf, "the data do not determine it: no interval"),
        ([math.nan, math.nan], {}, math.inf, "not at a maximum: no interval"),
        ([0.0, 0.0], {}, math.inf, "the data do not tell how sure it is"),
        ([0.25, 0.25], {}, 1.0, "known to within 2 only, which says nothing: no interval"),
        ([0.25, 0.25], {"mean": "because", "sigma": "because"}, math.inf, "because"),
    ],
)
def test_what_is_not_known_has_a_note_in_place_of_an_interval(
    variances: list[float], held: dict[str, str], widest: float, note: str
) -> None:
    for one in estimates(variances, held, widest):
        assert (one.low, one.high, one.note) == (None, None, note)
        assert one.value == pytest.approx({"mean": 5.0, "sigma": 2.0}[one.name])


def test_a_logarithm_that_could_be_anything_is_not_told() -> None:
    wide = ((WIDEST + 0.1) / (2 * 1.96)) ** 2
    mean, sigma = estimates([wide, wide])
    assert mean.note == ""
    assert sigma.note == "the data do not tell how sure it is"
    assert estimates([1.0, ((WIDEST - 0.1) / (2 * 1.96)) ** 2])[1].note == ""


def test_a_fit_that_tells_nothing_essential_is_refused() -> None:
    class Essential(Plain):
        essential: ClassVar[tuple[str, ...]] = ("bias",)

    known = Optimum(np.zeros(3), np.eye(3), 0.0, True)
    told = Plain()._estimates(Values(np.zeros(1), np.zeros(0)), known, {})
    Plain()._require_identified(told, known)
    with pytest.raises(
        BadInputError, match=r"^programming: these reads tell nothing of the bias: they scatter so much"
    ):
        Essential()._require_identified(told, known)
    lost = replace(known, covariance=np.full((3, 3), np.nan))
    nothing = Plain()._estimates(Values(np.zeros(1), np.zeros(0)), lost, {})
    with pytest.raises(BadInputError, match=r"tell no parameter of 'plain' \(the likelihood does not curve downwards"):
        Essential()._require_identified(nothing, lost)
    with pytest.raises(NotImplementedError, match="plain does not extrapolate"):
        Family.predict(Plain(), Values(np.zeros(1), np.zeros(0)), np.zeros(3), measured(REST), measured(REST))


# ---- how one is chosen ---------------------------------------------------------------------------------------


def family(name: str, **changes: Any) -> Plain:
    own: dict[str, Any] = {"name": name, "preference": 2} | changes
    return type(name, (Plain,), {"__annotations__": {}, **own})()


def test_families_are_of_one_age_or_temperature_or_of_several() -> None:
    plain, hot, single, asked = (
        family("plain"), family("hot", several_temperatures=True), family("single", one_age=True),
        family("asked", on_request=True),
    )  # fmt: skip
    every = [plain, hot, single, asked]
    drift = Measurement.of("drift", [1.0, 10.0, 100.0], np.outer([1.0, 0.9, 0.8], REST), None, 300.0)
    kelvin = np.where(drift.reads.cell % 2, 400.0, 300.0)
    baked = replace(drift, reads=replace(drift.reads, temperature=kelvin))
    once = Measurement.of("drift", [1.0, 10.0], np.outer([1.0, 0.9], REST), None, 300.0)

    def names(measurement: Measurement, candidates: list[Any] = every, named: str = AUTO) -> list[str]:
        return [one.name for one in selection._of_these(candidates, measurement, named)]

    assert names(drift) == ["plain"]
    assert names(baked) == ["hot"]
    assert names(once) == ["single"]
    assert names(baked, [plain, asked]) == ["plain"]
    assert names(drift, named="asked") == ["plain", "hot", "single", "asked"]


def test_a_named_family_is_compared_with_its_rivals_alone() -> None:
    first, second, third = family("first", rivals=("third",)), family("second"), family("third")

    def names(named: str, candidates: list[Any]) -> list[str]:
        return [one.name for one in selection._compared(candidates, Experiment.PROGRAMMING, named)]

    assert names(AUTO, [first, second, third]) == ["first", "second", "third"]
    assert names("first", [first, second, third]) == ["first", "third"]
    assert names("second", [first, second, third]) == ["second"]
    assert names(AUTO, [second]) == ["second"]
    said = r"^programming has no family 'fourth'; known: auto, first, second$"
    with pytest.raises(BadInputError, match=said):
        names("fourth", [first, second])


def test_rivals_that_predict_alike_are_alternatives() -> None:
    first, second, third = family("first", rivals=("third",)), family("second"), family("third")
    scores = {one: np.full(9, 1.0) for one in ("first", "second", "third")}
    chosen, ties = selection.choose([first, second, third], scores, Selection())
    assert (chosen.name, [one.name for one in ties]) == ("first", ["third"])
    chosen, ties = selection.choose([first, second, third], scores | {"third": np.full(9, 0.9)}, Selection())
    assert (chosen.name, ties) == ("first", [])
    # Within two standard errors only what extrapolates predicts alike: 0.1 behind, give or take 0.3 / 3.
    near = scores | {"first": 1.0 - 0.1 + 0.3 * np.array([-1, 1, 0, 1, -1, 0, 1, -1, 0]) * math.sqrt(1.5)}
    assert selection.choose([first, second], near, Selection())[0].name == "second"
    far = [family("first", extrapolates=True), family("second", extrapolates=True)]
    assert selection.choose(far, near, Selection(tie=1.1))[0].name == "first"
    assert selection.choose(far, near, Selection(tie=0.9))[0].name == "second"


def test_families_are_evaluated_on_other_cells_or_on_later_reads() -> None:
    """A third of the cells are kept back: the log density of these by what the others show."""
    scores, refused = exhaust(selection.scoring(measured(REST), [Plain()], NOTHING_KNOWN, Selection()))
    held_out = np.random.default_rng(0).random(200) < 0.3
    mean, sigma = REST[~held_out].mean(), REST[~held_out].std()
    assert scores["plain"] == pytest.approx(stats.norm.logpdf(REST[held_out], mean, sigma), abs=5e-3)
    assert refused == {}
    few = selection._other_cells(replace_support(Plain(), 1), measured(REST[:9]), NOTHING_KNOWN, Selection())
    assert few.size == 9
    later = family("later", extrapolates=True)
    twice = measured(np.stack([REST, REST + 0.1]), 2)
    got = selection._later_reads(later, twice, NOTHING_KNOWN, Selection(outlier_share=1e-3))
    top = float(np.quantile(np.abs(twice.reads.conductance), 0.999))
    density = stats.norm.pdf(REST + 0.1, REST.mean(), REST.std()) + 1e-3 / top
    assert np.delete(got, 1) == pytest.approx(np.delete(np.log(density), 1), abs=2e-3)
    assert math.isnan(got[1])
    both, _ = exhaust(selection.scoring(twice, [later, later], NOTHING_KNOWN, Selection()))
    assert both["later"].size == 199


def replace_support(one: Plain, cells: int) -> Plain:
    return family(one.name, cells_per_parameter=cells)


def test_families_that_cannot_be_tried_are_named_with_the_reason() -> None:
    class Broken(Plain):
        name = "broken"

        def likelihood(self, table: Values) -> LogLikelihood:
            raise NoMaximumError("it rises without end")

    class Alike(Plain):
        name = "alike"

        def likelihood(self, table: Values) -> LogLikelihood:
            raise np.linalg.LinAlgError("singular")

    scores, refused = exhaust(
        selection.scoring(measured(REST), [Plain(), Broken(), Alike()], NOTHING_KNOWN, Selection())
    )
    assert [*scores] == ["plain"]
    said = "programming: 'broken' cannot be fitted: the likelihood has no maximum (it rises without end): nearly all"
    assert refused["broken"].startswith(said)
    assert refused["alike"].startswith(
        "programming: the cells do not differ enough to fit 'alike'; nearly all are stuck"
    )
    with pytest.raises(BadInputError, match="'broken' cannot be fitted"):
        exhaust(selection.scoring(measured(REST), [Broken(), Alike()], NOTHING_KNOWN, Selection()))


@pytest.mark.parametrize(("distance", "cells", "told"), [(0.05, 100, 0), (0.22, 100, 1), (0.2, 100, 0), (0.2, 400, 1)])
def test_a_poor_fit_is_warned_of_and_a_useless_one_is_refused(distance: float, cells: int, told: int) -> None:
    """From 0.05 and 1.63 over the root of the cells on; from 0.4 on it is none."""
    fitted, _ = Plain().fit(measured(REST))
    record = replace(fitted.record, ks_distance=distance, cells=replace(fitted.record.cells, used=cells))
    got = selection._evaluated(replace(fitted, record=record), Selection())
    assert len(got.record.warnings) == 1 + told
    if told:
        assert got.record.warnings[-1].startswith(
            f"the model describes these reads poorly: predicted quantiles are {distance:.2f} from uniform"
        )
    for useless in (0.4, math.nan):
        with pytest.raises(
            BadInputError, match=r"'plain' does not describe these reads .*; look for wrong times or units"
        ):
            selection._evaluated(replace(fitted, record=replace(record, ks_distance=useless)), Selection())


def test_of_many_cells_some_are_chosen_at_random() -> None:
    some = selection._fewer_cells(measured(REST), 50)
    assert len(some.cells) == len(some.reads) == 50
    assert np.isin(some.reads.conductance, REST).all()
    assert selection._fewer_cells(measured(REST), 200).reads.conductance == pytest.approx(REST)


def test_an_outcome_says_all_but_the_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "families", lambda experiment: [Plain(), family("other", shift=0.0)])
    steps: list[tuple[int, int, str]] = []

    def watch(step: Any) -> None:
        steps.append((step.done, step.total, step.stage))

    found = selection.fit_measurement(measured(REST), watch=watch)
    assert [text for *_, text in steps] == ["trying plain", "trying other", "fitting plain"]
    assert [(done, total) for done, total, _ in steps] == [(0, 3), (1, 3), (2, 3)]
    told = found.to_json()
    assert told["cells"] == {"measured": 200, "used": 200, "left_out": {}, "stuck": 0, "wild": 0}
    assert (told["family"], told["experiment"], told["refused_families"]) == ("plain", "programming", {})
    assert {*told["held_out_log_likelihood"]} == {"plain", "other"}  # type: ignore[misc]
    assert told["warnings"] == ["a caveat"]
    assert [one["name"] for one in told["parameters"]] == ["mean", "sigma"]  # type: ignore[union-attr,index,call-overload]
    named = selection.fit_measurement(measured(REST), "other")
    assert (named.fitted.record.family, named.fitted.record.choice) == ("other", {})
