"""What the page of a network tells of its place and cost, from a report that may lack anything."""

from __future__ import annotations

import math

import pytest

from hwloop.pages.network_reports import facts_of_report, tables_of_report


def layer(name: str, cores: list[object], **more: object) -> dict[str, object]:
    return {"name": name, "groups": 1, "inputs": 8, "outputs": 4, "cores": cores, "replicas": 1, **more}


COST = {
    "latency_seconds": 2.5e-6,
    "energy_joules": 3e-9,
    "interval_seconds": 1e-6,
    "unknown": ["DRAM"],
    "assumptions": ["one core at a time"],
    "digital_operations": {"add": 12.0, "relu": 0.4},
    "matrices": [{"name": "fc", "mvms": 3, "latency_seconds": 1e-7, "energy_joules": 2e-10}],
}


def test_cores_and_the_cost_of_an_inference_are_summed_up() -> None:
    told = {one.name: one.text for one in facts_of_report({"cores_used": 3, "utilisation": 0.456, "cost": COST})}
    assert told == {
        "cores in use": "3 cores, 46% of their cells",
        "one inference": "2.5 us",
        "energy of an inference": "3 nJ",
        "in a stream, one every": "1 us",
    }


@pytest.mark.parametrize("bad", [None, True, "3", -1, math.nan, math.inf, [3], {}])
def test_what_is_no_number_is_left_out(bad: object) -> None:
    assert facts_of_report({"cores_used": bad, "utilisation": 0.5, "cost": {"latency_seconds": bad}}) == ()
    assert facts_of_report({"cores_used": 2, "utilisation": bad}) == ()
    (table,) = tables_of_report({"layers": [layer("fc", [bad, 2], mvm_error=bad)]})
    assert table.rows == (("fc", "8 x 4", "2", None, None, None, None),)


def test_nothing_costs_nothing_and_is_no_error() -> None:
    assert {
        one.name for one in facts_of_report({"cores_used": 0, "utilisation": 0, "cost": {"latency_seconds": 0}})
    } == {"cores in use", "one inference"}


def test_matrices_with_their_cores_and_cost() -> None:
    layers = [
        layer("fc", [0, 1, 2], mvm_error=0.03),
        layer("conv", [4, 7], groups=2, shared_with=["head", "tail"]),
        layer("last", [5], groups=None),
    ]
    digital = [
        {"name": "norm", "kind": "BatchNorm", "reason": "no matrix"},
        {"name": "", "kind": "GELU", "reason": "no weights"},
        {"name": "norm2", "kind": "BatchNorm", "reason": "no matrix"},
    ]
    matrices, beside, operations, granted = tables_of_report({"layers": layers, "digital": digital, "cost": COST})
    assert matrices.rows == (
        ("fc", "8 x 4", "0-2", 0.03, 3, "100 ns", "200 pJ"),
        ("conv (shared with head, tail)", "2 x 8 x 4", "4, 7", None, None, None, None),
        ("last", "8 x 4", "5", None, None, None, None),
    )
    assert "copies" not in [one.title for one in matrices.columns]
    assert beside.rows == (("norm, norm2", "BatchNorm", "no matrix"), ("the network", "GELU", "no weights"))
    assert operations.rows == (("add", 12), ("relu", 0))
    assert granted.rows == (("DRAM",), ("one core at a time",))
    assert (operations.detail, granted.detail, matrices.detail) == (True, True, False)


def test_copies_are_shown_where_there_are_some() -> None:
    (table,) = tables_of_report({"layers": [layer("fc", [0, 1], replicas=2), layer("last", [3, 4, 5])]})
    assert [one.title for one in table.columns][:4] == ["matrix", "inputs x outputs", "cores", "copies"]
    assert [row[2:4] for row in table.rows] == [("0-1", 2), ("3-5", 1)]
    assert tables_of_report({"layers": "none", "digital": [{"name": "x"}]}) == ()
