"""Recurrent layers: the inputs of all time steps are multiplied at once, the hidden states step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from hwloop.nn.layers.base import AnalogLayer, share

State: TypeAlias = tuple[torch.Tensor, ...]
"""Hidden state, and for an LSTM the cell state: (batch, hidden) each."""
Step: TypeAlias = Callable[[torch.Tensor, torch.Tensor, State], State]
"""Makes the next state from the gates' shares of the input and of the hidden state, biases included, and the state."""


def lstm_step(of_input: torch.Tensor, of_hidden: torch.Tensor, state: State) -> State:
    """Update an LSTM; its gates lie in the order input, forget, cell, output."""
    let_in, keep, new, let_out = (of_input + of_hidden).chunk(4, -1)
    cell = keep.sigmoid() * state[1] + let_in.sigmoid() * new.tanh()
    return let_out.sigmoid() * cell.tanh(), cell


def gru_step(of_input: torch.Tensor, of_hidden: torch.Tensor, state: State) -> State:
    """Update a GRU; its gates lie in the order reset, update, new, and the reset gate acts on the hidden share."""
    reset_x, update_x, new_x = of_input.chunk(3, -1)
    reset_h, update_h, new_h = of_hidden.chunk(3, -1)
    new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
    return (new + (update_x + update_h).sigmoid() * (state[0] - new),)


def tanh_step(of_input: torch.Tensor, of_hidden: torch.Tensor, state: State) -> State:
    """Update a plain recurrent layer with hyperbolic tangents."""
    return ((of_input + of_hidden).tanh(),)


def relu_step(of_input: torch.Tensor, of_hidden: torch.Tensor, state: State) -> State:
    """Update a plain recurrent layer with rectifiers."""
    return ((of_input + of_hidden).relu(),)


STEPS: Mapping[str, Step] = {
    "LSTM": lstm_step,
    "GRU": gru_step,
    "RNN_TANH": tanh_step,
    "RNN_RELU": relu_step,
}
"""What each mode of torch's recurrent layers does in a time step."""


class _Recurrent(AnalogLayer):
    """What recurrent layers and single cells have in common: every parameter of two dimensions is a matrix."""

    input_size: int
    hidden_size: int

    def __init__(self, layer: nn.RNNBase | nn.RNNCellBase) -> None:
        super().__init__(type(layer).__name__)
        share(self, layer)

    def matrices(self) -> dict[str, torch.Tensor]:
        """Give every `weight_...`, (1, inputs, outputs), the outputs of an LSTM or GRU being its gates."""
        return {name: self.matrix(name) for name, parameter in self._parameters.items() if _is_matrix(parameter)}

    def matrix(self, name: str) -> torch.Tensor:
        """Give the matrix of one parameter."""
        return self.get_parameter(name).t()[None]

    def _gates(self, matrix: str, bias: str, x: torch.Tensor) -> torch.Tensor:
        y = self.multiply(matrix, x)
        offset = self._parameters.get(bias)
        return y if offset is None else y + offset

    def _check_features(self, x: torch.Tensor, most: int) -> None:
        if x.dim() not in (most - 1, most) or x.shape[-1] != self.input_size or not len(x):
            raise RuntimeError(
                f"{self.kind}: its input has {most - 1} or {most} dimensions, the last of {self.input_size} features "
                f"and none empty, and not {tuple(x.shape)}"
            )

    def _check_state(self, state: State, shapes: Sequence[tuple[int, ...]]) -> None:
        found = [tuple(part.shape) for part in state]
        if found != list(shapes):
            raise RuntimeError(f"{self.kind}: for this input hx has the shapes {list(shapes)}, and not {found}")


def _is_matrix(parameter: nn.Parameter | None) -> bool:
    return parameter is not None and parameter.dim() == len(("outputs", "inputs"))


class AnalogRecurrent(_Recurrent):
    """Stands for `nn.LSTM`, `nn.GRU` and `nn.RNN` with all their options."""

    mode: str
    num_layers: int
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int

    def forward(
        self, input: torch.Tensor | PackedSequence, hx: torch.Tensor | State | None = None
    ) -> tuple[torch.Tensor | PackedSequence, torch.Tensor | State]:
        """Map (time, batch, features) or a packed sequence to the outputs, and give the last states.

        Parameters
        ----------
        input
            (time, batch, features), (batch, time, features) with `batch_first`, (time, features), or packed.
        hx
            States to begin with, (layers * directions, batch, hidden); for an LSTM two of them. Zeros without.
        """
        if isinstance(input, PackedSequence):
            sizes = input.batch_sizes.tolist()
            started = self._begin(hx, input.data, sizes[0])
            if input.sorted_indices is not None and hx is not None:
                started = tuple(part[:, input.sorted_indices] for part in started)
            flat, ended = self._run(input.data, sizes, started)
            if input.unsorted_indices is not None:
                ended = tuple(part[:, input.unsorted_indices] for part in ended)
            output = PackedSequence(flat, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
            return output, ended if self.mode == "LSTM" else ended[0]
        return self._padded(input, hx)

    def flatten_parameters(self) -> None:
        """Do nothing: there is no copy of the weights for a graphics library to keep together."""

    def _padded(self, x: torch.Tensor, hx: torch.Tensor | State | None) -> tuple[torch.Tensor, torch.Tensor | State]:
        self._check_features(x, 3)
        single = x.dim() == 2
        if single:
            x = x[:, None]
            hx = None if hx is None else tuple(part[:, None] for part in _parts(hx))
        elif self.batch_first:
            x = x.transpose(0, 1)
        time, batch = x.shape[:2]
        flat, ended = self._run(x.reshape(time * batch, -1), [batch] * time, self._begin(hx, x, batch))
        y = flat.reshape(time, batch, -1)
        if single:
            y, ended = y[:, 0], tuple(part[:, 0] for part in ended)
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, ended if self.mode == "LSTM" else ended[0]

    def _begin(self, hx: torch.Tensor | State | None, x: torch.Tensor, batch: int) -> State:
        """Give the states to begin with, (layers * directions, batch, hidden) each."""
        count = self.num_layers * (1 + self.bidirectional)
        widths = (self.proj_size or self.hidden_size, self.hidden_size)[: 1 + (self.mode == "LSTM")]
        shapes = [(count, batch, width) for width in widths]
        if hx is None:
            return tuple(x.new_zeros(shape) for shape in shapes)
        self._check_state(_parts(hx), shapes)
        return _parts(hx)

    def _run(self, x: torch.Tensor, sizes: Sequence[int], started: State) -> tuple[torch.Tensor, State]:
        """Run all layers over steps that lie one after the other in `x`, of which `sizes` are the vectors."""
        ended: list[State] = []
        for layer in range(self.num_layers):
            if layer:
                x = functional.dropout(x, self.dropout, self.training)
            outputs = []
            for suffix in (f"l{layer}", f"l{layer}_reverse")[: 1 + self.bidirectional]:
                state = tuple(part[len(ended)] for part in started)
                y, last = self._direction(suffix, x, sizes, state)
                outputs.append(y)
                ended.append(last)
            x = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
        return x, tuple(torch.stack(parts) for parts in zip(*ended, strict=True))

    def _direction(
        self, suffix: str, x: torch.Tensor, sizes: Sequence[int], started: State
    ) -> tuple[torch.Tensor, State]:
        """Run one direction of one layer; sequences that are over, or have not begun, are left out of a step."""
        gates = torch.split(self._gates(f"weight_ih_{suffix}", f"bias_ih_{suffix}", x), list(sizes))
        backwards = suffix.endswith("_reverse")
        outputs: list[torch.Tensor] = []
        over: list[State] = []
        running = sizes[-1] if backwards else sizes[0]
        state = tuple(part[:running] for part in started)
        for time in reversed(range(len(sizes))) if backwards else range(len(sizes)):
            if sizes[time] < running:
                over.append(tuple(part[sizes[time] :] for part in state))
                state = tuple(part[: sizes[time]] for part in state)
            elif sizes[time] > running:
                fresh = tuple(part[running : sizes[time]] for part in started)
                state = tuple(torch.cat(parts) for parts in zip(state, fresh, strict=True))
            running = sizes[time]
            of_hidden = self._gates(f"weight_hh_{suffix}", f"bias_hh_{suffix}", state[0])
            state = STEPS[self.mode](gates[time], of_hidden, state)
            if self.proj_size:
                state = (self.multiply(f"weight_hr_{suffix}", state[0]), *state[1:])
            outputs.append(state[0])
        last = tuple(torch.cat(parts) for parts in zip(state, *reversed(over), strict=True)) if over else state
        return torch.cat(outputs[::-1] if backwards else outputs), last


class AnalogCell(_Recurrent):
    """Stands for `nn.LSTMCell`, `nn.GRUCell` and `nn.RNNCell`: one time step of one layer."""

    def __init__(self, layer: nn.LSTMCell | nn.GRUCell | nn.RNNCell) -> None:
        """Take over the parameters of a cell."""
        super().__init__(layer)
        if isinstance(layer, nn.RNNCell):
            self.mode = f"RNN_{layer.nonlinearity.upper()}"
        else:
            self.mode = "LSTM" if isinstance(layer, nn.LSTMCell) else "GRU"

    def forward(self, input: torch.Tensor, hx: torch.Tensor | State | None = None) -> torch.Tensor | State:
        """Map (batch, features), or (features), and the state before to the next state; without one it is zero."""
        self._check_features(input, 2)
        x = input if input.dim() == 2 else input[None]
        shapes = [(len(x), self.hidden_size)] * (1 + (self.mode == "LSTM"))
        if hx is None:
            state = tuple(x.new_zeros(shape) for shape in shapes)
        else:
            state = tuple(part if input.dim() == 2 else part[None] for part in _parts(hx))
            self._check_state(state, shapes)
        of_hidden = self._gates("weight_hh", "bias_hh", state[0])
        state = STEPS[self.mode](self._gates("weight_ih", "bias_ih", x), of_hidden, state)
        state = state if input.dim() == 2 else tuple(part[0] for part in state)
        return state if self.mode == "LSTM" else state[0]


def _parts(hx: torch.Tensor | State) -> State:
    return (hx,) if isinstance(hx, torch.Tensor) else tuple(hx)
