"""The chips that can be simulated by name, and the source of each of their numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hwloop.chip.info import PulseLimits, TrimLimits
from hwloop.devices.drift import PUBLISHED_DRIFT, DriftModel
from hwloop.devices.model import DeviceModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.devices.read_noise import PUBLISHED_READ_NOISE, ReadNoiseModel
from hwloop.devices.statistics import LogClip, Piecewise, Polynomial, UpTo
from hwloop.sim_backend.parameters import ChipParameters, SetModel
from hwloop.sim_backend.periphery import ReadModeModel

JOSHI = "Joshi et al., Nature Communications 11, 2473 (2020)"
LE_GALLO = "Le Gallo et al., Nature Electronics 6, 680 (2023)"
KHADDAM = "Khaddam-Aljameh et al., IEEE JSSC 57, 1027 (2022)"
HERMES_MODEL = "HermesNoiseModel of aihwkit 1.2.0, single device, t0 = 200 s"
NANDAKUMAR = "form and conductance slope: Nandakumar et al., J. Appl. Phys. 124, 152135 (2018); levels assumed"

READ_MODE_SOURCES = {
    "read_modes.four-phase": f"16.1 TOPS at 2.48 TOPS/W for 64 cores: {LE_GALLO}",
    "read_modes.one-phase": f"63.1 TOPS at 9.76 TOPS/W for 64 cores: {LE_GALLO}",
    "read_modes.four-phase.coarseness": "assumed: adc_bits, adc_noise and the spreads are of this mode",
    "read_modes.one-phase.coarseness": f"assumed: the less precise one ({LE_GALLO}), by how much is not published",
}


def _pcm_90nm_device() -> DeviceModel:
    return DeviceModel(
        curve=ProgrammingCurve(
            g_min=0.05,
            g_max=27.5,
            midpoint=260.0,
            steepness=20.0,
            melt=180.0,
            width=100.0,
            midpoint_spread=8.0,
            height_spread=0.05,
            jitter=1.9,
            noise=0.15,
        ),
        drift=PUBLISHED_DRIFT,
        read_noise=PUBLISHED_READ_NOISE,
    )


def _pcm_90nm() -> ChipParameters:
    return ChipParameters(
        name="pcm-90nm",
        cores=1,
        rows=256,
        columns=256,
        devices_per_polarity=1,
        device=_pcm_90nm_device(),
        set_model=SetModel(
            decay=-0.084,
            level=0.88,
            first=1.4,
            pulses=2.4,
            sigma_slope=0.09,
            sigma_level=0.26,
            crystallise=50.0,
            full_width=5000.0,
        ),
        limits=PulseLimits(amplitude_max=500.0, width_min=20.0, width_max=20_000.0, pulses_per_device=10_000),
        adc_range=(32.0, 256.0, 4096.0),
        read_voltage=0.2,
        mvm_seconds=1e-6,
        pulse_seconds=1e-6,
        pulses_at_once=256,
        dac_bits=8,
        adc_bits=8,
        dac_nonlinearity=0.0,
        adc_nonlinearity=0.0,
        adc_gain_spread=0.02,
        adc_offset_spread=1.0,
        adc_noise=0.3,
        trims=TrimLimits(offset_step=0.25, offset_max=8.0, gain_step=0.004, gain_max=0.12),
        current_error=0.0,
        steepness_spread=0.05,
        stuck_rate=0.0,
        weak_rate=0.0,
        wire_resistance=0.0,
        series_resistance=0.0,
        temperature=300.0,
        reference_temperature=300.0,
        conduction_energy=0.2,
        relaxation_energy=0.5,
        read_noise=1.0,
        programming_noise=1.0,
        drift=1.0,
        sources={
            "device.drift": JOSHI,
            "device.read_noise": JOSHI,
            "device.curve": "g_max so that 25 uS is in reach: " + JOSHI + "; shape, spread and jitter assumed so "
            "that program-and-verify leaves the published residual",
            "devices_per_polarity": JOSHI,
            "set_model": NANDAKUMAR,
            "dac_bits": JOSHI,
            "adc_bits": JOSHI,
        },
    )


def _hermes_read_modes() -> tuple[ReadModeModel, ...]:
    four = ReadModeModel("four-phase", seconds=521e-9, joules=52.9e-9, rows=256, columns=256, coarseness=1.0)
    return four, replace(four, name="one-phase", seconds=133e-9, joules=13.4e-9, coarseness=2.0)


def _hermes_device() -> DeviceModel:
    return DeviceModel(
        curve=ProgrammingCurve(
            g_min=0.02,
            g_max=11.4,
            midpoint=240.0,
            steepness=18.0,
            melt=165.0,
            width=100.0,
            midpoint_spread=7.0,
            height_spread=0.05,
            jitter=1.9,
            noise=0.1,
        ),
        drift=DriftModel(
            t0=200.0,
            g_scale=10.35,
            # The polynomials were fitted up to the unit cell's range; further up they would let devices drift upwards.
            mean=Piecewise(
                0.0945,
                LogClip(-0.0387, -0.0182, 0.072, 0.13),
                UpTo(1.0, Polynomial((0.0736, -0.0126, -0.0436))),
            ),
            spread=Piecewise(
                0.3039,
                LogClip(-0.0120, -0.0023, 0.0124, 0.04),
                UpTo(1.0, Polynomial((0.0104, 0.0116, -0.0165))),
            ),
        ),
        read_noise=ReadNoiseModel(
            t_read=512e-9,
            g_scale=10.35,
            q=Piecewise(
                0.1591,
                LogClip(-0.0078, 0.0038, 0.0179, 0.04),
                UpTo(1.0, Polynomial((0.0088, 0.0768, -0.1352, 0.0664))),
            ),
        ),
    )


def _hermes_core() -> ChipParameters:
    base = _pcm_90nm()
    return replace(
        base,
        name="hermes-core",
        devices_per_polarity=2,
        device=_hermes_device(),
        adc_range=(16.0, 256.0, 4096.0),
        mvm_seconds=521e-9,
        read_modes=_hermes_read_modes(),
        sources={
            "rows": KHADDAM,
            "columns": KHADDAM,
            "devices_per_polarity": KHADDAM,
            "device.drift": HERMES_MODEL,
            "device.read_noise": HERMES_MODEL,
            "device.curve": "g_max so that 10.35 uS is in reach: " + LE_GALLO + "; shape, spread and jitter assumed",
            "set_model": NANDAKUMAR,
            "dac_bits": LE_GALLO,
            "adc_bits": LE_GALLO,
            "mvm_seconds": "16.1 TOPS for 64 cores in four-phase mode: " + LE_GALLO,
            **READ_MODE_SOURCES,
        },
    )


def _hermes_64() -> ChipParameters:
    core = _hermes_core()
    return replace(core, name="hermes-64", cores=64, sources={**core.sources, "cores": LE_GALLO})


def _pcm_ideal() -> ChipParameters:
    base = _pcm_90nm()
    curve = replace(base.device.curve, g_min=0.0, midpoint_spread=0.0, height_spread=0.0, jitter=0.0, noise=0.0)
    return replace(
        base,
        name="pcm-ideal",
        device=replace(base.device, curve=curve),
        set_model=replace(base.set_model, sigma_slope=0.0, sigma_level=0.0),
        adc_bits=24,
        adc_gain_spread=0.0,
        adc_offset_spread=0.0,
        adc_noise=0.0,
        steepness_spread=0.0,
        read_noise=0.0,
        programming_noise=0.0,
        drift=0.0,
        sources={
            "device": "no noise, no spread, no drift, converters of 24 bits: a chip to understand and to test with"
        },
    )


PRESETS: dict[str, Callable[[], ChipParameters]] = {
    "hermes-core": _hermes_core,
    "hermes-64": _hermes_64,
    "pcm-90nm": _pcm_90nm,
    "pcm-ideal": _pcm_ideal,
}
