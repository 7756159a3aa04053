"""`hwloop program` with weights as people bring them: which tensors, which layout, what is noted, how it is shown."""

from __future__ import annotations

import io
import json
import resource

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests.cli.conftest import BRIEF, Command
from tests.conftest import gaussian

pytestmark = pytest.mark.filterwarnings("always::hwloop.errors.WeightsNote")
OUT = (*BRIEF, "--out", "run.h5", "--force")


def tensors(command: Command, *words: str) -> dict[str, tuple[int, int]]:
    result = command("program", *words, *OUT, "--json")
    assert result.exit_code == 0, result.stdout + result.stderr
    return {core["tensor"]: (core["rows"], core["columns"]) for core in json.loads(result.stdout)["cores"]}


def test_a_checkpoint_with_metrics(command: Command) -> None:
    state = {"0.weight": torch.from_numpy(gaussian(6, 8)), "0.bias": torch.ones(6)}
    torch.save({"state_dict": state, "confusion": torch.ones(10, 10), "epoch": 3}, "best.pth")
    result = command("program", "best.pth", *OUT, "--json")
    assert [core["tensor"] for core in json.loads(result.stdout)["cores"]] == ["0.weight"]
    assert result.stderr == (
        "note: best.pth: 1 tensor passed over (confusion: is beside the network in 'state_dict'); "
        "--tensor NAME takes one by name\n"
    )


def test_tensors_by_names_and_patterns(command: Command) -> None:
    save_file(
        {f"{one}.weight": gaussian(6, 8, seed) for seed, one in enumerate(("fc1", "fc2", "out"))}, "w.safetensors"
    )
    assert list(tensors(command, "w.safetensors", "--tensor", "out.weight", "--tensor", "*1*")) == [
        "fc1.weight", "out.weight",
    ]  # fmt: skip


def test_layouts_for_all_and_by_name(command: Command) -> None:
    np.savez("w.npz", a=gaussian(6, 8), b=gaussian(6, 8, 1))
    assert tensors(command, "w.npz", "--layout", "inputs-first") == {"a": (6, 8), "b": (6, 8)}
    assert tensors(command, "w.npz", "--layout", "b=inputs-first") == {"a": (8, 6), "b": (6, 8)}
    words = ("--layout", "inputs-first", "--layout", "b=outputs-first")
    assert tensors(command, "w.npz", *words) == {"a": (6, 8), "b": (8, 6)}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--layout", "sideways"), "unknown layout 'sideways'; known: outputs-first, inputs-first, depthwise, tr"),
        (("--layout", "a=input-first"), "unknown layout 'input-first'; did you mean 'inputs-first'?"),
        (("--layout", "a=inputs-first", "--layout", "a=outputs-first"), "a layout of 'a' is given twice"),
        (("--layout", "z=inputs-first"), "no tensor 'z', for which a layout is given"),
        (("--tensor", "z*"), "no tensor 'z*'; it holds a, b"),
        (("--merge-lora", "2"), "holds no low-rank adapter"),
    ],
)  # fmt: skip
def test_what_is_asked_for_wrongly(command: Command, words: tuple[str, ...], says: str) -> None:
    np.savez("w.npz", a=gaussian(6, 8), b=gaussian(6, 8, 1))
    result = command("program", "w.npz", *OUT, *words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_adapters_are_merged_when_asked(command: Command) -> None:
    a, b = gaussian(2, 8), gaussian(6, 2)
    save_file({"q.weight": gaussian(6, 8), "q.lora_A.weight": a, "q.lora_B.weight": b}, "w.safetensors")
    assert len(tensors(command, "w.safetensors")) == 3
    assert tensors(command, "w.safetensors", "--merge-lora", "2") == {"q.weight": (8, 6)}


def test_long_names_are_told_apart_in_the_table(command: Command) -> None:
    names = [f"module._orig_mod.backbone.stages.0.blocks.{k}.mlp.fc{n}.weight" for k in range(2) for n in (1, 2)]
    save_file({name: gaussian(4, 4, seed) for seed, name in enumerate(names)}, "w.safetensors")
    result = command("program", "w.safetensors", *OUT)
    shown = [line.split()[0] for line in result.stdout.splitlines() if " x " in line]
    assert len(set(shown)) == 4
    assert all(name.endswith("weight") for name in shown)


def test_what_a_file_calls_its_tensors_cannot_steer_the_terminal(command: Command) -> None:
    save_file({"fc\x1b[31m.weight": gaussian(4, 4), "bad\n.weight": np.full((2, 2), np.nan)}, "w.safetensors")
    result = command("program", "w.safetensors", *OUT)
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr
    assert result.stderr.count("\n") == 1
    result = command("program", "w.safetensors", *OUT, "--tensor", r"fc\x1b[31m.weight")
    assert "\x1b" not in result.stdout
    assert r"fc\x1b[31m.weight" in result.stdout


def test_names_with_slashes_are_kept_in_the_run_file(command: Command) -> None:
    np.savez(
        "keras.npz", **{"conv/kernel": gaussian(36, 8).reshape(3, 3, 4, 8)[:, :, :2], "dense/kernel": gaussian(5, 3)}
    )
    assert set(tensors(command, "keras.npz")) == {"conv/kernel", "dense/kernel"}
    result = command("evaluate", "run.h5", "--json")
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("name", ["big.npy", "big.safetensors"])
def test_what_can_never_fit_is_refused_by_its_header(command: Command, name: str) -> None:
    """Nearly six hundred megabytes that nobody has written: a file with a hole."""
    shape, header = [12_000, 12_000], b""
    if name.endswith(".npy"):
        np.lib.format.write_array_header_1_0(
            stream := io.BytesIO(), {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
        )
        header = stream.getvalue()
    else:
        size = 4 * shape[0] * shape[1]
        text = json.dumps({"fc.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
        header = len(text).to_bytes(8, "little") + text
    with open(name, "wb") as file:
        file.write(header)
        file.truncate(len(header) + 4 * shape[0] * shape[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for words in (("program", name, *OUT), ("compare", name, *BRIEF[:2], "--out", "cmp.h5")):
        result = command(*words)
        assert result.exit_code == 2
        assert "the weights do not fit on sim:hermes-core" in result.stderr
        assert "(12000 x 12000)" in result.stderr
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_tensors_are_counted_together(command: Command) -> None:
    save_file({f"{one}.weight": gaussian(200, 250, number) for number, one in enumerate("ab")}, "two.safetensors")
    result = command("program", "two.safetensors", "--backend", "sim:hermes-core", "--out", "run.h5")
    assert result.exit_code == 2
    assert "with tensor 'b.weight' (200 x 250) they take 100000 cells" in result.stderr
