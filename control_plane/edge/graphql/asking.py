"""A GraphQL request as a client sends it: a document, its variables, and which of its operations is meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from control_plane.domain.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Asked:
    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None


def asked_in(sent: object) -> Asked:
    """Of a JSON object; other members, as `extensions`, mean nothing. Raises InvalidRequest."""
    if not isinstance(sent, dict):
        raise InvalidRequest("a GraphQL request is a JSON object with a text `query`", reason="schema")
    query, variables, name = sent.get("query"), sent.get("variables"), sent.get("operationName")
    if not isinstance(query, str):
        raise InvalidRequest("`query` must be a text: the GraphQL document", reason="schema", field="query")
    if not isinstance(variables, dict | None):
        raise InvalidRequest("`variables` must be an object", reason="schema", field="variables")
    if not isinstance(name, str | None):
        raise InvalidRequest("`operationName` must be a text", reason="schema", field="operationName")
    return Asked(query, variables, name or None)


def asked_in_body(body: bytes, content_type: str) -> Asked:
    """Raises InvalidRequest. Read as JSON whatever it says it is, any web page could send it: browsers ask first only
    for other content types than those of forms."""
    if not content_type.partition(";")[0].strip().lower().endswith("json"):  # its parameters say nothing
        raise InvalidRequest("send the body as JSON, with the header Content-Type: application/json", reason="json")
    return asked_in(decoded("the body", body))


def asked_in_query(parameters: Mapping[str, str]) -> Asked:
    """Of a URL's query string, where `variables` are a JSON text. Raises InvalidRequest."""
    variables = parameters.get("variables")
    return asked_in({**parameters, "variables": decoded("`variables`", variables) if variables else None})


def decoded(what: str, text: str | bytes) -> object:
    """Raises InvalidRequest for what is no JSON; NaN is none, and a text that UTF-8 cannot say is none either."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
        raise InvalidRequest(f"{what} is not JSON: {error}", reason="json") from None
