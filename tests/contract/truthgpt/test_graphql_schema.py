"""The schema as it tells itself is that of the contract, word by word (T-GQL-15)."""

from __future__ import annotations

import json
from typing import Any

from graphql import build_client_schema, get_introspection_query

from tests.contract.served import Served
from tests.contract.truthgpt.graphql_client import data

# Each field with its arguments and what it gives; `=` a default.
OBJECTS = {
    "Model": {
        "modelId: String!", "name: String!", "type: String!", "parameters: BigInt!", "sizeBytes: BigInt!",
        "device: String!", "dtype: String!", "status: String!", "createdAt: DateTime!", "updatedAt: DateTime!",
    },
    "Optimization": {
        "optimizationId: String!", "modelId: String!", "optimizationLevel: String!", "status: String!",
        "progress: Float!", "performanceMetrics: JSON", "createdAt: DateTime!", "completedAt: DateTime",
    },
    "InferenceResult": {
        "modelId: String!", "output: String!", "inferenceTime: Float!", "tokensPerSecond: Float!",
        "createdAt: DateTime!",
    },
    "Query": {
        "models(limit: Int! = 100, offset: Int! = 0): [Model!]!",
        "model(modelId: String!): Model",
        "optimizations(limit: Int! = 100, offset: Int! = 0): [Optimization!]!",
        "optimization(optimizationId: String!): Optimization",
    },
    "Mutation": {
        "loadModel(name: String!, modelType: String!, config: JSON = null): Model!",
        "unloadModel(modelId: String!): Boolean!",
        "optimizeModel(modelId: String!, optimizationLevel: String!, parameters: JSON = null): Optimization!",
        "runInference(modelId: String!, inputData: String!, maxLength: Int! = 100, temperature: Float! = 0.7, "
        "topP: Float! = 0.9, seed: BigInt = null): InferenceResult!",
        "cancelOptimization(optimizationId: String!): Optimization!",
    },
    "Subscription": {
        "optimizationProgress(optimizationId: String!): Optimization!",
        "inferenceStream(modelId: String!, inputData: String!, maxLength: Int! = 100, temperature: Float! = 0.7, "
        "seed: BigInt = null): String!",
    },
}  # fmt: skip
SCALARS = {"BigInt", "Boolean", "DateTime", "Float", "Int", "JSON", "String"}


async def test_t_gql_15_types_fields_arguments_and_defaults_are_the_contracts(http: Served) -> None:
    schema = (await data(http, get_introspection_query(), http.viewer))["__schema"]
    own = {one["name"]: one for one in schema["types"] if not one["name"].startswith("__")}
    assert {name for name, one in own.items() if one["kind"] == "SCALAR"} == SCALARS
    objects = {name: one for name, one in own.items() if one["kind"] == "OBJECT"}
    assert {name: {written(field) for field in one["fields"]} for name, one in objects.items()} == OBJECTS
    assert set(own) == SCALARS | set(OBJECTS)
    roots = {kind: schema[f"{kind}Type"]["name"] for kind in ("query", "mutation", "subscription")}
    assert roots == {"query": "Query", "mutation": "Mutation", "subscription": "Subscription"}


async def test_t_gql_15_a_client_builds_its_schema_of_it(http: Served) -> None:
    query = get_introspection_query(specified_by_url=True, directive_is_repeatable=True, input_value_deprecation=True)
    built = build_client_schema(await data(http, query))  # type: ignore[arg-type]
    assert set(built.mutation_type.fields) == {field.partition("(")[0] for field in OBJECTS["Mutation"]}  # type: ignore[union-attr]


def written(field: dict[str, Any]) -> str:
    arguments = ", ".join(
        f"{one['name']}: {type_of(one['type'])}" + (f" = {one['defaultValue']}" if one["defaultValue"] else "")
        for one in field["args"]
    )
    return f"{field['name']}{f'({arguments})' if arguments else ''}: {type_of(field['type'])}"


def type_of(told: dict[str, Any]) -> str:
    if told["kind"] == "NON_NULL":
        return f"{type_of(told['ofType'])}!"
    if told["kind"] == "LIST":
        return f"[{type_of(told['ofType'])}]"
    assert told["name"], json.dumps(told)
    return str(told["name"])
