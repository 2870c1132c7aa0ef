"""Images over REST: diffusion (T-REST-19) and hybrid models (T-REST-20), in one piece and as a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from control_plane.domain.errors import EngineFailed
from tests.contract.conftest import ServeHttp
from tests.contract.served import Served, serving
from tests.contract.truthgpt.pictures import DIFFUSION, HYBRID, TEXT, drawing_world, png_files

PATHS = ["/inference", "/inference/stream"]
OUTPUT = {"images", "width", "height", "num_steps", "seed", "stages", "unit"}


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[Served]:
    async with serving(await drawing_world()) as served:
        yield served


def ask(model: str, more: dict[str, Any] | None = None, **wanted: Any) -> dict[str, Any]:
    return {"model_id": model, "input_data": wanted, **(more or {})}


async def drawn(http: Served, body: dict[str, Any], path: str = "/inference") -> dict[str, Any]:
    reply = await http.client.post(path, json=body, headers=http.user)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def sent(http: Served) -> dict[str, Any]:
    """The options of the request that reached Triton last."""
    return dict(http.world.triton.requests[-1].parameters)


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_t_rest_19_a_diffusion_model_answers_with_png_images_and_how_it_drew_them(
    http: Served, prefix: str
) -> None:
    body = ask(DIFFUSION, num_steps=3, num_images=2, seed=7, label="3", guidance=2)
    reply = await http.client.post(f"{prefix}/inference", json=body, headers=http.user)
    answer = reply.json()
    assert set(answer) == {"model_id", "output", "inference_time", "tokens_per_second", "created_at", "request_id"}
    assert (answer["model_id"], answer["request_id"]) == (DIFFUSION, reply.headers["X-Request-ID"])
    assert answer["created_at"].endswith("Z")
    output = answer["output"]
    assert set(output) == OUTPUT
    assert (output["num_steps"], output["seed"], output["unit"]) == (3, 7, "steps")
    assert len(set(png_files(output))) == 2
    assert answer["tokens_per_second"] * answer["inference_time"] == pytest.approx(3 * 2)
    wanted = {"num_steps": 3, "num_images": 2, "label": "3", "guidance": 2.0}
    assert sent(http).items() >= wanted.items()


async def test_t_rest_19_what_nobody_says_is_20_steps_of_one_image_and_a_seed_that_draws_it_again(http: Served) -> None:
    first = (await drawn(http, ask(DIFFUSION)))["output"]
    assert (len(first["images"]), first["num_steps"]) == (1, 20)
    again, other = [(await drawn(http, ask(DIFFUSION, seed=first["seed"] + more)))["output"] for more in (0, 1)]
    assert again["images"] == first["images"]
    assert png_files(other) != png_files(first)


async def test_t_rest_19_a_seed_of_the_request_wins_over_one_of_its_input_and_options_of_texts_mean_nothing(
    http: Served,
) -> None:
    texts = {"max_length": 100, "temperature": 0.7, "top_p": 0.9}  # which the seed's clients always send
    answer = await drawn(http, ask(DIFFUSION, {**texts, "seed": 5}, seed=7))
    assert answer["output"]["seed"] == 5
    assert set(sent(http)) == {"num_steps", "num_images", "stream"}


async def test_t_rest_20_a_hybrid_model_draws_what_its_text_says_in_two_stages(http: Served) -> None:
    body = ask(HYBRID, text="a seven", num_steps=4, num_images=2, seed=11, guidance=3.5)
    first, again = (await drawn(http, body))["output"], (await drawn(http, body))["output"]
    assert png_files(first) == png_files(again)
    assert [stage["model"] for stage in first["stages"]] == ["parts-encoder:1", "parts-unet:1"]
    assert all(stage["time_ms"] > 0 for stage in first["stages"])
    other = (await drawn(http, ask(HYBRID, text="the digit zero", num_steps=4, num_images=2, seed=11, guidance=3.5)))[
        "output"
    ]
    assert png_files(other) != png_files(first)


@pytest.mark.parametrize(
    ("model", "wanted", "field"),
    [
        (DIFFUSION, {"num_steps": 0}, "num_steps"),
        (DIFFUSION, {"num_steps": 101}, "num_steps"),
        (DIFFUSION, {"num_steps": "ten"}, "num_steps"),
        (DIFFUSION, {"num_steps": 1.5}, "num_steps"),
        (DIFFUSION, {"num_images": 0}, "num_images"),
        (DIFFUSION, {"num_images": 17}, "num_images"),
        (DIFFUSION, {"seed": -1}, "seed"),
        (DIFFUSION, {"seed": 2**63}, "seed"),
        (DIFFUSION, {"guidance": -0.5}, "guidance"),
        (DIFFUSION, {"guidance": 20.5}, "guidance"),
        (DIFFUSION, {"label": ""}, "label"),
        (DIFFUSION, {"label": 3}, "label"),
        (DIFFUSION, {"label": "x" * 101}, "label"),
        (DIFFUSION, {"label": "ten"}, "label"),
        (DIFFUSION, {"text": "a seven"}, "text"),
        (DIFFUSION, {"temperature": 3}, "temperature"),
        (HYBRID, {}, "text"),
        (HYBRID, {"text": ""}, "text"),
        (HYBRID, {"text": None}, "text"),
        (HYBRID, {"text": "a seven", "label": "7"}, "label"),
        (HYBRID, {"text": "a seven", "num_steps": 101}, "num_steps"),
        (TEXT, {"text": "def", "num_images": 2}, "num_images"),
        (TEXT, {"text": "def", "guidance": 99}, "guidance"),
    ],
)
@pytest.mark.parametrize("path", PATHS)
async def test_t_rest_19_and_20_what_a_model_cannot_draw_is_refused_by_name(
    http: Served, path: str, model: str, wanted: dict[str, Any], field: str
) -> None:
    reply = await http.client.post(path, json=ask(model, **wanted), headers=http.user)
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
    assert field in json.dumps(reply.json())


@pytest.mark.parametrize("path", PATHS)
async def test_t_rest_08_a_text_model_without_a_text_is_refused_in_the_words_of_a_missing_field(
    http: Served, path: str
) -> None:
    reply = await http.client.post(path, json=ask(TEXT), headers=http.user)
    assert reply.status_code == 400
    wrong = reply.json()["details"]
    assert (wrong["reason"], wrong["errors"]) == (
        "schema",
        [{"loc": ["body", "input_data"], "msg": "Object missing required field `text`"}],
    )


async def test_c_err_09_the_bounds_of_a_drawing_are_checked_before_the_role_and_that_before_the_model(
    http: Served,
) -> None:
    for body, status in [(ask(DIFFUSION, num_steps=0), 400), (ask("nobody", num_steps=1), 403)]:
        assert (await http.client.post("/inference", json=body, headers=http.viewer)).status_code == status
    reply = await http.client.post("/inference", json=ask("nobody", num_steps=1), headers=http.user)
    assert reply.status_code == 404


@pytest.mark.parametrize("model", [DIFFUSION, HYBRID])
async def test_t_rest_19_and_20_a_stream_has_a_line_for_each_step_then_the_images_and_done(
    http: Served, model: str
) -> None:
    wanted = {"num_steps": 3, "seed": 1, **({"text": "a seven"} if model == HYBRID else {})}
    reply = await http.client.post("/inference/stream", json=ask(model, **wanted), headers=http.user)
    *steps, images, done, rest = reply.text.split("\n\n")
    assert steps == [f'data: {{"step":{step},"num_steps":3}}' for step in (1, 2, 3)]
    assert (done, rest) == ("data: [DONE]", "")
    assert images.startswith("data: ")
    last = json.loads(images.removeprefix("data: "))
    assert last.pop("is_final") is True
    whole = (await drawn(http, ask(model, **wanted)))["output"]
    for output in (last, whole):
        output.pop("stages")
    assert last == whole
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_t_rest_19_a_stream_is_an_event_stream_or_json_where_that_is_asked_for(http: Served) -> None:
    body = ask(DIFFUSION, num_steps=1, seed=1)
    headers = {**http.user, "Accept": "text/event-stream"}
    reply = await http.client.post("/v1/inference/stream", json=body, headers=headers)
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    whole = await drawn(http, {**body, "stream": False}, "/inference/stream")
    assert len(png_files(whole["output"])) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_t_rest_19_a_model_that_is_not_loaded_draws_nothing(serve_http: ServeHttp, path: str) -> None:
    http = await serve_http(await drawing_world())
    await http.world.services.models.unload(DIFFUSION)
    reply = await http.client.post(path, json=ask(DIFFUSION), headers=http.user)
    assert (reply.status_code, reply.json()["code"]) == (409, "MODEL_NOT_READY")


async def test_t_rest_19_a_failure_has_a_status_before_the_first_step_and_is_an_event_after_it(
    serve_http: ServeHttp,
) -> None:
    http = await serve_http(await drawing_world())
    for step, status in ((0, 500), (2, 200)):
        http.world.triton.fail_at = (step, EngineFailed("the part is gone"))
        reply = await http.client.post("/inference/stream", json=ask(DIFFUSION, num_steps=3), headers=http.user)
        assert reply.status_code == status
    *steps, error, done, _ = reply.text.split("\n\n")
    assert len(steps) == 2
    assert json.loads(error.removeprefix("data: ")) == {
        "error": "the part is gone",
        "code": "PROCESSING_FAILED",
        "details": {},
    }
    assert done == "data: [DONE]"


async def test_t_rest_19_a_client_that_leaves_ends_the_drawing_inside_triton(serve_http: ServeHttp) -> None:
    http = await serve_http(await drawing_world())
    http.world.triton.hold_at = 1
    body = ask(DIFFUSION, num_steps=50)
    async with http.client.stream("POST", "/inference/stream", json=body, headers=http.user) as reply:
        assert await anext(reply.aiter_lines()) == 'data: {"step":1,"num_steps":50}'
    await asyncio.wait_for(http.world.triton.was_closed_early.wait(), 30)


async def test_t_rest_18_the_document_tells_of_texts_and_of_images(http: Served) -> None:
    document = (await http.client.get("/v1/openapi.json")).json()
    schemas = document["components"]["schemas"]
    for path in PATHS:
        answer = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert [form["$ref"].rpartition("/")[2] for form in answer["oneOf"]] == ["InferenceResponse", "ImageResponse"]
    assert set(schemas["ImageOutput"]["properties"]) == OUTPUT
    options = schemas["InputData"]["properties"]
    assert {name: (options[name]["minimum"], options[name]["maximum"]) for name in ("num_steps", "num_images")} == {
        "num_steps": (1, 100),
        "num_images": (1, 16),
    }
    assert schemas["InputData"].get("required", []) == []
