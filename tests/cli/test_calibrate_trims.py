"""`hwloop calibrate` and converter trims, as a user meets them."""

from __future__ import annotations

import json
import re

from tests.cli.conftest import Command

CHIP = "sim:hermes-core?rows=64&columns=32&seed=2&adc_offset_spread=3"
OFTEN = ("--backend", CHIP, "--out", "chip.cal.h5", "--force")


def test_trims_are_written_told_and_used(command: Command) -> None:
    """Offsets of 3 LSB end up in the registers; what is left is below half an LSB, and a check holds."""
    told = json.loads(command("calibrate", "adc", *OFTEN, "--json").stdout)["cores"][0]
    assert 2 < told["trims"]["offset_lsb_rms"] < 4
    assert 0.01 < told["trims"]["gain_rms"] < 0.04
    assert told["converters"]["offset_lsb"]["rms"] < 0.5
    shown = command("calibrate", "show", "chip.cal.h5").stdout
    assert re.search(r"^offset trims +[23]\.\d+ .*LSB rms", shown, re.MULTILINE)
    assert command("calibrate", "check", "chip.cal.h5", "--backend", CHIP).exit_code == 0


def test_trims_can_be_left_alone(command: Command) -> None:
    told = json.loads(command("calibrate", "adc", *OFTEN, "--set", "converters.trims=0", "--json").stdout)["cores"][0]
    assert told["trims"] == {"offset_lsb_rms": 0.0, "gain_rms": 0.0}
    assert 2 < told["converters"]["offset_lsb"]["rms"] < 4
    refused = command("calibrate", "adc", *OFTEN, "--set", "converters.trims=yes")
    assert refused.exit_code == 2
    assert "setting trims=yes: expected a whole number" in refused.stderr
