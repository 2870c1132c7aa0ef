"""What runs over a GraphQL WebSocket, in either subprotocol: T-GQL-09, T-GQL-10, and how each operation ends."""

from __future__ import annotations

import asyncio
import time

import pytest

from control_plane.domain.errors import EngineFailed
from control_plane.domain.jobs import JobKind
from control_plane.domain.optimization import OptimizationOptions
from control_plane.domain.optimization_options import parse_options
from control_plane.ports import Progress
from control_plane.services.jobs import Run
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.contract.truthgpt.graphql_client import STREAM, WORDS, begun, both, code, stalled
from tests.doubles.optimizations import StubOptimizing
from tests.doubles.quotas import limited

FOLLOW = (
    "subscription($id: String!) { optimizationProgress(optimizationId: $id) "
    "{ optimizationId status progress performanceMetrics completedAt } }"
)


async def submitted(http: Served) -> str:
    options: tuple[OptimizationOptions, tuple[str, ...]] = parse_options("basic", {})
    job = await http.world.services.optimizations.submit("adder", *options, None)
    return job.id


@both
async def test_t_gql_09_it_begins_with_how_it_is_and_ends_with_how_it_ended(
    serve_http: ServeHttp, protocol: str
) -> None:
    work = StubOptimizing(gate=asyncio.Event())
    http = await serve_http()
    http.world.services.jobs.register(JobKind.OPTIMIZE, work)
    optimization_id = await submitted(http)
    await work.half_way.wait()
    async with begun(http, protocol) as socket:
        await socket.start(FOLLOW, id=optimization_id)
        first = (await socket.hear())["payload"]["data"]["optimizationProgress"]
        assert (first["optimizationId"], first["status"], first["progress"]) == (optimization_id, "running", 50.0)
        work.gate.set()  # type: ignore[union-attr]
        (last,) = [result["data"]["optimizationProgress"] for result in await socket.results()]
        assert (last["status"], last["progress"]) == ("completed", 100.0)
        assert last["performanceMetrics"]["speedup"] > 1
        assert last["completedAt"] is not None
        # Of one that is over the last is also the first.
        await socket.start(FOLLOW, "2", id=optimization_id)
        assert [result["data"]["optimizationProgress"] for result in await socket.results()] == [last]


async def test_t_gql_09_changes_come_at_most_ten_times_a_second_and_progress_never_falls(
    serve_http: ServeHttp,
) -> None:
    async def hurried(run: Run) -> dict[str, object]:
        for number in range(60):
            run.report(Progress(number / 60, f"step {number}"))
            await run.settled()
            await asyncio.sleep(0.01)
        return {}

    http = await serve_http()
    http.world.services.jobs.register(JobKind.OPTIMIZE, hurried)
    async with begun(http, "graphql-transport-ws") as socket:
        started = time.monotonic()
        await socket.start(FOLLOW, id=await submitted(http))
        told = [result["data"]["optimizationProgress"]["progress"] for result in await socket.results()]
    assert told == sorted(told)
    assert told[-1] == 100.0
    assert 4 <= len(told) <= 2 + 10 * (time.monotonic() - started)


@both
async def test_t_gql_09_an_unknown_optimization_is_an_error(http: Served, protocol: str) -> None:
    async with begun(http, protocol) as socket:
        await socket.start(FOLLOW, id="opt_nobody")
        assert code(await socket.error()) == "OPTIMIZATION_NOT_FOUND"
        await socket.start("{ models { name } }", "2")
        assert len(await socket.results()) == 1


@both
async def test_t_gql_10_each_piece_of_a_text_is_an_event_and_together_they_are_the_text(
    http: Served, protocol: str
) -> None:
    async with begun(http, protocol) as socket:
        await socket.start(STREAM, text="a b c d", max=3)
        results = await socket.results()
        assert [result["data"]["inferenceStream"] for result in results] == ["a", " b", " c"]


@both
async def test_t_gql_10_unsubscribing_ends_the_generation_inside_triton(serve_http: ServeHttp, protocol: str) -> None:
    http = await serve_http()
    async with begun(http, protocol) as socket:
        await stalled(http, socket)
        await socket.hear()
        await socket.stop()
        async with asyncio.timeout(5):
            await http.world.triton.was_closed_early.wait()
        # The id is free again, and nothing more is said of what was stopped.
        await socket.start("{ models { name } }")
        (result,) = await socket.results()
        assert set(result["data"]) == {"models"}


@both
async def test_t_gql_10_a_client_who_leaves_ends_its_generations(serve_http: ServeHttp, protocol: str) -> None:
    http = await serve_http()
    async with begun(http, protocol) as socket:
        await stalled(http, socket)
        socket.connection.transport.abort()
        async with asyncio.timeout(5):
            await http.world.triton.was_closed_early.wait()


@both
async def test_t_gql_10_what_fails_on_the_way_ends_with_an_error(serve_http: ServeHttp, protocol: str) -> None:
    http = await serve_http()
    http.world.triton.fail_at = (2, EngineFailed("the kernel exploded"))
    async with begun(http, protocol) as socket:
        await socket.start(STREAM, text="a b c")
        assert [(await socket.hear())["payload"]["data"]["inferenceStream"] for _ in range(2)] == ["a", " b"]
        told = await socket.error()
        assert (code(told), told["message"]) == ("PROCESSING_FAILED", "the kernel exploded")


@both
async def test_a_bug_ends_its_operation_without_a_trace_and_the_connection_goes_on(
    serve_http: ServeHttp, protocol: str
) -> None:
    http = await serve_http()
    http.world.triton.fail_at = (0, KeyError("/secret/path"))  # type: ignore[assignment]
    async with begun(http, protocol) as socket:
        await socket.start(STREAM, text="a")
        told = await socket.error()
        assert code(told) == "INTERNAL_ERROR"
        assert "/secret" not in str(told)
        await socket.start("{ models { name } }")
        assert len(await socket.results()) == 1


@both
@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("{ models {", "INVALID_REQUEST"),
        ("{ colours }", "INVALID_REQUEST"),
        ("subscription { models }", "INVALID_REQUEST"),
        ('subscription { inferenceStream(modelId: "nobody", inputData: "a") }', "MODEL_NOT_FOUND"),
        ('subscription { inferenceStream(modelId: "coder", inputData: "a", temperature: 3) }', "INVALID_REQUEST"),
        ("{" * 3000, "INVALID_REQUEST"),
    ],
)
async def test_t_gql_12_what_is_refused_ends_its_operation_and_not_the_connection(
    http: Served, protocol: str, query: str, wanted: str
) -> None:
    async with begun(http, protocol) as socket:
        await socket.start(query)
        assert code(await socket.error()) == wanted
        await socket.start(STREAM, text="a")
        assert len(await socket.results()) == 1


@both
async def test_queries_and_mutations_are_answered_too_and_operations_run_side_by_side(
    serve_http: ServeHttp, protocol: str
) -> None:
    http = await serve_http()
    async with begun(http, protocol) as socket:
        await stalled(http, socket, "slow")
        assert (await socket.hear())["id"] == "slow"
        await socket.start('mutation { unload_model(model_id: "adder") }', "quick")
        result = {"type": WORDS[protocol]["result"], "id": "quick", "payload": {"data": {"unload_model": True}}}
        assert await socket.hear() == result
        assert await socket.hear() == {"type": "complete", "id": "quick"}
        http.world.triton.go_on.set()
        assert len(await socket.results()) == 1


@both
async def test_a_field_that_fails_is_told_beside_the_others(http: Served, protocol: str) -> None:
    async with begun(http, protocol) as socket:
        await socket.start('{ good: model(modelId: "coder") { name } bad: model(modelId: "b$d") { name } }')
        (result,) = await socket.results()
        assert result["data"] == {"good": {"name": "coder"}, "bad": None}
        assert result["errors"][0]["extensions"]["code"] == "INVALID_REQUEST"


@both
async def test_an_operation_whose_payload_is_no_request_is_refused_alone(http: Served, protocol: str) -> None:
    async with begun(http, protocol) as socket:
        for payload in (None, [], {}, {"query": 5}, {"query": "{ models { name } }", "variables": 5}):
            await socket.say(type=WORDS[protocol]["start"], id="1", payload=payload)
            assert code(await socket.error()) == "INVALID_REQUEST"


@both
async def test_c_rl_06_operations_count_in_the_buckets_of_http(serve_http: ServeHttp, protocol: str) -> None:
    world = await two_models()
    http = await serve_http(world, quotas=limited(world.clock))
    ask = {"model_id": "coder", "input_data": {"text": "a"}}
    for _ in range(9):
        assert (await http.client.post("/inference", json=ask, headers=http.admin)).status_code == 200
    async with begun(http, protocol) as socket:
        await socket.start(STREAM, text="a")
        assert len(await socket.results()) == 1
        await socket.start(STREAM, text="a")
        told = await socket.error()
        assert code(told) == "RATE_LIMIT_EXCEEDED"


@both
async def test_c_audit_01_what_a_connection_changes_leaves_a_line_with_its_own_request(
    serve_http: ServeHttp, protocol: str
) -> None:
    http = await serve_http()
    lines = http.world.audit.written
    lines.clear()
    async with begun(http, protocol) as socket:
        for model in ("adder", "coder"):
            await socket.start(f'mutation {{ unloadModel(modelId: "{model}") }}')
            await socket.results()
    told = [(line["verb"], line["object"], line["who"], line["door"]) for line in lines]
    assert told == [("model.unload", name, "somebody", "websocket") for name in ("adder", "coder")]
    assert len({line["request_id"] for line in lines}) == 2


@both
async def test_a_server_that_stops_lets_a_stream_finish_and_says_goodbye(serve_http: ServeHttp, protocol: str) -> None:
    http = await serve_http()
    async with begun(http, protocol) as socket:
        await stalled(http, socket)
        http.world.services.health.stopping.set()
        await socket.start("{ models { name } }", "late")
        answers = [await socket.hear(), await socket.hear()]
        assert {answer["id"]: answer["type"] for answer in answers}["late"] == "error"
        http.world.triton.go_on.set()
        assert len(await socket.results()) == 1
        assert await socket.closed() == (1001, "the server is stopping")
