"""Running a model: text in one piece, text as a stream, and tensors as they are."""

from __future__ import annotations

import json
from asyncio import CancelledError
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from control_plane.domain.errors import (
    DomainError,
    EngineCrashed,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    Unavailable,
)
from control_plane.domain.generation import Completion, Generation, Sampling, Token
from control_plane.domain.histogram import Histogram
from control_plane.domain.models import ModelState, Revision, RevisionStatus
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
from control_plane.services.catalog import Catalog
from control_plane.services.metering import Meter
from control_plane.services.models import Models
from control_plane.services.reconciliation import Reconciler

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


class InferenceTally:
    """What one model has done since start. Units: seconds in `seconds`."""

    __slots__ = ("failures", "in_flight", "seconds", "successes", "tokens")

    def __init__(self) -> None:
        self.seconds = Histogram()
        self.successes = self.failures = self.tokens = self.in_flight = 0


class InferenceService:
    """Raises from every method: InvalidRequest, ModelNotFound, ModelNotReady, Unavailable, TimedOut, EngineFailed."""

    def __init__(
        self,
        triton: Triton,
        catalog: Catalog,
        models: Models,
        reconciler: Reconciler,
        meter: Meter,
        *,
        auto_load: bool,
    ) -> None:
        self._triton, self._catalog, self._models, self._auto_load = triton, catalog, models, auto_load
        self.reconciler, self.meter = reconciler, meter
        self.tallies: dict[str, InferenceTally] = {}

    async def generate(self, generation: Generation) -> Completion:
        """The whole text at once: one request, one response with all tokens."""
        revision = await self._text_model(generation.model)
        with _Measured(self, revision) as measured:
            prediction = await self._only_answer(_text_inference(revision, generation, stream=False))
            completion = _completion(generation.model, prediction, measured.elapsed_s())
            measured.tokens = len(completion.tokens)
            return completion

    async def stream(self, generation: Generation) -> AsyncGenerator[Token, None]:
        """Generate text one token at a time.

        The last token has `is_final`. Closing the generator cancels the request inside Triton.
        """
        revision = await self._text_model(generation.model)
        with _Measured(self, revision) as measured:
            answers = self._triton.stream(_text_inference(revision, generation, stream=True))
            try:
                async for prediction in answers:
                    if prediction.outputs:
                        measured.tokens += 1
                        yield _token(prediction)
            finally:
                await answers.aclose()

    async def infer(self, request: TensorRequest) -> TensorAnswer:
        """Tensors through a model that answers once."""
        revision = await self._serving(request.model)
        if revision.signature.is_decoupled:
            raise InvalidRequest(f"model {request.model!r} streams its answers; ask for them with a streaming route")
        for tensor in request.inputs:
            _check_size(tensor)
        with _Measured(self, revision):
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

    async def _text_model(self, reference: str) -> Revision:
        revision = await self._serving(reference)
        if not revision.generates_text:
            raise InvalidRequest(
                f"model {reference!r} does not generate text; send it tensors: POST /v2/models/{reference}/infer",
                backend=revision.backend,
            )
        return revision

    async def _serving(self, reference: str) -> Revision:
        status = self._catalog.resolve(reference)
        if status.state.serves:
            return status.revision
        if self._auto_load and status.state is ModelState.UNLOADED:
            return (await self._models.load(reference)).revision
        raise _not_serving(reference, status)


class _Measured:
    """Counts one inference and translates what only we can know about its failure."""

    __slots__ = ("_revision", "_service", "_started", "_tally", "tokens")

    def __init__(self, service: InferenceService, revision: Revision) -> None:
        self._service, self._revision = service, revision
        tally = service.tallies.get(revision.model)
        if tally is None:
            tally = service.tallies[revision.model] = InferenceTally()
        self._tally = tally
        self.tokens = 0

    def __enter__(self) -> _Measured:
        self._started = perf_counter()
        self._tally.in_flight += 1
        return self

    def elapsed_s(self) -> float:
        return perf_counter() - self._started

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        tally, work, took_s = self._tally, self._service.meter.of(self._revision), self.elapsed_s()
        tally.in_flight -= 1
        tally.tokens += self.tokens
        if error is None or isinstance(error, GeneratorExit | CancelledError):  # a caller who leaves is no failure
            tally.successes += 1
            tally.seconds.observe(took_s)
            work.succeeded(took_s, self.tokens)
            return
        tally.failures += 1
        work.failed(took_s, self.tokens)
        if isinstance(error, EngineCrashed):
            self._service.reconciler.suspect(self._revision)
        if isinstance(error, DomainError):
            error.message = self._revision.in_public_words(error.message)
        context_length = self._revision.description.context_length
        if isinstance(error, InvalidRequest) and context_length and "context" in error.message:
            error.details["max_context"] = context_length
        if isinstance(error, ModelNotFound | ModelNotReady):  # we know it and had it loaded: Triton is coming back
            raise Unavailable("the model is being loaded again; try again shortly", retry_after_seconds=2) from error


def _text_inference(revision: Revision, generation: Generation, *, stream: bool) -> Inference:
    return Inference(
        revision.directory,
        (text_tensor("text_input", generation.prompt),),
        GENERATION_TIMEOUT_S,
        parameters=(*_sampling_parameters(generation.sampling), ("stream", stream)),
        outputs=_TEXT_OUTPUTS,
        request_id=generation.request_id,
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


def _not_serving(reference: str, status: RevisionStatus) -> DomainError:
    if status.state is ModelState.LOADING:
        return Unavailable(f"model {reference!r} is being loaded; try again shortly", retry_after_seconds=2)
    if status.state is ModelState.DEAD:
        return Unavailable(f"model {reference!r} has died and is being healed", retry_after_seconds=5)
    message = f"model {reference!r} is {status.state.value}; load it first"
    return ModelNotReady(message, state=status.state.value, last_error=status.last_error)
