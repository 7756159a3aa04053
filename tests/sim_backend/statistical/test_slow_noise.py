"""The slow noise of cells has the variance and the covariances of the ladder that every device carries."""

import math

import numpy as np
import pytest
import torch

from hwloop.sim_backend.noise import FlickerLadder
from hwloop.sim_backend.statistical.slow_noise import SlowNoise

T_READ = 250e-9
CELLS = 5_000
SHORT = 1e-5
"""Seconds: a batch in which all but the fastest processes are frozen."""
ERROR = math.sqrt(2.0 / CELLS)
"""Relative standard error of a variance; that of a covariance is smaller."""


def seen(*moments, duration=SHORT, seed=1):
    """Return the noise (cells,) at moments in seconds, of cells programmed at zero."""
    noise, like = SlowNoise(T_READ), torch.empty(CELLS)
    generator = torch.Generator().manual_seed(seed)
    return [noise.seen(now, now, duration, like, generator).clone() for now in moments]


def by_ladder(*moments, duration=SHORT, seed=2):
    generator = torch.Generator().manual_seed(seed)
    ladder = FlickerLadder(T_READ, (CELLS,), generator, now=0.0)
    states = []
    for now in moments:
        ladder.advance(now, duration)
        states.append(ladder.slow(duration).clone())
    return states


@pytest.mark.parametrize("age", [1e-3, 1.0, 20.0, 86_400.0, 3e7])
def test_with_the_fast_part_it_is_the_published_variance(age):
    (noise,) = seen(age)
    fast = FlickerLadder(T_READ, (1,), torch.Generator(), now=0.0).fast_variance(SHORT)
    published = math.log((age + T_READ) / (2 * T_READ))
    assert float(noise.var()) + fast == pytest.approx(published, rel=4 * ERROR + 0.003)


@pytest.mark.parametrize("later", [1e-4, 1e-2, 1.0, 100.0, 1e4, 1e7])
def test_two_products_share_on_average_as_much_as_on_the_ladder(later):
    """On average over chips: which decades are forgotten is the same for all cells of one."""
    shared = [float((a * b).mean()) for a, b in (seen(100.0, 100.0 + later, seed=seed) for seed in range(60))]
    first, second = by_ladder(100.0, 100.0 + later)
    error = np.std(shared) / math.sqrt(len(shared)) + float(first.var()) / math.sqrt(CELLS)
    assert np.mean(shared) == pytest.approx(float((first * second).mean()), abs=4 * error)


def test_averaging_many_products_helps_no_more_than_on_the_ladder():
    """The mean over a second of products keeps what is slower than a second."""
    moments = [100.0 + 0.02 * k for k in range(50)]
    left = [float(torch.stack(seen(*moments, seed=seed)).mean(0).var()) for seed in range(40)]
    expected = float(torch.stack(by_ladder(*moments)).mean(0).var())
    error = np.std(left) / math.sqrt(len(left)) + expected * ERROR
    assert np.mean(left) == pytest.approx(expected, abs=4 * error)
    assert error < 0.05 * expected


def test_what_a_long_batch_averages_is_left_to_the_fast_part():
    short, long = seen(1000.0), seen(1000.0, duration=1.0)
    ladder = by_ladder(1000.0, duration=1.0)
    assert float(long[0].var()) == pytest.approx(float(ladder[0].var()), rel=6 * ERROR)
    assert float(long[0].var()) < 0.5 * float(short[0].var())


def test_a_short_batch_after_a_long_one_has_its_fast_processes_again():
    noise, like, generator = SlowNoise(T_READ), torch.empty(CELLS), torch.Generator().manual_seed(3)
    noise.seen(1000.0, 1000.0, SHORT, like, generator)
    noise.seen(1000.1, 1000.1, 1.0, like, generator)
    after = noise.seen(1001.2, 1001.2, SHORT, like, generator)
    assert float(after.var()) == pytest.approx(float(seen(1001.2)[0].var()), rel=6 * ERROR)


def test_slow_processes_grow_as_time_goes_on():
    """Looked at often, so that nothing is drawn anew, it still has the variance of its age."""
    moments = [1e-3 * 1.5**k for k in range(60)]
    last = seen(*moments)[-1]
    assert float(last.var()) == pytest.approx(float(seen(moments[-1])[0].var()), rel=0.03)


def test_what_was_saved_goes_on_the_same():
    like = torch.empty(50)
    noise, generator = SlowNoise(T_READ), torch.Generator().manual_seed(4)
    noise.seen(10.0, 10.0, SHORT, like, generator)
    noise.seen(10.1, 10.1, SHORT, like, generator)
    saved, state = noise.export(), generator.get_state()
    other = SlowNoise(T_READ)
    other.restore(saved, like)
    twin = torch.Generator()
    twin.set_state(state)
    for now in (10.1001, 20.0, 1e6):
        assert torch.equal(noise.seen(now, now, SHORT, like, generator), other.seen(now, now, SHORT, like, twin))


@pytest.mark.parametrize(
    "wrong", [{"slow/0/about": [0.0]}, {"slow/0/state": [1.0, 2.0]}, {"slow/0/about": [0, 99, 1, 1]}]
)
def test_a_state_of_something_else_is_refused(wrong):
    like, noise = torch.empty(50), SlowNoise(T_READ)
    noise.seen(10.0, 10.0, SHORT, like, torch.Generator().manual_seed(5))
    saved = noise.export() | {name: torch.tensor(values) for name, values in wrong.items()}
    with pytest.raises(ValueError, match=r"slow|unpack"):
        SlowNoise(T_READ).restore(saved, like)
