"""What tensors are for by their names, their biases by theirs, and the network within a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.files.weights.nested import Node, network_in
from hwloop.mapping.roles import bias_names, bias_of, is_copy, natural, parts_of, role_of
from hwloop.mapping.tensors import Role, Tensor, tensor_of


def tensor(name: str, *shape: int, integers: bool = False) -> Tensor:
    return tensor_of(name, np.zeros(shape or (3, 4), np.int64 if integers else np.float32))


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("fc1.weight", Role.WEIGHT), ("encoder.layers.0.linear1.weight", Role.WEIGHT), ("dense/kernel:0", Role.WEIGHT),
        ("W1", Role.WEIGHT), ("fc1", Role.WEIGHT), ("conv_2", Role.WEIGHT), ("attn.W_q", Role.WEIGHT),
        ("attn.in_proj_weight", Role.WEIGHT), ("rnn.weight_ih_l0", Role.WEIGHT), ("q.lora_A", Role.WEIGHT),
        ("wte.weight", Role.EMBEDDING), ("tok_embeddings.weight", Role.EMBEDDING), ("embed_out.weight", Role.WEIGHT),
        ("pos_embed", Role.EMBEDDING), ("cls_token", Role.EMBEDDING), ("relative_position_bias_table", Role.EMBEDDING),
        ("relative_attention_bias.weight", Role.EMBEDDING),
        ("fc1.bias", Role.BIAS), ("rnn.bias_ih_l0", Role.BIAS), ("fc_b", Role.BIAS),
        ("bn1.weight", Role.NORM), ("layer_norm.weight", Role.NORM), ("norm.running_mean", Role.NORM),
        ("head.gamma", Role.NORM),
        ("attn.mask", Role.BUFFER), ("rotary.inv_freq", Role.BUFFER), ("x_train", Role.BUFFER),
        ("fc.scale", Role.BUFFER),
        ("act_fake_quant.weight", Role.BUFFER), ("loss", Role.BUFFER),
        ("thing", Role.OTHER), ("some.value", Role.OTHER),
    ],
)  # fmt: skip
def test_a_name_tells_what_a_tensor_is_for(name: str, role: Role) -> None:
    assert role_of(tensor(name), biased=False) is role


def test_a_look_up_table_has_two_axes_and_no_bias() -> None:
    assert role_of(tensor("wte.weight"), biased=True) is Role.WEIGHT
    assert role_of(tensor("wte.weight", 2, 3, 4), biased=False) is Role.WEIGHT
    assert role_of(tensor("fc.weight", integers=True), biased=False) is Role.INTEGER


def test_a_letter_is_a_bias_where_it_is_as_flat_as_one() -> None:
    assert role_of(tensor("b1", 1, 4), biased=False) is Role.BIAS
    assert role_of(tensor("b1", 3, 4), biased=False) is not Role.BIAS


def test_copies_are_told_by_what_stands_before_them() -> None:
    by_name = {one.key: one for one in (tensor("fc.weight"), tensor("ema.fc.weight"), tensor("ema.fc.bias", 4))}
    assert is_copy(by_name["ema.fc.weight"], by_name)
    assert not is_copy(by_name["fc.weight"], by_name)
    assert not is_copy(by_name["ema.fc.bias"], by_name)  # of nothing
    other = {"fc.weight": tensor("fc.weight"), "student.fc.weight": tensor("student.fc.weight")}
    assert not is_copy(other["student.fc.weight"], other)
    assert not is_copy(tensor("ema.fc.weight", 9, 9), by_name)


@pytest.mark.parametrize(
    ("name", "biases"),
    [
        ("a.weight", ["a.bias", "a.weight_bias", "a.weight_b", "a.weightb"]),
        ("d/kernel:0", ["d/bias:0", "d/kernel_bias", "d/kernel_b", "d/kernelb"]),
        ("rnn.weight_ih_l0", ["rnn.bias_ih_l0"]),
        ("s/depthwise_kernel:0", ["s/depthwise_bias:0", "s/bias:0"]),
        ("W1", ["b1", "W1_bias", "W1_b", "W1b", "W2"]),
        ("coefs_0", ["coefs_0_bias", "coefs_0_b", "coefs_0b", "coefs_1"]),
        ("a.9", ["a.9_bias", "a.9_b", "a.9b"]),
    ],
)
def test_a_weight_may_have_biases_of_these_names(name: str, biases: list[str]) -> None:
    found = list(bias_names(name))
    assert [one for one in biases if one not in found] == []
    if len(biases) > 2:
        assert found == biases


def test_a_bias_is_a_vector_or_a_matrix_of_one_line() -> None:
    weight = tensor("a.weight")
    for shape in ((4,), (1, 4), (4, 1)):
        assert bias_of(weight, {"a.bias": (bias := tensor("a.bias", *shape))}) is bias
    for shape in ((3, 4), (1, 4, 1), ()):
        assert bias_of(weight, {"a.bias": tensor_of("a.bias", np.zeros(shape))}) is None
    assert bias_of(weight, {"a.weight": weight}) is None


def test_names_are_split_and_sorted_as_people_do() -> None:
    assert parts_of("a.b/c::d:0") == ["a", "b", "c", "d"]
    assert sorted(["l10", "l2", "l1.b", "l1.a"], key=natural) == ["l1.a", "l1.b", "l2", "l10"]


# ---- checkpoints ---------------------------------------------------------------------------------------------


def node(*names: str, **parts: Node) -> Node:
    tensors = {name: tensor(name) for name in names}
    return Node(tensors, parts, {*tensors, *parts})


def told(root: Node) -> dict[str, str]:
    return {one.key: one.aside for one in network_in(root)}


NET = ("fc1.weight", "fc2.weight")


def test_the_network_of_a_checkpoint_is_found_by_what_it_is_called() -> None:
    root = node("epoch_x", state_dict=node(*NET), average=node(*NET), optimizer=node("exp"))
    why = "is beside the network in 'state_dict'"
    assert told(root) == {
        "fc1.weight": "", "fc2.weight": "", "epoch_x": why, "average.fc1.weight": why, "average.fc2.weight": why,
        "optimizer.exp": why,
    }  # fmt: skip


def test_a_network_that_is_alone_needs_no_name() -> None:
    assert told(node(whatever=node(*NET))) == dict.fromkeys(NET, "")
    assert told(node(*NET)) == dict.fromkeys(NET, "")
    assert told(node("x", "y", hist=node("z"))) == {"x": "", "y": "", "hist.z": "is of no network"}


def test_networks_of_the_same_names_stand_aside() -> None:
    why = "is in one of several networks with the same names (a, b)"
    assert told(node(a=node(*NET), b=node(*NET))) == {
        f"{part}.{name}": why for part in ("a", "b") for name in NET
    }  # fmt: skip
    assert set(told(node(a=node(*NET), b=node("other.weight", "more.weight"))).values()) == {""}


def test_layers_that_are_alike_are_one_network() -> None:
    assert told(node(l1=node("weight"), l2=node("weight"))) == {"l1.weight": "", "l2.weight": ""}


def test_states_of_optimisers_are_passed_over() -> None:
    optimizer = Node({"m": tensor("m")}, {}, {"param_groups"})
    assert told(node(model=node(*NET), opt_a=optimizer)) == dict.fromkeys(NET, "")
