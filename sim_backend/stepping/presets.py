"""The chips of stepping devices that can be simulated by name, and the source of each of their numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hwloop.chip.info import PulseLimits, TrimLimits
from hwloop.sim_backend.stepping.constant import ConstantStep
from hwloop.sim_backend.stepping.exponential import ExponentialStep
from hwloop.sim_backend.stepping.law import StepLaw
from hwloop.sim_backend.stepping.linear import LinearStep
from hwloop.sim_backend.stepping.parameters import SteppingParameters
from hwloop.sim_backend.stepping.power import PowerStep
from hwloop.sim_backend.stepping.soft_bounds import SoftBounds

AIHWKIT = "aihwkit 1.2.0"
GOKMEN = f"GokmenVlasovPresetDevice of {AIHWKIT}, after Gokmen and Vlasov, Frontiers in Neuroscience 10, 333 (2016)"
GONG = "after Gong et al., Nature Communications 9, 2102 (2018)"
PERIPHERY = f"PresetIOParameters of {AIHWKIT}, one unit of weight being the unit of conductance"
KIM = "Kim et al., arXiv 1706.06620 (2017)"


def chip_of(name: str, device: StepLaw, source: str) -> SteppingParameters:
    """Return a chip of some devices, with the periphery that all of them share."""
    return SteppingParameters(
        name=name,
        cores=16,
        rows=256,
        columns=256,
        devices_per_polarity=1,
        limits=PulseLimits(amplitude_max=100.0, width_min=1.0, width_max=10_000.0, pulses_per_device=1_000_000_000),
        adc_range=(4.0, 200.0, 4096.0),
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
        leak=0.0,
        leak_spread=0.0,
        pair=False,
        reset_level=0.0,
        reset_spread=0.0,
        amplitude=10.0,
        width=1.0,
        sources={
            "device": source,
            "device.least_bound": "assumed",
            "dac_bits": f"inp_res 1/126: {PERIPHERY}",
            "adc_bits": f"out_res 1/510: {PERIPHERY}",
            "adc_range": f"out_bound 20 units of weight: {PERIPHERY}; its ends are assumed",
            "adc_noise": f"out_noise 0.1 units of weight: {PERIPHERY}",
            "mvm_seconds": "80 ns for a matrix product: Gokmen and Vlasov 2016",
            "pulse_seconds": "trains of slots of 1 ns: Gokmen and Vlasov 2016",
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
        write_noise=0.0,
        additive=False,
        least_bound=0.05,
    )
    return chip_of("rpu-baseline", device, GOKMEN)


def _reram_es() -> SteppingParameters:
    device = ExponentialStep(
        step=0.00135,
        step_spread=0.2,
        cycle_spread=5.0,
        up_down=0.259359,
        up_down_spread=0.05,
        low=-1.0,
        high=1.0,
        low_spread=0.3,
        high_spread=0.3,
        write_noise=75.0,
        additive=False,
        least_bound=0.05,
        a_down=-0.081404,
        gamma_down=5.0,
        a_up=-1.18445,
        gamma_up=5.0,
        stretch=-0.5,
        shift=-0.5,
        noise_level=0.0,
        noise_slope=0.0,
    )
    return chip_of("reram-es", device, f"ReRamESPresetDevice of {AIHWKIT}, {GONG}")


def _reram_sb() -> SteppingParameters:
    device = SoftBounds(
        step=0.002,
        step_spread=0.3,
        cycle_spread=3.75,
        up_down=0.0,
        up_down_spread=0.01,
        low=-0.75,
        high=1.25,
        low_spread=0.4,
        high_spread=0.24,
        write_noise=56.0,
        additive=True,
        least_bound=0.05,
    )
    return chip_of("reram-sb", device, f"ReRamSBPresetDevice of {AIHWKIT}, {GONG}")


def _linear(low: float, fall_up: float, fall_down: float, step: float, cycle_spread: float) -> LinearStep:
    """Return a device of lithium or metal oxide electrochemical memory."""
    return LinearStep(
        step=step,
        step_spread=0.1,
        cycle_spread=cycle_spread,
        up_down=0.0,
        up_down_spread=0.01,
        low=low,
        high=2.0 + low,
        low_spread=0.05,
        high_spread=0.05,
        write_noise=0.0,
        additive=False,
        least_bound=0.05,
        fall_up=fall_up,
        fall_down=fall_down,
        fall_spread=0.05,
    )


def _ecram() -> SteppingParameters:
    device = _linear(low=-0.8276, fall_up=0.1153, fall_down=0.5085, step=0.002, cycle_spread=0.3)
    return chip_of("ecram", device, f"EcRamPresetDevice of {AIHWKIT}, after Tang et al., IEDM 2018")


def _ecram_mo() -> SteppingParameters:
    device = _linear(low=-0.8286, fall_up=0.4152, fall_down=0.7342, step=0.00028214, cycle_spread=2.0)
    return chip_of("ecram-mo", device, f"EcRamMOPresetDevice of {AIHWKIT}, after Kim et al., IEDM 2019")


def _capacitor() -> SteppingParameters:
    device = LinearStep(
        step=0.005,
        step_spread=0.1,
        cycle_spread=0.3,
        up_down=0.0,
        up_down_spread=0.06,
        low=-1.0,
        high=1.0,
        low_spread=0.07,
        high_spread=0.07,
        write_noise=0.0,
        additive=True,
        least_bound=0.05,
        fall_up=0.05,
        fall_down=0.05,
        fall_spread=0.01,
    )
    chip = chip_of("capacitor", device, f"CapacitorPresetDevice of {AIHWKIT}, after Li et al., VLSI 2018")
    sources = {
        **chip.sources,
        "leak": f"lifetime of 1e6 batches in {AIHWKIT}, a batch of one taken as 270 ns: two products and a train "
        "of 110 slots (assumed)",
        "leak_spread": f"CapacitorPresetDevice of {AIHWKIT}",
    }
    return replace(chip, leak=0.27, leak_spread=0.3, sources=sources)


def _cmos_rpu() -> SteppingParameters:
    chip = _capacitor()
    sources = {
        **chip.sources,
        "device": f"a capacitor with current sources: {KIM}; numbers as CapacitorPresetDevice of {AIHWKIT}",
        "leak": f"assumed: the leak that limits the cell of {KIM}, as a time constant; set it by ?leak=SECONDS",
    }
    return replace(chip, name="cmos-rpu", leak=1e-3, leak_spread=0.3, sources=sources)


def _power_step() -> SteppingParameters:
    device = PowerStep(
        step=0.001,
        step_spread=0.3,
        cycle_spread=0.3,
        up_down=0.0,
        up_down_spread=0.01,
        low=-0.6,
        high=0.6,
        low_spread=0.3,
        high_spread=0.3,
        write_noise=0.0,
        additive=False,
        least_bound=0.05,
        power=1.0,
        power_spread=0.1,
    )
    return chip_of("power-step", device, f"defaults of PowStepDevice of {AIHWKIT}")


def _pcm_pair() -> SteppingParameters:
    device = ExponentialStep(
        step=0.01,
        step_spread=0.2,
        cycle_spread=0.6,
        up_down=0.0,
        up_down_spread=0.05,
        low=0.0,
        high=2.0,
        low_spread=0.0,
        high_spread=0.1,
        write_noise=0.0,
        additive=False,
        least_bound=0.05,
        a_down=-2.235,
        gamma_down=2.5,
        a_up=-27.235,
        gamma_up=2.5,
        stretch=-1.0,
        shift=0.0,
        noise_level=0.042,
        noise_slope=0.108,
    )
    source = f"PCMPresetDevice of {AIHWKIT}, after Nandakumar et al., Frontiers in Neuroscience 14, 406 (2020)"
    chip = chip_of("pcm-pair", device, source)
    sources = {**chip.sources, "pair": f"PCMPresetUnitCell of {AIHWKIT}", "reset_level": source, "reset_spread": source}
    return replace(chip, pair=True, unit=10.0, middle=0.0, reset_level=0.01, reset_spread=0.02, sources=sources)


STEPPING_PRESETS: dict[str, Callable[[], SteppingParameters]] = {
    "rpu-baseline": _rpu_baseline,
    "reram-es": _reram_es,
    "reram-sb": _reram_sb,
    "ecram": _ecram,
    "ecram-mo": _ecram_mo,
    "capacitor": _capacitor,
    "cmos-rpu": _cmos_rpu,
    "pcm-pair": _pcm_pair,
    "power-step": _power_step,
}
