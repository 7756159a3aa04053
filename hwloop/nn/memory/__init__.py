"""Memories that a chip writes from examples.

`explicit` holds classes by name; `columns` is the cells below it; `settings` how both work.
"""

from __future__ import annotations

from hwloop.nn.memory.explicit import ExplicitMemory as ExplicitMemory
from hwloop.nn.memory.explicit import Written as Written
from hwloop.nn.memory.settings import MemorySettings as MemorySettings
