"""Chips with ideal converters, whose devices can thus be looked at closely."""

import contextlib

import pytest

from hwloop.chip.registry import connect

IDEAL_CONVERTERS = {"adc_bits": 24, "adc_noise": 0, "adc_gain_spread": 0, "adc_offset_spread": 0}


@pytest.fixture
def precise_chip():
    """precise_chip("pcm-90nm", rows=8, seed=3): any options of a `sim:` URI; closed at the end of the test."""
    with contextlib.ExitStack() as stack:

        def opened(preset, **options):
            query = "&".join(f"{name}={value}" for name, value in (IDEAL_CONVERTERS | options).items())
            return stack.enter_context(connect(f"sim:{preset}?{query}"))

        yield opened
