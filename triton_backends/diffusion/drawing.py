"""One request: from its seed and condition to its images, step by step, or to the reason why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from triton_backends.diffusion.model_files import SamplerFacts
from triton_backends.diffusion.options import DrawingOptions
from triton_backends.diffusion.parts import Stages, TextEncoder, Unet
from triton_backends.diffusion.png import png
from triton_backends.diffusion.sampler import Guide, first_samples, sample
from triton_backends.diffusion.workers import Counters
from triton_backends.runtime.calls import CallFailed, ModelUnavailable
from triton_backends.runtime.parameters import InvalidParameter
from triton_backends.runtime.replies import Reply
from triton_backends.runtime.tensors import bytes_array, object_array
from triton_backends.runtime.triton import Array


class CallerLeft(RuntimeError):
    """Nobody waits for the images any more."""


class Closing(RuntimeError):
    """The model is being unloaded."""


@dataclass(frozen=True, slots=True)
class Studio:
    """What all drawings of a model share. `encoder` is there where it takes text.

    `on_step` is told of each step; `is_closing`: whether the model is being unloaded.
    """

    facts: SamplerFacts
    unet: Unet
    encoder: TextEncoder | None
    on_step: Callable[[], None]
    is_closing: Callable[[], bool]


@dataclass(eq=False, slots=True)
class Drawing:
    """`text_input`: BYTES[1] where the model takes text. Made of what the model lacks, it raises InvalidParameter."""

    studio: Studio
    reply: Reply
    options: DrawingOptions
    seed: int
    text_input: Array | None

    def __post_init__(self) -> None:
        label, labels = self.options.label, self.studio.facts.labels
        if label is not None and label not in labels:
            known = f"its labels are {', '.join(labels[:50])}" if labels else "it has none"
            raise InvalidParameter(f"label {label[:100]!r} is not one of this model's: {known}")
        trained = len(self.studio.facts.alphas_cumprod)
        if self.options.num_steps > trained:
            raise InvalidParameter(f"num_steps must be 1 to {trained}, the steps that this model was trained with")

    def draw(self, counters: Counters) -> None:
        """To its end, with an answer. Never raises."""
        try:
            self._draw(counters)
        except CallerLeft:
            counters.add(cancelled=1)
            self.reply.finish()
        except InvalidParameter as error:
            self.reply.fail(str(error), "INVALID_ARG")
        except (ModelUnavailable, Closing) as error:
            counters.add(failed=1)
            self.reply.fail(str(error), "UNAVAILABLE")
        except CallFailed as error:
            counters.add(failed=1)
            self.reply.fail(str(error), "INTERNAL")
        except Exception as error:
            counters.add(failed=1)
            self.reply.fail(f"drawing failed: {error}", "INTERNAL")

    def _draw(self, counters: Counters) -> None:
        facts, options, stages = self.studio.facts, self.options, Stages()
        self._go_on()
        guide = self._guide(stages)

        def unet(one: Array, timestep: int, conditions: Array) -> Array:
            self._go_on()
            return self.studio.unet.noise(one, timestep, conditions, stages)

        size = facts.image_size
        images = first_samples(self.seed, options.num_images, (facts.channels, size, size))
        denoising = sample(images, facts.alphas_cumprod, options.num_steps, guide, unet)
        for step, samples in enumerate(denoising, 1):
            images = samples
            counters.add(steps=options.num_images)
            self.studio.on_step()
            if options.stream:
                told = {"step": np.array([step], np.int32), "num_steps": np.array([options.num_steps], np.int32)}
                self.reply.send(told, final=False)
        self._answer(images, stages)

    def _answer(self, images: list[Array], stages: Stages) -> None:
        size = self.studio.facts.image_size
        outputs = {
            "images": object_array([png(image) for image in images]),
            "size": np.array([size, size], np.int32),
            "stages": bytes_array([stages.as_json()]),
        }
        self.reply.send(outputs, final=True)

    def _guide(self, stages: Stages) -> Guide:
        facts, options = self.studio.facts, self.options
        condition = facts.null_condition
        if self.studio.encoder is not None:
            condition = self.studio.encoder.condition(self.text_input, stages)
        elif options.label is not None:
            condition = facts.conditions[facts.labels.index(options.label)]
        guidance = facts.guidance if options.guidance is None else options.guidance
        return Guide(condition, facts.null_condition, guidance)

    def _go_on(self) -> None:
        if self.reply.cancelled:
            raise CallerLeft
        if self.studio.is_closing():
            raise Closing("the model is being unloaded")
