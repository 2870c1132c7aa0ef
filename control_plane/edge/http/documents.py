"""OpenAPI documents: FastAPI's of the comfortable routes, with an entry for each lean one made from its structs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from control_plane.edge.http.envelopes import Envelope, error_object, error_open_inference, owner_of
from control_plane.edge.http.lean import LeanRoute, Operation
from control_plane.edge.http.routing import Document
from control_plane.edge.http.schemas import ErrorEnvelope, ErrorResponse

Json = dict[str, Any]
_REF = "#/components/schemas/{name}"
_SECURITY: Json = {
    "BearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "ApiKeyAuth": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_OPEN_INFERENCE_ERROR: Json = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_ERROR_SCHEMAS: dict[Envelope, str] = {error_object: "ErrorEnvelope", error_open_inference: "OpenInferenceError"}


@dataclass(frozen=True, slots=True)
class Covered:
    """What a document is about: routes as FastAPI has them, and lean ones."""

    comfortable: Sequence[BaseRoute]
    lean: Sequence[LeanRoute[Any]]
    public: frozenset[str]


def build(document: Document, covered: Covered) -> Json:
    built: Json = get_openapi(
        title=document.title,
        version=document.version,
        description=document.description,
        routes=covered.comfortable,
        servers=[{"url": document.server}] if document.server else None,
    )
    schemas: Json = built.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(_error_schemas())
    for route in covered.lean:
        entry = _entry(route.operation, schemas)
        entry["parameters"] = [_path_parameter(name) for name in _parameters(route.template)]
        built["paths"].setdefault(route.template, {})[route.method.lower()] = entry
    for path, method, entry in _operations(built):
        _finish(path, method, entry, is_public=path in covered.public)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    built["components"]["securitySchemes"] = _SECURITY
    built["security"] = [{name: []} for name in _SECURITY]
    return built


def _operations(built: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in built["paths"].items():
        for method, entry in methods.items():
            yield path, method, entry


def _finish(path: str, method: str, entry: Json, *, is_public: bool) -> None:
    """FastAPI's 422 is never sent; every refusal is in the envelope of the path's owner."""
    responses: Json = entry["responses"]
    responses.pop("422", None)
    name = _ERROR_SCHEMAS.get(owner_of(path).envelope, "ErrorResponse")
    content = {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}
    statuses = {"500": "The server failed", "503": "The server cannot do this now"}
    if not is_public:
        statuses |= {"400": "The request is wrong", "401": "No valid credential", "403": "The role is too low"}
    if "{" in path or method == "post":
        statuses["404"] = "There is no such thing"
    for status, description in statuses.items():
        responses.setdefault(status, {"description": description, "content": content})
    if is_public:
        entry["security"] = []


def _entry(operation: Operation, schemas: Json) -> Json:
    bodies = [body for body in (operation.request, operation.response) if body is not None]
    references, components = msgspec.json.schema_components(bodies, ref_template=_REF)
    schemas.update(components)
    content: Json = {media_type: {"schema": {"type": "string"}} for media_type in operation.stream_media_types}
    if operation.response is not None:
        content["application/json"] = {"schema": references[-1]}
    return {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        "requestBody": {"required": True, "content": {"application/json": {"schema": references[0]}}},
        "responses": {"200": {"description": operation.summary, "content": content}},
    }


def _parameters(template: str) -> list[str]:
    return [part[1:-1] for part in template.split("/") if part.startswith("{")]


def _path_parameter(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _error_schemas() -> Json:
    schemas: Json = {"OpenInferenceError": _OPEN_INFERENCE_ERROR}
    for model in (ErrorResponse, ErrorEnvelope):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas
