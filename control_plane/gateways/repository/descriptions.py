"""What a model says of itself beyond config.pbtxt, in the manifest or in the tritonplane.json it is imported with."""

from __future__ import annotations

import json
from typing import Any

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description, ModelKind
from control_plane.gateways.repository.layout import MANIFEST

_BYTES_MAX = 2**20


def description_fields(description: Description) -> dict[str, Any]:
    return {
        "kind": description.kind.value,
        "tasks": list(description.tasks),
        "parameters": description.parameters,
        "dtype": description.dtype,
        "context_length": description.context_length,
        "internal": description.is_internal,
        "labels": description.labels,
        "classes": list(description.classes),
    }


def parse_description(fields: dict[str, Any]) -> Description:
    """Raises KeyError, TypeError, ValueError."""
    return Description(
        kind=ModelKind(fields.get("kind", ModelKind.GENERIC)),
        tasks=tuple(_texts(fields.get("tasks", []))),
        parameters=_count(fields.get("parameters")),
        dtype=_text(fields.get("dtype")),
        context_length=_count(fields.get("context_length")),
        is_internal=fields.get("internal", False) is True,
        labels=dict(zip(_texts(fields.get("labels", {})), _texts(fields.get("labels", {}).values()), strict=True)),
        classes=tuple(_texts(fields.get("classes", []))),
    )


def read_carried(content: bytes, *, may_be_internal: bool = False) -> Description:
    """The description that an imported directory brings; its provenance is not taken over, and only what ships hides.

    `license` becomes a label; other words of the file are not ours to keep. Raises InvalidRequest.
    """
    if len(content) > _BYTES_MAX:
        raise InvalidRequest(f"{MANIFEST} is over {_BYTES_MAX} bytes")
    try:
        fields = json.loads(content)
        labels = dict(fields.get("labels", {}))
        if "license" in fields:
            labels["license"] = fields["license"]
        return parse_description({**fields, "internal": may_be_internal and fields.get("internal"), "labels": labels})
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{MANIFEST} of the import cannot be read: {error}") from error


def _texts(values: Any) -> list[str]:
    texts = list(values)
    if isinstance(values, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{str(values)[:100]!r} is no list of texts")
    return texts


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{str(value)[:100]!r} is no text")


def _count(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise TypeError(f"{str(value)[:100]!r} is no count")
