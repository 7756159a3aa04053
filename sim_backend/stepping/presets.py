"""The chips of stepping devices that can be simulated by name, and the source of each of their numbers."""

from __future__ import annotations

from collections.abc import Callable

from hwloop.chip.info import PulseLimits, TrimLimits
from hwloop.sim_backend.stepping.parameters import ConstantStep, StepLaw, SteppingParameters

GOKMEN = "Gokmen and Vlasov, Frontiers in Neuroscience 10, 333 (2016), numbers of GokmenVlasovPreset of aihwkit 1.2.0"
PERIPHERY = "PresetIOParameters of aihwkit 1.2.0, one unit of weight being 10 uS"


def _chip(name: str, device: StepLaw, source: str) -> SteppingParameters:
    """Return a chip of some devices, with the periphery that all of them share."""
    return SteppingParameters(
        name=name,
        cores=16,
        rows=256,
        columns=256,
        devices_per_polarity=1,
        limits=PulseLimits(amplitude_max=100.0, width_min=1.0, width_max=10_000.0, pulses_per_device=1_000_000_000),
        adc_range=(10.0, 200.0, 4096.0),
        read_voltage=0.2,
        mvm_seconds=80e-9,
        dac_bits=7,
        adc_bits=9,
        dac_nonlinearity=0.0,
        adc_nonlinearity=0.0,
        adc_gain_spread=0.0,
        adc_offset_spread=0.0,
        adc_noise=1.275,
        trims=TrimLimits(offset_step=0.25, offset_max=8.0, gain_step=0.004, gain_max=0.12),
        temperature=300.0,
        device=device,
        unit=10.0,
        middle=30.0,
        pulse_seconds=1e-9,
        pulses_at_once=256,
        read_seconds=80e-9,
        levels=32767,
        longest=4096,
        amplitude=10.0,
        width=1.0,
        sources={
            "device": source,
            "dac_bits": f"inp_res 1/126: {PERIPHERY}",
            "adc_bits": f"out_res 1/510: {PERIPHERY}",
            "adc_range": f"out_bound 20 weights: {PERIPHERY}; its ends are assumed",
            "adc_noise": f"out_noise 0.1: {PERIPHERY}",
            "mvm_seconds": "80 ns for a matrix product: Gokmen and Vlasov 2016",
            "pulse_seconds": "trains of 10 slots of 1 ns: Gokmen and Vlasov 2016",
        },
    )


def _rpu_baseline() -> SteppingParameters:
    device = ConstantStep(
        step=0.0016,
        step_spread=0.3,
        cycle_spread=0.3,
        up_down=0.0,
        up_down_spread=0.01,
        low=-1.0,
        high=1.0,
        low_spread=0.3,
        high_spread=0.3,
    )
    return _chip("rpu-baseline", device, GOKMEN)


STEPPING_PRESETS: dict[str, Callable[[], SteppingParameters]] = {"rpu-baseline": _rpu_baseline}
