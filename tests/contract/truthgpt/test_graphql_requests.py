"""How a GraphQL request over HTTP is read, refused, counted and ended: T-GQL-12, C-AUTH-10, C-RL, C-AUDIT-01."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import EngineFailed
from control_plane.domain.jobs import JobKind
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.contract.truthgpt.graphql_client import RUN, asked, data, error
from tests.doubles.optimizations import StubOptimizing
from tests.doubles.quotas import limited


@pytest.mark.parametrize(
    ("query", "needed"),
    [
        ("{ models { modelId } }", "viewer"),
        ("{ optimizations { status } }", "viewer"),
        ('mutation { runInference(modelId: "coder", inputData: "a") { output } }', "user"),
        ('mutation { loadModel(name: "coder", modelType: "transformer") { modelId } }', "admin"),
        ('mutation { optimizeModel(modelId: "adder", optimizationLevel: "basic") { status } }', "admin"),
        ('mutation { unloadModel(modelId: "nobody") }', "admin"),
        ('mutation { cancelOptimization(optimizationId: "opt_x") { status } }', "admin"),
    ],
)
async def test_c_auth_06_roles_are_those_of_rest(serve_http: ServeHttp, query: str, needed: str) -> None:
    http = await serve_http()
    order = ["viewer", "user", "admin"]
    for role in order:
        told = await asked(http, query, http.as_role(role))
        codes = [one["extensions"]["code"] for one in told.get("errors", ())]
        assert ("FORBIDDEN" in codes) == (order.index(role) < order.index(needed)), (role, told)


async def test_t_gql_12_an_error_of_a_resolver_says_where_and_the_other_fields_are_answered(http: Served) -> None:
    query = '{ good: model(modelId: "coder") { name } bad: model(modelId: "b$d") { name } }'
    told = await asked(http, query)
    assert told["data"] == {"good": {"name": "coder"}, "bad": None}
    (refused,) = told["errors"]
    assert (refused["path"], refused["locations"]) == (["bad"], [{"line": 1, "column": 42}])
    assert refused["extensions"]["code"] == "INVALID_REQUEST"
    assert "cannot name a model" in refused["message"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("{ models { modelId ", "Syntax Error"),
        ("", "Syntax Error"),
        ("{ models { colour } }", "Cannot query field 'colour' on type 'Model'"),
        ("{ models(limit: $limit) { name } }", "Variable '$limit' is not defined"),
        ("query A { models { name } } query B { models { name } }", "operationName"),
        ("fragment F on Model { name }", "no operation"),
        ("subscription { inferenceStream(modelId: \"coder\", inputData: \"a\") }", "WebSocket"),
    ],
)  # fmt: skip
async def test_t_gql_12_a_document_that_makes_no_sense_is_a_200_with_an_error(
    http: Served, query: str, said: str
) -> None:
    refused = await error(http, query)
    assert refused["extensions"]["code"] == "INVALID_REQUEST"
    assert said in refused["message"]


async def test_t_gql_12_a_variable_of_another_type_is_refused(http: Served) -> None:
    refused = await error(http, "query($limit: Int!) { models(limit: $limit) { name } }", limit="many")
    assert refused["extensions"]["code"] == "INVALID_REQUEST"


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"{", "application/json", "json"),
        (b"\xff", "application/json", "json"),
        (b"[" * 100_000, "application/json", "json"),
        (b'{"query": "{ models { name } }", "variables": {"a": NaN}}', "application/json", "json"),
        (b'{"query": "{ models { name } }", "variables": {"a": "\\ud800"}}', "application/json", "json"),
        (b"[]", "application/json", "schema"),
        (b"{}", "application/json", "schema"),
        (b'{"query": 1}', "application/json", "schema"),
        (b'{"query": "{ models { name } }", "variables": []}', "application/json", "schema"),
        (b'{"query": "{ models { name } }", "operationName": 1}', "application/json", "schema"),
        (b'{"query": "{ models { name } }"}', "text/plain", "json"),
        (b'{"query": "{ models { name } }"}', "text/plain; like=application/json", "json"),
        (b'{"query": "{ models { name } }"}', "", "json"),
    ],
)
async def test_t_gql_12_what_is_no_graphql_request_is_400(
    http: Served, body: bytes, content_type: str, reason: str
) -> None:
    headers = {**http.viewer, "Content-Type": content_type, "X-Request-ID": "mine-1"}
    reply = await http.client.post("/graphql", content=body, headers=headers)
    assert reply.status_code == 400
    assert reply.json()["data"] is None
    (refused,) = reply.json()["errors"]
    assert refused["extensions"]["code"] == "INVALID_REQUEST"
    assert refused["extensions"]["details"]["reason"] == reason
    assert refused["extensions"]["request_id"] == reply.headers["X-Request-ID"] == "mine-1"


async def test_t_gql_12_the_named_operation_of_several_is_run(http: Served) -> None:
    query = "query A { models { name } } query B { optimizations { status } }"
    body = {"query": query, "operationName": "B"}
    reply = await http.client.post("/graphql", json=body, headers=http.viewer)
    assert set(reply.json()["data"]) == {"optimizations"}


async def test_t_gql_12_a_failure_of_triton_and_a_bug_are_told_without_a_trace(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.triton.fail_at = (0, EngineFailed("the kernel exploded"))
    refused = await error(http, RUN, http.user, model="coder", text="a b")
    assert (refused["extensions"]["code"], refused["message"]) == ("PROCESSING_FAILED", "the kernel exploded")
    http.world.triton.fail_at = (0, KeyError("/secret/path"))  # type: ignore[assignment]
    bug = await error(http, RUN, http.user, model="coder", text="a b")
    assert bug["extensions"]["code"] == "INTERNAL_ERROR"
    assert "/secret" not in json.dumps(bug)


async def test_t_gql_12_the_body_has_the_limit_of_every_body(http: Served) -> None:
    reply = await http.client.post("/graphql", json={"query": "x" * 2**20}, headers=http.viewer)
    assert reply.status_code == 413
    assert reply.json()["errors"][0]["extensions"]["code"] == "PAYLOAD_TOO_LARGE"


async def test_c_auth_10_without_a_valid_credential_it_is_401_in_graphqls_words(http: Served) -> None:
    for headers in ({}, {"Authorization": "Bearer a.b.c"}, {"X-API-Key": "tpk_none"}):
        for reply in (
            await http.client.post("/graphql", json={"query": "{ models { name } }"}, headers=headers),
            await http.client.post("/graphql", content=b"{", headers=headers),
            await http.client.get("/graphql", params={"query": "{ models { name } }"}, headers=headers),
        ):
            assert (reply.status_code, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert reply.json()["data"] is None
            assert reply.json()["errors"][0]["extensions"]["code"] == "UNAUTHORIZED"


async def test_c_auth_14_where_anybody_may_read_no_credential_is_needed(serve_http: ServeHttp) -> None:
    http = await serve_http(await two_models(anonymous_role=Role.VIEWER))
    assert len((await data(http, "{ models { name } }", {}))["models"]) == 2
    assert (await error(http, RUN, {}, model="coder", text="a"))["extensions"]["code"] == "FORBIDDEN"


async def test_queries_are_answered_by_get_and_a_mutation_is_not(http: Served) -> None:
    query = "query($model: String!) { model(modelId: $model) { name } }"
    asked_for: dict[str, Any] = {"query": query, "variables": json.dumps({"model": "coder"})}
    reply = await http.client.get("/graphql", params=asked_for, headers=http.viewer)
    assert (reply.status_code, reply.json()) == (200, {"data": {"model": {"name": "coder"}}})
    mutation = 'mutation { unloadModel(modelId: "coder") }'
    refused = await http.client.get("/graphql", params={"query": mutation}, headers=http.admin)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    assert refused.json()["errors"][0]["extensions"]["code"] == "METHOD_NOT_ALLOWED"
    assert (await http.client.get("/models/coder", headers=http.viewer)).json()["status"] == "loaded"
    for params in ({}, {"query": query, "variables": "{"}, {"query": query, "variables": "[]"}):
        assert (await http.client.get("/graphql", params=params, headers=http.viewer)).status_code == 400


async def test_it_answers_at_its_own_path_only(http: Served) -> None:
    body = {"query": "{ models { name } }"}
    for path in ("/v1/graphql", "/graphql/", "/graphql/v1"):
        assert (await http.client.post(path, json=body, headers=http.viewer)).status_code == 404
    assert (await http.client.put("/graphql", json=body, headers=http.viewer)).status_code == 405


async def test_c_audit_01_what_a_document_changes_or_may_not_change_leaves_a_line(serve_http: ServeHttp) -> None:
    http = await serve_http()
    lines = http.world.audit.written
    lines.clear()
    unload = 'mutation { unloadModel(modelId: "adder") }'
    await data(http, unload)
    await error(http, unload, http.user)
    await data(http, "{ models { name } }")
    told = [(line["verb"], line["result"], line["who"], line["role"], line["door"]) for line in lines]
    assert told == [
        ("model.unload", "OK", "somebody", "admin", "http"),
        ("request.refused", "FORBIDDEN", "somebody", "user", "http"),
    ]
    assert all(line["request_id"].startswith("req_") for line in lines)


async def test_c_rl_each_root_field_counts_in_the_bucket_of_its_class(serve_http: ServeHttp) -> None:
    world = await two_models()
    http = await serve_http(world, quotas=limited(world.clock))
    for _ in range(5):
        body = {"query": RUN, "variables": {"model": "coder", "text": "a"}}
        reply = await http.client.post("/graphql", json=body, headers=http.user)
        assert "errors" not in reply.json()
    assert (reply.headers["X-RateLimit-Limit"], reply.headers["X-RateLimit-Remaining"]) == ("10", "5")
    five = " ".join(f'r{n}: runInference(modelId: "coder", inputData: "a") {{ output }}' for n in range(6))
    told = await http.client.post("/graphql", json={"query": f"mutation {{ {five} }}"}, headers=http.user)
    (refused,) = told.json()["errors"]
    assert (refused["path"], refused["extensions"]["code"]) == (["r5"], "RATE_LIMIT_EXCEEDED")
    waits = refused["extensions"]["details"]["retry_after_seconds"]
    assert told.headers["Retry-After"] == str(waits)
    # Another class, and another caller, are not touched by it.
    assert "models" in await data(http, "{ models { name } }", http.user)
    assert "runInference" in await data(http, RUN, http.as_role("user", "another"), model="coder", text="a")
    # The same bucket as REST's.
    ask = {"model_id": "coder", "input_data": {"text": "a"}}
    assert (await http.client.post("/inference", json=ask, headers=http.user)).status_code == 429


async def test_c_rl_02_what_was_asked_for_too_much_can_still_be_stopped(serve_http: ServeHttp) -> None:
    world = await two_models()
    world.services.jobs.register(JobKind.OPTIMIZE, StubOptimizing(gate=asyncio.Event()))
    http = await serve_http(world, quotas=limited(world.clock))
    optimize = 'mutation { optimizeModel(modelId: "adder", optimizationLevel: "basic") { optimizationId } }'
    ids = [(await data(http, optimize))["optimizeModel"]["optimizationId"] for _ in range(5)]
    assert (await error(http, optimize))["extensions"]["code"] == "RATE_LIMIT_EXCEEDED"
    cancel = "mutation($id: String!) { cancelOptimization(optimizationId: $id) { status } }"
    for optimization_id in ids:
        assert (await data(http, cancel, id=optimization_id))["cancelOptimization"]["status"] == "cancelled"


async def test_c_rl_asking_for_the_schema_counts_once_and_a_document_that_is_refused_does_not(
    serve_http: ServeHttp,
) -> None:
    world = await two_models()
    http = await serve_http(world, quotas=limited(world.clock))
    query = '{ ...Asked } fragment Asked on Query { __schema { types { name } } __type(name: "Model") { name } }'
    for left in (99, 98):
        reply = await http.client.post("/graphql", json={"query": query}, headers=http.user)
        assert reply.json()["data"]["__type"] == {"name": "Model"}
        assert reply.headers["X-RateLimit-Remaining"] == str(left)
    wrong = await http.client.post("/graphql", json={"query": "{ __schema { nope } }"}, headers=http.user)
    assert wrong.headers["X-RateLimit-Remaining"] == "98"
    for _ in range(98):
        await data(http, "{ __schema { queryType { name } } }", http.user)
    assert (await error(http, query, http.user))["extensions"]["code"] == "RATE_LIMIT_EXCEEDED"


async def test_a_caller_who_leaves_ends_the_generation(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.triton.hold_at = 0
    body = {"query": RUN, "variables": {"model": "coder", "text": "a b"}}
    asking = asyncio.create_task(http.client.post("/graphql", json=body, headers=http.user))
    await http.world.triton.holding.wait()
    tally = http.world.services.inference.tallies["coder"]
    assert tally.in_flight == 1
    asking.cancel()
    async with asyncio.timeout(30):
        while tally.in_flight:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_a_stopping_server_refuses_mutations_and_answers_queries(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.services.health.stopping.set()
    reply = await http.client.post("/graphql", json={"query": "{ models { name } }"}, headers=http.viewer)
    assert (reply.status_code, reply.json()["errors"][0]["extensions"]["code"]) == (503, "PIPELINE_UNAVAILABLE")
    reply = await http.client.get("/graphql", params={"query": "{ models { name } }"}, headers=http.viewer)
    assert reply.status_code == 200
