"""Images over both clients: in one piece, step by step, cut short, and a model of the wrong kind."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tritonplane_client import DrawingStep, Drawn, StreamInterrupted, UnexpectedAnswer
from tritonplane_client.drawings import read_drawn

from tests.doubles.plane import Miniature
from tests.doubles.plane_images import DRAWN_SEED, output
from tests.unit.client.both import Face


@pytest.fixture(autouse=True)
def drawing(plane: Miniature) -> None:
    plane.models |= {"digits": "loaded", "painter": "loaded"}
    plane.kinds |= {"digits": "diffusion", "painter": "hybrid"}


def files(asked: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(base64.b64decode(image) for image in output(asked)["images"])


async def test_images_come_as_png_files_with_how_they_were_drawn(client: Face, plane: Miniature) -> None:
    drawn = await client.call("draw", "digits", num_steps=3, num_images=2, seed=7, label="4", guidance=2.0)
    asked = {"num_steps": 3, "num_images": 2, "seed": 7, "label": "4", "guidance": 2.0}
    assert plane.seen[0].json == {"model_id": "digits", "input_data": asked}
    assert drawn.images == files(asked)
    assert drawn.images[0].startswith(b"\x89PNG")
    assert (drawn.width, drawn.height, drawn.num_steps, drawn.seed) == (8, 8, 3, 7)
    assert drawn.stages == ({"model": "parts-unet:1", "time_ms": 1.5},)
    assert drawn.reply == plane.said[0]


async def test_a_prompt_goes_along_and_what_is_left_out_is_the_servers(client: Face, plane: Miniature) -> None:
    drawn = await client.call("draw", "painter", "a seven")
    assert plane.seen[0].json["input_data"] == {"text": "a seven"}
    assert (drawn.num_steps, drawn.seed) == (20, DRAWN_SEED)


async def test_a_drawing_is_streamed_step_by_step_and_ends_with_its_images(client: Face, plane: Miniature) -> None:
    *steps, drawn = [item async for item in client.follow("stream_drawing", "painter", "a seven", num_steps=3)]
    assert steps == [DrawingStep(step, 3) for step in (1, 2, 3)]
    assert isinstance(drawn, Drawn)
    assert drawn.images == files({"text": "a seven", "num_steps": 3})
    assert plane.seen[0].json["stream"] is True
    assert plane.seen[0].headers["accept"] == "text/event-stream"


async def test_a_drawing_that_stops_short_is_never_taken_for_a_whole_one(client: Face) -> None:
    items = client.follow("stream_drawing", "digits", label="cut", num_steps=2)
    assert [await anext(items), await anext(items)] == [DrawingStep(1, 2), DrawingStep(2, 2)]
    with pytest.raises(StreamInterrupted):
        await anext(items)


async def test_a_text_where_images_were_wanted_and_the_other_way_round_is_said_to_be_one(client: Face) -> None:
    with pytest.raises(UnexpectedAnswer, match="no images"):
        await client.call("draw", "coder", "x")
    with pytest.raises(UnexpectedAnswer, match="no images"):
        _ = [item async for item in client.follow("stream_drawing", "coder", "x")]
    with pytest.raises(UnexpectedAnswer, match="no tokens"):
        _ = [token async for token in client.stream("painter", "x")]


@pytest.mark.parametrize("images", [["not base64!"], [7], "aGk"])
def test_images_that_are_none_are_an_unexpected_answer(images: Any) -> None:
    broken = {**output({}), "images": images}
    with pytest.raises(UnexpectedAnswer, match="cannot be read"):
        read_drawn(broken, broken)
