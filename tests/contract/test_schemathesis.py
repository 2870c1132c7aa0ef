"""What schemathesis makes of the served OpenAPI document: no failure of ours, nothing that the document does not tell.

Requests both as the document has them and not; where one names a model it is often one that there is. A 501, 503 or 504
is an answer, where the document tells of it. SCHEMATHESIS_EXAMPLES asks for more than a few requests of each kind.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.served import Served, serving
from tests.contract.test_operations import STATUSES
from tests.contract.truthgpt.pictures import DIFFUSION, HYBRID, TEXT, drawing_world

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "6"))
MODEL_FIELDS = ("model_id", "model_name", "name", "model")
ENDLESS = {("get", "/native/v1/events")}


def is_no_failure_of_ours(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    assert response.status_code != 500, response.text


CHECKS = [
    is_no_failure_of_ours,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@dataclass(frozen=True)
class Fuzzed:
    served: Served
    document: dict[str, Any]
    schema: Any


@pytest.fixture(scope="module")
async def fuzzed() -> AsyncIterator[Fuzzed]:
    async with serving(await drawing_world()) as served:
        document = (await served.client.get("/openapi.json")).json()
        yield Fuzzed(served, document, schemathesis.openapi.from_dict(document))


@pytest.mark.parametrize(("method", "path"), sorted(set(STATUSES) - ENDLESS))
async def test_an_operation_answers_as_the_document_says(fuzzed: Fuzzed, method: str, path: str) -> None:
    operation = fuzzed.schema[path][method]
    told = fuzzed.document["paths"][path][method]
    takes_something = told.get("parameters") or "requestBody" in told
    for mode in (GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if takes_something else [])):
        await asyncio.to_thread(_ask, fuzzed.served, operation.as_strategy(generation_mode=mode))


def _ask(served: Served, cases: st.SearchStrategy[schemathesis.Case]) -> None:
    @given(case=cases, model=st.sampled_from([None, TEXT, DIFFUSION, HYBRID]))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case, model: str | None) -> None:
        if model is not None:
            _name(case, model)
        case.call_and_validate(base_url=served.url, headers=served.admin, checks=CHECKS, timeout=20)

    ask()


def _name(case: schemathesis.Case, model: str) -> None:
    """Let the request mean a model that there is."""
    for part in (case.path_parameters, case.body):
        for field in MODEL_FIELDS if isinstance(part, dict) else ():
            if field in part:
                part[field] = model
