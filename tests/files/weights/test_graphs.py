"""Graphs of ONNX by a package of a few lines, and weights in several files: which are read, and which are missing."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files.weights.graphs import _uses, read_onnx
from hwloop.files.weights.shards import note_on_shard, read_folder, read_index
from hwloop.mapping.layouts import Reading
from hwloop.mapping.tensors import Role, Tensor, tensor_of


def node(kind: str, *names: str, **whole: int) -> SimpleNamespace:
    return SimpleNamespace(
        op_type=kind, input=names, attribute=[SimpleNamespace(name=name, i=one) for name, one in whole.items()]
    )


@pytest.mark.parametrize(
    ("nodes", "uses"),
    [
        ([node("Gather", "t", "i")], {"t": (Role.EMBEDDING, None)}),
        ([node("GatherElements", "t")], {"t": (Role.EMBEDDING, None)}),
        ([node("Conv", "x", "k", "b", group=2)], {"k": (Role.WEIGHT, Reading("outputs-first", 2))}),
        ([node("Conv", "x", "k")], {"k": (Role.WEIGHT, Reading("outputs-first", 1))}),
        ([node("Conv", "x", "k", group=0)], {"k": (Role.WEIGHT, Reading("outputs-first", 1))}),
        ([node("ConvTranspose", "x", "k", group=3)], {"k": (Role.WEIGHT, Reading("transposed", 3))}),
        ([node("Gemm", "x", "w", "b", transB=1)], {"w": (Role.WEIGHT, Reading("outputs-first"))}),
        ([node("Gemm", "x", "w")], {"w": (Role.WEIGHT, Reading("inputs-first"))}),
        (
            [node("MatMul", "a", "b")],
            {"a": (Role.WEIGHT, Reading("outputs-first")), "b": (Role.WEIGHT, Reading("inputs-first"))},
        ),
        ([node("Conv", "x")], {"x": (Role.BUFFER, None)}),
        ([node("Gemm", "x")], {"x": (Role.BUFFER, None)}),
        ([node("ConvTranspose", "x")], {"x": (Role.BUFFER, None)}),
        ([node("MatMul", "a", "b", "c")], dict.fromkeys("abc", (Role.BUFFER, None))),
        ([node("Gather")], {}),
        (
            [node("Gemm", "x", "w"), node("Add", "w", "y")],
            {"w": (Role.WEIGHT, Reading("inputs-first")), "y": (Role.BUFFER, None)},
        ),
        ([node("Add", "w"), node("Gemm", "x", "w")], {"w": (Role.WEIGHT, Reading("inputs-first"))}),
    ],
)
def test_a_node_tells_what_its_inputs_are(nodes: list[SimpleNamespace], uses: dict[str, object]) -> None:
    assert _uses(SimpleNamespace(node=nodes)) == uses  # type: ignore[arg-type]


def onnx_of(*initialisers: SimpleNamespace, fails: bool = False) -> SimpleNamespace:
    """The part of the package that is used."""
    graph = SimpleNamespace(initializer=initialisers, node=[node("Gemm", "x", "w")])

    def load(path: str, load_external_data: bool) -> SimpleNamespace:
        assert load_external_data is False
        if fails:
            raise RuntimeError("damaged")
        return SimpleNamespace(graph=graph)

    return SimpleNamespace(
        load=load,
        TensorProto=SimpleNamespace(EXTERNAL=1),
        numpy_helper=SimpleNamespace(to_array=lambda one: one.values),
        helper=SimpleNamespace(tensor_dtype_to_np_dtype=lambda kind: np.dtype(kind)),
    )


def initialiser(name: str, location: int = 0) -> SimpleNamespace:
    values = np.ones((2, 3), np.float32)
    return SimpleNamespace(name=name, dims=[2, 3], data_type="float32", data_location=location, values=values)


def test_initialisers_are_tensors_with_what_they_are_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", onnx_of(initialiser("w"), initialiser("alone")))
    first, second = read_onnx(tmp_path / "n.onnx")
    assert (first.key, first.shape, first.dtype) == ("w", (2, 3), "float32")
    assert (first.role, first.reading) == (Role.WEIGHT, Reading("inputs-first"))
    assert (second.role, second.reading) == (None, None)
    assert np.asarray(first.load()).tolist() == [[1.0] * 3] * 2


def test_graphs_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", onnx_of(initialiser("w"), initialiser("b", 1), initialiser("c", 1)))
    with pytest.raises(BadInputError, match="'b' lies in another file; save the model with its data inside"):
        read_onnx(tmp_path / "n.onnx")
    monkeypatch.setitem(sys.modules, "onnx", onnx_of(fails=True))
    with pytest.raises(BadInputError, match="RuntimeError: it is no ONNX model; save it again"):
        read_onnx(tmp_path / "n.onnx")


# ---- several files -------------------------------------------------------------------------------------------


def read(path: Path) -> list[Tensor]:
    """Each file has one tensor, called as the file is."""
    return [tensor_of(path.stem, np.zeros(1))]


def names(folder: Path, *files: str) -> list[str]:
    for name in files:
        (folder / name).write_text("x")
    return [one.key for one in read_folder(folder, read)]


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        (("a.npz",), ["a"]),
        (("a.npz", "notes.txt"), ["a"]),
        (("model.safetensors", "a.npz", "pytorch_model.bin"), ["model"]),
        (("pytorch_model.bin", "a.npz"), ["pytorch_model"]),
        (("m-1-of-2.bin", "m-2-of-2.bin"), ["m-1-of-2", "m-2-of-2"]),
        (("m-0-of-1.bin", "m-1-of-1.bin"), ["m-0-of-1", "m-1-of-1"]),
    ],
)
def test_a_folder_has_one_file_of_weights_or_all_shards_of_one_set(
    tmp_path: Path, files: tuple[str, ...], taken: list[str]
) -> None:
    assert names(tmp_path, *files) == taken


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ((), "is a folder without weights"),
        (("notes.txt",), "is a folder without weights"),
        (("a.npz", "b.npz"), r"is a folder of 2 files of weights \(a\.npz, b\.npz\); give one of them"),
        (tuple(f"{name}.npy" for name in "abcde"), r"5 files of weights \(a\.npy, b\.npy, c\.npy, d\.npy, \.\.\.\)"),
        (("m-1-of-3.bin", "m-3-of-3.bin"), r"shard 'm-2-of-3\.bin' is missing"),
        (("m-2-of-3.bin", "m-3-of-3.bin"), r"shard 'm-1-of-3\.bin' is missing"),
        (("m-01-of-3.bin", "m-02-of-3.bin"), r"shard 'm-03-of-3\.bin' is missing"),
        (("m-0-of-3.bin", "m-2-of-3.bin"), r"shard 'm-1-of-3\.bin' is missing"),
        (("m-1-of-2.bin", "n-2-of-2.bin"), "is a folder of 2 files of weights"),
        (("a.npz", "saved_model.pb"), "is a model of TensorFlow"),
        (("a.npz", ".metadata"), "is a distributed checkpoint of torch"),
    ],
)
def test_a_folder_that_is_not_clear(tmp_path: Path, files: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        names(tmp_path, *files)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("m-00001-of-00002.bin", "shard 1 of 2; give the folder or the index for all"), ("m-1-of-1.bin", ""),
        ("m.bin", ""), ("m-00002-of-00010.safetensors", "shard 2 of 10"),
    ],
)  # fmt: skip
def test_one_of_several_shards_says_so(tmp_path: Path, name: str, note: str) -> None:
    said = note_on_shard(tmp_path / name)
    assert note in said
    assert bool(said) == bool(note)


def test_an_index_names_shards_that_lie_beside_it(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    (tmp_path / "one.bin").write_text("x")
    index.write_text('{"weight_map": {"one": "one.bin"}}')
    assert [one.key for one in read_index(index, read)] == ["one"]
    assert [one.key for one in read_folder(tmp_path, read)] == ["one"]
    for text, complaint in (
        ("[]", "is no index of shards"),
        ('{"weight_map": 3}', "is no index of shards"),
        ('{"weight_map": {"one": "../one.bin"}}', r"shard '\.\./one\.bin' lies elsewhere"),
        ('{"weight_map": {"one": ".."}}', "lies elsewhere"),
        ('{"weight_map": {"one": "two.bin"}}', r"shard 'two\.bin' is missing"),
        (
            '{"weight_map": {"one": "one.bin", "other": "one.bin"}}',
            r"tensor 'other' is not in its shard 'one\.bin' \(1 of 2 are missing\)",
        ),
    ):
        index.write_text(text)
        with pytest.raises(BadInputError, match=complaint):
            read_index(index, read)
