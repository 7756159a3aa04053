"""What is counted of the work beside a chip, against counts by hand."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from hwloop.nn.digital_work import DigitalWork


def counted(work: DigitalWork) -> dict[str, int]:
    return dict(work.operations)


def test_a_product_of_matrices_is_its_multiplications_and_additions():
    with torch.no_grad(), DigitalWork() as work:
        torch.rand(3, 5) @ torch.rand(5, 7)
        functional.conv2d(torch.rand(2, 4, 6, 6), torch.rand(8, 4, 3, 3))
    assert counted(work) == {"mm": 2 * 3 * 5 * 7, "convolution": 2 * 2 * 16 * 8 * 4 * 9}


def test_anything_else_is_one_operation_for_each_value():
    """Of the larger side: a broadcast sum makes as many values as it gives, a mean takes as many as it is given."""
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad(), DigitalWork() as work:
        functional.relu(x)
        x + torch.rand(3, 1, 1)
        x.mean((2, 3))
        functional.max_pool2d(x, 2)
        x.softmax(1)
    whole = x.numel()
    names = ("relu", "add", "mean", "max_pool2d_with_indices", "softmax")
    # torch.rand makes its values of nothing that is given: no work of a network.
    assert counted(work) == dict.fromkeys(names, whole)


def test_what_only_moves_values_is_no_work():
    x, table = torch.rand(2, 3, 4), torch.rand(100, 5)
    with torch.no_grad(), DigitalWork() as work:
        x.reshape(6, 4).t().contiguous()
        torch.cat([x, x])
        functional.pad(x, (1, 1))
        functional.embedding(torch.tensor([1, 2]), table)
        x[:, [2, 0]].clone()
        x.to(torch.float64)
    assert counted(work) == {}


def test_work_aside_is_left_out():
    with torch.no_grad(), DigitalWork() as work:
        with work.aside():
            torch.rand(3, 5) @ torch.rand(5, 7)
        torch.ones(4).neg()
    assert counted(work) == {"neg": 4}


def test_a_fused_layer_is_named_and_not_guessed_at():
    with torch.no_grad(), DigitalWork() as work:
        nn.LSTM(3, 4).eval()(torch.rand(5, 1, 3))
    assert work.uncounted == {"mkldnn_rnn_layer"} or counted(work).keys() & {"mm", "addmm"}
