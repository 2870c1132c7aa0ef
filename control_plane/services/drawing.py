"""Drawing images: all at once, or step by step until they are there."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator
from dataclasses import replace

from control_plane.domain.errors import EngineFailed, InvalidRequest
from control_plane.domain.images import Drawing, DrawingStep, Drawn, Stage
from control_plane.domain.models import Revision, RevisionStatus
from control_plane.domain.references import public_reference
from control_plane.domain.tensors import Inference, Parameter, Prediction, bytes_elements, pack, text_tensor, unpack
from control_plane.ports import Triton
from control_plane.services.serving import Serving

DRAWING_TIMEOUT_S = 600.0
DRAWN_SEED_BITS = 53  # of a seed that we choose: readers of JSON keep whole numbers exactly up to there
_LABELS_SHOWN = 50


class Drawings:
    """`found`: what the model's reference means, where the caller has looked it up to know what to ask of it.

    Raises from every method: InvalidRequest, ModelNotFound, ModelNotReady, Unavailable, TimedOut, EngineFailed.
    """

    def __init__(self, triton: Triton, serving: Serving) -> None:
        self._triton, self._serving = triton, serving

    async def draw(self, drawing: Drawing, found: RevisionStatus | None = None) -> Drawn:
        """The images, when all of them are done."""
        drawn: Drawn | None = None
        async for item in self.stream(drawing, found):
            if isinstance(item, Drawn):
                drawn = item
        assert drawn is not None
        return drawn

    async def stream(
        self, drawing: Drawing, found: RevisionStatus | None = None
    ) -> AsyncGenerator[DrawingStep | Drawn, None]:
        """Each step as it is done, then the images. Closing the generator ends the drawing inside Triton."""
        revision = await self._serving.revision(drawing.model, found)
        _check(revision, drawing)
        if drawing.seed is None:
            drawing = replace(drawing, seed=secrets.randbits(DRAWN_SEED_BITS))
        with self._serving.measured(revision) as measured:
            is_done = False
            answers = self._triton.stream(_inference(revision, drawing))
            try:
                async for prediction in answers:
                    if prediction.output("images") is not None:
                        measured.tokens = drawing.num_steps * drawing.num_images
                        is_done = True
                        yield _drawn(drawing, prediction, measured.elapsed_s())
                    elif prediction.outputs:
                        step = _step(prediction)
                        measured.tokens = step.step * drawing.num_images
                        yield step
            finally:
                await answers.aclose()
            if not is_done:
                raise EngineFailed("the model ended without its images")


def _check(revision: Revision, drawing: Drawing) -> None:
    """Raises InvalidRequest where the model cannot draw what is asked for."""
    name, classes = drawing.model, revision.description.classes
    if not revision.draws_images:
        raise InvalidRequest(f"model {name!r} draws no images", backend=revision.backend)
    if revision.takes_prompt and not drawing.prompt:
        raise InvalidRequest(f"model {name!r} draws what a text says: send it one", field="text")
    if not revision.takes_prompt and drawing.prompt is not None:
        instead = f"; it draws by label: {_shown(classes)}" if classes else ""
        raise InvalidRequest(f"model {name!r} takes no text{instead}", field="text")
    if drawing.label is None:
        return
    if revision.takes_prompt:
        raise InvalidRequest(f"model {name!r} draws what a text says, and takes no label", field="label")
    if not classes:
        raise InvalidRequest(f"model {name!r} has no labels: it draws without one", field="label")
    if drawing.label not in classes:
        raise InvalidRequest(
            f"model {name!r} has no label {drawing.label!r}; its labels are {_shown(classes)}",
            field="label",
            labels=list(classes[:_LABELS_SHOWN]),
        )


def _shown(classes: tuple[str, ...]) -> str:
    more = ", ..." if len(classes) > _LABELS_SHOWN else ""
    return ", ".join(map(repr, classes[:_LABELS_SHOWN])) + more


def _inference(revision: Revision, drawing: Drawing) -> Inference:
    inputs = [pack("seed", "INT64", (1,), [drawing.seed])]
    if drawing.prompt is not None:
        inputs.append(text_tensor("text_input", drawing.prompt))
    parameters: list[tuple[str, Parameter]] = [
        ("num_steps", drawing.num_steps),
        ("num_images", drawing.num_images),
        ("stream", True),  # wanted or not: a model that tells nobody anything for long is taken for dead
    ]
    if drawing.label is not None:
        parameters.append(("label", drawing.label))
    if drawing.guidance is not None:
        parameters.append(("guidance", float(drawing.guidance)))
    return Inference(
        revision.directory,
        tuple(inputs),
        DRAWING_TIMEOUT_S,
        parameters=tuple(parameters),
        request_id=drawing.request_id,
        takes_cancel=revision.takes_cancel,
    )


def _step(prediction: Prediction) -> DrawingStep:
    return DrawingStep(*(_numbers(prediction, name, 1)[0] for name in ("step", "num_steps")))


def _drawn(drawing: Drawing, prediction: Prediction, took_s: float) -> Drawn:
    """Raises EngineFailed where the answer is not what the images' interface says."""
    images = prediction.output("images")
    assert images is not None
    assert drawing.seed is not None
    files = tuple(bytes_elements(images.raw))
    if len(files) != drawing.num_images:
        raise EngineFailed(f"the model gave {len(files)} images in place of {drawing.num_images}")
    width, height = _numbers(prediction, "size", 2)
    return Drawn(drawing.model, files, width, height, drawing.num_steps, drawing.seed, _stages(prediction), took_s)


def _numbers(prediction: Prediction, name: str, count: int) -> list[int]:
    tensor = prediction.output(name)
    values = unpack(tensor) if tensor is not None and tensor.datatype == "INT32" else []
    if len(values) != count:
        raise EngineFailed(f"the model's answer lacks its output {name!r}, INT32 [{count}]")
    return values


def _stages(prediction: Prediction) -> tuple[Stage, ...]:
    tensor = prediction.output("stages")
    try:
        told = json.loads(unpack(tensor)[0]) if tensor is not None else []
        return tuple(Stage(public_reference(stage["model"]), float(stage["time_ms"])) for stage in told)
    except (ValueError, KeyError, TypeError, IndexError, InvalidRequest) as error:
        raise EngineFailed("the model's answer has no 'stages' that can be read") from error
