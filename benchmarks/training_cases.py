"""Trainings in memory, each with the row of docs/training.md that it stands for; `training.py` carries them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import nn
from training_transfer import learnt, new_digits

import hwloop
from hwloop.jobs.noise import DataLike
from hwloop.nn import zoo
from hwloop.optim import (
    AGADRule,
    ChoppedTTv2Rule,
    HamiltonianRule,
    MixedPrecisionRule,
    Rule,
    SGDRule,
    TikiTakaRule,
    TTv2Rule,
)

RERAM = "sim:reram-sb?rows=64&columns=64&symmetry_point_mean={off}&symmetry_point_spread={off}"
ALIGNED, OFFSET = RERAM.format(off=0), RERAM.format(off=0.15)
SOFT = (
    "sim:reram-sb?states=1200&up_down=0.3333333&cycle_spread=0.3&write_noise=0"
    "&symmetry_point_mean=0&symmetry_point_spread=0"
)
"""Soft-bounded devices of 1 200 states, whose step up is 1.5 times that down in the middle of their range."""


class MLP(nn.Module):
    """Linear layers of some sizes with ReLU in between, for images scaled to their largest value."""

    def __init__(self, sizes: tuple[int, ...] = (64, 32, 10)) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give the scores of images."""
        x = x.flatten(1)
        x = x / x.amax(1, keepdim=True)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        scores: torch.Tensor = self.layers[-1](x)
        return scores


def large_mlp() -> nn.Module:
    """Make the MLP of Gokmen and Vlasov (2016) for images of 28 x 28."""
    return MLP((784, 256, 128, 10))


@dataclass(frozen=True)
class Case:
    """A training: an algorithm with its settings, a network, and the simulated chip, whose seed is that of the case."""

    rule: Rule
    lr: float
    periphery: hwloop.Periphery = field(default_factory=lambda: hwloop.Periphery(weight_scale=0.5))
    chip: str = ALIGNED
    network: Callable[[], nn.Module] = MLP
    epochs: int = 60
    training: hwloop.Training = field(default_factory=hwloop.Training)
    """What its settings are besides; seed, epochs and rate are set from the case."""
    calibrated: tuple[int, ...] = ()
    """Cores whose symmetry points are found by pulses beforehand, and taken off in digital."""
    data: Callable[[str], DataLike] = str
    """What takes the path of the data set, and returns what is trained on."""
    adc_range: float = 0.0
    """Full scale of the column converters, uS; 0: the chip's own."""

    def having(self, **settings: float | str) -> Case:
        """Return the same with other settings of converters and pulses."""
        return replace(self, periphery=replace(self.periphery, **settings))  # type: ignore[arg-type]


WIDE = hwloop.Periphery()
ALGORITHMS: Mapping[str, Case] = {
    "sgd": Case(SGDRule(), 0.1, WIDE),
    "tiki-taka": Case(TikiTakaRule(), 1.0),
    "ttv2": Case(TTv2Rule(), 0.1),
    "c-ttv2": Case(ChoppedTTv2Rule(), 0.1),
    "agad": Case(AGADRule(), 0.1),
    "shd": Case(HamiltonianRule(), 1.0),
    "mixed-precision": Case(MixedPrecisionRule(), 0.3, WIDE),
}
"""The MLP 64-32-10 by every algorithm, with the settings that were chosen on held-out images."""

ZERO_SHIFTED: Mapping[str, Case] = {
    name: replace(ALGORITHMS[name], chip=OFFSET, calibrated=(0, 1)) for name in ("tiki-taka", "ttv2")
}

REFERENCE: Mapping[str, Case] = {
    f"{name}, references off by {error:g}": replace(
        ALGORITHMS[name], chip=ALIGNED.replace("spread=0", f"spread={error:g}")
    )
    for name in ("tiki-taka", "ttv2")
    for error in (0.03, 0.1)
}
"""Symmetry points were found and written into the array of references, with an error over half the range."""

_LARGE = Case(SGDRule(), 0.3, WIDE, "sim:rpu-baseline", large_mlp, 10)
_SHARE, _OFTEN = 0.02, 1 / 16
"""Transfers of large matrices, several rows after every image: the rate over the optimiser's, and vectors for a row."""
LARGE: Mapping[str, Case] = {
    "sgd, constant steps": _LARGE,
    "sgd, asymmetric": replace(_LARGE, lr=0.1, chip=SOFT),
    "tiki-taka, asymmetric": replace(
        _LARGE, rule=TikiTakaRule(transfer_lr=_SHARE, transfer_every=_OFTEN), lr=1.0, chip=SOFT
    ),
    "shd, asymmetric": replace(
        _LARGE, rule=HamiltonianRule(transfer_lr=_SHARE, transfer_every=_OFTEN), lr=1.0, chip=SOFT
    ),
}

_SMALL = Case(SGDRule(), 1.0, WIDE, "sim:rpu-baseline", epochs=20)
_BOUNDED = replace(_SMALL, adc_range=10.0)
_SKEWED = replace(_SMALL, lr=0.1, chip=SOFT)
MANAGEMENT: Mapping[str, Case] = {
    "noise management": _SMALL,
    "noise management off": _SMALL.having(noise_management=0),
    "outputs to 1, bound management": _BOUNDED,
    "outputs to 1, bound management off": _BOUNDED.having(bound_management=0),
    "asymmetric, one device a weight": _SKEWED,
    "asymmetric, four devices a weight": _SKEWED.having(devices=4),
}

_LSTM = Case(SGDRule(), 1.0, WIDE, "sim:rpu-baseline", zoo.digits_lstm, 30)
LSTM: Mapping[str, Case] = {
    "7 input bits": _LSTM.having(input_bits=7),
    "5 input bits": _LSTM.having(input_bits=5),
    "5 input bits, stochastic rounding": _LSTM.having(input_bits=5, rounding="stochastic"),
    "3 input bits": _LSTM.having(input_bits=3),
    "3 input bits, stochastic rounding": _LSTM.having(input_bits=3, rounding="stochastic"),
}

_LEAKS = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)
LEAK: Mapping[str, Case] = {
    f"leak {seconds:g} s": replace(_SMALL, chip=f"sim:cmos-rpu?leak={seconds:g}") for seconds in _LEAKS
}

_PAIR = Case(MixedPrecisionRule(granularity=1.0), 0.3, WIDE, "sim:pcm-pair", epochs=20)
PAIR: Mapping[str, Case] = {
    "refresh every 10 batches": _PAIR,
    "no refresh": replace(_PAIR, training=hwloop.Training(refresh_every=0)),
}

REPLICAS = 16
_CNN = Case(SGDRule(), 0.1, WIDE, "sim:rpu-baseline?cores=64", zoo.digits_cnn, 20)
RAPA: Mapping[str, Case] = {"one array": _CNN, f"{REPLICAS} replicas": replace(_CNN, lr=1.0).having(replicas=REPLICAS)}

_ECRAM = "sim:ecram?symmetry_point_mean={off}&symmetry_point_spread={off}"
_FINE = Case(
    ChoppedTTv2Rule(transfer_every=16.0, stride=5), 0.3, WIDE, _ECRAM.format(off=0), learnt, 12, data=new_digits
)
TRANSFER: Mapping[str, Case] = {
    "ecram": _FINE,
    "ecram, transfer noise, skew": replace(_FINE, chip=_ECRAM.format(off=0.2)).having(transfer_noise=0.1),
    "reram-sb": replace(_FINE, chip=ALIGNED.replace("rows=64&columns=64&", "")),
}

PARTS: Mapping[str, Mapping[str, Case]] = {
    "zero-shift": ZERO_SHIFTED,
    "reference": REFERENCE,
    "mnist": LARGE,
    "management": MANAGEMENT,
    "lstm": LSTM,
    "leak": LEAK,
    "pair": PAIR,
    "rapa": RAPA,
    "transfer": TRANSFER,
}
"""Every part of the study by its name, beside 'algorithms'."""
