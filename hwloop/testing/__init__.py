"""Testing aids for authors of backends; `hwloop.testing.conformance` has the suite that every backend passes."""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):
    import pytest

    # A failing check then shows the values it compared, as in a test of one's own.
    for name in ("chip", "converter", "mvm", "pulse", "read", "simulation"):
        pytest.register_assert_rewrite(f"hwloop.testing.{name}_tests")
    pytest.register_assert_rewrite("hwloop.testing.suite")
