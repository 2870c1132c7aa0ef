"""Running a model: text in one piece, text as a stream, and tensors as they are."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from control_plane.domain.errors import EngineFailed, InvalidRequest
from control_plane.domain.generation import Completion, Generation, Sampling, Token
from control_plane.domain.models import Revision, RevisionStatus
from control_plane.domain.tensors import (
    WIDTHS,
    Inference,
    Parameter,
    Prediction,
    Tensor,
    element_count,
    text_tensor,
    unpack,
)
from control_plane.ports import Triton
from control_plane.services.serving import Serving
from control_plane.services.token_feed import TokenFeed

GENERATION_TIMEOUT_S = 600.0
_TEXT_OUTPUTS = ("text_output", "probability", "finish_reason", "index")  # each one more costs time a token
TENSOR_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """Tensors for one model; `model` is a reference as the client wrote it."""

    model: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    parameters: tuple[tuple[str, Parameter], ...] = ()
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class TensorAnswer:
    revision: Revision
    outputs: tuple[Tensor, ...]


class InferenceService:
    """What is generated is also told to who listens to `feed`.

    `found`: what the model's reference means, where the caller has looked it up to know what to ask of it.
    Raises from every method: InvalidRequest, ModelNotFound, ModelNotReady, Unavailable, TimedOut, EngineFailed.
    """

    def __init__(self, triton: Triton, serving: Serving) -> None:
        self._triton, self._serving = triton, serving
        self.reconciler, self.meter, self.tallies = serving.reconciler, serving.meter, serving.tallies
        self.feed = TokenFeed()

    async def generate(self, generation: Generation, found: RevisionStatus | None = None) -> Completion:
        """The whole text at once: one request, one response with all tokens."""
        revision = await self._text_model(generation.model, found)
        with self._serving.measured(revision) as measured:
            prediction = await self._only_answer(_text_inference(revision, generation, stream=False))
            completion = _completion(generation.model, prediction, measured.elapsed_s())
            measured.tokens = len(completion.tokens)
            if self.feed.listening:
                self.feed.publish(revision, generation.caller, completion.tokens)
            return completion

    async def stream(self, generation: Generation, found: RevisionStatus | None = None) -> AsyncGenerator[Token, None]:
        """Generate text one token at a time.

        The last token has `is_final`. Closing the generator ends the text inside Triton.
        """
        revision = await self._text_model(generation.model, found)
        with self._serving.measured(revision) as measured:
            answers = self._triton.stream(_text_inference(revision, generation, stream=True))
            try:
                async for prediction in answers:
                    if prediction.outputs:
                        measured.tokens += 1
                        token = _token(prediction)
                        if self.feed.listening:
                            self.feed.publish(revision, generation.caller, (token.text,))
                        yield token
            finally:
                await answers.aclose()

    async def infer(self, request: TensorRequest) -> TensorAnswer:
        """Tensors through a model that answers once."""
        revision = await self._serving.revision(request.model)
        if revision.signature.is_decoupled:
            raise InvalidRequest(f"model {request.model!r} streams its answers; ask for them with a streaming route")
        for tensor in request.inputs:
            _check_size(tensor)
        with self._serving.measured(revision):
            inference = Inference(
                revision.directory,
                request.inputs,
                TENSOR_TIMEOUT_S,
                request.outputs,
                request.parameters,
                request.request_id,
            )
            prediction = await self._triton.infer(inference)
        return TensorAnswer(revision, prediction.outputs)

    async def _only_answer(self, inference: Inference) -> Prediction:
        answers = self._triton.stream(inference)  # a decoupled model has no other call, even for one answer
        try:
            async for prediction in answers:
                if prediction.outputs:
                    return prediction
        finally:
            await answers.aclose()
        raise EngineFailed("the model ended without an answer")

    async def _text_model(self, reference: str, found: RevisionStatus | None) -> Revision:
        revision = await self._serving.revision(reference, found)
        if revision.draws_images:
            raise InvalidRequest(
                f"model {reference!r} draws images and generates no text; ask it for images: POST /inference",
                backend=revision.backend,
            )
        if not revision.generates_text:
            raise InvalidRequest(
                f"model {reference!r} does not generate text; send it tensors: POST /v2/models/{reference}/infer",
                backend=revision.backend,
            )
        return revision


def _text_inference(revision: Revision, generation: Generation, *, stream: bool) -> Inference:
    return Inference(
        revision.directory,
        (text_tensor("text_input", generation.prompt),),
        GENERATION_TIMEOUT_S,
        parameters=(*_sampling_parameters(generation.sampling), ("stream", stream)),
        outputs=_TEXT_OUTPUTS,
        request_id=generation.request_id,
        takes_cancel=revision.takes_cancel,
    )


def _sampling_parameters(sampling: Sampling) -> list[tuple[str, Parameter]]:
    """Contract 0.7: the options travel as request parameters; `stop` is a JSON list."""
    parameters: list[tuple[str, Parameter]] = [
        ("max_tokens", sampling.max_tokens),
        ("temperature", float(sampling.temperature)),
        ("top_p", float(sampling.top_p)),
        ("top_k", sampling.top_k),
        ("frequency_penalty", float(sampling.frequency_penalty)),
        ("presence_penalty", float(sampling.presence_penalty)),
    ]
    if sampling.seed is not None:
        parameters.append(("seed", sampling.seed))
    if sampling.stop_sequences:
        parameters.append(("stop", json.dumps(sampling.stop_sequences)))
    return parameters


def _completion(model: str, prediction: Prediction, took_s: float) -> Completion:
    probabilities = _values(prediction, "probability")
    reason = _values(prediction, "finish_reason")[0]
    return Completion(model, tuple(_values(prediction, "text_output")), tuple(probabilities), reason, took_s)


def _token(prediction: Prediction) -> Token:
    return Token(
        _values(prediction, "text_output")[0],
        _values(prediction, "index")[0],
        _values(prediction, "probability")[0],
        _values(prediction, "finish_reason")[0],
    )


def _values(prediction: Prediction, name: str) -> list[Any]:
    tensor = prediction.output(name)
    if tensor is None or (not tensor.raw and name != "text_output"):
        raise EngineFailed(f"the model's answer lacks its output {name!r}")
    return unpack(tensor)


def _check_size(tensor: Tensor) -> None:
    width = WIDTHS.get(tensor.datatype)
    needed = element_count(tensor.shape) * width if width else None
    if needed is not None and needed != len(tensor.raw):
        shape = list(tensor.shape)
        raise InvalidRequest(f"input {tensor.name!r}: shape {shape} needs {needed} bytes, got {len(tensor.raw)}")
