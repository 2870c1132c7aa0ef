"""What can be made on this machine, and why not (X-CAT-01)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import Unsupported
from control_plane.domain.jobs import JsonObject
from control_plane.ports import CandidatePlan, ConverterCatalog, LevelPlan
from control_plane.services.optimizations import Optimizations
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.doubles.converter import InMemoryConverter
from tests.doubles.services import World

CATALOG = "/native/v1/catalog"


async def catalog(http: Served) -> Any:
    reply = await http.client.get(CATALOG, headers=http.viewer)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_x_cat_01_levels_are_told_from_the_lowest_on_with_what_they_try(http: Served) -> None:
    told = await catalog(http)
    levels = {level["name"]: level for level in told["levels"]}
    assert list(levels) == ["basic", "expert", "omnipotent", "ultimate"]
    assert levels["expert"]["candidates"] == [
        {
            "name": "threads-1",
            "takes": ["onnx", "text_encoder"],
            "graph": "best",
            "available": True,
            "reason": None,
            "steps": [],
            "settings": {"instance_count": 1},
        }
    ]
    assert levels["basic"]["candidates"][0]["steps"] == [{"recipe": "onnx_optimize", "parameters": {}}]
    assert [(level["min_accuracy"], level["candidates_max"]) for level in levels.values()] == [
        (0.9999, 1),
        (0.9999, 8),  # as the level before
        (0.99, 8),
        (0.99, None),
    ]


async def test_x_cat_01_what_cannot_run_here_says_why(http: Served) -> None:
    told = await catalog(http)
    levels = {level["name"]: (level["available"], level["reason"]) for level in told["levels"]}
    assert levels["omnipotent"] == (False, "requires_gpu")
    assert levels["basic"] == levels["ultimate"] == (True, None)
    assert told["recipes"] == [
        {"name": "torch_to_onnx", "summary": "A torch module to a graph", "available": True, "reason": None},
        {"name": "onnx_to_tensorrt", "summary": "A graph to an engine", "available": False,
         "reason": "it needs tensorrt"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reasons", "search", "told"),
    [
        (["no A", "no B", "no A"], {}, (False, "no A; no B")),
        (["no A", None], {}, (True, None)),
        (["no A"], {"serving": {"rounds": 3}}, (True, None)),
        (["no A"], {"serving": {"rounds": 3, "reason": "no perf_analyzer"}}, (False, "no A; no perf_analyzer")),
        ([], {"serving": {"reason": "no perf_analyzer"}, "proof": {}}, (True, None)),
        ([], {}, (True, None)),
    ],
)
async def test_x_cat_01_a_level_can_run_where_one_candidate_or_search_of_it_can(
    serve_http: ServeHttp, reasons: Sequence[str | None], search: JsonObject, told: tuple[bool, str | None]
) -> None:
    candidates = tuple(CandidatePlan(f"c{n}", ("onnx",), "best", (), {}, why) for n, why in enumerate(reasons))
    level = LevelPlan("divine", "Four bits", 0.98, 8, candidates, search)
    http = await serve_http(await with_converter(_Knowing(ConverterCatalog((), (level,)))))
    [only] = (await catalog(http))["levels"]
    assert (only["available"], only["reason"]) == told
    assert only["searches"] == sorted(search)


async def test_x_cat_01_a_converter_that_cannot_be_asked_is_a_refusal(serve_http: ServeHttp) -> None:
    http = await serve_http(await with_converter(_Knowing(Unsupported("no Python", requires="python3"))))
    reply = await http.client.get(CATALOG, headers=http.viewer)
    assert (reply.status_code, reply.json()["error"]["code"]) == (501, "NOT_SUPPORTED_HERE")


async def test_x_cat_01_viewers_may_read_it_and_strangers_may_not(http: Served) -> None:
    assert (await http.client.get(CATALOG, headers=http.as_role(Role.VIEWER))).status_code == 200
    assert (await http.client.get(CATALOG)).status_code == 401


class _Knowing(InMemoryConverter):
    """Whose catalog is this one, or which raises this."""

    def __init__(self, told: ConverterCatalog | Unsupported) -> None:
        super().__init__()
        self._told = told

    async def catalog(self) -> ConverterCatalog:
        if isinstance(self._told, Unsupported):
            raise self._told
        return self._told


async def with_converter(converter: InMemoryConverter) -> World:
    world = await two_models()
    services: Optimizations = world.services.optimizations
    services._converter = converter
    return world
