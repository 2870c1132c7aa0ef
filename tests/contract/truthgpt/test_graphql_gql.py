"""`gql`, a client that nobody of us wrote, unmodified: over HTTP and over both WebSocket subprotocols."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from gql import Client, gql
from gql.client import AsyncClientSession
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from control_plane.domain.jobs import JobKind
from tests.contract.conftest import ServeHttp
from tests.contract.served import Served
from tests.doubles.optimizations import StubOptimizing
from tests.product import NO_TLS

PROTOCOLS = ["graphql-transport-ws", "graphql-ws"]
both = pytest.mark.parametrize("protocol", PROTOCOLS)
STREAM = gql('subscription ($text: String!) { inferenceStream(modelId: "coder", inputData: $text) }')


def over_http(http: Served) -> Client:
    url = f"{http.url}/graphql"
    transport = HTTPXAsyncTransport(url=url, headers=http.admin, verify=NO_TLS)
    return Client(transport=transport, fetch_schema_from_transport=True)


def over_socket(http: Served, protocol: str, **options: Any) -> Client:
    url = f"{http.url.replace('http', 'ws')}/graphql"
    return Client(transport=WebsocketsTransport(url=url, subprotocols=[protocol], **options))  # type: ignore[list-item]


async def pieces(session: AsyncClientSession, text: str) -> list[str]:
    STREAM.variable_values = {"text": text}
    return [result["inferenceStream"] async for result in session.subscribe(STREAM)]


async def test_over_http_it_fetches_the_schema_and_checks_its_queries_by_it(http: Served) -> None:
    async with over_http(http) as session:
        assert session.client.schema is not None
        found = await session.execute(gql("{ models { modelId parameters createdAt } }"))
        assert [model["modelId"] for model in found["models"]] == ["adder", "coder"]
        with pytest.raises(TransportQueryError) as refused:
            await session.execute(gql('mutation { unloadModel(modelId: "nobody") }'))
        assert refused.value.errors is not None
        assert refused.value.errors[0]["extensions"]["code"] == "MODEL_NOT_FOUND"


@both
async def test_a_subscription_is_followed_with_a_header_and_with_an_init_payload(http: Served, protocol: str) -> None:
    for how in ({"headers": http.user}, {"init_payload": http.user}):
        async with over_socket(http, protocol, **how) as session:
            assert await pieces(session, "a b c") == ["a", " b", " c"]
            assert (await session.execute(gql("{ models { name } }")))["models"]


@both
async def test_an_optimization_is_followed_to_its_end(serve_http: ServeHttp, protocol: str) -> None:
    http, work = await serve_http(), StubOptimizing(gate=asyncio.Event())
    http.world.services.jobs.register(JobKind.OPTIMIZE, work)
    begin = gql('mutation { optimizeModel(modelId: "adder", optimizationLevel: "master") { optimizationId } }')
    follow = gql("subscription ($id: String!) { optimizationProgress(optimizationId: $id) { status progress } }")
    async with over_socket(http, protocol, headers=http.admin) as session:
        begun = (await session.execute(begin))["optimizeModel"]
        follow.variable_values = {"id": begun["optimizationId"]}
        told = []
        async for result in session.subscribe(follow):
            told.append(result["optimizationProgress"])
            if told[-1]["progress"] == 50.0:
                work.gate.set()  # type: ignore[union-attr]
    assert told[-1] == {"status": "completed", "progress": 100.0}
    assert [one["progress"] for one in told] == sorted(one["progress"] for one in told)


@both
async def test_leaving_a_subscription_ends_the_generation(serve_http: ServeHttp, protocol: str) -> None:
    http = await serve_http()
    http.world.triton.hold_at = 1
    STREAM.variable_values = {"text": "a b c"}
    async with over_socket(http, protocol, headers=http.user) as session:
        subscription = session.subscribe(STREAM)
        assert await anext(subscription) == {"inferenceStream": "a"}
        await http.world.triton.holding.wait()
        await subscription.aclose()
        async with asyncio.timeout(5):
            await http.world.triton.was_closed_early.wait()


@both
async def test_a_refusal_is_raised_with_its_code(http: Served, protocol: str) -> None:
    async with over_socket(http, protocol, headers=http.viewer) as session:
        with pytest.raises(TransportQueryError) as refused:
            await pieces(session, "a")
        assert refused.value.errors is not None
        assert refused.value.errors[0]["extensions"]["code"] == "FORBIDDEN"
