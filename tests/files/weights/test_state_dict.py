"""`read_state_dict`: the network in whatever a training script has written, ready for `load_state_dict`."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hwloop.errors import BadInputError
from hwloop.files.weights import read_state_dict


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Linear(6, 3))


STATE = network().state_dict()


def with_prefix(prefix):
    return {prefix + name: values for name, values in STATE.items()}


def same(found):
    assert list(found) == list(STATE)
    for name, values in STATE.items():
        assert torch.equal(torch.as_tensor(found[name]), values)


ADAM = torch.optim.Adam(network().parameters()).state_dict()
CHECKPOINTS = {
    "bare": STATE,
    "state_dict": {"epoch": 3, "state_dict": STATE, "best_acc1": torch.tensor(71.5), "optimizer": ADAM},
    "confusion": {"state_dict": STATE, "confusion": torch.ones(10, 10), "class_weights": torch.ones(10)},
    "model": {"model": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(6, 8)}}, "param_groups": []}},
    "lightning": {"state_dict": STATE, "callbacks": {"m": {"best_k": torch.ones(2, 2)}}, "optimizer_states": [ADAM]},
    "deeper": {"checkpoint": {"model": STATE, "loss_matrix": torch.ones(4, 4)}, "step": 7},
    "another_name": {"brain": STATE, "epoch": 3},
    "average": {"net": STATE, "ema": {name: values + 1 for name, values in STATE.items()}},
    "parallel": {"state_dict": with_prefix("module.")},
    "compiled": with_prefix("_orig_mod."),
    "both": with_prefix("module._orig_mod."),
    "sharded": with_prefix("_fsdp_wrapped_module._checkpoint_wrapped_module."),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_the_network_is_found_in_a_checkpoint(tmp_path, kind):
    torch.save(CHECKPOINTS[kind], tmp_path / "w.pth")
    same(found := read_state_dict(tmp_path / "w.pth"))
    network().load_state_dict(found)


def test_files_of_older_torch(tmp_path):
    torch.save({"state_dict": STATE}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    same(read_state_dict(tmp_path / "w.pth"))


def test_numpy_archives(tmp_path):
    np.savez(tmp_path / "w.npz", **{name: values.numpy() for name, values in STATE.items()})
    same(read_state_dict(tmp_path / "w.npz"))


def test_types_stay_as_they_are_stored(tmp_path):
    save_file({name: values.bfloat16() for name, values in STATE.items()}, tmp_path / "w.safetensors")
    found = read_state_dict(tmp_path / "w.safetensors")
    assert {values.dtype for values in found.values()} == {torch.bfloat16}


def test_two_networks_of_the_same_names_are_not_mixed_up(tmp_path):
    torch.save({"student": STATE, "teacher": STATE}, tmp_path / "w.pth")
    with pytest.raises(BadInputError, match=r"holds no network.*same names \(student, teacher\)"):
        read_state_dict(tmp_path / "w.pth")


def test_parts_of_one_network_keep_their_place(tmp_path):
    torch.save({"encoder": {"fc.weight": torch.ones(2, 3)}, "decoder": {"fc.weight": torch.ones(3, 2)}}, tmp_path / "w")
    assert list(read_state_dict(tmp_path / "w")) == ["encoder.fc.weight", "decoder.fc.weight"]


def test_an_optimiser_alone_is_no_network(tmp_path):
    torch.save(ADAM, tmp_path / "w.pth")
    with pytest.raises(BadInputError, match="holds no"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_pickled_networks_are_refused_in_one_line(tmp_path):
    torch.save(network(), tmp_path / "module.pt")
    torch.jit.save(torch.jit.trace(network().eval(), torch.ones(1, 8)), tmp_path / "script.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"w": [1.0]}))
    for path in tmp_path.iterdir():
        with pytest.raises(BadInputError, match=r"save model\.state_dict\(\)") as caught:
            read_state_dict(path)
        assert str(caught.value).isprintable()
        assert "torch.load" not in str(caught.value)
