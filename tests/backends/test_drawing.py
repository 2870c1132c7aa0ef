"""A drawing without Triton: it ends before the UNet's next call once nobody waits for it or its model goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from tests.doubles.image_models import write_diffusion
from triton_backends.diffusion.drawing import Drawing, Studio
from triton_backends.diffusion.model_files import SamplerFacts, read_facts
from triton_backends.diffusion.options import read_options
from triton_backends.diffusion.parts import Stages, Unet
from triton_backends.diffusion.workers import Counters
from triton_backends.runtime.replies import Reply
from triton_backends.runtime.triton import Array


class CollectedReply(Reply):
    """What one caller received."""

    def __init__(self) -> None:
        self.cancelled = False
        self.received: list[set[str]] = []
        self.end: str | None = None

    def send(self, tensors: Mapping[str, Array], *, final: bool) -> None:
        self.received.append(set(tensors))

    def fail(self, message: str, code: str) -> None:
        self.end = f"{code}: {message}"

    def finish(self) -> None:
        self.end = "no more"


@dataclass(frozen=True)
class Interrupted(Unet):
    """Sees no noise; something happens in its third call."""

    happens: Callable[[], None]
    calls: list[int] = field(default_factory=list)

    def noise(self, sample: Array, timestep: int, conditions: Array, stages: Stages) -> Array:
        self.calls.append(timestep)
        if len(self.calls) == 3:
            self.happens()
        return np.zeros((len(conditions), *sample.shape), np.float32)


@pytest.fixture
def facts(tmp_path: Path) -> SamplerFacts:
    return read_facts(write_diffusion(tmp_path / "m", "unet") / "1", takes_text=False)


def draw(facts: SamplerFacts, unet: Unet, reply: Reply, is_closing: Callable[[], bool]) -> Counters:
    """Two images in five steps: the third call is the first one of the second step."""
    studio, counters = Studio(facts, unet, None, lambda: None, is_closing), Counters()
    Drawing(studio, reply, read_options({"num_steps": 5, "num_images": 2}), 0, None).draw(counters)
    return counters


def test_once_its_caller_has_left_the_unet_is_not_called_again(facts: SamplerFacts) -> None:
    reply = CollectedReply()
    unet = Interrupted("unet", lambda: setattr(reply, "cancelled", True))
    counters = draw(facts, unet, reply, lambda: False)
    assert unet.calls == [49, 49, 39]
    assert (reply.received, reply.end) == ([{"step", "num_steps"}], "no more")
    assert (counters.steps, counters.cancelled, counters.failed) == (2, 1, 0)


def test_once_its_model_goes_the_unet_is_not_called_again(facts: SamplerFacts) -> None:
    reply, closing = CollectedReply(), Event()
    unet = Interrupted("unet", closing.set)
    counters = draw(facts, unet, reply, closing.is_set)
    assert unet.calls == [49, 49, 39]
    assert (reply.received, reply.end) == ([{"step", "num_steps"}], "UNAVAILABLE: the model is being unloaded")
    assert (counters.steps, counters.cancelled, counters.failed) == (2, 0, 1)


def test_who_stays_gets_every_step_and_the_images(facts: SamplerFacts) -> None:
    reply = CollectedReply()
    unet = Interrupted("unet", lambda: None)
    assert draw(facts, unet, reply, lambda: False).steps == 10
    assert unet.calls == [49, 49, 39, 39, 29, 29, 19, 19, 9, 9]
    assert (reply.received[5:], reply.end) == ([{"images", "size", "stages"}], None)
