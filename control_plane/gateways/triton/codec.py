"""Domain tensors and descriptions from and to Triton's protobuf. Raw bytes pass through untouched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from control_plane.domain.errors import EngineFailed
from control_plane.domain.models import Signature, TensorSpec
from control_plane.domain.tensors import BYTES, WIDTHS, Inference, Prediction, Tensor, element_count
from control_plane.domain.triton import IndexEntry, Statistics
from control_plane.gateways.triton.failures import sanitized

FINAL = "triton_final_response"


def request(inference: Inference) -> Any:
    """A ModelInferRequest."""
    message = pb.ModelInferRequest(
        model_name=inference.directory,
        id=inference.request_id,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            for tensor in inference.inputs
        ],
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in inference.outputs],
        raw_input_contents=[tensor.raw for tensor in inference.inputs],
    )
    for key, value in inference.parameters:
        setattr(message.parameters[key], _PARAMETER_FIELDS[type(value)], value)
    return message


_PARAMETER_FIELDS: dict[type, str] = {
    bool: "bool_param",
    int: "int64_param",
    float: "double_param",
    str: "string_param",
}


def stream_request(inference: Inference, cancel_id: str) -> Any:
    """A ModelInferRequest that wants the end of the stream said, even when it carries no tensor.

    `cancel_id`: what a `cancel_request` calls it, or nothing.
    """
    message = request(inference)
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    if cancel_id:
        message.parameters["cancel_id"].string_param = cancel_id
    return message


def cancel_request(inference: Inference, cancel_id: str) -> Any:
    """A ModelInferRequest that ends the answer to another one of the same model. Source: triton_backends, `accept`."""
    message = stream_request(replace(inference, parameters=()), "")
    message.parameters["cancel"].string_param = cancel_id
    return message


def prediction(reply: Any, inference: Inference) -> Prediction:
    """The answer to a unary request. Triton passes a wrong answer of a Python model on as OK, so it is checked.

    Raises: EngineFailed for a missing output or one whose bytes do not fit its shape.
    """
    outputs = _tensors(reply)
    if inference.outputs:
        given = {tensor.name for tensor in outputs}
        missing = [name for name in inference.outputs if name not in given]
        if missing:
            raise EngineFailed(f"{inference.directory!r} did not give the output {missing[0]!r}")
    return Prediction(outputs)


def piece(reply: Any) -> Prediction:
    """One answer of a stream; the final one may carry no tensor."""
    final = reply.parameters[FINAL].bool_param if FINAL in reply.parameters else False
    return Prediction(_tensors(reply), is_final=final)


def signature(metadata: Any, config: Any) -> Signature:
    return Signature(
        inputs=_specs(metadata.inputs),
        outputs=_specs(metadata.outputs),
        max_batch_size=config.max_batch_size,
        is_decoupled=config.model_transaction_policy.decoupled,
    )


def statistics(versions: Iterable[Any]) -> Statistics:
    """Summed over the versions of a directory."""
    rows = list(versions)
    inner = [row.inference_stats for row in rows]
    responses = [kind for row in rows for kind in row.response_stats.values()]
    return Statistics(
        inference_count=sum(row.inference_count for row in rows),
        execution_count=sum(row.execution_count for row in rows),
        success_count=sum(row.success.count for row in inner),
        failure_count=sum(row.fail.count for row in inner),
        cancel_count=sum(row.cancel.count for row in responses),
        queue_us=sum(row.queue.ns for row in inner) // 1000,
        compute_infer_us=sum(row.compute_infer.ns for row in inner) // 1000,
    )


def index_entries(reply: Any) -> tuple[IndexEntry, ...]:
    return tuple(
        IndexEntry(model.name, model.state, sanitized(model.reason) if model.reason else "") for model in reply.models
    )


def _specs(tensors: Iterable[Any]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors)


def _tensors(reply: Any) -> tuple[Tensor, ...]:
    if len(reply.outputs) != len(reply.raw_output_contents):
        raise EngineFailed("Triton's answer lacks the bytes of an output")
    tensors = tuple(
        Tensor(told.name, told.datatype, tuple(told.shape), raw)
        for told, raw in zip(reply.outputs, reply.raw_output_contents, strict=True)
    )
    for tensor in tensors:
        if not _fits(tensor):
            raise EngineFailed(
                f"output {tensor.name!r} has shape {list(tensor.shape)}, but its {len(tensor.raw)} bytes do not fit it"
            )
    return tensors


def _fits(tensor: Tensor) -> bool:
    count = element_count(tensor.shape)
    if tensor.datatype == BYTES:
        return _bytes_fit(tensor.raw, count)
    width = WIDTHS.get(tensor.datatype, 2)  # BF16, which only travels raw
    return count * width == len(tensor.raw)


def _bytes_fit(raw: bytes, count: int) -> bool:
    at = 0
    for _ in range(count):
        if at + 4 > len(raw):
            return False
        at += 4 + int.from_bytes(raw[at : at + 4], "little")
    return at == len(raw)
