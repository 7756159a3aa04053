"""Testing aids for authors of backends; `hwloop.testing.conformance` has the suite that every backend passes."""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):
    import pytest

    # A failing check then shows the values it compared, as in a test of one's own.
    pytest.register_assert_rewrite("hwloop.testing.conformance")
