"""Figures, each a function that takes an Axes (or makes one) and returns it.

`hwloop.load(path).plot()` draws the main one of a result; `hwloop plot FILE --list` names those of a file.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
