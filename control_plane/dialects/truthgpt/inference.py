"""TruthGPT's lean routes: text, or images, in one piece (T-REST-08, 19, 20) and as a stream (T-REST-09)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from control_plane.dialects.truthgpt.image_protocol import ImageResponse
from control_plane.dialects.truthgpt.images import has_image_options, image_event, image_response, to_drawing
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
from control_plane.domain.errors import DomainError, InvalidRequest
from control_plane.domain.generation import Completion, Generation, Sampling, Token
from control_plane.domain.images import Drawing
from control_plane.edge.http.bodies import decode
from control_plane.edge.http.handlers import wrong_shape
from control_plane.edge.http.lean import Call, LeanRoute, Operation
from control_plane.edge.http.replies import Reply, Stream, begin
from control_plane.edge.times import rfc3339_now
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


@dataclass(slots=True)
class Asked:
    """A request whose model is not looked up yet: whether it means a text or images depends on that.

    `has_image_options`: it says something that no text model understands.
    """

    request: InferenceRequest
    sampling: Sampling
    has_image_options: bool
    id: str
    caller: str
    as_stream: bool

    def generation(self) -> Generation:
        """Raises InvalidRequest where that makes no sense."""
        wanted, model = self.request.input_data, self.request.model_id
        if wanted.text is UNSET:
            raise wrong_shape([(("body", "input_data"), "Object missing required field `text`")])
        if self.has_image_options:
            raise InvalidRequest(
                f"model {model!r} draws no images: leave out num_steps, num_images, label and guidance",
                field="input_data",
            )
        return Generation(model, wanted.text, self.sampling, self.id, self.caller)

    def drawing(self) -> Drawing:
        """Raises InvalidRequest for a value out of its bounds."""
        request = self.request
        return to_drawing(
            request.model_id, request.input_data, seed=request.seed, request_id=self.id, caller=self.caller
        )


def lean_routes(services: Services) -> Sequence[LeanRoute[Any]]:
    inference = _Inference(services)
    return (
        LeanRoute("/inference", Role.USER, to_whole, inference.answer, _ANSWER),
        LeanRoute("/inference/stream", Role.USER, to_streaming, inference.stream, _STREAM, token_in_query=True),
    )


class _Inference:
    def __init__(self, services: Services) -> None:
        self._texts, self._drawings, self._catalog = services.inference, services.drawings, services.catalog

    async def answer(self, asked: Asked, call: Call) -> Reply:
        found = self._catalog.resolve(asked.request.model_id)
        if found.revision.draws_images:
            return Reply(encode(image_response(await self._drawings.draw(asked.drawing(), found), call.id)))
        return Reply(encode(to_response(await self._texts.generate(asked.generation(), found), call.id)))

    async def stream(self, asked: Asked, call: Call) -> Reply | Stream:
        if not asked.as_stream:
            return await self.answer(asked, call)
        media_type = EVENTS if b"text/event-stream" in call.headers.get(b"accept", b"") else TEXT
        found = self._catalog.resolve(asked.request.model_id)
        if found.revision.draws_images:
            steps = await begin(self._drawings.stream(asked.drawing(), found))
            return Stream(steps, image_event, failed_event, DONE, media_type)
        tokens = await begin(self._texts.stream(asked.generation(), found))
        return Stream(tokens, token_event, failed_event, DONE, media_type)


def to_whole(call: Call) -> Asked:
    return asked_of(decode(inference_decoder, call.body), call.id, call.principal.id)


def to_streaming(call: Call) -> Asked:
    request = decode(streaming_decoder, call.body)
    return asked_of(request, call.id, call.principal.id, as_stream=request.stream)


def asked_of(request: InferenceRequest, request_id: str, caller: str, *, as_stream: bool = False) -> Asked:
    """Values are checked here, before the caller's role; which of them the model takes, after it (C-ERR-09)."""
    is_for_images = has_image_options(request.input_data)
    asked = Asked(request, _sampling(request), is_for_images, request_id, caller, as_stream)
    if is_for_images:
        asked.drawing()
    return asked


def _sampling(request: InferenceRequest) -> Sampling:
    """An option of the request itself wins over one in `input_data`; None means it is not set (D-06)."""
    options: dict[str, Any] = {}
    for wire, name in _OPTIONS.items():
        value = getattr(request, wire)
        if value is None:
            value = getattr(request.input_data, wire)
        if value is not None:
            options[name] = tuple(value) if isinstance(value, list) else value
    return Sampling(**options)


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


_ANSWER = Operation(
    id="run_inference",
    summary="Run inference",
    tag="Inference",
    request=InferenceRequest,
    response=InferenceResponse,
    or_else=(ImageResponse,),
    description="Continue a text with a loaded model, or draw images with one of type `diffusion` or `hybrid`. Those "
    "take `num_steps`, `num_images`, `seed`, `guidance` and, by their type, `label` or `text` from `input_data`; other "
    "options of texts mean nothing to them.",
    refuses=(404, 409, 504),
)
_STREAM = Operation(
    id="stream_inference",
    summary="Stream inference",
    tag="Inference",
    request=StreamingInferenceRequest,
    response=InferenceResponse,
    or_else=(ImageResponse,),
    description="One `data:` line for each token, or each denoising step and then the images; after them "
    "`data: [DONE]`. With `stream` false: JSON.",
    stream_media_types=("text/plain", "text/event-stream"),
    refuses=(404, 409, 504),
)
