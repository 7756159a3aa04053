"""Where each optimiser and its settings live, for type checkers and for loading it on its first use."""

from .buffered import AGADRule as AGADRule
from .buffered import ChoppedTTv2Rule as ChoppedTTv2Rule
from .buffered import TTv2Rule as TTv2Rule
from .hamiltonian import HamiltonianRule as HamiltonianRule
from .mixed_precision import MixedPrecisionRule as MixedPrecisionRule
from .optimizer import AGAD as AGAD
from .optimizer import OPTIMIZERS as OPTIMIZERS
from .optimizer import AnalogOptimizer as AnalogOptimizer
from .optimizer import AnalogSGD as AnalogSGD
from .optimizer import ChoppedTTv2 as ChoppedTTv2
from .optimizer import MixedPrecision as MixedPrecision
from .optimizer import StochasticHamiltonianDescent as StochasticHamiltonianDescent
from .optimizer import TikiTaka as TikiTaka
from .optimizer import TTv2 as TTv2
from .rule import Rule as Rule
from .sgd import SGDRule as SGDRule
from .tiki_taka import TikiTakaRule as TikiTakaRule
