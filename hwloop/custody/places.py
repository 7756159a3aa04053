"""Where hwloop keeps what outlives a run, the ledger of all chips and the locks of chips in use, and finds settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "HWLOOP_LEDGER"
"""Variable of the environment that names the ledger, so that the accounts of a lab can share one."""

LOGS = "HWLOOP_LOGS"
"""Variable that names the folder of log files."""


def ledger_path() -> Path:
    """Return the database of the ledger: as HWLOOP_LEDGER says, else in the user's data folder."""
    told = os.environ.get(VARIABLE, "")
    return Path(told).expanduser() if told else data_folder() / "ledger.sqlite"


def lock_folder() -> Path:
    """Return the folder with the locks of chips, beside the ledger: whoever shares a ledger shares the chips."""
    return ledger_path().parent / "locks"


def log_folder() -> Path:
    """Return the folder of log files: as HWLOOP_LOGS says, else beside the ledger."""
    told = os.environ.get(LOGS, "")
    return Path(told).expanduser() if told else ledger_path().parent / "logs"


def settings_folder() -> Path:
    """Return the folder in which this user's programs look for settings, by the customs of the operating system."""
    if sys.platform in ("win32", "darwin"):
        return data_folder()
    told = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (told if told.is_absolute() else Path.home() / ".config") / "hwloop"


def data_folder() -> Path:
    """Return the folder in which this user's programs keep data, by the customs of the operating system."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "hwloop"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "hwloop"
    told = Path(os.environ.get("XDG_DATA_HOME", ""))
    # The XDG base directory specification: a path that is not absolute is to be ignored.
    return (told if told.is_absolute() else Path.home() / ".local" / "share") / "hwloop"
