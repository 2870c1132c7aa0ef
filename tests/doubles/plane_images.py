"""What a model that draws answers in the miniature server: files made of the request, a frame for each step."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from tests.doubles.images import SIZE, image

AT = "2026-11-21T12:00:00.000Z"
DRAWN_SEED = 4711  # where the request names none


def output(asked: dict[str, Any]) -> dict[str, Any]:
    steps, seed = asked.get("num_steps", 20), asked.get("seed", DRAWN_SEED)
    words = json.dumps([asked.get("text"), asked.get("label"), asked.get("guidance"), steps, seed])
    files = [image(f"{words} {index}") for index in range(asked.get("num_images", 1))]
    images = [base64.b64encode(file).decode() for file in files]
    stages = [{"model": "parts-unet:1", "time_ms": 1.5}]
    size = {"width": SIZE, "height": SIZE}
    return {"images": images, **size, "num_steps": steps, "seed": seed, "stages": stages, "unit": "steps"}


def reply(model: str, asked: dict[str, Any]) -> dict[str, Any]:
    said = {"model_id": model, "output": output(asked), "inference_time": 0.5, "tokens_per_second": 40.0}
    return {**said, "created_at": AT, "request_id": "r-1"}


async def frames(asked: dict[str, Any]) -> AsyncIterator[bytes]:
    """A label `cut` ends the stream before the images."""
    steps = asked.get("num_steps", 20)
    for step in range(1, steps + 1):
        yield _frame({"step": step, "num_steps": steps})
    if asked.get("label") != "cut":
        yield _frame({**output(asked), "is_final": True}) + b"data: [DONE]\n\n"


def _frame(said: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps(said).encode()
