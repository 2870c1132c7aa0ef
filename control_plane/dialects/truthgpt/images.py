"""Images in TruthGPT's words: what is wanted of a model that draws, and its steps and images as JSON.

REST has fields for them. GraphQL, gRPC and WebSocket messages have one text: a prompt or a JSON object in
(`to_input`), and JSON out (`step_text`, `output_text`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from control_plane.dialects.truthgpt.image_protocol import ImageEvent, ImageOutput, ImageResponse, StageTime, StepEvent
from control_plane.dialects.truthgpt.protocol import InputData, encode
from control_plane.domain.errors import InvalidRequest
from control_plane.domain.images import Drawing, DrawingStep, Drawn
from control_plane.edge.times import rfc3339_now

_OPTIONS = ("num_steps", "num_images", "label", "guidance")
_decoder = msgspec.json.Decoder(InputData)


def to_input(given: str | Mapping[str, Any]) -> InputData:
    """One field that says everything: a text that begins with `{` is a JSON object, any other one is a prompt.

    Raises InvalidRequest where the object is not of the form of `input_data`.
    """
    try:
        if not isinstance(given, str):
            return msgspec.convert(given, InputData)
        if given.lstrip().startswith("{"):
            return _decoder.decode(given)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors, as is a text that UTF-8 cannot say
        raise InvalidRequest(f"the input is no JSON object of a drawing's options: {error}", reason="schema") from None
    return InputData(text=given) if given else InputData()


def to_drawing(model: str, wanted: InputData, *, seed: int | None = None, request_id: str, caller: str) -> Drawing:
    """`seed`: that of the request itself, which wins over one in its input (D-06). Options of texts mean nothing here.

    Raises InvalidRequest for a value out of its bounds.
    """
    options = {name: value for name in _OPTIONS if (value := getattr(wanted, name)) is not None}
    prompt = None if wanted.text is msgspec.UNSET else wanted.text
    seed = wanted.seed if seed is None else seed
    return Drawing(model, prompt, seed=seed, request_id=request_id, caller=caller, **options)


def has_image_options(wanted: InputData) -> bool:
    """Written out, because it is asked of every request for a text."""
    return (
        wanted.num_steps is not None
        or wanted.num_images is not None
        or wanted.label is not None
        or wanted.guidance is not None
    )


def image_output(drawn: Drawn) -> ImageOutput:
    return ImageOutput(**_fields(drawn))


def image_response(drawn: Drawn, request_id: str) -> ImageResponse:
    return ImageResponse(
        drawn.model,
        image_output(drawn),
        drawn.inference_time_s,
        drawn.steps_per_second,
        rfc3339_now(),
        request_id,
    )


def image_event(item: DrawingStep | Drawn) -> bytes:
    """A `data:` line of a stream."""
    event = ImageEvent(**_fields(item)) if isinstance(item, Drawn) else StepEvent(item.step, item.num_steps)
    return b"data: %s\n\n" % encode(event)


def output_text(drawn: Drawn) -> str:
    """The output object as JSON."""
    return encode(image_output(drawn)).decode()


def step_text(step: DrawingStep) -> str:
    """A step as JSON."""
    return encode(StepEvent(step.step, step.num_steps)).decode()


def _fields(drawn: Drawn) -> dict[str, Any]:
    return {
        "images": drawn.images,
        "width": drawn.width,
        "height": drawn.height,
        "num_steps": drawn.num_steps,
        "seed": drawn.seed,
        "stages": tuple(StageTime(stage.model, stage.time_ms) for stage in drawn.stages),
    }
