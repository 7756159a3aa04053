"""What every request to a chip begins with: the chip is open, the core exists, and it can do what is asked."""

from __future__ import annotations

from hwloop.chip import checks
from hwloop.chip.asking import Asking
from hwloop.chip.callers import Callers, one_caller
from hwloop.chip.info import INSTEAD, Capability, ChipInfo
from hwloop.errors import BadInputError, ClosedError, MissingCapabilityError


class Checked(Asking):
    """A chip that knows what it is, and refuses what it cannot do."""

    def __init__(self, info: ChipInfo) -> None:
        """Start counting for the chip that `info` describes."""
        self._info = info
        super().__init__()
        self._closed = False
        self._callers = Callers(info.name)

    @property
    def info(self) -> ChipInfo:
        """Identity and geometry."""
        return self._info

    @one_caller
    def now(self) -> float:
        """Return the chip's monotonic clock, seconds since it was opened (a simulated chip: since it was made)."""
        self._check_open()
        return self._clock_now()

    def _clock_now(self) -> float:
        """Return the clock of a chip that is open and in use by its caller."""
        return self._ask("now", self._now)

    def require(self, capability: Capability, purpose: str) -> None:
        """Check that the chip is open and has a capability, which `purpose` needs.

        Raises
        ------
        MissingCapabilityError
            Unless it has, with what to do instead.
        """
        self._check_open()
        if not isinstance(capability, Capability):
            raise BadInputError(f"{capability!r} is no Capability; there are {', '.join(map(str, Capability))}")
        if capability not in self.info.capabilities:
            raise MissingCapabilityError(
                f"{self.info.name}: {purpose} needs the capability '{capability.value}', which this chip lacks; "
                f"{INSTEAD[capability]}"
            )

    # ---- checks ------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self.info.name} was closed; connect again")

    def _check_core(self, core: int) -> int:
        self._check_open()
        return checks.core_number(self.info, core)
