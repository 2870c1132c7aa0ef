"""T-REST-18: the served OpenAPI document holds everything that the seed's does (tests/fixtures/truthgpt_openapi.yaml).

More is fine where a client of the seed's document cannot notice: further paths, properties, parameters that may be left
out. What such a client sends must be accepted, and what it reads must be there in the type that it expects.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.served import Served

Json = dict[str, Any]
SEED: Json = yaml.safe_load((Path(__file__).parents[2] / "fixtures" / "truthgpt_openapi.yaml").read_text())
OPERATIONS = [(path, method) for path, methods in SEED["paths"].items() for method in methods]
SCHEMAS = SEED["components"]["schemas"]


@pytest.fixture(scope="module")
async def document(http: Served) -> Json:
    reply = await http.client.get("/v1/openapi.json")
    assert reply.status_code == 200
    served: Json = reply.json()
    return served


def test_t_rest_18_the_document_has_the_seeds_title_version_and_security(document: Json) -> None:
    assert document["openapi"].startswith("3.")
    for told in ("title", "version"):
        assert document["info"][told] == SEED["info"][told]
    assert document["components"]["securitySchemes"] == SEED["components"]["securitySchemes"]
    assert document["security"] == SEED["security"]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_t_rest_18_an_operation_of_the_seed_is_served_under_its_tag_with_its_answers(
    document: Json, path: str, method: str
) -> None:
    wanted, served = SEED["paths"][path][method], document["paths"][path][method]
    assert wanted["tags"] == served["tags"]
    for status, answer in wanted["responses"].items():
        for media_type, content in answer["content"].items():
            told = served["responses"][status]["content"][media_type]["schema"]
            assert _is_told(content["schema"], told, document), (status, media_type)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_t_rest_18_every_parameter_of_the_seed_is_served_as_it_was(document: Json, path: str, method: str) -> None:
    served = {(one["in"], one["name"]): one for one in document["paths"][path][method].get("parameters", ())}
    for wanted in SEED["paths"][path][method].get("parameters", ()):
        told = served.pop((wanted["in"], wanted["name"]))
        assert told.get("required", False) == wanted["required"]
        assert _is_told(wanted["schema"], told["schema"], document)
        assert told["schema"].get("default") == wanted["schema"].get("default")
    assert not any(one.get("required") for one in served.values()), "the seed's clients do not send it"


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_t_rest_18_a_body_of_the_seed_is_what_the_route_takes(document: Json, path: str, method: str) -> None:
    wanted, served = (told["paths"][path][method].get("requestBody") for told in (SEED, document))
    if wanted is None:
        assert not (served or {}).get("required")
        return
    (media_type,) = wanted["content"]
    assert served["content"][media_type]["schema"] == wanted["content"][media_type]["schema"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_t_rest_18_a_schema_of_the_seed_has_each_of_its_properties_in_its_type(document: Json, name: str) -> None:
    served = document["components"]["schemas"][name]
    assert set(SCHEMAS[name]["properties"]) <= set(served["properties"])
    assert _is_told(SCHEMAS[name], served, document)


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name.endswith("Request")])
def test_t_rest_18_a_body_that_the_seed_calls_whole_is_whole_here_too(document: Json, name: str) -> None:
    assert set(document["components"]["schemas"][name].get("required", ())) <= set(SCHEMAS[name]["required"])


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"type": "string"}, {"type": "integer"}),
        ({"type": "integer"}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "string", "enum": ["a", "b"]}, {"type": "string", "enum": ["a"]}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "object", "properties": {}}),
        ({"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {"type": "number"}}),
        ({"type": "string", "format": "date-time"}, {"type": "string"}),
    ],
)
def test_the_comparison_sees_what_is_missing_or_of_another_type(wanted: Json, told: Json) -> None:
    assert not _is_told(wanted, told, {})
    assert _is_told(wanted, wanted, {})


def _is_told(wanted: Json, told: Json, document: Json) -> bool:
    """Whether one of the forms that `told` may have is what the seed's schema says."""
    wanted = _resolved(wanted, SEED)
    return any(_is_same(wanted, form, document) for form in _forms(told, document))


def _is_same(wanted: Json, told: Json, document: Json) -> bool:
    if told.get("type") not in {wanted["type"], "integer" if wanted["type"] == "number" else wanted["type"]}:
        return False
    if not set(wanted.get("enum", ())) <= set(told.get("enum", wanted.get("enum", ()))):
        return False
    if wanted.get("format", told.get("format")) != told.get("format"):
        return False
    if wanted["type"] == "array":
        return _is_told(wanted["items"], told["items"], document)
    told_properties = told.get("properties", {})
    return all(
        name in told_properties and _is_told(schema, told_properties[name], document)
        for name, schema in wanted.get("properties", {}).items()
    )


def _forms(told: Json, document: Json) -> Iterator[Json]:
    """A schema, or each of its alternatives, without references."""
    told = _resolved(told, document)
    alternatives = [*told.get("anyOf", ()), *told.get("oneOf", ())]
    if not alternatives:
        yield told
    for alternative in alternatives:
        yield from _forms(alternative, document)


def _resolved(schema: Json, document: Json) -> Json:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema
