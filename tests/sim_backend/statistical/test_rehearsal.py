"""How cells of a chip are chosen from a programmed core: from those of nearly their target."""

from __future__ import annotations

import threading
import types
from collections import OrderedDict

import torch

from hwloop.sim_backend.statistical import rehearsal


def test_cells_are_copied_from_those_of_nearly_their_target():
    """Of a rehearsal with 1000 healthy cells and 20 with a stuck device: a hundred neighbours, or all stuck ones."""
    wanted = torch.linspace(-40.0, 40.0, 1020)
    stuck = torch.zeros(1020, dtype=torch.bool)
    stuck[::51] = True
    nothing = torch.zeros(1)
    device = types.SimpleNamespace(drift=types.SimpleNamespace(g_scale=25.0))
    outcome = types.SimpleNamespace(
        parameters=types.SimpleNamespace(devices_per_polarity=2, device=device), targets=wanted, stuck=stuck,
        column_gains=lambda: nothing,
    )  # fmt: skip
    made = rehearsal.Rehearsal(outcome)
    assert (made.healthy, made.largest) == (1000, 50.0)
    targets = torch.linspace(-35.0, 35.0, 50)
    chosen = made.choose(targets, torch.Generator().manual_seed(1))
    window, apart = min(rehearsal.SETTINGS.window, 1000), 80.0 / 1000
    assert chosen.max() < 1000
    assert (made._targets[chosen.long()] - targets).abs().max() <= window * apart * 1.1
    bad = made._targets[1000:]
    for which in (0.0, 0.5, 0.999999):
        found = made.choose_stuck(targets, torch.full((50,), which))
        assert 1000 <= found.min() <= found.max() < 1020
        rank = (found.long() - 1000).float()
        middle = torch.searchsorted(bad.contiguous(), targets).float()
        assert (rank - middle).abs().max() <= rehearsal.SETTINGS.stuck_window
    low, high = (made.choose_stuck(targets, torch.full((50,), one)) for one in (0.0, 1.0))
    assert ((high - low) == min(rehearsal.SETTINGS.stuck_window, 20) - 1).all()


def test_ages_that_differ_by_a_thousandth_share_a_moment(monkeypatch):
    monkeypatch.setattr(rehearsal.Rehearsal, "_compute", lambda self, since: rehearsal.Moment(since, 1.0, None, None))
    made = rehearsal.Rehearsal.__new__(rehearsal.Rehearsal)
    made._moments, made._lock = OrderedDict(), threading.Lock()
    ages = (60.0, 60.05, 60.07, 86400.0, 86480.0, 86490.0, 0.1, 0.109, 0.12)
    assert [made.at(one).since for one in ages] == [60.0, 60.0, 60.07, 86400.0, 86400.0, 86490.0, 0.1, 0.1, 0.12]
