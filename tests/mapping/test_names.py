"""Names of tensors: without wrappers, short, and safe to print."""

from __future__ import annotations

import pytest

from hwloop.mapping.names import shorten, shortened, without_wrappers


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (["module.fc.weight", "module.fc.bias"], ["fc.weight", "fc.bias"]),
        (["module._orig_mod.a.w", "module._orig_mod.b.w"], ["a.w", "b.w"]),
        (["_orig_mod.module.a.w"], ["a.w"]),
        (["net._fsdp_wrapped_module.a.w", "net.b.w"], ["net.a.w", "net.b.w"]),
        (["base_model.model.q.lora_A.weight"], ["q.lora_A.weight"]),
        (["module.fc.weight", "n_averaged"], ["fc.weight", "n_averaged"]),
        (["module.fc.weight", "head.weight"], ["module.fc.weight", "head.weight"]),
        (["a._orig_mod.w", "a.w"], ["a._orig_mod.w", "a.w"]),
        (["module."], ["module."]),
        ([], []),
    ],
)
def test_wrappers_are_taken_off(given: list[str], plain: list[str]) -> None:
    assert without_wrappers(given) == dict(zip(given, plain, strict=True))


def test_long_names_lose_their_middle() -> None:
    assert shorten("fc1.weight", 20) == "fc1.weight"
    assert shorten("encoder.layers.11.attention.query.weight", 20) == "encoder…query.weight"


@pytest.mark.parametrize("width", [12, 20, 30])
def test_no_two_names_look_alike(width: int) -> None:
    names = [f"backbone.stages.{a}.blocks.{b}.mlp.fc{c}.weight" for a in range(3) for b in range(3) for c in (1, 2)]
    found = shortened(names, width)
    assert len(set(found.values())) == len(names)
    assert max(map(len, found.values())) <= width
