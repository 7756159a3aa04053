"""Optimisers that train networks in memory: their steps are pulses on the devices that hold the weights.

For example::

    net = hwloop.nn.analog(model, chip)
    opt = hwloop.optim.ChoppedTTv2(net, lr=0.1)
    loss(net(x), y).backward()
    opt.step()
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
