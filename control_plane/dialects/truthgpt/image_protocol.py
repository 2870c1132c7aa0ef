"""TruthGPT's words for images: what may be asked of a model that draws, and what comes back (contract 0.6)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from control_plane.domain.images import GUIDANCE_MAX, IMAGES_MAX, LABEL_LENGTH_MAX, STEPS_MAX

NumSteps = Annotated[int | None, Meta(extra_json_schema={"minimum": 1, "maximum": STEPS_MAX})]
NumImages = Annotated[int | None, Meta(extra_json_schema={"minimum": 1, "maximum": IMAGES_MAX})]
Label = Annotated[str | None, Meta(extra_json_schema={"minLength": 1, "maxLength": LABEL_LENGTH_MAX})]
Guidance = Annotated[float | None, Meta(extra_json_schema={"minimum": 0, "maximum": GUIDANCE_MAX})]
Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class StageTime(Struct):
    """What one part of the pipeline took. Units: milliseconds."""

    model: str
    time_ms: float


class ImageOutput(Struct, kw_only=True):
    """`images` are PNG files in base64, of `width` x `height` pixels. `seed` draws the same ones again.

    `unit`: what the answer's `tokens_per_second` counts instead of tokens, denoising steps of all images.
    """

    images: tuple[bytes, ...]
    width: int
    height: int
    num_steps: int
    seed: int
    stages: tuple[StageTime, ...]
    unit: Literal["steps"] = "steps"


class ImageResponse(Struct):
    """The answer of a model that draws. Units: `inference_time` seconds."""

    model_id: str
    output: ImageOutput
    inference_time: float
    tokens_per_second: float
    created_at: Timestamp
    request_id: str


class StepEvent(Struct):
    """One `data:` line of a stream: denoising step `step` of `num_steps` is done."""

    step: int
    num_steps: int


class ImageEvent(ImageOutput, kw_only=True):
    """The last `data:` line of a stream."""

    is_final: Literal[True] = True
