"""KServe v2 inference with tensors as JSON (X-KS-03)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from control_plane.dialects.kserve.mapping import to_response, to_tensor_request
from control_plane.dialects.kserve.protocol import (
    OpenInferenceRequest,
    OpenInferenceResponse,
    decoder,
    encode,
)
from control_plane.domain.access import Role
from control_plane.domain.errors import Unsupported
from control_plane.domain.references import REFERENCE_PATTERN, REVISION_PATTERN
from control_plane.edge.http.bodies import decode
from control_plane.edge.http.lean import Call, LeanRoute, Operation
from control_plane.edge.http.replies import Reply
from control_plane.edge.http.routing import Dialect, Routes
from control_plane.services.inference import InferenceService, TensorRequest
from control_plane.services.registry import Services

BINARY_HEADER = b"inference-header-content-length"  # says that tensors follow the JSON as raw bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """`id` is the caller's own, and comes back."""

    tensors: TensorRequest
    id: str


def lean_routes(services: Services) -> Sequence[LeanRoute[Any]]:
    answer = _Inference(services.inference).answer
    return (
        LeanRoute("/v2/models/{model}/infer", Role.USER, parse, answer, _operation("infer")),
        LeanRoute("/v2/models/{model}/versions/{version}/infer", Role.USER, parse, answer, _operation("infer_version")),
    )


class _Inference:
    def __init__(self, service: InferenceService) -> None:
        self._service = service

    async def answer(self, asked: Asked, call: Call) -> Reply:
        answer = await self._service.infer(asked.tensors)
        return Reply(encode(to_response(answer, call.params[0], asked.id)))


def parse(call: Call) -> Asked:
    if BINARY_HEADER in call.headers:
        raise Unsupported("binary tensors are not supported over HTTP; send them as JSON", requires="tensors as JSON")
    request = decode(decoder, call.body)
    version = call.params[1] if len(call.params) > 1 else None
    return Asked(to_tensor_request(request, call.params[0], version, call.id), request.id)


def _operation(operation_id: str) -> Operation:
    return Operation(
        id=operation_id,
        summary="Tensor inference (Open Inference Protocol)",
        tag="Open Inference Protocol",
        request=OpenInferenceRequest,
        response=OpenInferenceResponse,
        refuses=(404, 409, 501, 504),
        patterns={"model": REFERENCE_PATTERN, "version": f"^{REVISION_PATTERN}$"},
    )


DIALECT = Dialect(name="kserve", routes=Routes("Open Inference Protocol"), lean=lean_routes)
