"""TruthGPT's lean routes: text in one piece (T-REST-08) and as a stream (T-REST-09)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from control_plane.dialects.truthgpt.protocol import (
    FailedEvent,
    InferenceRequest,
    InferenceResponse,
    Output,
    StreamingInferenceRequest,
    TokenEvent,
    encode,
    inference_decoder,
    streaming_decoder,
)
from control_plane.domain.access import Role
from control_plane.domain.errors import DomainError
from control_plane.domain.generation import Completion, Generation, Sampling, Token
from control_plane.edge.http.bodies import decode
from control_plane.edge.http.lean import Call, LeanRoute, Operation
from control_plane.edge.http.replies import Reply, Stream, begin
from control_plane.edge.times import rfc3339_now
from control_plane.services.inference import InferenceService
from control_plane.services.registry import Services

TEXT, EVENTS = b"text/plain; charset=utf-8", b"text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
# The wire's word for an option, and the domain's.
_OPTIONS = {"max_length": "max_tokens"} | {
    name: name
    for name in (
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "stop_sequences",
        "frequency_penalty",
        "presence_penalty",
    )
}


@dataclass(frozen=True, slots=True)
class Streaming:
    generation: Generation
    as_stream: bool


def lean_routes(services: Services) -> Sequence[LeanRoute[Any]]:
    inference = _Inference(services.inference)
    return (
        LeanRoute("/inference", Role.USER, to_generation, inference.generate, _GENERATE),
        LeanRoute("/inference/stream", Role.USER, to_streaming, inference.stream, _STREAM, token_in_query=True),
    )


class _Inference:
    def __init__(self, service: InferenceService) -> None:
        self._service = service

    async def generate(self, wanted: Generation, call: Call) -> Reply:
        return Reply(encode(to_response(await self._service.generate(wanted), call.id)))

    async def stream(self, wanted: Streaming, call: Call) -> Reply | Stream:
        if not wanted.as_stream:
            return await self.generate(wanted.generation, call)
        tokens = await begin(self._service.stream(wanted.generation))
        asks_for_events = b"text/event-stream" in call.headers.get(b"accept", b"")
        return Stream(tokens, token_event, failed_event, DONE, EVENTS if asks_for_events else TEXT)


def to_generation(call: Call) -> Generation:
    return _generation(decode(inference_decoder, call.body), call.id)


def to_streaming(call: Call) -> Streaming:
    request = decode(streaming_decoder, call.body)
    return Streaming(_generation(request, call.id), request.stream)


def _generation(request: InferenceRequest | StreamingInferenceRequest, request_id: str) -> Generation:
    """An option of the request itself wins over one in `input_data`; None means it is not set (D-06)."""
    options: dict[str, Any] = {}
    for wire, name in _OPTIONS.items():
        value = getattr(request, wire)
        if value is None:
            value = getattr(request.input_data, wire)
        if value is not None:
            options[name] = tuple(value) if isinstance(value, list) else value
    return Generation(request.model_id, request.input_data.text, Sampling(**options), request_id)


def to_response(completion: Completion, request_id: str) -> InferenceResponse:
    output = Output(completion.text, completion.tokens, completion.probabilities, completion.finish_reason)
    return InferenceResponse(
        completion.model,
        output,
        completion.inference_time_s,
        completion.tokens_per_second,
        rfc3339_now(),
        request_id,
    )


def token_event(token: Token) -> bytes:
    event = TokenEvent(token.text, token.index, token.is_final, token.finish_reason)
    return b"data: %s\n\n" % encode(event)


def failed_event(error: DomainError) -> bytes:
    return b"data: %s\n\n" % encode(FailedEvent(error.message, error.code, error.details))


_GENERATE = Operation(
    id="run_inference",
    summary="Run inference",
    tag="Inference",
    request=InferenceRequest,
    response=InferenceResponse,
    description="Continue a text with a loaded model.",
    refuses=(404, 409, 504),
)
_STREAM = Operation(
    id="stream_inference",
    summary="Stream inference",
    tag="Inference",
    request=StreamingInferenceRequest,
    response=InferenceResponse,
    description="One `data:` line for each token, then `data: [DONE]`. With `stream` false: JSON.",
    stream_media_types=("text/plain", "text/event-stream"),
    refuses=(404, 409, 504),
)
