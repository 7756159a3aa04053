"""Networks: those that come with hwloop, the data to test them on, and where a user's own are found.

`hwloop.nn.analog` puts a network on a chip to train it there.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
