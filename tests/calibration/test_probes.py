"""Probe inputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwloop.calibration.probes import HadamardProbe, hadamard_block, hadamard_blocks, hadamard_inputs, uniform_inputs


@given(st.integers(1, 600))
def test_a_block_is_the_power_of_two_that_is_not_smaller(rows):
    n = hadamard_block(rows)
    assert n & (n - 1) == 0
    assert n / 2 < rows <= n


@pytest.mark.parametrize("rows", [1, 2, 3, 17, 64, 100, 256])
@pytest.mark.parametrize("blocks", [1, 3])
def test_hadamard_inputs_are_orthogonal(rows, blocks):
    """X^T X = blocks * n * amplitude^2 * identity, exactly: no cell disturbs the measurement of another."""
    x = hadamard_inputs(np.random.default_rng(rows), blocks, rows, 127).astype(np.int64)
    n = hadamard_block(rows)
    assert x.shape == (blocks * n, rows)
    assert np.all(np.abs(x) == 127)
    assert np.array_equal(x.T @ x, blocks * n * 127**2 * np.eye(rows, dtype=np.int64))
    for block in np.split(x, blocks):
        assert np.array_equal(block.T @ block, n * 127**2 * np.eye(rows, dtype=np.int64))


def test_hadamard_blocks_differ_and_have_no_constant_row():
    """Random signs and columns: two blocks are not the same design, and no row sees a constant input."""
    x = hadamard_inputs(np.random.default_rng(0), 2, 64, 1)
    first, second = np.split(x, 2)
    assert not np.array_equal(first, second)
    assert np.all(np.abs(first.mean(axis=0)) < 0.9)


def test_hadamard_inputs_measure_cells_better_than_random_ones():
    """With as many vectors as rows, least squares on a Hadamard design has the error sigma / (a sqrt(n)), the least
    that inputs of this size allow; random inputs are several times worse."""
    rng = np.random.default_rng(1)
    rows, sigma = 64, 1.0
    weights = rng.normal(size=rows)

    def error(x):
        y = x @ weights + sigma * rng.normal(size=len(x))
        return np.sqrt(np.mean((np.linalg.lstsq(x, y, rcond=None)[0] - weights) ** 2))

    designed = np.mean([error(hadamard_inputs(rng, 1, rows, 1)) for _ in range(20)])
    random = np.mean([error(uniform_inputs(rng, rows, rows, 127) / 127) for _ in range(20)])
    assert designed == pytest.approx(sigma / np.sqrt(rows), rel=0.1)
    assert random > 3 * designed


def test_uniform_inputs_cover_their_range_evenly():
    """Mean zero and variance top (top + 1) / 3 within 4 sigma, both ends included."""
    x = uniform_inputs(np.random.default_rng(2), 2000, 50, 127)
    assert x.shape == (2000, 50)
    assert x.dtype == np.int32
    assert (x.min(), x.max()) == (-127, 127)
    variance = 127 * 128 / 3
    assert abs(x.mean()) < 4 * np.sqrt(variance / x.size)
    assert x.var() == pytest.approx(variance, rel=4 * np.sqrt(0.8 / x.size))


@pytest.mark.parametrize("make", [lambda rng: uniform_inputs(rng, 5, 7, 9), lambda rng: hadamard_inputs(rng, 2, 7, 9)])
def test_the_same_generator_gives_the_same_inputs(make):
    first, second, other = (make(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("rows", "vectors", "blocks"), [(20, 64, 2), (20, 65, 3), (32, 1, 1), (33, 64, 1), (1, 5, 5)])
def test_as_many_designs_as_the_vectors_need(rows, vectors, blocks):
    assert hadamard_blocks(rows, vectors) == blocks


def test_a_probe_tells_each_cell_from_the_outputs():
    """Exactly, because the rows' inputs are orthogonal; a row more or less of amplitude does not matter."""
    rng = np.random.default_rng(4)
    cells = rng.normal(size=(20, 3))
    probe = HadamardProbe(hadamard_inputs(rng, 3, 20, 73), 127)
    assert probe.drive == pytest.approx(probe.inputs / 127)
    assert probe.power == pytest.approx(96 * (73 / 127) ** 2)
    assert probe.cells(probe.drive @ cells) == pytest.approx(cells)
