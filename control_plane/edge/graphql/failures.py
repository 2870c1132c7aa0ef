"""Errors as GraphQL tells them: each with a code, details and the request's id in its extensions (T-GQL-12)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError

from control_plane.domain.errors import DomainError, InvalidRequest
from control_plane.edge.refusals import fault

Json = dict[str, Any]


def told(errors: Sequence[GraphQLError], request_id: str, *, debug: bool = False) -> list[Json]:
    return [_told(error, request_id, debug=debug) for error in errors]


def cause_of(error: GraphQLError) -> Exception | None:
    """What a resolver raised, however often it was wrapped; None for what GraphQL itself refuses."""
    cause = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _told(error: GraphQLError, request_id: str, *, debug: bool) -> Json:
    said = _said(error, request_id, debug=debug)
    entry: Json = {"message": said.message}
    if error.locations:
        entry["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    if error.path:
        entry["path"] = error.path
    entry["extensions"] = {"code": said.code, "details": said.details, "request_id": request_id}
    return entry


def _said(error: GraphQLError, request_id: str, *, debug: bool) -> DomainError:
    """GraphQL's own refusals are about the document and its variables."""
    cause = cause_of(error)
    if cause is None:
        return InvalidRequest(error.message)
    if isinstance(cause, DomainError):
        return cause
    return fault(cause, request_id, debug=debug)
