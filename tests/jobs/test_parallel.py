"""Programming in parts: the same bits whoever carries them out, and in whatever order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.errors import BadInputError
from hwloop.fleet.chips import Fleet
from hwloop.fleet.executors import Executor, InProcess
from hwloop.fleet.processes import LocalProcesses
from hwloop.jobs.inputs import weights_from
from hwloop.jobs.parallel import Plan, program_parts
from hwloop.jobs.program import Task
from hwloop.pages.runs import onward_of
from hwloop.sim_backend.server.server import serving
from tests.conftest import OpenChip, gaussian

CHIP = "sim:hermes-64?rows=16&columns=16&seed=4"
TASK = Task(weights_from(gaussian(32, 48)), hwloop.GDP(max_steps=3), seed=1)


class Backwards(InProcess):
    """Carries out the last task first."""

    def map(self, work, tasks, hear, check, keep):
        def of(number):
            return len(tasks) - 1 - number

        turned = super().map(
            work,
            tasks[::-1],
            lambda number, word: hear(of(number), word),
            check,
            lambda number, done: keep(of(number), done),
        )
        return turned[::-1]


def programmed(executor: Executor, out: Path, report=lambda done, total: None) -> hwloop.Run:
    with hwloop.connect(CHIP) as chip:
        return program_parts(Plan.of_cores(TASK, chip), TASK, executor, out, report=report)


def test_the_result_depends_neither_on_workers_nor_on_their_order(tmp_path: Path, ledger_file: Path) -> None:
    shown: list[tuple[int, int]] = []
    one = programmed(InProcess(), tmp_path / "a.h5", lambda *now: shown.append(now))
    assert one.status == "complete"
    assert [tile.tile.place.core for tile in one.tiles] == list(range(6))
    assert shown == sorted(shown)
    assert shown[-1][0] == shown[-1][1]
    life = hwloop.ledger(CHIP)
    assert life.pulses == sum(int(tile.pulses.sum()) for tile in one.tiles)
    assert hwloop.ledger(CHIP, merge=[tmp_path / "a.h5"]).pulses == life.pulses
    for name, executor in (("b", LocalProcesses(2)), ("c", Backwards())):
        other = programmed(executor, tmp_path / f"{name}.h5")
        assert other.mvm_error == one.mvm_error
        for mine, its in zip(one.tiles, other.tiles, strict=True):
            np.testing.assert_array_equal(mine.pulses, its.pulses)
            np.testing.assert_array_equal(mine.reached, its.reached)
            np.testing.assert_array_equal(mine.pulse_age, its.pulse_age)
        assert one.record.state.keys() == other.record.state.keys()
        for part, array in one.record.state.items():
            np.testing.assert_array_equal(array, other.record.state[part], err_msg=part)


def test_it_is_as_good_as_on_one_clock_and_can_be_gone_on_with(tmp_path: Path, open_chip: OpenChip) -> None:
    parts = programmed(InProcess(), tmp_path / "a.h5")
    whole = hwloop.program(open_chip(CHIP), TASK.weights, TASK.method, seed=1)
    assert parts.mvm_error == pytest.approx(whole.mvm_error, rel=0.1)
    assert hwloop.evaluate(tmp_path / "a.h5").mvm_error == pytest.approx(parts.mvm_error, rel=0.1)
    assert np.nanmin(parts.tiles[0].pulse_age) >= 0.0


def test_a_stop_keeps_what_was_done(tmp_path: Path) -> None:
    def report(done: int, total: int) -> None:
        if done > total / 3:
            raise KeyboardInterrupt

    run = programmed(InProcess(), tmp_path / "a.h5", report)
    assert run.interrupted
    loaded = hwloop.load(tmp_path / "a.h5")
    assert loaded.interrupted
    sent = [tile.pulses is not None and int(tile.pulses.sum()) for tile in loaded.tiles]
    assert sent[0] > 0
    assert not sent[-1]


def test_cores_behind_one_link_are_not_shared_out(open_chip: OpenChip, ledger_file: Path) -> None:
    with (
        serving(open_chip(CHIP)) as port,
        hwloop.connect(f"visa:TCPIP::127.0.0.1::{port}::SOCKET") as chip,
        pytest.raises(BadInputError, match="its cores are behind one link, which workers cannot share"),
    ):
        Plan.of_cores(TASK, chip)
    with pytest.raises(BadInputError, match="programs all targets at once by itself"):
        Plan.of_cores(TASK, open_chip(f"{CHIP}&level=statistical"))


def test_weights_are_spread_over_the_chips_of_a_fleet(tmp_path: Path, open_chip: OpenChip, ledger_file: Path) -> None:
    chips = [open_chip(f"sim:hermes-core?rows=16&columns=16&seed={seed}") for seed in (1, 2, 3)]
    weights = Task(weights_from(gaussian(16, 32)), hwloop.GDP(max_steps=3))
    with serving(chips[0]) as one, serving(chips[1]) as two, serving(chips[2]) as three:
        lines = [f'[[chip]]\nbackend = "visa:TCPIP::127.0.0.1::{port}::SOCKET"\n' for port in (one, two, three)]
        (tmp_path / "fleet.toml").write_text("".join(lines))
        plan = Plan.of_fleet(weights, Fleet.read(tmp_path / "fleet.toml"), InProcess())
        assert len(plan.parts) == 2, "the third chip is not needed"
        run = program_parts(plan, weights, InProcess(), tmp_path / "run.h5")
    assert run.status == "complete"
    assert [tile.tile.place.core for tile in run.tiles] == [0, 1]
    for tile, chip in zip(run.tiles, chips, strict=False):
        np.testing.assert_array_equal(tile.pulses, chip.pulse_counts(0))
    assert not chips[2].counts.pulses
    assert hwloop.load(tmp_path / "run.h5").mvm_error == run.mvm_error


def test_a_run_of_a_fleet_says_what_to_do_instead_of_opening_a_chip(tmp_path: Path, open_chip: OpenChip) -> None:
    chips = [f"sim:hermes-core?rows=16&columns=16&seed={seed}" for seed in (1, 2)]
    (tmp_path / "fleet.toml").write_text("".join(f'[[chip]]\nbackend = "{chip}"\n' for chip in chips))
    asked = Task(weights_from(gaussian(16, 32)), hwloop.GDP(max_steps=3))
    plan = Plan.of_fleet(asked, Fleet.read(tmp_path / "fleet.toml"), InProcess())
    run = program_parts(plan, asked, InProcess(), tmp_path / "run.h5")
    assert run.record.state is None, "cores of different chips have the same names"
    assert "hwloop evaluate" not in repr(onward_of(run.record))
    for given in (None, open_chip(chips[0])):
        with pytest.raises(BadInputError, match=r"lies on the chips of .*fleet\.toml, which are .* with --backend"):
            hwloop.evaluate(tmp_path / "run.h5", given)
        with pytest.raises(BadInputError, match=r"lies on the chips of"):
            hwloop.drift(tmp_path / "run.h5", given, ["1h"], ["none"], out=tmp_path / "d.h5")
    assert not (tmp_path / "d.h5").exists()
