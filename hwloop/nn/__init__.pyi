"""What `hwloop.nn` shows by itself; everything else is imported from its modules."""

from . import zoo as zoo
from .in_memory.network import AnalogNetwork as AnalogNetwork
from .in_memory.network import analog as analog
from .in_memory.settings import Periphery as Periphery
from .memory.explicit import ExplicitMemory as ExplicitMemory
from .memory.explicit import Written as Written
from .memory.settings import MemorySettings as MemorySettings
