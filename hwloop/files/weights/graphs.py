"""Initialisers of ONNX graphs, whose nodes tell what each of them is; the package onnx reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwloop.errors import BadInputError, printable
from hwloop.files.weights.content import shown, unreadable
from hwloop.mapping.layouts import Reading
from hwloop.mapping.tensors import Role, Tensor

if TYPE_CHECKING:
    import onnx

TABLES = ("Gather", "GatherElements")


def read_onnx(path: Path) -> list[Tensor]:
    """Describe the initialisers of an ONNX file, each with what the node that uses it makes of it.

    Raises
    ------
    BadInputError
        Where the package onnx is not installed, for a damaged file, and for values that lie in another file.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise BadInputError(
            f"{shown(path)} is an ONNX file; install the package onnx, or save model.state_dict() or .npz instead"
        ) from None
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
        initialisers = list(graph.initializer)
    except Exception as error:  # a damaged message makes the parser of protobuf fail in any way
        raise unreadable(path, f"{type(error).__name__}: it is no ONNX model; save it again") from None
    outside = [one.name for one in initialisers if one.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        name = printable(outside[0])
        raise BadInputError(f"{shown(path)}: '{name}' lies in another file; save the model with its data inside")
    uses = _uses(graph)
    found = []
    for one in initialisers:
        role, reading = uses.get(one.name, (None, None))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(one.data_type)
        found.append(
            Tensor(
                one.name,
                tuple(one.dims),
                str(dtype),
                lambda one=one: numpy_helper.to_array(one),  # type: ignore[misc]
                role=role,
                reading=reading,
            )
        )
    return found


def _uses(graph: onnx.GraphProto) -> dict[str, tuple[Role, Reading | None]]:
    """Tell of each input of a node what it is for."""
    found: dict[str, tuple[Role, Reading | None]] = {}
    for node in graph.node:
        whole = {one.name: one.i for one in node.attribute}
        names = list(node.input)
        if node.op_type in TABLES and names:
            found[names[0]] = Role.EMBEDDING, None
        elif node.op_type == "Conv" and len(names) > 1:
            found[names[1]] = Role.WEIGHT, Reading("outputs-first", whole.get("group", 1) or 1)
        elif node.op_type == "ConvTranspose" and len(names) > 1:
            found[names[1]] = Role.WEIGHT, Reading("transposed", whole.get("group", 1) or 1)
        elif node.op_type == "Gemm" and len(names) > 1:
            found[names[1]] = Role.WEIGHT, Reading("outputs-first" if whole.get("transB", 0) else "inputs-first")
        elif node.op_type == "MatMul" and len(names) == 2:
            found[names[0]] = Role.WEIGHT, Reading("outputs-first")
            found[names[1]] = Role.WEIGHT, Reading("inputs-first")
        else:
            for name in names:
                found.setdefault(name, (Role.BUFFER, None))
    return found
