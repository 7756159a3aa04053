"""The conformance suite: what every backend must do, checked on the backend itself.

It runs unchanged against a simulated chip, a chip on a bench and a third party's. Subclass it in a test file, say how
to open the chip, and run pytest:

    import pytest
    from hwloop import connect
    from hwloop.testing.conformance import BackendConformance

    class TestMyChip(BackendConformance):
        @pytest.fixture
        def backend(self):
            with connect("mychip:/dev/ttyUSB0") as chip:
                yield chip

Every test gets a backend of its own from that fixture. What a chip does not declare as a capability is skipped, with
the reason. A whole run pulses some hundred devices of `core`, the busiest about twenty times. Class attributes set
what the suite cannot know of a chip: which core, and which pulses certainly SET and RESET a device.
"""

from __future__ import annotations

try:
    import pytest  # noqa: F401
except ImportError:
    raise ImportError(
        "hwloop.testing.conformance is a pytest suite and pytest is not installed: pip install 'hwloop[test]'"
    ) from None

from hwloop.testing.chip_tests import ChipTests
from hwloop.testing.converter_tests import ConverterTests
from hwloop.testing.mvm_tests import MvmTests
from hwloop.testing.pulse_tests import PulseTests
from hwloop.testing.read_mode_tests import ReadModeTests
from hwloop.testing.read_tests import ReadTests
from hwloop.testing.simulation_tests import SimulationTests
from hwloop.testing.target_tests import TargetTests
from hwloop.testing.update_tests import UpdateTests


class BackendConformance(
    ChipTests, PulseTests, MvmTests, ReadTests, ConverterTests, ReadModeTests, SimulationTests, TargetTests, UpdateTests
):
    """Tests of the whole contract; the module's text shows how to use them."""
