"""Parts of the fits of relaxation and of bakes: priors, slopes and starts against what their words say."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from hwloop.calibration.fitting.bake import Bake, BakeSettings
from hwloop.calibration.fitting.bake import table as bake_tables
from hwloop.calibration.fitting.bake.table import BakeTable, Codes, codes_of, equivalent_place
from hwloop.calibration.fitting.forms import interpolation
from hwloop.calibration.fitting.relaxation import Relaxation, RelaxationTable, SublinearRelaxation
from hwloop.calibration.fitting.relaxation.figures import relaxation_panels
from hwloop.calibration.fitting.relaxation.settings import RelaxationSettings
from hwloop.devices.bake import BAKE_CURVES
from hwloop.devices.relaxation import CURVES
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement
from hwloop.typing import FloatArray

BOLTZMANN = 8.617333e-5
"""eV / K."""


def relaxing(cells: int = 40, seed: int = 3) -> RelaxationTable:
    """Cells of 5 to 50 uS with two later reads; the last cell has one."""
    rng = np.random.default_rng(seed)
    first = np.linspace(5.0, 50.0, cells)
    there = np.ones((cells, 2), bool)
    there[-1, 1] = False
    time = np.where(there, [10.0, 100.0], 1.0)
    read = np.where(there, first[:, None] * (1 + 0.1 * rng.standard_normal((cells, 2))), first[:, None])
    return RelaxationTable(
        g_scale=50.0, knots=tuple(np.log([0.1, 0.4, 1.0])), first_age=1.0, clock=10.0, cells=np.arange(cells),
        first=first, first_time=np.ones(cells), there=there, time=time, conductance=read,
    )  # fmt: skip


def baked(telling: bool = True, cells: int = 60, seed: int = 4) -> BakeTable:
    """Cells that were an hour at 400 K or 450 K, or ten hours at 450 K, read once or twice."""
    rng = np.random.default_rng(seed)
    first, which = np.linspace(5.0, 50.0, cells), np.arange(cells) % 3
    kelvin, seconds = np.array([400.0, 450.0, 450.0])[which], np.array([3600.0, 3600.0, 36000.0])[which]
    there = np.stack([np.ones(cells, bool), which == 0], 1)
    return BakeTable(
        g_scale=50.0, levels=tuple(np.log([0.1, 0.4, 1.0])), bakes=(0.0, 0.6, 1.0), reference=450.0, telling=telling,
        cells=np.arange(cells), first=first, there=there, time=np.stack([seconds, 2 * seconds], 1) * there + ~there,
        passed=seconds[:, None] * there, temperature=np.stack([kelvin, np.full(cells, 450.0)], 1),
        conductance=np.where(there, first[:, None] * (1 + 0.1 * rng.standard_normal((cells, 2))), first[:, None]),
        conditions=np.array([[400.0, 3600.0], [450.0, 3600.0], [450.0, 36000.0]]),
    )  # fmt: skip


def moved(theta: FloatArray, seed: int = 5) -> FloatArray:
    return theta + 0.2 * np.random.default_rng(seed).standard_normal(theta.size)


# ---- priors, told in words -----------------------------------------------------------------------------------


def test_neighbouring_knots_of_relaxation_are_alike_and_growth_is_usual() -> None:
    own = RelaxationSettings(stiffness=3.0, growth_stiffness=7.0, usual_growth=-2.0, growth_weight=0.5)
    curves = np.random.default_rng(1).standard_normal((len(CURVES), 4))
    expected = 0.0
    for name, values in zip(CURVES, curves, strict=True):
        stiff = 7.0 if name in {"move_skew", *(one for one in CURVES if one.endswith("_growth"))} else 3.0
        expected += stiff * np.sum(np.diff(values) ** 2)
        if name in {"hazard_growth", "stay_width_growth", "move_width_growth"}:
            expected += 0.5 * np.sum((values + 2.0) ** 2)
    assert float(Relaxation(settings=own)._prior(torch.tensor(curves))) == pytest.approx(expected)


def test_curves_of_bakes_are_alike_from_knot_to_knot_steady_and_straight_in_place() -> None:
    """Shifts count in units of a share of the conductance, a tenth of the scale at least."""
    own = BakeSettings(stiffness=3.0, steadiness=5.0, bend=7.0, hazard_weight=0.5, usual_hazard=-1.0, skew_weight=0.25,
                       shift_unit=0.1)  # fmt: skip
    table = replace(baked(), levels=tuple(np.log([0.05, 0.4, 1.0])))
    values = np.random.default_rng(1).standard_normal((len(BAKE_CURVES), 3, 3))
    unit = 0.1 * 50.0 * np.array([0.1, 0.4, 1.0])
    expected, apart = 0.0, np.array([0.6, 0.4])
    for name, curve in zip(BAKE_CURVES, values, strict=True):
        scaled = curve / unit if name.endswith("_shift") else curve
        expected += 3.0 * np.sum(np.diff(scaled, axis=1) ** 2) + 5.0 * np.sum(np.diff(scaled, axis=0) ** 2)
        slopes = np.diff(scaled, axis=0) / apart[:, None] * 0.5
        expected += 7.0 * np.sum(np.diff(slopes, axis=0) ** 2)
        expected += 0.5 * np.sum((curve + 1.0) ** 2) if name == "hazard" else 0.0
        expected += 0.25 * np.sum(curve**2) if name == "move_skew" else 0.0
    assert float(Bake(settings=own)._prior(torch.tensor(values), table)) == pytest.approx(expected / 2)


@pytest.mark.parametrize("telling", [True, False])
def test_priors_as_scores_have_the_curvature_of_the_priors(telling: bool) -> None:
    """By second differences: of relaxation all curves, of bakes all parameters where the energy is told."""
    family, table = Bake(), baked(telling)
    rows = family._prior_scores(table)
    curvature, size = rows.T @ rows, math.prod((len(BAKE_CURVES), 3, 3))
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, len(BAKE_CURVES), 3, 3))

    def prior(values: FloatArray) -> float:
        return float(family._prior(torch.tensor(values), table))

    along = prior(a + b) - prior(a) - prior(b) + prior(np.zeros_like(a))
    assert a.ravel() @ curvature[:size, :size] @ b.ravel() == pytest.approx(along)
    own = family.settings
    energy = (own.energy / own.energy_spread) ** 2 if telling else 0.0
    assert np.diagonal(curvature)[size:] == pytest.approx(
        [own.tail_spread**-2, own.tail_spread**-2, own.warp_spread**-2, energy], abs=1e-9
    )
    relaxation = Relaxation()
    rows = relaxation._prior_scores(relaxing())
    curvature, count = rows.T @ rows, 3 * len(CURVES)
    a, b = rng.standard_normal((2, len(CURVES), 3))
    value = [float(relaxation._prior(torch.tensor(one))) for one in (a + b, a, b, np.zeros_like(a))]
    assert a.ravel() @ curvature[:count, :count] @ b.ravel() == pytest.approx(value[0] - value[1] - value[2] + value[3])
    assert not curvature[count:].any()


def test_every_cell_has_a_share_of_the_priors() -> None:
    """The log-likelihood is the density by the law, less the priors: of curves, tails, warp and energy."""
    table, family = baked(), Bake()
    theta = moved(family.start(table))
    values = theta[:-4].reshape(len(BAKE_CURVES), 3, 3)
    own = family.settings
    prior = float(family._prior(torch.tensor(values), table))
    prior += 0.5 * np.sum(((theta[-4:-2] - own.usual_tail) / own.tail_spread) ** 2)
    prior += 0.5 * ((theta[-2] - math.log(own.usual_warp * 50.0)) / own.warp_spread) ** 2
    without = family.likelihood(replace(table, telling=False))(torch.tensor(theta)).numpy()
    told = 0.5 * ((math.exp(theta[-1]) - own.energy) / own.energy_spread) ** 2
    density = [family.law(table, theta)]
    with_energy = family.likelihood(table)(torch.tensor(theta)).numpy()
    log_time = np.log10(np.maximum(table.passed, 1e-300)) + (1 / 450.0 - 1 / table.temperature) * math.exp(
        theta[-1]
    ) / (BOLTZMANN * math.log(10))
    # The first read after the first bake; those of the second have the time of both behind them.
    one = ~table.there[:, 1]
    predicted = density[0].after(10.0 ** log_time[one, 0], table.time[one, 0], table.first[one])
    each = np.log(predicted.density(table.conductance[one, 0]))
    assert with_energy[one] == pytest.approx(each - (prior + told) / 60, rel=1e-4, abs=1e-4)
    # Without it the energy is the usual one, whatever theta says.
    usual = np.r_[theta[:-1], math.log(own.energy)]
    again = family.likelihood(table)(torch.tensor(usual)).numpy()
    assert without == pytest.approx(again)


def test_relaxation_has_a_share_of_the_priors_too() -> None:
    table = relaxing()
    for family in (Relaxation(), SublinearRelaxation()):
        theta = moved(family.start(table))
        law = family.law(table, theta)
        predicted = law.at(table.time, table.first[:, None])
        each = np.where(table.there, np.log(predicted.density(table.conductance)), 0.0).sum(1)
        count, own = 3 * len(CURVES), family.settings
        prior = float(family._prior(torch.tensor(theta[:count]).view(len(CURVES), 3)))
        prior += 0.5 * ((theta[count + 2] - math.log(own.usual_warp * 50.0)) / own.warp_spread) ** 2
        assert family.likelihood(table)(torch.tensor(theta)).numpy() == pytest.approx(each - prior / 40, abs=1e-6)
        assert family.quantiles(table, theta) == pytest.approx(predicted.cdf(table.conductance)[table.there])
        assert family.exponent == law.exponent


# ---- slopes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("telling", [True, False])
def test_scores_are_the_slopes_of_every_cells_density(telling: bool) -> None:
    """By differences of the density of cells without the priors."""
    table = baked(telling)
    family = Bake()
    theta = moved(family.start(table))
    got = family._scores(table, theta)
    shape = (len(BAKE_CURVES), 3, 3)
    basis, density, place = (
        torch.tensor(interpolation(table.log_g, table.levels)), family._density(table), family._place(table),
    )  # fmt: skip

    def each(theta: FloatArray) -> FloatArray:
        values, rest = torch.tensor(theta[:-4]).view(shape), torch.tensor(theta[-4:])
        at = place(rest[3]).numpy()
        weights = interpolation(np.clip(at, 0.0, 1.0), table.bakes)
        # Beyond the hardest bake the last line goes on; none of these is.
        curves = torch.einsum("nrb,cbk,nk->nrc", torch.tensor(weights), values, basis)
        return density(curves, rest).numpy()

    assert float(place(torch.tensor(theta[-1])).max()) <= 1.0 + 1e-9 or not telling
    single = ~table.there[:, 1]
    for k in [*range(0, theta.size - 4, 7), *range(theta.size - 4, theta.size - 1)]:
        step = np.zeros_like(theta)
        step[k] = 1e-5
        slope = (each(theta + step) - each(theta - step)) / 2e-5
        assert got[single, k] == pytest.approx(slope[single], abs=1e-4)
    assert bool(got[:, -1].any()) is telling


def test_scores_of_relaxation_are_the_slopes_of_its_likelihood() -> None:
    """Where the priors are put out by ones that weigh nothing."""
    loose = RelaxationSettings(stiffness=0.0, growth_stiffness=0.0, growth_weight=0.0, warp_spread=100.0)
    family, table = Relaxation(settings=loose), relaxing()
    theta = moved(family.start(table))
    got = family._scores(table, theta)
    likelihood = family.likelihood(table)
    for k in range(3 * len(CURVES) + 3):
        step = np.zeros_like(theta)
        step[k] = 1e-5
        ends = (likelihood(torch.tensor(theta + side * step)).numpy() for side in (1, -1))
        assert got[:, k] == pytest.approx((next(ends) - next(ends)) / 2e-5, abs=2e-4)


# ---- where the search begins ---------------------------------------------------------------------------------


def test_relaxation_begins_with_the_sizes_of_changes_near_each_knot() -> None:
    """All changes of a cell are alike: 1 uS at the lowest knot, 4 uS at the highest, and between by their weights."""
    table = relaxing(300)
    size = np.exp(np.interp(table.log_g, table.knots, np.log([1.0, 1.0, 4.0])))
    table = replace(
        table, conductance=np.where(table.there, table.first[:, None] - size[:, None], table.first[:, None])
    )
    family = Relaxation(settings=RelaxationSettings(usual_growth=-1.5, usual_warp=0.02))
    start, layout = family.start(table), family.layout(table)
    basis = interpolation(table.log_g, table.knots)
    mean = basis.T @ np.log(size) / basis.sum(0)
    expected = {
        "hazard": -2.5, "hazard_growth": -1.5, "stay_shift": 0.0, "stay_shift_growth": 0.0, "stay_width": mean,
        "stay_width_growth": -1.5, "move_shift": 0.0, "move_shift_growth": 0.0, "move_width": mean + 1.0,
        "move_width_growth": -1.5, "move_skew": 0.0,
    }  # fmt: skip
    for name, values in expected.items():
        assert layout.part(start, name) == pytest.approx(np.full(3, values) if np.isscalar(values) else values)
    assert layout.part(start, "stay_tail") == pytest.approx([math.log(3.0)])
    assert layout.part(start, "move_tail") == pytest.approx([math.log(2.0)])
    assert layout.part(start, "warp") == pytest.approx([math.log(0.02 * 50.0)])
    # A knot that no cell is near has the mean of all, and a change of nothing the smallest size.
    few = replace(table, knots=(*np.log([1e-4, 2e-4]), 0.0))
    whole = np.log(size).mean()
    assert layout.part(family.start(few), "stay_width")[0] == pytest.approx(whole)
    still = family.start(replace(table, conductance=np.repeat(table.first[:, None], 2, 1)))
    smallest = math.log(family.settings.smallest_change * 50.0)
    assert layout.part(still, "stay_width") == pytest.approx(np.full(3, smallest))


def test_bakes_begin_with_half_of_the_cells_moved_and_the_changes_near_each_knot() -> None:
    """Every bake lies at its own place; changes are -1, -2 and -3 uS by the bake, spread by +-0.5 over the cells."""
    table = baked(cells=900)
    place = equivalent_place(table, Bake().settings.energy)
    nearest = np.argmin(np.abs(place[..., None] - np.array(table.bakes)), axis=2)
    spread = np.where(np.arange(900)[:, None] % 2, 0.5, -0.5) * np.ones(2)
    table = replace(
        table, conductance=np.where(table.there, table.first[:, None] - 1.0 - nearest + spread, table.first[:, None])
    )
    start, layout = Bake().start(table), Bake().layout(table)
    for b in range(3):
        assert layout.part(start, f"hazard_{b}") == pytest.approx(np.full(3, -0.4))
        for name in ("stay_shift", "move_shift"):
            assert np.abs(layout.part(start, f"{name}_{b}") + 1.0 + b).max() <= 0.5
        assert layout.part(start, f"move_width_{b}") == pytest.approx(np.zeros(3), abs=1e-6)
        assert layout.part(start, f"stay_width_{b}") == pytest.approx(np.full(3, math.log(0.3)))
        assert not layout.part(start, f"move_skew_{b}").any()
    own = Bake().settings
    assert start[-4:] == pytest.approx(
        [math.log(3.0), math.log(5.0), math.log(own.usual_warp * 50.0), math.log(own.energy)]
    )


# ---- tables of bakes -----------------------------------------------------------------------------------------


def test_steps_of_a_converter_show_where_reads_are_a_few_values() -> None:
    rng = np.random.default_rng(0)
    reads = 2.0 + 0.5 * rng.integers(0, 10, 400)
    codes = codes_of(reads)
    assert codes == Codes(2.0, 0.5)
    assert codes is not None
    assert codes.nearest(np.array([2.2, 2.3, 1.0])) == pytest.approx([2.0, 2.5, 1.0])
    moved_reads = codes.dithered(reads)
    assert np.abs(moved_reads - reads).max() <= 0.25
    assert np.abs(moved_reads - reads).mean() == pytest.approx(0.125, abs=0.02)
    assert Codes(0.0, 1.0).dithered(np.zeros(200)).min() >= 0.0
    assert codes_of(reads[:199]) is None  # not twenty of each
    assert codes_of(np.full(100, 3.0)) is None
    assert codes_of(np.r_[reads, np.full(40, 2.26)]) is None


def test_times_and_temperatures_that_were_meant_alike_are_one_condition() -> None:
    kelvin = np.array([400.0, 400.2, 450.0, 450.0, 450.0])
    seconds = np.array([3600.0, 3500.0, 3600.0, 3600.0, 36000.0])
    found = bake_tables._conditions(kelvin, seconds, 1.5)
    assert found == pytest.approx(np.array([[400.1, 3550.0], [450.0, 3600.0], [450.0, 36000.0]]))
    assert bake_tables._tell_energy(found, 1.5)
    assert not bake_tables._tell_energy(found, 11.0)
    assert not bake_tables._tell_energy(found[:2], 1.5)


def test_places_lie_by_equivalent_time_between_the_mildest_and_the_hardest_bake() -> None:
    """Arrhenius: ln of seconds, and the energy over k times the difference of inverse temperatures."""
    table, energy = baked(), 0.7
    log_time = np.log([3600.0, 3600.0, 36000.0]) - energy / BOLTZMANN * (
        1 / np.array([400.0, 450.0, 450.0]) - 1 / 450.0
    )
    expected = (log_time - log_time.min()) / np.ptp(log_time)
    assert equivalent_place(table, energy)[:3, 0] == pytest.approx(expected, rel=1e-5)
    assert float(Bake()._place(replace(table, telling=False))(torch.tensor(0.0))[0, 0]) == 0.0
    got = Bake()._place(table)(torch.tensor(math.log(energy), dtype=torch.float64)).numpy()
    assert got[:3, 0] == pytest.approx(expected, rel=1e-5)


def test_knots_are_where_few_bakes_are_and_evenly_spaced_for_many() -> None:
    settings = BakeSettings(bakes=4, same_place=0.03)
    place = np.array([0.0, 0.0, 0.302, 0.3, 1.0])
    assert bake_tables._bakes(place, settings) == pytest.approx((0.0, 0.301, 1.0))
    assert bake_tables._bakes(np.linspace(0, 1, 5), settings) == pytest.approx(tuple(np.linspace(0, 1, 4)))


def test_levels_lie_half_by_cells_and_half_evenly() -> None:
    first = np.concatenate([np.linspace(1.0, 2.0, 900), np.linspace(2.0, 11.0, 100)])
    settings = BakeSettings(levels=5, cells_per_knot=100)
    by_cells = np.quantile(first, np.linspace(0.005, 0.995, 5))
    found = np.exp(bake_tables.levels_of(first, 10.0, 500, settings)) * 10.0
    assert found == pytest.approx((by_cells + np.linspace(by_cells[0], by_cells[-1], 5)) / 2)
    assert len(bake_tables.levels_of(first, 10.0, 350, settings)) == 3
    assert len(bake_tables.levels_of(first, 10.0, 50, settings)) == 2


def reads_after_bakes(cells: int = 40) -> Measurement:
    """Half of the cells an hour at 400 K, the others at 450 K; each read before and after."""
    rng = np.random.default_rng(6)
    first = rng.uniform(5.0, 50.0, cells)
    plain = Measurement.of("drift", [1.0, 3600.0], np.stack([first, 0.9 * first]), None, 300.0, {"g_max": 50.0})
    kelvin = np.where(plain.reads.time > 1, np.where(plain.reads.cell % 2, 450.0, 400.0), 300.0)
    return replace(plain, reads=replace(plain.reads, temperature=kelvin))


def test_a_table_of_bakes_has_first_reads_and_what_came_after() -> None:
    measurement = reads_after_bakes()
    conductance, kelvin = measurement.reads.conductance.copy(), measurement.reads.temperature.copy()
    conductance[(measurement.reads.cell == 3) & (measurement.reads.time > 1)] = -1.0
    kelvin[(measurement.reads.cell == 5) & (measurement.reads.time > 1)] = np.nan
    spoilt = replace(measurement, reads=replace(measurement.reads, conductance=conductance, temperature=kelvin))
    table, screening = bake_tables.bake_table(spoilt)
    assert {k: screening.reason[k] for k in np.flatnonzero(~screening.kept)} == {
        3: "reads that are not above zero", 5: "reads at an unknown temperature",
    }  # fmt: skip
    assert table.cells.tolist() == [k for k in range(40) if k not in (3, 5)]
    first = spoilt.reads.conductance[spoilt.reads.time == 1.0][table.cells]
    assert table.first == pytest.approx(first)
    assert table.conductance[:, 0] == pytest.approx(0.9 * first)
    assert set(table.passed.ravel()) == {3599.0}
    assert set(table.time.ravel()) == {3600.0}
    assert table.temperature[:, 0].tolist() == [450.0 if k % 2 else 400.0 for k in table.cells]
    assert (table.reference, table.telling, table.g_scale) == (450.0, False, 50.0)
    assert table.bakes == pytest.approx((0.0, 1.0), abs=1e-3)
    few, screening = bake_tables.bake_table(measurement, BakeSettings(most_cells=10))
    assert (few.first.size, int(screening.kept.sum())) == (10, 10)
    with pytest.raises(BadInputError, match="reads of cells after bakes at two temperatures at least are needed"):
        bake_tables.bake_table(Measurement.of("drift", [1.0, 9.0], [[5.0, 8.0], [4.0, 7.0]], None, 300.0))


# ---- what is said and shown ----------------------------------------------------------------------------------


def test_fits_state_what_was_measured() -> None:
    table = baked()
    found = Bake().describe(table)
    assert found.settings == {
        "g_scale": 50.0, "reference": 450.0, "energy_told": 1.0, "place_0": 0.0, "place_1": 0.6, "place_2": 1.0,
        "kelvin_0": 400.0, "seconds_0": 3600.0, "kelvin_1": 450.0, "seconds_1": 3600.0, "kelvin_2": 450.0,
        "seconds_2": 36000.0,
    }  # fmt: skip
    assert found.conductance_range == (5.0, 50.0)
    assert found.time_range == (3600.0, 36000.0)
    assert len(found.forms) == 3 * len(BAKE_CURVES)
    law = Bake().law(table, theta := Bake().start(table))
    assert law.freedom == (pytest.approx(1 + 3.0), pytest.approx(1 + 5.0))
    assert (law.warp, law.energy) == (pytest.approx(0.03 * 50), pytest.approx(1.1))
    assert law.measured == ((400.0, 3600.0), (450.0, 3600.0), (450.0, 36000.0))
    assert law.curves["hazard"][1].values == pytest.approx((-0.4,) * 3)
    tails = np.r_[theta[:-4], 9.0, 9.0, theta[-2:]]
    assert Bake().law(table, tails).freedom == pytest.approx((1 + math.exp(5.0),) * 2)
    relaxation = Relaxation().describe(relaxing())
    assert relaxation.settings == {
        "g_scale": 50.0, "first_age": 1.0, "clock": 10.0, "exponent": 1.0, "memory_freedom": 3.0,
    }  # fmt: skip
    assert relaxation.time_range == (10.0, 100.0)
    theta = Relaxation().start(relaxing())
    theta[-2:] = 0.4, 0.7
    own = Relaxation().law(relaxing(), theta)
    assert own.memory == pytest.approx((1 / (1 + math.exp(-0.4)), math.exp(0.7)))
    assert own.freedom == pytest.approx((4.0, 3.0))


@pytest.mark.parametrize("codes", [None, Codes(0.0, 2.0)])
def test_the_quantile_of_a_read_that_is_a_code_lies_within_its_step(codes: Codes | None) -> None:
    table = replace(baked(), codes=codes)
    theta = Bake().start(table)
    law, one = Bake().law(table, theta), ~table.there[:, 1]
    equivalent = law.equivalent(table.passed[one, 0], table.temperature[one, 0])
    predicted = law.after(equivalent, table.time[one, 0], table.first[one])
    read = table.conductance[one, 0]
    expected = predicted.cdf(read)
    if codes is not None:
        near = 2.0 * np.round(read / 2.0)
        low, high = predicted.cdf(near - 1.0), predicted.cdf(near + 1.0)
        expected = low + (high - low) * (read - near + 1.0) / 2.0
    assert Bake().rectangle(table, theta)[one, 0] == pytest.approx(expected, abs=1e-9)
    assert Bake().quantiles(table, theta).size == table.there.sum()


def test_panels_of_relaxation_show_quantiles_of_changes() -> None:
    """240 cells in four bins at the last age; the range of changes at the ages that have more than forty reads."""
    table = relaxing(240)
    family = Relaxation()
    theta = family.start(table)
    law = family.law(table, theta)
    change, growth, _ = relaxation_panels(law, table, family.quantiles(table, theta))
    assert change.title == "Change 100 s after programming"
    there = table.there[:, 1]
    first, moved_by = table.first[there], (table.conductance[:, 1] - table.first)[there]
    order = np.array_split(np.argsort(first), 3)
    assert len(change.series[0].x) == 3  # 239 cells, sixty at least in each
    for series, share in zip(change.series[:3], (0.05, 0.5, 0.95), strict=True):
        assert series.label == f"measured, {share:.0%}"
        assert series.x == pytest.approx([first[some].mean() for some in order], rel=0.02)
        assert series.y == pytest.approx([np.quantile(moved_by[some], share) for some in order], abs=0.2)
    grid = np.quantile(first, np.linspace(0.005, 0.995, 60))
    assert change.series[3].x == pytest.approx(grid)
    assert change.series[3].y == pytest.approx(law.at(100.0, grid).quantile(0.05) - grid)
    measured, fit = growth.series
    assert measured.x == pytest.approx([10.0, 100.0])
    both = table.conductance - table.first[:, None]
    seen = [np.ptp(np.quantile(both[table.there[:, k], k], [0.05, 0.95])) for k in range(2)]
    assert measured.y == pytest.approx(seen)
    exact = []
    for age in (10.0, 100.0):
        drawn = law.at(age, np.repeat(table.first, 50)).sample(np.random.default_rng(1), 1).ravel() - np.repeat(
            table.first, 50
        )
        exact.append(np.ptp(np.quantile(drawn, [0.05, 0.95])))
    assert fit.y == pytest.approx(exact, rel=0.15)
    few = relaxation_panels(law, relaxing(40), family.quantiles(relaxing(40), theta))[1]
    assert few.series[0].x.size == 0


def test_later_reads_are_predicted_from_the_first_and_the_latest() -> None:
    table, family = relaxing(), Relaxation()
    theta = family.start(table)
    law = family.law(table, theta)
    later = Measurement.of("drift", [1000.0], 0.95 * table.first[None])
    later = replace(
        later, reads=replace(later.reads, conductance=np.where(later.reads.cell == 4, -1.0, 0.95 * table.first))
    )
    got = family.predict(table, theta, later, later)
    last = np.where(table.there[:, 1], table.conductance[:, 1], table.conductance[:, 0])
    age = np.where(table.there[:, 1], 100.0, 10.0)
    given = law.given(np.full(40, 1000.0), table.first, age, last)
    expected = np.log(np.maximum(given.density(0.95 * table.first), 1e-300))
    assert np.delete(got, 4) == pytest.approx(np.delete(expected, 4))
    assert got[4] == -np.inf
    part = replace(table, cells=table.cells + 1)
    again = family.predict(replace(part, cells=np.arange(40)), theta, later, later)
    assert again == pytest.approx(got)


def test_checks_of_bakes_name_the_temperature_and_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantiles of one temperature, or of low cells there, are put off: the check names them."""
    table = baked(cells=3000)
    table = replace(table, there=np.stack([np.ones(3000, bool), np.zeros(3000, bool)], 1))
    rng = np.random.default_rng(7)
    clean = rng.random((3000, 2))
    theta, family = Bake().start(table), Bake()

    def checks(quantiles: FloatArray) -> dict[str, Any]:
        monkeypatch.setattr(Bake, "rectangle", lambda *_: quantiles)
        found: dict[str, Any] = {}
        for one in family.checks(table, theta, None):  # type: ignore[arg-type]
            found.setdefault(one.name, []).append(one)
        return found

    fine = checks(clean)
    assert len(fine["shape"]) == 2  # two temperatures
    assert min(one.chance for one in (*fine["shape"], *fine["levels"])) > 1e-4
    hot = table.temperature[:, :1] == 450.0
    bad = checks(np.where(hot, 0.5 + 0.2 * (clean - 0.5), clean))
    cold_check, hot_check = bad["shape"]
    assert hot_check.chance < 1e-9 < cold_check.chance
    assert hot_check.said.startswith("after bakes at 450 K the changes are not those of the fit")
    low = hot & (table.first[:, None] < 12.0)
    off = stats.norm.cdf(stats.norm.ppf(clean) + 0.8)
    (level,) = checks(np.where(low, off, clean))["levels"]
    assert level.chance < 1e-9
    assert level.said.startswith("after bakes at 450 K cells of ")
    assert float(level.said.split("cells of ")[1].split(" ")[0]) < 12.0
