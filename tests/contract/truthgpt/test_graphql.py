"""GraphQL over HTTP: T-GQL-01..08, 11..14."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import EngineFailed
from control_plane.domain.jobs import JobKind
from control_plane.domain.models import Artifact
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.contract.truthgpt.graphql_client import asked, data, error
from tests.doubles.optimizations import StubOptimizing
from tests.doubles.quotas import limited
from tests.doubles.repository import tensor_revision, text_revision
from tests.doubles.services import World, make_world

MODEL = "{ modelId name type parameters sizeBytes device dtype status createdAt updatedAt }"
OPTIMIZATION = "{ optimizationId modelId optimizationLevel status progress performanceMetrics createdAt completedAt }"
OPTIMIZE = (
    "mutation($model: String!, $level: String!, $parameters: JSON) {"
    f" optimizeModel(modelId: $model, optimizationLevel: $level, parameters: $parameters) {OPTIMIZATION} }}"
)
RUN = "mutation($model: String!, $text: String!) { runInference(modelId: $model, inputData: $text) { output } }"


async def optimizing(work: StubOptimizing) -> World:
    world = await two_models()
    world.services.jobs.register(JobKind.OPTIMIZE, work)
    return world


async def optimized(http: Served) -> str:
    """The id of an optimization that is over."""
    submitted = await data(http, OPTIMIZE, model="adder", level="master", parameters={})
    optimization_id: str = submitted["optimizeModel"]["optimizationId"]
    await http.world.services.jobs.wait(optimization_id)
    return optimization_id


async def test_t_gql_01_models_are_listed_as_rest_lists_them(http: Served) -> None:
    told = (await data(http, f"{{ models {MODEL} }}", http.viewer))["models"]
    listed = (await http.client.get("/models", headers=http.viewer)).json()
    assert [model["modelId"] for model in told] == [model["model_id"] for model in listed] == ["adder", "coder"]
    words = {"modelId": "model_id", "sizeBytes": "size_bytes", "createdAt": "created_at", "updatedAt": "updated_at"}
    for model, theirs in zip(told, listed, strict=True):
        unknown = {"parameters": 0, "dtype": ""}  # neither may be null here
        for name, value in model.items():
            assert value == (theirs[words.get(name, name)] or unknown.get(name))


async def test_t_gql_01_pages_are_cut_by_limit_and_offset(serve_http: ServeHttp) -> None:
    http = await serve_http(await make_world(*[tensor_revision(f"m{number}") for number in range(5)]))
    query = "query($limit: Int!, $offset: Int!) { models(limit: $limit, offset: $offset) { modelId } }"
    for offset, names in [(0, ["m0", "m1"]), (2, ["m2", "m3"]), (4, ["m4"]), (9, [])]:
        found = await data(http, query, limit=2, offset=offset)
        assert [model["modelId"] for model in found["models"]] == names
    for limit, offset in [(0, 0), (1001, 0), (1, -1)]:
        assert (await error(http, query, limit=limit, offset=offset))["extensions"]["code"] == "INVALID_REQUEST"


async def test_t_gql_01_a_list_of_models_is_one_read_of_the_catalog(serve_http: ServeHttp) -> None:
    http = await serve_http(await make_world(*[tensor_revision(f"m{number}") for number in range(30)]))
    catalog, reads = http.world.services.catalog, list[str]()
    for name in ("list", "get", "resolve", "status"):
        inner = getattr(catalog, name)
        setattr(catalog, name, lambda *given, inner=inner, name=name: (reads.append(name), inner(*given))[1])
    assert len((await data(http, f"{{ models {MODEL} }}"))["models"]) == 30
    assert reads == ["list"]


async def test_t_gql_02_a_model_is_found_by_any_reference_and_null_where_there_is_none(http: Served) -> None:
    query = "query($model: String!) { model(modelId: $model) { modelId name status } }"
    for reference in ("coder", "coder:1", "coder@stable"):
        found = await data(http, query, http.viewer, model=reference)
        assert found["model"] == {"modelId": "coder", "name": "coder", "status": "loaded"}
    for unknown in ("nobody", "coder:7", "coder@none"):
        assert (await data(http, query, http.viewer, model=unknown))["model"] is None


async def test_t_gql_03_optimizations_are_listed_newest_first(serve_http: ServeHttp) -> None:
    http = await serve_http()
    ids = [await optimized(http) for _ in range(3)]
    found = await data(http, f"{{ optimizations {OPTIMIZATION} }}", http.viewer)
    assert [one["optimizationId"] for one in found["optimizations"]] == sorted(ids, reverse=True)
    page = await data(http, "{ optimizations(limit: 1, offset: 1) { optimizationId } }", http.viewer)
    assert [one["optimizationId"] for one in page["optimizations"]] == [sorted(ids)[1]]


async def test_t_gql_04_an_optimization_tells_what_was_measured_and_is_null_where_there_is_none(
    serve_http: ServeHttp,
) -> None:
    http = await serve_http()
    query = f"query($id: String!) {{ optimization(optimizationId: $id) {OPTIMIZATION} }}"
    optimization_id = await optimized(http)
    found = (await data(http, query, http.viewer, id=optimization_id))["optimization"]
    told = (await http.client.get(f"/optimize/{optimization_id}", headers=http.viewer)).json()
    assert found["performanceMetrics"] == told["performance_metrics"]
    assert set(found["performanceMetrics"]) >= {"speedup", "memory_reduction", "accuracy_preservation"}
    assert (found["status"], found["progress"], found["optimizationLevel"]) == ("completed", 100.0, "master")
    assert found["completedAt"] is not None
    assert (await data(http, query, http.viewer, id="opt_nobody"))["optimization"] is None


async def test_t_gql_05_a_model_is_loaded_with_a_config_and_refused_where_rest_refuses(serve_http: ServeHttp) -> None:
    http = await serve_http(await make_world(text_revision("coder"), tensor_revision("adder")))
    query = (
        "mutation($name: String!, $type: String!, $config: JSON) {"
        f" loadModel(name: $name, modelType: $type, config: $config) {MODEL} }}"
    )
    loaded = (await data(http, query, name="coder", type="transformer"))["loadModel"]
    assert (loaded["modelId"], loaded["type"], loaded["status"]) == ("coder", "transformer", "loaded")
    inline = 'mutation { loadModel(name: "adder", modelType: "generic", config: {instance_count: "2"}) { modelId } }'
    assert (await data(http, inline))["loadModel"]["modelId"] == "adder:2"
    refusals = [
        ({"name": "nobody", "type": "generic"}, "MODEL_NOT_FOUND"),
        ({"name": "coder", "type": "diffusion"}, "INVALID_REQUEST"),
        ({"name": "coder", "type": "novel"}, "INVALID_REQUEST"),
        ({"name": "coder", "type": "transformer", "config": {"colour": "red"}}, "INVALID_REQUEST"),
        ({"name": "coder", "type": "transformer", "config": ["cpu"]}, "INVALID_REQUEST"),
        ({"name": "coder", "type": "transformer", "config": {"device": "cuda"}}, "NOT_SUPPORTED_HERE"),
    ]
    for variables, code in refusals:
        assert (await error(http, query, **variables))["extensions"]["code"] == code


async def test_t_gql_06_unloading_is_true_also_a_second_time_and_an_error_for_what_is_unknown(
    serve_http: ServeHttp,
) -> None:
    http = await serve_http()
    query = "mutation($model: String!) { unloadModel(modelId: $model) }"
    for _ in range(2):
        assert await data(http, query, model="adder") == {"unloadModel": True}
    assert (await http.client.get("/models/adder", headers=http.viewer)).json()["status"] == "unloaded"
    refused = await error(http, query, model="codr")
    assert (refused["extensions"]["code"], refused["path"]) == ("MODEL_NOT_FOUND", ["unloadModel"])
    assert refused["extensions"]["details"]["suggestion"] == "Use 'coder' instead"


async def test_t_gql_07_an_optimization_is_begun_and_answered_at_once(serve_http: ServeHttp) -> None:
    http = await serve_http(await optimizing(StubOptimizing(gate=asyncio.Event())))
    parameters = {"learning_rate": "0.001", "batch_size": "4"}
    begun = (await data(http, OPTIMIZE, model="adder", level="expert", parameters=parameters))["optimizeModel"]
    assert re.fullmatch(r"opt_[0-9A-HJKMNP-TV-Z]{26}", begun.pop("optimizationId"))
    assert begun.pop("createdAt").startswith("2026-11-21T12:00:00")
    assert begun == {
        "modelId": "adder",
        "optimizationLevel": "expert",
        "status": "running",
        "progress": 0.0,
        "performanceMetrics": None,
        "completedAt": None,
    }
    for model, level, more, code in [
        ("nobody", "basic", {}, "MODEL_NOT_FOUND"),
        ("adder", "godlike", {}, "INVALID_REQUEST"),
        ("adder", "basic", {"tempo": "high"}, "INVALID_REQUEST"),
        ("adder", "basic", {"deploy": "canary"}, "NOT_SUPPORTED_HERE"),
    ]:
        refused = await error(http, OPTIMIZE, model=model, level=level, parameters=more)
        assert refused["extensions"]["code"] == code


async def test_t_gql_08_a_text_is_continued_with_the_options_that_were_asked_for(http: Served) -> None:
    query = (
        'mutation { runInference(modelId: "coder", inputData: "a b c d", maxLength: 3, temperature: 0, topP: 0.5,'
        " seed: 9007199254740991) { modelId output inferenceTime tokensPerSecond createdAt } }"
    )
    result = (await data(http, query, http.user))["runInference"]
    assert (result["modelId"], result["output"]) == ("coder", "a b c")
    assert result["tokensPerSecond"] * result["inferenceTime"] == pytest.approx(3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", result["createdAt"])
    sent = dict(http.world.triton.requests[-1].parameters)
    assert (sent["max_tokens"], sent["temperature"], sent["top_p"]) == (3, 0.0, 0.5)
    assert sent["seed"] == 9007199254740991


async def test_c_id_01_the_requests_id_reaches_triton(http: Served) -> None:
    body = {"query": RUN, "variables": {"model": "coder", "text": "a"}}
    reply = await http.client.post("/graphql", json=body, headers={**http.user, "X-Request-ID": "mine-7"})
    assert reply.headers["X-Request-ID"] == http.world.triton.requests[-1].request_id == "mine-7"


async def test_t_gql_08_defaults_are_those_of_rest_and_a_brace_in_a_text_means_nothing(http: Served) -> None:
    assert (await data(http, RUN, http.user, model="coder", text='{"a": 1}'))["runInference"]["output"] == '{"a": 1}'
    sent = dict(http.world.triton.requests[-1].parameters)
    assert (sent["max_tokens"], sent["temperature"], sent["top_p"]) == (100, 0.7, 0.9)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('modelId: "nobody", inputData: "a"', "MODEL_NOT_FOUND"),
        ('modelId: "adder", inputData: "a"', "INVALID_REQUEST"),
        ('modelId: "coder", inputData: "a", maxLength: 0', "INVALID_REQUEST"),
        ('modelId: "coder", inputData: "a", maxLength: 5000', "INVALID_REQUEST"),
        ('modelId: "coder", inputData: "a", maxLength: null', "INVALID_REQUEST"),
        ('modelId: "coder", inputData: "a", temperature: 2.1', "INVALID_REQUEST"),
        ('modelId: "coder", inputData: "a", topP: 0', "INVALID_REQUEST"),
        ('modelId: "coder", inputData: "a", seed: 9223372036854775808', "INVALID_REQUEST"),
        ('modelId: "coder", inputData: "a", seed: "1"', "INVALID_REQUEST"),
        ('modelId: "coder", inputData: 5', "INVALID_REQUEST"),
        ('modelId: "coder"', "INVALID_REQUEST"),
    ],
)
async def test_t_gql_08_what_cannot_be_meant_is_refused_with_its_code(http: Served, arguments: str, code: str) -> None:
    refused = await error(http, f"mutation {{ runInference({arguments}) {{ output }} }}", http.user)
    assert refused["extensions"]["code"] == code


async def test_t_gql_11_an_optimization_is_cancelled_once(serve_http: ServeHttp) -> None:
    work = StubOptimizing(gate=asyncio.Event())
    http = await serve_http(await optimizing(work))
    begun = (await data(http, OPTIMIZE, model="adder", level="basic", parameters=None))["optimizeModel"]
    await work.half_way.wait()
    query = "mutation($id: String!) { cancelOptimization(optimizationId: $id) { optimizationId status } }"
    cancelled = (await data(http, query, id=begun["optimizationId"]))["cancelOptimization"]
    assert cancelled == {"optimizationId": begun["optimizationId"], "status": "cancelled"}
    assert (await error(http, query, id="opt_nobody"))["extensions"]["code"] == "OPTIMIZATION_NOT_FOUND"
    over = await optimized(await serve_http())
    assert over != begun["optimizationId"]


async def test_t_gql_11_what_is_over_is_not_cancelled(serve_http: ServeHttp) -> None:
    http = await serve_http()
    query = "mutation($id: String!) { cancelOptimization(optimizationId: $id) { status } }"
    assert (await error(http, query, id=await optimized(http)))["extensions"]["code"] == "CONFLICT"


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


@pytest.mark.parametrize(
    "query",
    [
        "{ models { model_id size_bytes created_at } }",
        "query Snake_Case { models { ...parts_of_it } } fragment parts_of_it on Model"
        " { model_id size_bytes created_at }",
        "{ models { ... on Model { model_id size_bytes created_at } } }",
    ],
)
async def test_t_gql_13_who_writes_snake_case_reads_snake_case(http: Served, query: str) -> None:
    for model in (await data(http, query))["models"]:
        assert set(model) == {"model_id", "size_bytes", "created_at"}


async def test_t_gql_13_arguments_too_but_neither_aliases_nor_variables_nor_values(http: Served) -> None:
    query = (
        'mutation Run($max_length: Int!) { run_inference(model_id: "coder", input_data: "max_length b_c d",'
        " max_length: $max_length) { output inference_time my_rate: tokens_per_second tokensPerSecond __typename } }"
    )
    told = (await data(http, query, http.user, max_length=2))["run_inference"]
    assert set(told) == {"output", "inference_time", "my_rate", "tokensPerSecond", "__typename"}
    assert (told["output"], told["__typename"]) == ("max_length b_c", "InferenceResult")
    assert told["my_rate"] == told["tokensPerSecond"]
    wrong = await error(http, "{ models { no_such } }")
    assert "'noSuch'" in wrong["message"]
    refused = await error(http, '{ model(model_id: "b$d") { name } }')
    assert refused["path"] == ["model"]


async def test_t_gql_14_sizes_beyond_32_bits_are_numbers(serve_http: ServeHttp) -> None:
    big = Artifact("1/model.onnx", 7_000_000_000, "ab" * 32)
    revision = tensor_revision("big", artifacts=(big,))
    http = await serve_http(await make_world(revision))
    (model,) = (await data(http, "{ models { sizeBytes parameters } }"))["models"]
    assert model["sizeBytes"] == 7_000_000_000


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
