"""What `hwloop.search` shows by itself; everything else is imported from its modules."""

from . import resnet_like as resnet_like
from .settings import Limits as Limits
from .settings import SearchSettings as SearchSettings
from .space import Space as Space
from .trials import Trial as Trial
