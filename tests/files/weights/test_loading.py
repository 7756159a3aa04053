"""Weights from files: what is read and how it is turned, and everything that is refused, with the reason."""

import hashlib
import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch

from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.files.weights import load_weights
from hwloop.mapping.matrix import matrices

W = np.arange(1.0, 7.0).reshape(2, 3)  # two outputs, three inputs


def save(path, values):
    """One tensor called 'w' (or the file's name, for .npy) in the file's own format."""
    tensor = values if isinstance(values, torch.Tensor) else torch.from_numpy(np.array(values))
    match path.suffix:
        case ".npy":
            np.save(path, values)
        case ".npz":
            np.savez(path, w=values)
        case ".safetensors":
            safetensors.torch.save_file({"w": tensor}, path)
        case ".pt":
            torch.save({"w": tensor}, path)
    return path


# ---- what is read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt", ".PT"])
def test_every_kind_of_file_gives_inputs_by_outputs(tmp_path, suffix):
    path = save(tmp_path / f"w{suffix.lower()}", W)
    path = path.rename(path.with_suffix(suffix))
    (matrix,) = load_weights(path)
    assert matrix.name == "w"
    assert matrix.values.dtype == np.float64
    assert matrix.values.flags.c_contiguous
    assert np.array_equal(matrix.values, W.T)


def test_a_path_may_be_text(tmp_path):
    assert load_weights(str(save(tmp_path / "w.npy", W)))[0].values.shape == (3, 2)


def test_inputs_first_leaves_the_matrix_as_it_is(tmp_path):
    (matrix,) = load_weights(save(tmp_path / "w.npy", W), layout="inputs-first")
    assert np.array_equal(matrix.values, W)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_short_floating_formats_are_widened(tmp_path, suffix, dtype):
    (matrix,) = load_weights(save(tmp_path / f"w{suffix}", torch.tensor(W).to(dtype)))
    assert np.array_equal(matrix.values, W.T)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float16, np.float32, np.longdouble])
def test_all_real_numbers_are_welcome(dtype):
    (matrix,) = matrices({"w": W.astype(dtype)})
    assert np.array_equal(matrix.values, W.T)


def test_a_parameter_that_requires_gradients_is_just_numbers(tmp_path):
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "w.pt")
    torch.save({"w": torch.nn.Parameter(torch.tensor(W))}, tmp_path / "p.pt")
    assert [m.name for m in load_weights(tmp_path / "w.pt")] == ["weight"]
    assert np.array_equal(load_weights(tmp_path / "p.pt")[0].values, W.T)


def test_a_bare_tensor_is_called_by_its_file(tmp_path):
    torch.save(torch.tensor(W), tmp_path / "layer3.pt")
    assert load_weights(tmp_path / "layer3.pt")[0].name == "layer3"


def test_convolution_kernels_are_flattened_to_outputs_by_inputs_times_kernel():
    kernel = np.random.default_rng(0).normal(size=(8, 3, 5, 5))
    (matrix,) = matrices({"conv": kernel})
    assert matrix.values.shape == (75, 8)
    assert np.array_equal(matrix.values[:, 2], kernel[2].ravel())


def test_vectors_stay_digital_beside_matrices():
    tensors = {"fc.weight": W, "fc.bias": np.ones(2), "norm.running_mean": np.zeros(2), "steps": np.array(3)}
    assert [m.name for m in matrices(tensors)] == ["fc.weight"]


def test_a_tensor_is_chosen_by_name(tmp_path):
    np.savez(tmp_path / "w.npz", a=W, b=2 * W)
    (matrix,) = load_weights(tmp_path / "w.npz", tensor="b")
    assert np.array_equal(matrix.values, 2 * W.T)


def test_the_repositorys_own_network_loads():
    layers = load_weights("data/digits_mlp.safetensors")
    assert len(layers) >= 2
    assert all(m.values.ndim == 2 for m in layers)


def test_the_fingerprint_is_the_files_sha256(tmp_path):
    path = save(tmp_path / "w.npy", W)
    assert fingerprint(path) == hashlib.sha256(path.read_bytes()).hexdigest()


# ---- values that cannot be programmed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([[1.0, np.nan], [np.inf, 2.0]], r"2 NaN or infinite values, the first at \(0, 1\)"),
        ([[1.0, -np.inf]], r"1 NaN or infinite"),
        ([[True, False]], "holds bool values; expected real numbers"),
        ([[1 + 2j, 1.0]], "holds complex128 values"),
        ([["a", "b"]], "holds <U1 values"),
        (np.zeros((2, 2), "datetime64[s]"), "holds datetime64"),
        (np.zeros((2, 2), [("x", float)]), "holds .* values"),
        (np.array([[1, None]], dtype=object), "holds object values"),
        (np.zeros((0, 3)), r"is empty \(shape \(0, 3\)\)"),
        (np.zeros((3, 0)), "is empty"),
        (np.ones(5), r"has the shape \(5,\); a weight matrix needs two dimensions"),
        (np.array(1.0), r"has the shape \(\)"),
        (np.zeros((3, 4)), "is all zero; there is nothing to program"),
    ],
)
def test_what_is_no_weight_matrix_is_named_and_refused(values, reason):
    with pytest.raises(BadInputError, match=reason) as caught:
        matrices({"fc1": np.asarray(values)}, source="net.npz")
    assert "net.npz: tensor 'fc1'" in str(caught.value)


def test_longdoubles_beyond_float64_are_infinite():
    if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("long double is double here")
    with pytest.raises(BadInputError, match="infinite"), np.errstate(over="ignore"):
        matrices({"w": np.array([[np.longdouble("1e400"), 1]])})


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([[np.nan, 1.0]], "NaN"),
        ([[True, False]], "bool"),
        (np.ones((1, 2), np.complex64), "complex"),
        ([[0.0, 0.0]], "all zero"),
    ],
)
def test_bad_values_are_refused_from_every_kind_of_file(tmp_path, suffix, values, reason):
    path = save(tmp_path / f"w{suffix}", np.array(values))
    with pytest.raises(BadInputError, match=reason) as caught:
        load_weights(path)
    assert str(path) in str(caught.value)


def test_a_bias_asked_for_by_name_is_no_matrix():
    with pytest.raises(BadInputError, match="two dimensions"):
        matrices({"fc.weight": W, "fc.bias": np.ones(2)}, tensor="fc.bias")


def test_an_unknown_tensor_lists_the_known_ones():
    with pytest.raises(BadInputError, match="no tensor 'fc9'; it holds fc1, fc2"):
        matrices({"fc1": W, "fc2": W}, tensor="fc9")


def test_no_tensors_at_all():
    with pytest.raises(BadInputError, match="holds no tensors"):
        matrices({})


def test_an_unknown_layout_lists_the_known_ones(tmp_path):
    with pytest.raises(BadInputError, match="unknown layout 'sideways'; known: outputs-first, inputs-first"):
        load_weights(save(tmp_path / "w.npy", W), layout="sideways")


# ---- files that cannot be read ----------------------------------------------------------------------------------


def test_no_such_file(tmp_path):
    with pytest.raises(BadInputError, match=r"w\.npy: no such file"):
        load_weights(tmp_path / "w.npy")


@pytest.mark.parametrize("name", ["folder", "folder.npy"])
def test_a_folder_is_no_file(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(BadInputError, match="is a folder"):
        load_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["w.h5", "w.pkl", "w", "w.npy.gz"])
def test_an_unknown_kind_of_file_lists_the_known_ones(tmp_path, name):
    (tmp_path / name).write_bytes(b"1,2,3")
    with pytest.raises(BadInputError, match=r"unknown kind of weights .*\.npy, \.npz, \.safetensors, \.pt"):
        load_weights(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = save(tmp_path / "w.npy", W)
    path.chmod(0)
    with pytest.raises(BadInputError, match="permission denied"):
        load_weights(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "header", "text"])
def test_a_damaged_file_is_named_and_refused(tmp_path, suffix, damage):
    path = save(tmp_path / f"w{suffix}", np.ones((40, 50)))
    whole = path.read_bytes()
    ruins = {"empty": b"", "truncated": whole[: len(whole) // 2], "header": whole[:6], "text": b"hello, weights\n" * 9}
    path.write_bytes(ruins[damage])
    with pytest.raises(BadInputError, match=r"is not a readable \.") as caught:
        load_weights(path)
    assert str(path) in str(caught.value)


def test_flipped_bytes_in_a_compressed_archive(tmp_path):
    path = tmp_path / "w.npz"
    np.savez_compressed(path, w=np.random.default_rng(0).normal(size=(50, 50)))
    data = bytearray(path.read_bytes())
    data[500:600] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(BadInputError, match=r"is not a readable \.npz file"):
        load_weights(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
@pytest.mark.parametrize("called", ["w.pth", "w.th", "w.bin", "w.ckpt", "w.npz", "w.npy", "w", "w.safetensors.1"])
def test_a_file_is_what_it_holds_and_not_what_it_is_called(tmp_path, suffix, called):
    path = save(tmp_path / f"saved{suffix}", W).rename(tmp_path / called)
    (matrix,) = load_weights(path)
    assert np.array_equal(matrix.values, W.T)


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_nothing_is_ever_unpickled(tmp_path):
    bomb = Bomb(str(tmp_path / "exploded"))
    np.save(tmp_path / "object.npy", np.array([[bomb, 1]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "object.npz", w=np.array([[bomb, 1]], dtype=object))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(bomb))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(bomb))
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(bomb, protocol=2))
    torch.save({"w": bomb}, tmp_path / "object.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(BadInputError, match="is not a readable"):
            load_weights(path)
    assert not (tmp_path / "exploded").exists()


def test_object_arrays_say_why(tmp_path):
    np.save(tmp_path / "w.npy", np.array([[1, None]], dtype=object), allow_pickle=True)
    with pytest.raises(BadInputError, match="holds Python objects, which hwloop never unpickles"):
        load_weights(tmp_path / "w.npy")


@pytest.mark.parametrize("content", [[1, 2], 3.0, "text"])
def test_a_torch_file_without_tensors(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(BadInputError, match="expected a tensor or a state dict, found"):
        load_weights(tmp_path / "w.pt")


def test_a_torch_file_with_an_empty_dict(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(BadInputError, match="holds no tensors"):
        load_weights(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore:.*(Sparse|quantiz).*:UserWarning")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_tensors_are_refused(tmp_path, layout):
    torch.save({"w": torch.tensor(W).to_sparse(layout=layout)}, tmp_path / "w.pt")
    with pytest.raises(BadInputError, match="tensor 'w' is sparse"):
        load_weights(tmp_path / "w.pt")


def test_tensors_without_values_are_refused(tmp_path):
    torch.save({"w": torch.empty((2, 3), device="meta")}, tmp_path / "w.pt")
    with pytest.raises(BadInputError, match="tensor 'w'"):
        load_weights(tmp_path / "w.pt")


def test_names_that_are_no_text_are_listed_too(tmp_path):
    torch.save({0: torch.tensor(W)}, tmp_path / "w.pt")
    with pytest.raises(BadInputError, match="no tensor 'w'; it holds 0"):
        load_weights(tmp_path / "w.pt", tensor="w")
