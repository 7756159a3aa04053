"""The twin of measured steps, part by part; and options that presets take, for whoever makes a form of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hwloop.errors import BadInputError
from hwloop.sim_backend.options import LEVELS, options_of
from hwloop.sim_backend.presets import PRESETS
from hwloop.sim_backend.stepping.presets import STEPPING_PRESETS
from hwloop.sim_backend.stepping.twin import _device, stepping_twin

CHIP = STEPPING_PRESETS["rpu-baseline"]()


def fit(
    down: tuple[float, ...] = (0.4, 0.2, 0.0), up: tuple[float, ...] = (0.0, 0.2, 0.4), **settings: float
) -> SimpleNamespace:
    """A fit of three nodes, in uS, over a range of 0.8 units about the middle."""
    values = {f"down.{k}": one for k, one in enumerate(down)} | {f"up.{k}": one for k, one in enumerate(up)}
    values |= {"step_spread": 0.3, "step_noise": 0.05, "seen_noise": 0.1}
    ends = {"low": CHIP.middle - 0.4 * CHIP.unit, "high": CHIP.middle + 0.4 * CHIP.unit, "nodes": 3.0}
    return SimpleNamespace(experiment="pulse-response", settings=ends | settings, value=values.__getitem__)


def test_steps_are_in_units_of_weight_and_nodes_over_their_mean() -> None:
    device = _device(fit(), CHIP)  # type: ignore[arg-type]
    step = 0.2 / CHIP.unit
    assert device.step == pytest.approx(step)
    assert (device.low, device.high) == (pytest.approx(-0.4), pytest.approx(0.4))
    assert device.down_nodes == pytest.approx((2.0, 1.0, 0.0))
    assert device.up_nodes == pytest.approx((0.0, 1.0, 2.0))
    assert device.step_spread == 0.3
    assert device.cycle_spread == pytest.approx(0.05 / 0.2)
    assert device.write_noise == pytest.approx(0.1 / 0.2)
    assert device.additive
    assert device.up_down == 0.0


def test_steps_that_were_found_to_go_back_are_none() -> None:
    assert _device(fit(down=(0.4, 0.2, -0.1)), CHIP).down_nodes[2] == 0.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        fit(nodes=1.0), fit(nodes=0.0), fit(low=CHIP.middle), fit(high=CHIP.middle), fit(down=(0.0, 0.0, 0.0)),
        fit(up=(0.0, -0.1, 0.0)), fit(up=(0.1, float("nan"), 0.1)),
    ],
)  # fmt: skip
def test_steps_that_no_device_makes_are_refused(wrong: SimpleNamespace) -> None:
    with pytest.raises(BadInputError, match="the pulse-response fit makes no device: its steps must go both ways"):
        _device(wrong, CHIP)


def test_a_twin_takes_what_was_not_measured_from_its_preset() -> None:
    def model(chip: str) -> SimpleNamespace:
        return SimpleNamespace(chip={"chip": chip}, fits={"pulse-response": fit()})

    found, rest = stepping_twin(model("elsewhere"), "a/m.json", {"seed": "3"})  # type: ignore[arg-type]
    assert (found.name, rest) == ("m.json", {"seed": "3"})
    assert found.unit == CHIP.unit
    assert found.sources["device.step"] == "fitted, m.json"
    assert found.sources["device.up_down"] == "none: not told apart by the fit"
    kept = next(name for name in CHIP.sources if not name.startswith("device."))
    assert found.sources[kept] == f"not measured, as rpu-baseline: {CHIP.sources[kept]}"
    other = next(name for name in STEPPING_PRESETS if name != "rpu-baseline" and not STEPPING_PRESETS[name]().pair)
    with_base, rest = stepping_twin(model("x"), "m.json", {"base": other, "seed": "1"})  # type: ignore[arg-type]
    assert rest == {"seed": "1"}
    assert any(one.startswith(f"not measured, as {other}: ") for one in with_base.sources.values())
    measured, _ = stepping_twin(model(f"sim:{other}"), "m.json", {})  # type: ignore[arg-type]
    assert measured.sources == with_base.sources
    with pytest.raises(BadInputError, match="option base=odd: expected one of"):
        stepping_twin(model("x"), "m.json", {"base": "odd"})  # type: ignore[arg-type]


def test_options_of_presets_begin_with_the_seed() -> None:
    hermes = {one.name: one for one in options_of(PRESETS["hermes-core"]())}
    assert next(iter(hermes.values())) == hermes["seed"]
    assert (hermes["seed"].whole, hermes["seed"].low, hermes["seed"].high) == (True, 0, 2**53)
    assert hermes["level"].words == LEVELS
    assert (hermes["rows"].whole, hermes["temperature"].whole) == (True, False)
    assert hermes["read_mode"].words == tuple(sorted(one.name for one in PRESETS["hermes-core"]().read_modes))
    assert all(one.low < one.high for one in hermes.values() if not one.words)
    pairs = [name for name, make in STEPPING_PRESETS.items() if make().pair]
    alone = {one.name for one in options_of(CHIP)}
    assert "level" not in alone
    for name in pairs:
        assert {one.name for one in options_of(STEPPING_PRESETS[name]())} < alone
