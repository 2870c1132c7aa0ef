"""Images that a model draws: what may be wanted, the steps on the way, and the files that come back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from tritonplane_client.errors import UnexpectedAnswer
from tritonplane_client.frames import FrameReader


class DrawingOptions(TypedDict, total=False):
    """What is drawn; what is left out is the server's default (20 steps, one image, a seed that it draws).

    `label` is for a diffusion model; a hybrid one takes a prompt. `guidance`: how strongly it is followed.
    """

    num_steps: int
    num_images: int
    seed: int
    label: str
    guidance: float


class StageTime(TypedDict):
    """What one part of the model took. Units: milliseconds."""

    model: str
    time_ms: float


class ImageOutput(TypedDict):
    """`images` are PNG files in base64. `unit`: what the reply's `tokens_per_second` counts."""

    images: list[str]
    width: int
    height: int
    num_steps: int
    seed: int
    stages: list[StageTime]
    unit: str


class DrawingReply(TypedDict):
    """Units: `inference_time` is seconds at the server."""

    model_id: str
    output: ImageOutput
    inference_time: float
    tokens_per_second: float
    created_at: str
    request_id: str


@dataclass(frozen=True, slots=True)
class DrawingStep:
    """One denoising step is done; `step` counts from 1 to `num_steps`."""

    step: int
    num_steps: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """`images` are PNG files of `width` x `height` pixels; `seed` draws the same ones again.

    `reply`: the server's JSON, of which a stream has the `output` only.
    """

    images: tuple[bytes, ...]
    width: int
    height: int
    num_steps: int
    seed: int
    stages: tuple[StageTime, ...]
    reply: Mapping[str, Any]


def read_drawn(output: Mapping[str, Any], reply: Mapping[str, Any]) -> Drawn:
    """Raises UnexpectedAnswer for a text, and for what is no image."""
    if "images" not in output:
        raise UnexpectedAnswer("the answer holds no images; for a model that continues texts there is generate")
    try:
        images = tuple(base64.b64decode(image, validate=True) for image in output["images"])
        numbers = (output["width"], output["height"], output["num_steps"], output["seed"])
    except (KeyError, TypeError, binascii.Error) as error:
        raise UnexpectedAnswer(f"the answer's images cannot be read: {error}") from error
    return Drawn(images, *numbers, tuple(output.get("stages", ())), reply)


class DrawingReader(FrameReader[DrawingStep | Drawn]):
    """Raises UnexpectedAnswer for the tokens of a text."""

    def _item(self, frame: Mapping[str, Any]) -> DrawingStep | Drawn:
        if "step" in frame:
            return DrawingStep(frame["step"], frame["num_steps"])
        return read_drawn(frame, frame)
