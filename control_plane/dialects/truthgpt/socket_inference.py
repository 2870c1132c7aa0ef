"""TruthGPT's WebSocket that generates: one run after another on one model (T-WS-06)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from time import perf_counter
from typing import Any

from starlette.websockets import WebSocket

from control_plane.dialects.truthgpt.images import image_output, to_input
from control_plane.dialects.truthgpt.inference import Asked, asked_of
from control_plane.dialects.truthgpt.protocol import InferenceRequest, InputData, Options
from control_plane.dialects.truthgpt.socket_protocol import (
    InferenceMessage,
    Ping,
    StartInference,
    StopInference,
    inference_decoder,
)
from control_plane.dialects.truthgpt.websocket import UNKNOWN, pong
from control_plane.domain.access import Role
from control_plane.domain.errors import Conflict, DomainError, EngineFailed
from control_plane.domain.generation import Generation
from control_plane.domain.images import Drawing, DrawingStep
from control_plane.domain.limits import LimitClass
from control_plane.domain.models import RevisionStatus
from control_plane.edge.http.routing import Routes
from control_plane.edge.http.sockets.session import Session, open_session
from control_plane.edge.quotas import Visit
from control_plane.edge.request_ids import new_request_id

routes = Routes("WebSocket")
_RUN = "run"
CANCELLED = "cancelled"  # the finish reason of what the client stopped


@routes.websocket("/ws/inference/{model_id}", role=Role.USER)
async def infer(websocket: WebSocket) -> None:
    """Leaving cancels what runs, inside Triton too."""
    session = await open_session(websocket)
    inferring = _Inferring(session, websocket.path_params["model_id"])
    inferring.open()
    await session.serve(inference_decoder, inferring.answer)


class _Inferring:
    """The runs of one connection."""

    def __init__(self, session: Session, model_id: str) -> None:
        self._session, self._model_id = session, model_id

    def open(self) -> None:
        try:
            self._session.services.catalog.resolve(self._model_id)
        except DomainError as error:
            self._session.fail(error)
            self._session.close(UNKNOWN, error.message)

    async def answer(self, message: InferenceMessage) -> None:
        match message:
            case Ping():
                pong(self._session)
            case StartInference():
                self._start(message)
            case StopInference():
                self._session.quotas.charge(self._session.principal, LimitClass.DEFAULT)
                if not await self._session.cancel(_RUN):
                    raise Conflict("no inference runs on this connection")

    def _start(self, message: StartInference) -> None:
        session = self._session
        work = self._work(message)
        if session.is_running(_RUN):
            raise Conflict("an inference runs on this connection; wait for its end, or send stop_inference")
        session.check_open()
        session.start(_RUN, partial(self._run, work), is_to_finish=True)

    def _work(self, message: StartInference) -> Callable[[], Awaitable[None]]:
        """Raises InvalidRequest, ModelNotFound."""
        session = self._session
        found = session.services.catalog.resolve(self._model_id)
        draws = found.revision.draws_images
        asked = _asked(message, self._model_id, session.principal.id, draws=draws)
        if draws:
            return partial(self._draw, asked.drawing(), found)
        return partial(self._generate, asked.generation(), found)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        visit = Visit(self._session.quotas, self._session.principal)
        try:
            visit.enter(LimitClass.INFERENCE)
            await work()
        except DomainError as error:
            visit.forgive(error)
            raise
        finally:
            visit.leave()

    async def _generate(self, generation: Generation, found: RevisionStatus) -> None:
        texts: list[str] = []
        started_s, reason = perf_counter(), ""
        try:
            async with aclosing(self._session.services.inference.stream(generation, found)) as tokens:
                async for token in tokens:
                    texts.append(token.text)
                    reason = token.finish_reason
                    self._send("inference_token", token=token.text, index=token.index)
                    await asyncio.sleep(0)  # tokens may come in a burst: each has its chance to be written
        except asyncio.CancelledError:
            self._complete(generation.request_id, CANCELLED, started_s, texts)
            raise
        if not reason:
            raise EngineFailed("the model stopped before its last token")
        self._complete(generation.request_id, reason, started_s, texts)

    async def _draw(self, drawing: Drawing, found: RevisionStatus) -> None:
        started_s = perf_counter()
        try:
            async with aclosing(self._session.services.drawings.stream(drawing, found)) as items:
                async for item in items:
                    if isinstance(item, DrawingStep):
                        self._send("inference_step", step=item.step, num_steps=item.num_steps)
                        continue
                    self._send(
                        "inference_complete",
                        output=image_output(item),
                        inference_time=item.inference_time_s,
                        tokens_per_second=item.steps_per_second,
                        request_id=drawing.request_id,
                    )
        except asyncio.CancelledError:
            took_s = perf_counter() - started_s
            self._send(
                "inference_complete", inference_time=took_s, finish_reason=CANCELLED, request_id=drawing.request_id
            )
            raise

    def _complete(self, request_id: str, reason: str, started_s: float, texts: list[str]) -> None:
        took_s = perf_counter() - started_s
        self._send(
            "inference_complete",
            text="".join(texts),
            tokens_generated=len(texts),
            inference_time=took_s,
            tokens_per_second=len(texts) / took_s,
            finish_reason=reason,
            request_id=request_id,
        )

    def _send(self, kind: str, **fields: Any) -> None:
        self._session.send(kind, model_id=self._model_id, **fields)


def _asked(message: StartInference, model_id: str, caller: str, *, draws: bool) -> Asked:
    """A text for a model that draws may be a JSON object of options, as in every API with one text for all."""
    given = message.input_data
    if isinstance(given, str):
        given = to_input(given) if draws else InputData(text=given)
    options = {name: getattr(message, name) for name in Options.__struct_fields__}
    request = InferenceRequest(model_id=model_id, input_data=given, **options)
    return asked_of(request, new_request_id(), caller, as_stream=True)
