"""Documents that are made to hurt: each is refused, and quickly (T-GQL-12)."""

from __future__ import annotations

import time

import pytest

from tests.contract.conftest import ServeHttp
from tests.contract.served import Served
from tests.contract.truthgpt.graphql_client import asked, data, error

SCHEMA = "{ __schema { types { name } } }"
# Nothing may hold up the loop that serves everybody for longer; the machine of the tests may be busy.
SECONDS_MAX = 2.0


def nested(levels: int) -> str:
    return "{ a " * levels + "}" * levels


def aliases(count: int) -> str:
    return "{ " + " ".join(f"m{number}: models {{ name }}" for number in range(count)) + " }"


HOSTILE = {
    "deeper than ten levels": nested(11),
    "hundreds of levels": nested(400),
    "thousands of levels": "{a" * 100_000,
    "sixteen aliases": aliases(16),
    "aliases in fragments": "{ ...F ...G } fragment F on Query { a: models { b: name } } fragment G on Query { "
    + " ".join(f"m{number}: models {{ name }}" for number in range(14)) + " }",
    "more than 2000 tokens": "{ " + "__typename " * 2000 + "}",
    "more than 2000 tokens in a list": 'mutation { loadModel(name: "a", modelType: "b", config: ['
    + "1," * 2500 + "]) { name } }",
    "lists in lists": 'mutation { loadModel(name: "a", modelType: "b", config: ' + "[" * 1500 + ") { name } }",
    "a long document of nothing": " " * 70_000 + "{ models { name } }",
    "a long document of commas": "{ models { name" + "," * 500_000 + "} }",
    "a long comment": "#" + "x" * 500_000,
    "a long text": '{ model(modelId: "' + "x" * 500_000 + '") { name } }',
    "one field a thousand times": "{ " + "models { name } " * 450 + "}",
    "one leaf a thousand times": "{ models { " + "name " * 1900 + "} }",
    "one field in other ways": "{ " + " ".join(f"models(limit: {number}) {{ name }}" for number in range(240)) + " }",
    "a fragment of itself": "{ ...F } fragment F on Query { models { name } ...F }",
    "fragments in a circle": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...C } "
    "fragment C on Query { ...A models { name } }",
    "fragments that double": "{ ...F0 } " + " ".join(
        f"fragment F{number} on Query {{ ...F{number + 1} ...F{number + 1} a{number} {{ ...F{number + 1} }} }}"
        for number in range(60)
    ) + " fragment F60 on Query { models { name } }",
    "twenty-one fragments in all pairs": "{ ...F0 } " + " ".join(
        f"fragment F{number} on Query {{ models {{ name }} ...F{number + 1} ...F{min(number + 2, 20)} }}"
        for number in range(20)
    ) + " fragment F20 on Query { models { name } }",
    "types of fields of types": "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
    "a long way down one type": "{ __schema { types { " + "ofType { " * 30 + "name" + " }" * 30 + " } } }",
    "a directive of nobody": "{ models @boom { name } }",
    "a thousand directives": "{ models { name " + "@include(if: true) " * 200 + "} }",
    "a thousand operations": " ".join(f"query Q{number} {{ models {{ name }} }}" for number in range(280)),
    "a thousand variables": "query(" + " ".join(f"$v{number}: Int" for number in range(450)) + ") { models { name } }",
    "two subscriptions": 'subscription { a: inferenceStream(modelId: "coder", inputData: "a") '
    'b: inferenceStream(modelId: "coder", inputData: "a") }',
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
async def test_t_gql_12_a_hostile_document_is_refused_at_once(http: Served, kind: str) -> None:
    started = time.monotonic()
    refused = await error(http, HOSTILE[kind])
    assert refused["extensions"]["code"] == "INVALID_REQUEST", refused
    assert time.monotonic() - started < SECONDS_MAX
    assert await data(http, "{ models { name } }")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (nested(11), "11 levels, at most 10"),
        (aliases(16), "16 aliases, at most 15"),
        ("{ " + "__typename " * 2000 + "}", "more than 2000 tokens"),
    ],
)
async def test_t_gql_12_a_refusal_says_what_was_too_much_and_the_limit(http: Served, query: str, said: str) -> None:
    refused = await error(http, query)
    assert said in refused["message"]
    assert refused["extensions"]["details"]["limit"] in (10, 15, 2000)


async def test_t_gql_12_what_is_just_within_the_bounds_is_answered(http: Served) -> None:
    assert len(await data(http, aliases(15))) == 15
    told = await error(http, nested(10))
    assert "levels" not in told["message"]
    exactly = "{ models { " + "name " * 45 + "} }"
    assert "errors" not in await asked(http, exactly)


async def test_t_gql_12_variables_are_not_bound_by_what_a_document_is(http: Served) -> None:
    query = "query($model: String!) { model(modelId: $model) { name } }"
    assert "cannot name a model" in (await error(http, query, model="x" * 500_000))["message"]


async def test_t_gql_12_deep_json_in_a_variable_is_refused_for_what_it_says(http: Served) -> None:
    query = 'mutation($config: JSON) { loadModel(name: "coder", modelType: "transformer", config: $config) { name } }'
    deep: object = {}
    for _ in range(300):
        deep = {"a": deep}
    assert (await error(http, query, config=deep))["extensions"]["code"] == "INVALID_REQUEST"


async def test_t_gql_12_introspection_can_be_switched_off_and_tells_nothing_then(serve_http: ServeHttp) -> None:
    http = await serve_http(graphql_introspection=False)
    for query in (
        SCHEMA,
        '{ __type(name: "Model") { name } }',
        "{ ...F } fragment F on Query { __schema { types { name } } }",
    ):
        assert (await error(http, query))["extensions"]["code"] == "INVALID_REQUEST"
    assert await data(http, "{ __typename models { __typename } }")
    # A message that proposes other names would tell the schema word by word.
    assert "Did you mean" not in (await error(http, "{ model { name } models { nam } }"))["message"]
    open_to_all = await serve_http()
    assert await data(open_to_all, SCHEMA)
