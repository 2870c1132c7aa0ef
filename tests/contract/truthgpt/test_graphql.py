"""What GraphQL's fields do, asked over HTTP: T-GQL-01..08, 11, 13, 14."""

from __future__ import annotations

import asyncio
import re

import pytest

from control_plane.domain.jobs import JobKind
from control_plane.domain.models import Artifact
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.contract.truthgpt.graphql_client import RUN, data, error
from tests.doubles.optimizations import StubOptimizing
from tests.doubles.repository import tensor_revision, text_revision
from tests.doubles.services import World, make_world

MODEL = "{ modelId name type parameters sizeBytes device dtype status createdAt updatedAt }"
OPTIMIZATION = "{ optimizationId modelId optimizationLevel status progress performanceMetrics createdAt completedAt }"
OPTIMIZE = (
    "mutation($model: String!, $level: String!, $parameters: JSON) {"
    f" optimizeModel(modelId: $model, optimizationLevel: $level, parameters: $parameters) {OPTIMIZATION} }}"
)


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
