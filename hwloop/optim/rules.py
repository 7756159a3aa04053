"""All algorithms of training in memory, by the names that commands know them by."""

from __future__ import annotations

from collections.abc import Mapping

from hwloop.optim.buffered import AGADRule, ChoppedTTv2Rule, TTv2Rule
from hwloop.optim.hamiltonian import HamiltonianRule
from hwloop.optim.mixed_precision import MixedPrecisionRule
from hwloop.optim.rule import Rule
from hwloop.optim.sgd import SGDRule
from hwloop.optim.tiki_taka import TikiTakaRule

RULES: Mapping[str, type[Rule]] = {
    kind.name: kind
    for kind in (SGDRule, TikiTakaRule, TTv2Rule, ChoppedTTv2Rule, AGADRule, HamiltonianRule, MixedPrecisionRule)
}
"""Settings of every algorithm."""
