"""What an ONNX file takes, gives and weighs, told by opening it as the server would."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from converters.contract import Inspected, TensorFact
from converters.graph import BrokenGraph, GraphFacts, read_graph
from converters.limits import confine

# Beyond 2 GiB a protobuf cannot be decoded; such models keep their weights in files beside the graph.
GRAPH_BYTES_MAX = 2**31 - 1
_DATATYPES = {"float": "FP32", "double": "FP64", "float16": "FP16", "bfloat16": "BF16", "string": "BYTES",
              "bool": "BOOL", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
              "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64"}  # fmt: skip
# A first axis with such a name is not a batch: merging callers along it would mix their answers.
_NO_BATCH = re.compile(r"seq|len|time|frame|token|step|height|width|channel|sample|past|total", re.IGNORECASE)
# onnxruntime's exceptions have no common base of their own.
_ONNXRUNTIME_ERRORS = (
    *(failures.Fail, failures.EPFail, failures.InvalidArgument, failures.InvalidGraph, failures.InvalidProtobuf),
    *(failures.NoSuchFile, failures.NotFound, failures.NotImplemented, failures.RuntimeException, RuntimeError),
)


class InvalidModel(ValueError):
    """The file cannot be served; the message says why."""


def inspect(path: Path) -> Inspected:
    """Open a stranger's ONNX file in this process, which is confined from then on; call it in one that may die.

    Raises: InvalidModel.
    """
    beside_bytes = sum(entry.stat().st_size for entry in path.parent.iterdir() if entry.is_file())
    confine(max(path.stat().st_size, beside_bytes))
    return describe(path)


def describe(path: Path) -> Inspected:
    """Open an ONNX file with every optimization off. Raises: InvalidModel."""
    facts = _facts(path)
    session = _open(path)
    inputs = _tensors("input", session.get_inputs())
    outputs = _tensors("output", session.get_outputs())
    return Inspected(
        inputs=inputs,
        outputs=outputs,
        has_batch_axis=_has_batch_axis([*session.get_inputs(), *session.get_outputs()]),
        parameters=facts.parameters,
        dtype=facts.dtype or _weightless_dtype([*inputs, *outputs]),
        opset=facts.opset,
    )


def _facts(path: Path) -> GraphFacts:
    size_bytes = path.stat().st_size
    if size_bytes > GRAPH_BYTES_MAX:
        raise InvalidModel(f"the graph is {size_bytes} bytes; at most {GRAPH_BYTES_MAX} fit into one ONNX file")
    try:
        facts = read_graph(path.read_bytes())
    except BrokenGraph as error:
        raise InvalidModel(str(error)) from error
    for location in facts.external_files:
        _check_external(path.parent, location)
    return facts


def _check_external(folder: Path, location: str) -> None:
    parts = PurePosixPath(location).parts
    if not parts or location.startswith("/") or ".." in parts or "\\" in location:
        raise InvalidModel(f"it wants to read weights from {location[:200]!r}, which is outside its own folder")
    file = folder / location
    if file.is_symlink() or not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
        raise InvalidModel(f"its weights are in {location[:200]!r}, and that file is not beside it")


def _open(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _ONNXRUNTIME_ERRORS as error:
        raise InvalidModel(f"onnxruntime cannot open it: {_reason(error, path)}") from error


def _reason(error: Exception, path: Path) -> str:
    """What onnxruntime says, without its codes and source lines and the server's paths, on one line."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(rf"Load model from {re.escape(str(path))} failed:", "", text)
    text = text.replace(f"{path.parent}/", "").replace(str(path.parent), "")
    text = re.sub(r"\S+\.(?:cc|h|cpp):\d+ (?:\w+ )?", "", text)
    return " ".join(text.split())[:500]


def _tensors(role: str, nodes: Sequence[Any]) -> tuple[TensorFact, ...]:
    return tuple(
        TensorFact(node.name, _datatype(role, node), tuple(_size(axis) for axis in node.shape)) for node in nodes
    )


def _datatype(role: str, node: Any) -> str:
    match = re.fullmatch(r"tensor\((\w+)\)", node.type)
    datatype = _DATATYPES.get(match.group(1)) if match else None
    if datatype is None:
        raise InvalidModel(f"{role} {node.name!r} has the type {node.type}, which Triton cannot carry")
    return datatype


def _weightless_dtype(tensors: Sequence[TensorFact]) -> str:
    """A graph without weights computes in the type of what it takes."""
    words = {"BYTES": "string", "BF16": "bfloat16"}
    first = tensors[0].datatype
    return words.get(first, first.replace("FP", "float").lower())


def _size(axis: object) -> int:
    return axis if isinstance(axis, int) and axis >= 0 else -1


def _has_batch_axis(nodes: Sequence[Any]) -> bool:
    """One symbol, first everywhere, and something beside it: Triton wants at least one axis after the batch."""
    if not nodes or any(len(node.shape) < 2 or _size(node.shape[0]) != -1 for node in nodes):
        return False
    symbols = {node.shape[0] for node in nodes}
    return len(symbols) == 1 and not _NO_BATCH.search(str(symbols.pop() or ""))
