"""Networks that fit a chip: spaces of architectures, the surrogate that ranks them, and how they evolve.

`hwloop.search_networks` does the search; `resnet_like` is the space that comes with hwloop.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
