"""TruthGPT's WebSockets that watch: optimizations, and the tokens of one's own requests (T-WS-01..05)."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import Any

from starlette.websockets import WebSocket

from control_plane.dialects.truthgpt.optimization_mapping import optimization_status
from control_plane.dialects.truthgpt.socket_protocol import (
    GetStatus,
    Ping,
    StatusMessage,
    SubscribeInference,
    SubscribeOptimization,
    UnsubscribeInference,
    UnsubscribeOptimization,
    WatchMessage,
    status_decoder,
    watch_decoder,
)
from control_plane.domain.access import Role
from control_plane.domain.errors import Conflict, OptimizationNotFound
from control_plane.domain.jobs import Job
from control_plane.domain.limits import LimitClass
from control_plane.domain.references import parse_reference
from control_plane.edge.http.routing import Routes
from control_plane.edge.http.sockets.connection import TRY_AGAIN_LATER
from control_plane.edge.http.sockets.session import Session, open_session

routes = Routes("WebSocket")
UNKNOWN = 4404  # 4000 and the HTTP status that says so
SUBSCRIPTIONS_MAX = 100  # of one connection


@routes.websocket("/ws")
async def watch(websocket: WebSocket) -> None:
    """One connection for any number of optimizations and models."""
    session = await open_session(websocket)
    await session.serve(watch_decoder, _Watch(session).answer)


@routes.websocket("/ws/optimization/{optimization_id}")
async def watch_optimization(websocket: WebSocket) -> None:
    """Tells of every change unasked, and how it is when asked."""
    session = await open_session(websocket)
    watching = _OptimizationWatch(session, websocket.path_params["optimization_id"])
    await watching.open()
    await session.serve(status_decoder, watching.answer)


def pong(session: Session) -> None:
    session.quotas.charge(session.principal, LimitClass.DEFAULT)
    session.send("pong")


class _Watch:
    """The subscriptions of one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def answer(self, message: WatchMessage) -> None:
        match message:
            case Ping():
                pong(self._session)
            case SubscribeOptimization(optimization_id=optimization_id):
                await self._session.services.optimizations.get(optimization_id)
                self._subscribe({"optimization_id": optimization_id}, partial(follow, self._session, optimization_id))
            case UnsubscribeOptimization(optimization_id=optimization_id):
                await self._unsubscribe({"optimization_id": optimization_id})
            case SubscribeInference(model_id=model_id):
                self._session.principal.require(Role.USER)
                self._session.services.catalog.resolve(model_id)
                self._subscribe({"model_id": model_id}, partial(_relay, self._session, model_id))
            case UnsubscribeInference(model_id=model_id):
                await self._unsubscribe({"model_id": model_id})

    def _subscribe(self, to: dict[str, str], work: Any) -> None:
        """What is subscribed to already is confirmed once more."""
        session = self._session
        session.check_open()
        session.quotas.charge(session.principal, LimitClass.DEFAULT)
        if session.is_running(_name(to)):
            session.send("subscription_confirmed", **to)
            return
        if session.count_running() >= SUBSCRIPTIONS_MAX:
            raise Conflict(f"this connection has {SUBSCRIPTIONS_MAX} subscriptions already; end one, or open another")
        session.start(_name(to), work)

    async def _unsubscribe(self, to: dict[str, str]) -> None:
        """Confirmed also where there was none."""
        self._session.quotas.charge(self._session.principal, LimitClass.DEFAULT)
        await self._session.cancel(_name(to))
        self._session.send("unsubscription_confirmed", **to)


class _OptimizationWatch:
    def __init__(self, session: Session, optimization_id: str) -> None:
        self._session, self._id = session, optimization_id

    async def open(self) -> None:
        try:
            await self._session.services.optimizations.get(self._id)
        except OptimizationNotFound as error:
            self._session.fail(error)
            self._session.close(UNKNOWN, error.message)
            return
        self._session.start("updates", self._push)

    async def answer(self, message: StatusMessage) -> None:
        match message:
            case Ping():
                pong(self._session)
            case GetStatus():
                session = self._session
                job = await session.services.optimizations.get(self._id)
                session.quotas.charge(session.principal, LimitClass.DEFAULT)
                session.send("optimization_status", optimization_id=self._id, data=_told(job))

    async def _push(self) -> None:
        """Changes only: a client that asks for the status first is answered that first."""
        async with aclosing(self._session.services.optimizations.follow(self._id)) as jobs:
            await anext(jobs)
            async for job in jobs:
                self._session.send("optimization_update", optimization_id=self._id, data=_told(job))


async def follow(session: Session, optimization_id: str) -> None:
    """Its state now, and each change, until it is over."""
    async with aclosing(session.services.optimizations.follow(optimization_id)) as jobs:
        session.send("subscription_confirmed", optimization_id=optimization_id)
        async for job in jobs:
            session.send("optimization_update", optimization_id=optimization_id, data=_told(job))


async def _relay(session: Session, model_id: str) -> None:
    """Tokens of requests that are made from now on; a bare name means any revision of the model."""
    revision = session.services.catalog.resolve(model_id).revision
    number = None if str(parse_reference(model_id)) == revision.model else revision.number
    listening = session.services.inference.feed.listen(revision.model, session.principal, number)
    session.send("subscription_confirmed", model_id=model_id)
    try:
        async for texts in listening:
            for text in texts:
                session.send("inference_token", model_id=model_id, token=text)
                await session.room()
    finally:
        listening.close()
    if listening.was_too_slow:
        session.close(TRY_AGAIN_LATER, "too many tokens wait to be read")


def _name(subscription: dict[str, str]) -> str:
    return repr(subscription)


def _told(job: Job) -> dict[str, Any]:
    return optimization_status(job).model_dump(mode="json")
