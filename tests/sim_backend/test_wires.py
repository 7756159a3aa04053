"""Wire resistance: the ladder is exact, and the fast approximation is compared with the exact nodal solution.

Wiring: row i is driven before column 0, column j is sensed at virtual ground after the last row, and there is one
segment of wire before every cell of a row and after every cell of a column. The two polarities of a cell hang on the
same node of the row wire, each with a column wire of its own.

badcrossbar solves the same wiring, with one device per crossing. With the negative devices away the simulated array
is exactly that network, and both the approximation and the nodal solver of this file are compared with badcrossbar
there. Both polarities together are no crossbar of twice as many columns, which would have row wire between the two
columns of a cell; for them the nodal solver, vouched for by badcrossbar, is the reference.

The approximation multiplies the voltage lost along the row by the voltage lost along the column. It neglects that
the one changes the other, which is of second order in (cells in series)^2 x ohm x siemens: its error is about a
quarter of the square of the error that leaving the wires out would make. One polarity is the harder case: the same
weights load the row wires alike, but send all their current down one set of column wires instead of two.
"""

import math
import warnings

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch

from hwloop.devices.wires import attenuation, ladder_voltages


def exact_currents(conductance, ohm, volts):
    """Column currents in A, (n, 2, columns): nodal analysis of the whole network.

    conductance (2, rows, columns) in S, volts (n, rows). Node (i, j) of each row wire and of both column wires is an
    unknown; the current law at each of them is one line of the matrix.
    """
    _, rows, columns = conductance.shape
    wire = 1.0 / ohm
    node = np.arange(3 * rows * columns).reshape(3, rows, columns)  # 0: row wires, 1 and 2: column wires
    entries, source = [], np.zeros((node.size, len(volts)))

    def connect(a, b, siemens):
        a, b, siemens = (np.ravel(x) for x in np.broadcast_arrays(a, b, siemens))
        entries.extend([(a, a, siemens), (b, b, siemens), (a, b, -siemens), (b, a, -siemens)])

    def connect_outside(a, siemens):
        entries.append((a, a, np.full(a.size, siemens)))

    connect(node[0, :, :-1], node[0, :, 1:], wire)
    connect_outside(node[0, :, 0], wire)
    source[node[0, :, 0]] = wire * volts.T
    for polarity in (0, 1):
        column_wires = node[1 + polarity]
        connect(node[0], column_wires, conductance[polarity])
        connect(column_wires[:-1], column_wires[1:], wire)
        connect_outside(column_wires[-1], wire)
    row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
    matrix = scipy.sparse.csc_matrix((value, (row, column)), shape=(node.size, node.size))
    potential = scipy.sparse.linalg.splu(matrix).solve(source)
    return wire * np.moveaxis(potential[node[1:, -1, :]], -1, 0)


def fast_currents(conductance, ohm, volts):
    """The simulator's approximation of the same, (n, 2, columns)."""
    factor = attenuation(torch.tensor(conductance * 1e6), ohm).numpy()
    return np.einsum("ni,pij->npj", volts, conductance * factor)


def relative_error(fast, exact):
    return np.linalg.norm(fast - exact) / np.linalg.norm(exact)


# ---- the ladder -------------------------------------------------------------------------------------------------


def dense_ladder(loads, ohm):
    """Node voltages (n,) of one resistor ladder driven with 1 V, by a dense solve of the current law."""
    n = loads.size
    matrix = np.diag(loads)
    source = np.zeros(n)
    source[0] = 1 / ohm
    for k in range(n):
        matrix[k, k] += 1 / ohm
        if k:
            matrix[k - 1, k - 1] += 1 / ohm
            matrix[k - 1, k] -= 1 / ohm
            matrix[k, k - 1] -= 1 / ohm
    return np.linalg.solve(matrix, source)


@pytest.mark.parametrize("length", [1, 2, 64])
@pytest.mark.parametrize("ohm", [0.1, 5.0, 1000.0])
def test_a_ladder_is_solved_exactly(length, ohm):
    loads = np.random.default_rng(length).uniform(0, 50e-6, (3, length))
    voltages = ladder_voltages(torch.tensor(loads), ohm).numpy()
    assert voltages == pytest.approx(np.array([dense_ladder(row, ohm) for row in loads]), rel=1e-9)


def test_a_single_cell_is_three_resistors_in_series():
    """One cell: wire, device, wire. The approximation neglects the product of the two voltage drops."""
    g, ohm = 20e-6, 100.0
    exact = 1 / (2 * ohm + 1 / g)
    array = np.array([[[g]], [[0.0]]])
    assert fast_currents(array, ohm, np.ones((1, 1)))[0, 0, 0] == pytest.approx(exact, rel=2 * (ohm * g) ** 2)


# ---- the whole array --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def badcrossbar():
    """The package, whose import warns of the plotting libraries that it lacks here and changes the warning filters."""
    with warnings.catch_warnings(record=True):
        package = pytest.importorskip("badcrossbar")
    if not hasattr(package, "compute"):
        pytest.skip("badcrossbar cannot compute: pip install pathvalidate")
    return package


def one_polarity(rng, rows, columns):
    """Positive devices of up to 20 uS, and negative ones that all but do not conduct."""
    return np.stack([rng.uniform(0.1e-6, 20e-6, (rows, columns)), np.full((rows, columns), 1e-15)])


def both_polarities(rng, rows, columns):
    """As weights are programmed: one device of a cell carries up to 20 uS, the other is RESET."""
    weight = rng.uniform(-20e-6, 20e-6, (rows, columns))
    return np.stack([np.maximum(weight, 0), np.maximum(-weight, 0)]) + 0.05e-6


def test_the_nodal_solver_agrees_with_badcrossbar(badcrossbar):
    rng = np.random.default_rng(1)
    conductance, volts = one_polarity(rng, 24, 16), rng.uniform(-1, 1, (3, 24))
    theirs = badcrossbar.compute(volts.T, 1 / conductance[0], 5.0, node_voltages=False, all_currents=False)
    assert exact_currents(conductance, 5.0, volts)[:, 0] == pytest.approx(theirs.currents.output, rel=1e-6)


@pytest.mark.parametrize(
    ("ohm", "stated_error", "without_wires"), [(0.1, 3e-6, 3e-3), (1.0, 3e-4, 3e-2), (5.0, 6e-3, 15e-2)]
)
def test_the_fast_approximation_against_badcrossbar(badcrossbar, ohm, stated_error, without_wires):
    """64 x 64 devices of one polarity, up to 20 uS."""
    rng = np.random.default_rng(2)
    conductance, volts = one_polarity(rng, 64, 64), rng.uniform(0, 1, (4, 64))
    solution = badcrossbar.compute(volts.T, 1 / conductance[0], ohm, node_voltages=False, all_currents=False)
    exact = solution.currents.output
    assert relative_error(fast_currents(conductance, ohm, volts)[:, 0], exact) < stated_error
    assert relative_error(volts @ conductance[0], exact) == pytest.approx(without_wires, rel=0.2)


@pytest.mark.parametrize(
    ("size", "ohm", "stated_error"),
    [
        (64, 0.1, 1.5e-6),
        (64, 1.0, 1.5e-4),
        (64, 5.0, 3.5e-3),
        (128, 1.0, 2e-3),
        (256, 1.0, 2.2e-2),
    ],
)
def test_the_fast_approximation_with_both_polarities(size, ohm, stated_error):
    """The stated error holds for inputs of both signs, for inputs of one sign, and for the difference that counts."""
    rng = np.random.default_rng(3)
    conductance = both_polarities(rng, size, size)
    volts = np.concatenate([rng.uniform(-1, 1, (4, size)), rng.uniform(0, 1, (4, size))])
    exact, fast = exact_currents(conductance, ohm, volts), fast_currents(conductance, ohm, volts)
    for inputs in (slice(0, 4), slice(4, 8)):
        assert relative_error(fast[inputs], exact[inputs]) < stated_error
        assert relative_error(np.diff(fast[inputs], axis=1), np.diff(exact[inputs], axis=1)) < stated_error


def test_an_array_of_equal_devices_loses_most_in_the_far_corner():
    """Far from the row's driver (last column) and far from the sense amplifier (first row)."""
    factor = attenuation(torch.full((2, 32, 48), 10.0), 5.0)
    assert factor.shape == (2, 32, 48)
    assert np.all(np.diff(factor.numpy(), axis=1) > 0)
    assert np.all(np.diff(factor.numpy(), axis=2) < 0)
    assert torch.equal(factor[0], factor[1])


def test_a_chip_with_resistive_wires_computes_with_the_attenuated_weights(precise_chip):
    """Placed devices, ideal converters: the codes are those of conductance times attenuation, to a part in 10^5."""
    chip = precise_chip("pcm-ideal", rows=16, columns=12, wire_resistance=20)
    conductance = np.random.default_rng(4).uniform(0, 25, chip.info.device_shape)
    chip.place(0, np.arange(chip.info.devices_per_core), conductance.ravel(), age=1.0)
    x = np.random.default_rng(5).integers(-127, 128, (10, 16))
    sums = chip.mvm(0, x) * chip.adc_range(0) / chip.info.code_max
    weights = conductance[:, 0] * attenuation(torch.tensor(conductance[:, 0]), 20.0).numpy()
    assert sums == pytest.approx(x / 127 @ (weights[0] - weights[1]), rel=1e-5, abs=1e-3)
    assert not np.allclose(sums, x / 127 @ (conductance[0, 0] - conductance[1, 0]), rtol=1e-3)


def test_wires_attenuate_the_noise_with_the_signal(precise_chip):
    """Fast and slow read noise of a cell reach the column as its current does: the relative noise stays."""
    sigmas = []
    for ohm in (0, 400):
        chip = precise_chip("pcm-90nm", rows=16, columns=512, drift=0, wire_resistance=ohm, seed=6)
        chip.place(0, np.arange(chip.info.devices_per_core), np.full(chip.info.devices_per_core, 2.0), age=1.0)
        x = np.full((2000, 16), 127, np.int32)
        # Differences of successive vectors of a batch hold the fast noise alone.
        fast = np.diff(chip.mvm(0, x)[:, :8], axis=0)
        sigmas.append(fast.std() / math.sqrt(2) * chip.adc_range(0) / chip.info.code_max)
    device = attenuation(torch.full((2, 16, 512), 2.0), 400.0).numpy()[:, :, :8]
    expected = math.sqrt((device**2).sum(axis=(0, 1)).mean() / 32)
    assert sigmas[1] / sigmas[0] == pytest.approx(expected, rel=0.05)


def test_series_resistance_of_one_cell_is_a_plain_divider():
    conductance = np.array([[[20.0]], [[0.0]]])
    factor = attenuation(conductance, 0.0, 1000.0)
    # Each line by itself: 1 / (1 + R G); both together in truth 1 / (1 + 2 R G), which differs by (R G)^2.
    assert factor[0, 0, 0] == pytest.approx((1 / (1 + 0.02)) ** 2)
    assert factor[0, 0, 0] == pytest.approx(1 / (1 + 2 * 0.02), rel=0.02**2 * 1.1)


def test_series_resistance_lowers_a_row_by_all_that_hangs_on_it():
    conductance = np.zeros((2, 1, 30))
    conductance[0] = np.random.default_rng(0).uniform(1, 20, 30)
    volts = ladder_voltages(conductance.sum(0) * 1e-6, 0.0, 100.0)
    np.testing.assert_allclose(volts, 1 / (1 + 100.0 * conductance.sum() * 1e-6))
    # With wires as well: series and first segment are one resistor.
    both = ladder_voltages(conductance.sum(0) * 1e-6, 2.0, 100.0)
    siemens = conductance[0, 0] * 1e-6
    matrix = np.diag(siemens) + 0.5 * (2 * np.eye(30) - np.eye(30, k=1) - np.eye(30, k=-1))
    matrix[-1, -1] -= 0.5
    matrix[0, 0] += 1 / 102.0 - 0.5
    source = np.zeros(30)
    source[0] = 1 / 102.0
    np.testing.assert_allclose(both[0], np.linalg.solve(matrix, source), rtol=1e-9)
