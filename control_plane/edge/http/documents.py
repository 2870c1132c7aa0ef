"""OpenAPI documents: FastAPI's of the comfortable routes, with an entry for each lean one made from its structs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from control_plane.edge.http.envelopes import Envelope, error_object, error_open_inference, owner_of
from control_plane.edge.http.lean import LeanRoute, Operation
from control_plane.edge.http.routing import Document, is_for_every_role
from control_plane.edge.http.schemas import REFUSALS, ErrorEnvelope, ErrorResponse, refusals

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

    def for_every_role(self) -> set[tuple[str, str]]:
        routes = [route for route in self.comfortable if isinstance(route, APIRoute) and is_for_every_role(route)]
        return {(method.lower(), route.path) for route in routes for method in route.methods or ()}


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
        entry["parameters"] = [_path_parameter(name, route.operation) for name in _parameters(route.template)]
        built["paths"].setdefault(route.template, {})[route.method.lower()] = entry
    for path, method, entry in _operations(built):
        _finish(path, entry, is_public=path in covered.public, is_for_all=(method, path) in covered.for_every_role())
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    built["components"]["securitySchemes"] = _SECURITY
    built["security"] = [{name: []} for name in _SECURITY]
    return built


def _operations(built: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in built["paths"].items():
        for method, entry in methods.items():
            yield path, method, entry


def _finish(path: str, entry: Json, *, is_public: bool, is_for_all: bool) -> None:
    """FastAPI's 422 is never sent; every refusal is in the envelope of the path's owner."""
    responses: Json = entry["responses"]
    responses.pop("422", None)
    statuses = {500, 503}
    if is_public:
        entry["security"] = []
    else:
        statuses |= {401, 429} if is_for_all else {401, 403, 429}
    if entry.get("parameters") or "requestBody" in entry:
        statuses.add(400)
    if "requestBody" in entry:
        statuses.add(413)
    name = _ERROR_SCHEMAS.get(owner_of(path).envelope, "ErrorResponse")
    content = {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}
    for status in statuses:
        responses.setdefault(str(status), {"description": REFUSALS[status]})
    for told in responses:
        if int(told) >= 400:
            responses[told].setdefault("content", content)
    entry["responses"] = dict(sorted(responses.items()))


def _entry(operation: Operation, schemas: Json) -> Json:
    bodies = [body for body in (operation.request, operation.response, *operation.or_else) if body is not None]
    references, components = msgspec.json.schema_components(bodies, ref_template=_REF)
    schemas.update(components)
    content: Json = {media_type: {"schema": {"type": "string"}} for media_type in operation.stream_media_types}
    if operation.response is not None:
        _, *answers = references
        content["application/json"] = {"schema": {"oneOf": answers} if operation.or_else else answers[0]}
    return {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        "requestBody": {"required": True, "content": {"application/json": {"schema": references[0]}}},
        "responses": {
            "200": {"description": operation.summary, "content": content},
            **{str(status): refusal for status, refusal in refusals(*operation.refuses).items()},
        },
    }


def _parameters(template: str) -> list[str]:
    return [part[1:-1] for part in template.split("/") if part.startswith("{")]


def _path_parameter(name: str, operation: Operation) -> Json:
    schema = {"type": "string"}
    if name in operation.patterns:
        schema["pattern"] = operation.patterns[name]
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _error_schemas() -> Json:
    schemas: Json = {"OpenInferenceError": _OPEN_INFERENCE_ERROR}
    for model in (ErrorResponse, ErrorEnvelope):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas
