"""Fitted parameters on a screen: a curve is one row, and nothing is lost but the values between its ends."""

from __future__ import annotations

from hwloop.files.models import Estimate
from hwloop.pages.estimates import summary, table_of_all


def knots(name: str, values: list[float]) -> list[Estimate]:
    return [
        Estimate(f"{name}.v{k}", value, value - 0.1, value + 0.1, "1", f"mean at {k + 1} uS, less the floor")
        for k, value in enumerate(values)
    ]


def test_values_of_one_curve_share_a_row() -> None:
    table = summary("drift: spline", [*knots("mean", [0.2, 0.1, 0.05]), *knots("spread", [3.0, 4.0, 5.0, 6.0])], "")
    assert table.rows == (
        ("mean.v0 to v2", "0.2 to 0.05", "mean at 1 to 3 uS, less the floor"),
        ("spread.v0 to v3", "3 to 6", "mean at 1 to 4 uS, less the floor"),
    )


def test_two_values_are_no_curve_and_keep_their_intervals() -> None:
    held = Estimate("noise.floor", 0.0, None, None, "uS", "noise of a read", "held at zero")
    table = summary("drift: line", [*knots("mean", [0.25, 0.5]), held], "With t0 = 20")
    assert table.rows == (
        ("mean.v0", "0.25 (0.15 to 0.35)", "mean at 1 uS, less the floor"),
        ("mean.v1", "0.5 (0.4 to 0.6)", "mean at 2 uS, less the floor"),
        ("noise.floor", "0 uS", "noise of a read (held at zero)"),
    )
    assert table.note == "With t0 = 20"
    assert not table.detail


def test_coefficients_of_a_polynomial_are_no_curve() -> None:
    rows = [Estimate(f"sigma.c{k}", 1.0, 0.5, 1.5, "uS", f"factor of g^{k}") for k in range(4)]
    assert [row[0] for row in summary("programming", rows, "").rows] == [row.name for row in rows]


def test_the_table_behind_it_has_every_parameter() -> None:
    table = table_of_all("drift, every parameter", knots("mean", [0.2, 0.1, 0.05]))
    assert table.detail
    assert [row[:3] for row in table.rows] == [
        ("mean.v0", 0.2, "0.1 to 0.3"), ("mean.v1", 0.1, "0 to 0.2"), ("mean.v2", 0.05, "-0.05 to 0.15"),
    ]  # fmt: skip
