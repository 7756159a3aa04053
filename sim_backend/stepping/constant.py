"""Constant steps: as large at every weight, up to the bounds.

The device of the resistive processing unit of Gokmen and Vlasov, Frontiers in Neuroscience 10, 333 (2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwloop.sim_backend.stepping import linear
from hwloop.sim_backend.stepping.law import StepLaw


@dataclass(frozen=True, kw_only=True)
class ConstantStep(StepLaw):
    """Steps that do not depend on the weight: linear ones of slope zero."""

    form: ClassVar[int] = linear.LinearStep.form
    relative = staticmethod(linear.relative)
