"""Optimisers of torch whose steps are pulses: schedulers, checkpoints and `state_dict` work as for any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, overload

import torch

from hwloop.errors import BadInputError
from hwloop.nn.in_memory.network import AnalogNetwork
from hwloop.optim.buffered import AGADRule, ChoppedTTv2Rule, TTv2Rule
from hwloop.optim.hamiltonian import HamiltonianRule
from hwloop.optim.mixed_precision import MixedPrecisionRule
from hwloop.optim.rule import DigitalWork, Rule, Updater
from hwloop.optim.sgd import SGDRule
from hwloop.optim.tiki_taka import TikiTakaRule
from hwloop.typing import AnyArray

ON_CHIP, DIGITAL = 0, 1
"""Parameter groups: matrices on the chip, and all else."""


class AnalogOptimizer(torch.optim.Optimizer):
    """Base of the optimisers: one algorithm for all matrices of a network, plain gradient descent for the rest.

    There are two parameter groups, whose learning rates a scheduler changes together: matrices on the chip, and biases
    and other digital parameters. A step writes what `loss.backward()` has left for each matrix, in the order in which
    it came, and forgets it. `state_dict` holds all that is digital, the source of random numbers of the network
    included; the arrays are on the chip, which keeps them, or gives its state by `chip.export_state()`.
    """

    kind: ClassVar[type[Rule]]
    """Its algorithm."""

    def __init__(
        self, net: AnalogNetwork, lr: float | None = None, rule: Rule | None = None, digital_lr: float = 0.1
    ) -> None:
        """Begin with the network as it is, and take the cells that the algorithm needs besides.

        Parameters
        ----------
        net
            From `hwloop.nn.analog`.
        lr
            Learning rate of the matrices; None for the algorithm's own.
        rule
            Settings of the algorithm; None for its defaults.
        digital_lr
            Learning rate of all else.

        Raises
        ------
        BadInputError
            For a network without matrices to train, rates that are no rates, settings of another algorithm, and a chip
            without room.
        """
        rule = self.kind() if rule is None else rule
        if not isinstance(rule, self.kind):
            raise BadInputError(f"{type(self).__name__} takes a {self.kind.__name__}, not a {type(rule).__name__}")
        rate = rule.lr if lr is None else lr
        for name, value in (("lr", rate), ("digital_lr", digital_lr)):
            if not 0 <= value < float("inf"):
                raise BadInputError(f"{name}={value:g} is no learning rate")
        self.net, self.rule = net, rule
        trained = {name: one for name, one in net.matrices.items() if one.parameter.requires_grad}
        if not trained:
            raise BadInputError("the network has no matrix that is trained: all of them are frozen")
        on_chip = list({id(one.parameter): one.parameter for one in net.matrices.values()}.values())
        known = {id(one) for one in on_chip}
        digital = [one for one in net.network.parameters() if id(one) not in known and one.requires_grad]
        groups: list[dict[str, Any]] = [{"params": on_chip, "lr": rate}]
        if digital:
            groups.append({"params": digital, "lr": digital_lr})
        super().__init__(groups, {"lr": rate})
        self.updaters: dict[str, list[Updater]] = {
            name: [rule.start(one, weights) for weights in one.replicas] for name, one in trained.items()
        }
        """What writes each matrix, one for each of its replicas."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Write what waits into the matrices, and change the digital parameters by their gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        rate = float(self.param_groups[ON_CHIP]["lr"])
        for name, updaters in self.updaters.items():
            matrix = self.net.matrices[name]
            for waiting, updater in zip(matrix.waiting, updaters, strict=True):
                found = waiting.take()
                if found is not None and rate > 0:
                    x, d = found
                    updater.update(x, d / matrix.scale, rate)
        for group in self.param_groups[DIGITAL:]:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-float(group["lr"]))
        return loss

    def refresh(self, full: float = 0.75, spare: float = 0.25) -> int:
        """Empty pairs of devices that are nearly full and write their weights anew, in all arrays that are trained.

        On chips whose devices step up alone (`sim:pcm-pair`) a training needs that every few batches; on others it does
        nothing.

        Parameters
        ----------
        full, spare
            Shares of a device's range beyond which one device of a pair, and the other one, must be; defaults of
            OneSidedUnitCell of aihwkit 1.2.0.

        Returns
        -------
        int
            Pairs that were emptied.
        """
        return sum(
            array.refresh(full, spare)
            for updaters in self.updaters.values()
            for one in updaters
            for array in one.arrays().values()
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients, and what waits for the matrices."""
        super().zero_grad(set_to_none)
        self.net.forget()

    def state_dict(self) -> dict[str, Any]:
        """Give the digital state, beside what torch gives: `matrices` by name and replica, and `random`."""
        matrices = {
            name: [{key: torch.from_numpy(value) for key, value in _saved(one).items()} for one in updaters]
            for name, updaters in self.updaters.items()
        }
        random = json.dumps(self.net.random.bit_generator.state)
        return {**super().state_dict(), "matrices": matrices, "random": random}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave. Raises BadInputError for that of another algorithm or network."""
        torch_part = {name: state_dict[name] for name in ("state", "param_groups") if name in state_dict}
        try:
            super().load_state_dict(torch_part)
            saved = state_dict["matrices"]
            for name, updaters in self.updaters.items():
                for updater, one in zip(updaters, saved[name], strict=True):
                    _restore(updater, {key: value.numpy() for key, value in one.items()})
            self.net.random.bit_generator.state = json.loads(state_dict["random"])
        except (KeyError, ValueError, TypeError) as error:
            raise BadInputError(f"this state is not of a {type(self).__name__} for this network: {error}") from None

    def digital_work(self) -> dict[str, DigitalWork]:
        """Tell what the algorithm computes and keeps beside the chip, by matrix."""
        return {name: self.rule.digital_work(*self.net.matrices[name].shape) for name in self.updaters}


ZERO = "zero of "
"""How the names of digital references begin in a saved state."""


def _saved(updater: Updater) -> dict[str, AnyArray]:
    """Give the digital state of an updater, with the digital references of its arrays."""
    zeros = {f"{ZERO}{name}": one.zero for name, one in updater.arrays().items() if one.zero is not None}
    return updater.state() | zeros


def _restore(updater: Updater, saved: Mapping[str, AnyArray]) -> None:
    for name, one in updater.arrays().items():
        one.zero = saved.get(f"{ZERO}{name}")
    updater.restore(saved)


class AnalogSGD(AnalogOptimizer):
    """Pulsed stochastic gradient descent; see `SGDRule`."""

    kind = SGDRule


class TikiTaka(AnalogOptimizer):
    """Tiki-Taka; see `TikiTakaRule`."""

    kind = TikiTakaRule


class TTv2(AnalogOptimizer):
    """Tiki-Taka with a digital buffer; see `TTv2Rule`."""

    kind = TTv2Rule


class ChoppedTTv2(AnalogOptimizer):
    """TTv2 with choppers; see `ChoppedTTv2Rule`."""

    kind = ChoppedTTv2Rule


class AGAD(AnalogOptimizer):
    """Analog gradient accumulation with dynamic reference; see `AGADRule`."""

    kind = AGADRule


class StochasticHamiltonianDescent(AnalogOptimizer):
    """Stochastic Hamiltonian descent; see `HamiltonianRule`."""

    kind = HamiltonianRule


class MixedPrecision(AnalogOptimizer):
    """Gradients added up in digital, written as whole steps; see `MixedPrecisionRule`."""

    kind = MixedPrecisionRule


OPTIMIZERS: Mapping[str, type[AnalogOptimizer]] = {
    made.kind.name: made
    for made in (AnalogSGD, TikiTaka, TTv2, ChoppedTTv2, AGAD, StochasticHamiltonianDescent, MixedPrecision)
}
"""Every algorithm by the name that commands know it by."""
